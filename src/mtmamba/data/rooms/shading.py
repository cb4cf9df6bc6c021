"""Light: soft shadows, ambient occlusion, tone curve, antialiasing and the camera's noise.

Shadows and ambient occlusion send one ray per pixel, to one of 16 places on the light (or in the hemisphere) that depends
on the pixel's place in a 4x4 tile; averaging over the 4x4 neighbours that lie on the same surface then counts every
place once ("interleaved sampling", Keller and Heidrich 2001). Antialiasing casts four more rays in pixels where the
primitive changes, against the primitives of the neighbourhood only, and takes their colours from the neighbours
(after "subpixel reconstruction antialiasing", Chajdas et al. 2011).
"""

import math

import numpy as np

from .jit import kernel
from .raycast import intersect, local_ray, occlusion, surface
from .scene import LAMP_LIGHT, SUN_LIGHT, WINDOW_LIGHT
from .textures import texture

REACH = 0.7  # metres within which things dim the ambient light

# The 16 places: a shuffled 4x4 grid for lights, another shuffle for the hemisphere.
_LIGHT_ORDER = np.array([0, 10, 7, 13, 5, 15, 2, 8, 11, 1, 12, 6, 14, 4, 9, 3])
_DOME_ORDER = np.array([6, 12, 1, 11, 3, 9, 4, 14, 8, 2, 15, 5, 13, 7, 10, 0])
LIGHT_PLACES = np.stack([_LIGHT_ORDER % 4, _LIGHT_ORDER // 4], axis=1) / 2.0 - 0.75  # (16, 2) in [-1, 1]
_turn, _high = 2 * math.pi * (_DOME_ORDER % 4 + 0.5) / 4, (_DOME_ORDER // 4 + 0.5) / 4
_turn = _turn + math.pi / 4 * (_DOME_ORDER // 4)
DOME_PLACES = np.stack(
    [np.sqrt(_high) * np.cos(_turn), np.sqrt(_high) * np.sin(_turn), np.sqrt(1 - _high)], axis=1
)  # (16, 3) unit vectors about +z, as dense as the cosine


@kernel
def surfaces(scene, depth, hit, position, view, intrinsics):  # type: ignore[no-untyped-def]
    """World positions, world normals that face the camera, and albedo: three arrays (H, W, 3) float64."""
    height, width = hit.shape
    points, normals, albedo = np.empty((height, width, 3)), np.empty((height, width, 3)), np.empty((height, width, 3))
    found, colour, d, ray = np.zeros(7), np.zeros(3), np.zeros(3), np.zeros(6)
    for i in range(height):
        for j in range(width):
            n, t = hit[i, j], depth[i, j]
            x, y = (j - intrinsics[2]) / intrinsics[0], (intrinsics[3] - i) / intrinsics[1]
            for e in range(3):
                d[e] = x * view[0, e] + y * view[1, e] - view[2, e]
                points[i, j, e] = position[e] + t * d[e]
            local_ray(scene, n, position, d, ray)
            half = scene.half[n]
            surface(
                scene.kind[n], ray[0] + t * ray[3], ray[1] + t * ray[4], ray[2] + t * ray[5],
                half[0], half[1], half[2], found,
            )  # fmt: skip
            facing = -(found[0] * ray[3] + found[1] * ray[4] + found[2] * ray[5]) / math.sqrt(x * x + y * y + 1.0)
            side = 1.0 if facing >= 0.0 else -1.0
            for e in range(3):
                axes = scene.axes[n]
                normals[i, j, e] = side * (found[0] * axes[0, e] + found[1] * axes[1, e] + found[2] * axes[2, e])
            pixel = t / intrinsics[0] / math.sqrt(max(abs(facing), 0.02))
            texture(scene.materials[scene.material[n]], found[3], found[4], found[5], found[6], pixel, colour)
            for e in range(3):
                albedo[i, j, e] = min(max(colour[e], 0.0), 1.0)
    return points, normals, albedo


@kernel
def _unshaded(light, p, normal, to_light):  # type: ignore[no-untyped-def]
    """What a light sends to a surface point if nothing is between; to_light becomes the unit direction towards it."""
    if light[0] == SUN_LIGHT:
        for e in range(3):
            to_light[e] = -light[13 + e]
    else:
        for e in range(3):
            to_light[e] = light[1 + e] - p[e]
    square = to_light[0] ** 2 + to_light[1] ** 2 + to_light[2] ** 2
    scale = 1.0 / math.sqrt(max(square, 1e-12))
    for e in range(3):
        to_light[e] *= scale
    incidence = normal[0] * to_light[0] + normal[1] * to_light[1] + normal[2] * to_light[2]
    if incidence <= 0.0:
        return 0.0
    if light[0] == SUN_LIGHT:
        return incidence
    incidence /= square + 0.4
    if light[0] == WINDOW_LIGHT:
        incidence *= max(-(light[13] * to_light[0] + light[14] * to_light[1] + light[15] * to_light[2]), 0.0)
    return incidence


@kernel
def _through_window(light, p, to_light, blur):  # type: ignore[no-untyped-def]
    """How far along `to_light` the sun's window lies, or -1 if the ray misses its panes (a bar crosses the middle)."""
    first, second = light[4:7], light[7:10]
    nx = first[1] * second[2] - first[2] * second[1]
    ny = first[2] * second[0] - first[0] * second[2]
    nz = first[0] * second[1] - first[1] * second[0]
    along = nx * to_light[0] + ny * to_light[1] + nz * to_light[2]
    if along == 0.0:
        return -1.0
    t = (nx * (light[1] - p[0]) + ny * (light[2] - p[1]) + nz * (light[3] - p[2])) / along
    if t <= 0.0:
        return -1.0
    u, v = 0.0, 0.0
    for e in range(3):
        q = p[e] + t * to_light[e] - light[1 + e]
        u += q * first[e]
        v += q * second[e]
    u /= first[0] ** 2 + first[1] ** 2 + first[2] ** 2
    v /= second[0] ** 2 + second[1] ** 2 + second[2] ** 2
    u, v = u + 0.03 * blur[0], v + 0.03 * blur[1]
    return t if 0.05 < abs(u) < 1.0 and abs(v) < 1.0 else -1.0


@kernel
def visibility(scene, points, normals, light_places, dome_places):  # type: ignore[no-untyped-def]
    """One noisy sample per pixel of how much of each light, and last of the surroundings, it sees: (H, W, L + 1) float32."""
    height, width = points.shape[:2]
    count = scene.lights.shape[0]
    seen = np.zeros((height, width, count + 1), dtype=np.float32)
    origin, d, ray = np.zeros(3), np.zeros(3), np.zeros(6)
    for i in range(height):
        for j in range(width):
            p, normal = points[i, j], normals[i, j]
            place = (i & 3) * 4 + (j & 3)
            for e in range(3):
                origin[e] = p[e] + 2e-3 * normal[e]
            for k in range(count):
                light = scene.lights[k]
                strength = _unshaded(light, p, normal, d)
                if strength <= 0.0:
                    continue
                a, b = light_places[place, 0], light_places[place, 1]
                if light[0] == SUN_LIGHT:
                    reach = _through_window(light, origin, d, light_places[place])
                    if reach > 0.0 and occlusion(scene, origin, d, reach, -1, ray) >= reach:
                        seen[i, j, k] = 1.0
                    continue
                if strength * max(light[10], light[12]) < 0.02:  # too weak for its shadow to be seen
                    seen[i, j, k] = 1.0
                    continue
                for e in range(3):
                    d[e] = light[1 + e] + a * light[4 + e] + b * light[7 + e] - origin[e]
                if occlusion(scene, origin, d, 0.999, int(light[16]), ray) >= 0.999:
                    seen[i, j, k] = 1.0
            # ambient: a direction about the normal, by the shortest rotation of +z onto it
            nx, ny, nz = normal[0], normal[1], normal[2]
            x, y, z = dome_places[place, 0], dome_places[place, 1], dome_places[place, 2]
            flip = 1.0 if nz >= 0.0 else -1.0
            w = -1.0 / (flip + nz)
            s = nx * ny * w
            d[0] = x * (1.0 + flip * nx * nx * w) + y * s + z * nx
            d[1] = x * flip * s + y * (flip + ny * ny * w) + z * ny
            d[2] = -x * flip * nx - y * ny + z * nz
            far = occlusion(scene, origin, d, REACH, -1, ray)
            for e in range(3):  # the room itself, from inside
                if d[e] > 1e-9:
                    far = min(far, (scene.room[e] - origin[e]) / d[e])
                elif d[e] < -1e-9:
                    far = min(far, -origin[e] / d[e])
            seen[i, j, count] = 0.35 + 0.65 * min(max(far, 0.0) / REACH, 1.0)
    return seen


@kernel
def illuminate(scene, points, normals, albedo, hit, seen, position):  # type: ignore[no-untyped-def]
    """Smooth the visibility over each surface and add up the light.

    Returns the linear radiance (H, W, 3), the irradiance plus emission in the eye's weights (H, W), and the mean log
    of the radiance, which sets the exposure.
    """
    height, width = hit.shape
    count = scene.lights.shape[0]
    radiance, shading = np.empty((height, width, 3)), np.empty((height, width))
    smooth, to_light, total, eye = np.zeros(count + 1), np.zeros(3), np.zeros(3), np.zeros(3)
    log_sum = 0.0
    for i in range(height):
        for j in range(width):
            n, normal, p = hit[i, j], normals[i, j], points[i, j]
            own = scene.instance[n]
            smooth[:] = 0.0
            weight = 0.0
            for y in range(max(i - 2, 0), min(i + 2, height)):
                for x in range(max(j - 2, 0), min(j + 2, width)):
                    m = hit[y, x]
                    if m != n and scene.instance[m] != own:
                        continue
                    other = normals[y, x]
                    if normal[0] * other[0] + normal[1] * other[1] + normal[2] * other[2] < 0.85:
                        continue
                    weight += 1.0
                    for k in range(count + 1):
                        smooth[k] += seen[y, x, k]
            material = scene.materials[scene.material[n]]
            gloss, emission = material[9], material[10]
            up = 0.5 + 0.5 * normal[2]
            for e in range(3):
                total[e] = (scene.ambient[0, e] * (1.0 - up) + scene.ambient[1, e] * up) * smooth[count] / weight
                total[e] += emission
                eye[e] = position[e] - p[e]
            shine = 0.0
            length = math.sqrt(eye[0] ** 2 + eye[1] ** 2 + eye[2] ** 2)
            for k in range(count):
                if smooth[k] == 0.0:
                    continue
                strength = _unshaded(scene.lights[k], p, normal, to_light) * smooth[k] / weight
                for e in range(3):
                    total[e] += strength * scene.lights[k, 10 + e]
                if gloss > 0.0:
                    facing, square = 0.0, 0.0
                    for e in range(3):
                        h = to_light[e] + eye[e] / length
                        facing += h * normal[e]
                        square += h * h
                    facing = max(facing, 0.0) ** 2 / max(square, 1e-9)  # squared cosine, to the 16th below
                    facing *= facing
                    facing *= facing
                    facing *= facing
                    shine += gloss * 4.0 * strength * scene.lights[k, 11] * facing * facing
            bright = 0.0
            for e in range(3):
                value = albedo[i, j, e] * total[e] + shine
                radiance[i, j, e] = value
                bright += value
            shading[i, j] = 0.2126 * total[0] + 0.7152 * total[1] + 0.0722 * total[2]
            log_sum += math.log(bright / 3.0 + 1e-3)
    return radiance, shading, log_sum / (height * width)


@kernel
def develop(radiance, exposure, balance, vignette):  # type: ignore[no-untyped-def]
    """Exposure, white balance (3,), vignette, a filmic shoulder and display gamma: (H, W, 3) float32 in [0, 1].

    The curve is Hejl and Burgess-Dawson's rational fit of film, which includes the gamma.
    """
    height, width = radiance.shape[:2]
    out = np.empty((height, width, 3), dtype=np.float32)
    for i in range(height):
        for j in range(width):
            y, x = (2.0 * i + 1.0) / height - 1.0, (2.0 * j + 1.0) / width - 1.0
            gain = exposure * (1.0 - vignette * (x * x + y * y))
            for c in range(3):
                v = max(radiance[i, j, c] * gain * balance[c] - 0.004, 0.0)
                out[i, j, c] = v * (6.2 * v + 0.5) / (v * (6.2 * v + 1.7) + 0.06)
    return out


@kernel
def antialias(scene, colours, hit, position, view, intrinsics):  # type: ignore[no-untyped-def]
    """Blend pixels that see more than one primitive: colours (H, W, 3) float32 -> a new array."""
    height, width = hit.shape
    out = colours.copy()
    near = np.zeros(9, dtype=np.int64)
    origins = np.zeros((9, 6))
    total, d = np.zeros(3), np.zeros(3)
    for i in range(height):
        for j in range(width):
            n = hit[i, j]
            if not (
                hit[max(i - 1, 0), j] != n
                or hit[min(i + 1, height - 1), j] != n
                or hit[i, max(j - 1, 0)] != n
                or hit[i, min(j + 1, width - 1)] != n
            ):
                continue
            found = 0
            for y in range(max(i - 1, 0), min(i + 2, height)):
                for x in range(max(j - 1, 0), min(j + 2, width)):
                    known = False
                    for f in range(found):
                        known = known or near[f] == hit[y, x]
                    if not known:
                        near[found] = hit[y, x]
                        found += 1
            total[:] = 0.0
            for sample in range(4):
                v = i + (0.125 if sample == 0 else -0.375 if sample == 1 else 0.375 if sample == 2 else -0.125)
                u = j + (-0.375 if sample == 0 else -0.125 if sample == 1 else 0.125 if sample == 2 else 0.375)
                a, b = (u - intrinsics[2]) / intrinsics[0], (intrinsics[3] - v) / intrinsics[1]
                for e in range(3):
                    d[e] = a * view[0, e] + b * view[1, e] - view[2, e]
                best, seen = np.inf, n
                for f in range(found):
                    m, ray = near[f], origins[f]
                    local_ray(scene, m, position, d, ray)
                    half = scene.half[m]
                    t = intersect(
                        scene.kind[m], ray[0], ray[1], ray[2], ray[3], ray[4], ray[5], half[0], half[1], half[2], 0.05
                    )
                    if t < best:
                        best, seen = t, m
                row, column, distance = i, j, np.inf
                for y in range(max(i - 1, 0), min(i + 2, height)):
                    for x in range(max(j - 1, 0), min(j + 2, width)):
                        if hit[y, x] == seen:
                            square = (y - v) ** 2 + (x - u) ** 2
                            if square < distance:
                                row, column, distance = y, x, square
                for c in range(3):
                    total[c] += colours[row, column, c]
            for c in range(3):
                out[i, j, c] = 0.25 * total[c]
    return out


@kernel
def expose(colours, grain, noise):  # type: ignore[no-untyped-def]
    """Add the sensor's noise, stronger in the dark, and round to 8 bits: (H, W, 3) uint8. `grain` is unit normal."""
    height, width = colours.shape[:2]
    image = np.empty((height, width, 3), dtype=np.uint8)
    for i in range(height):
        for j in range(width):
            shared = grain[i, j, 3]
            for c in range(3):
                value = colours[i, j, c]
                value += noise * (1.3 - 0.8 * value) * (0.8 * shared + 0.6 * grain[i, j, c])
                image[i, j, c] = np.uint8(min(max(value * 255.0 + 0.5, 0.0), 255.0))
    return image

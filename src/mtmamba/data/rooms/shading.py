"""Light: soft shadows, ambient occlusion, tone curve, antialiasing and the camera's noise.

Shadows and ambient occlusion send one ray per pixel, to one of 16 places on the light (or in the hemisphere)
that depends on the pixel's place in a 4x4 tile; averaging over the 4x4 neighbours that lie on the same
surface then counts every place once ("interleaved sampling", Keller and Heidrich 2001). Antialiasing casts
four more rays in pixels where the primitive changes, against the primitives of the neighbourhood only, and
takes their colours from the neighbours (after "subpixel reconstruction antialiasing", Chajdas et al. 2011).
"""

import math

import numpy as np

from .jit import kernel
from .raycast import NEAR, local, occlusion, strike, surface
from .scene import SUN_LIGHT, WINDOW_LIGHT
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
def surfaces(solids, materials, material, depth, hit, position, view, intrinsics):
    """World positions, world normals that face the camera, and albedo: three arrays (H, W, 3) float64."""
    height, width = hit.shape
    points, normals, albedo = (
        np.empty((height, width, 3)),
        np.empty((height, width, 3)),
        np.empty((height, width, 3)),
    )
    for i in range(height):
        for j in range(width):
            n, t = hit[i, j], depth[i, j]
            x, y = (j - intrinsics[2]) / intrinsics[0], (intrinsics[3] - i) / intrinsics[1]
            for e in range(3):
                points[i, j, e] = position[e] + t * (x * view[0, e] + y * view[1, e] - view[2, e])
            qx, qy, qz = local(
                solids, n,
                points[i, j, 0] - solids[n, 1], points[i, j, 1] - solids[n, 2], points[i, j, 2] - solids[n,
                3],
            )  # fmt: skip
            kind, a, b, c = int(solids[n, 0]), solids[n, 13], solids[n, 14], solids[n, 15]
            nx, ny, nz, u, v, half_u, half_v = surface(kind, qx, qy, qz, a, b, c)
            facing = 0.0
            for e in range(3):
                normals[i, j, e] = nx * solids[n, 4 + e] + ny * solids[n, 7 + e] + nz * solids[n, 10 + e]
                facing += normals[i, j, e] * (position[e] - points[i, j, e])
            if facing < 0.0:
                for e in range(3):
                    normals[i, j, e] = -normals[i, j, e]
            slant = abs(facing) / (t * math.sqrt(x * x + y * y + 1.0))
            pixel = t / intrinsics[0] / math.sqrt(max(slant, 0.02))
            texture(materials, material[n], u, v, half_u, half_v, pixel, albedo, i, j)
    return points, normals, albedo


@kernel
def _unshaded(lights, k, px, py, pz, nx, ny, nz):
    """What light k sends to a surface point if nothing is between, and the unit direction towards it."""
    kind = lights[k, 0]
    if kind == SUN_LIGHT:
        x, y, z = -lights[k, 13], -lights[k, 14], -lights[k, 15]
        return max(nx * x + ny * y + nz * z, 0.0), x, y, z
    x, y, z = lights[k, 1] - px, lights[k, 2] - py, lights[k, 3] - pz
    square = x * x + y * y + z * z
    scale = 1.0 / math.sqrt(max(square, 1e-12))
    x, y, z = x * scale, y * scale, z * scale
    strength = max(nx * x + ny * y + nz * z, 0.0) / (square + 0.4)
    if kind == WINDOW_LIGHT:
        strength *= max(-(lights[k, 13] * x + lights[k, 14] * y + lights[k, 15] * z), 0.0)
    return strength, x, y, z


@kernel
def _through_window(lights, k, px, py, pz, x, y, z, blur_u, blur_v):
    """How far along (x, y, z) the panes of the sun's window lie, or -1 if the ray misses them (a bar crosses
    the middle)."""
    ax, ay, az = lights[k, 4], lights[k, 5], lights[k, 6]
    bx, by, bz = lights[k, 7], lights[k, 8], lights[k, 9]
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    along = nx * x + ny * y + nz * z
    if along == 0.0:
        return -1.0
    qx, qy, qz = px - lights[k, 1], py - lights[k, 2], pz - lights[k, 3]
    t = -(nx * qx + ny * qy + nz * qz) / along
    if t <= 0.0:
        return -1.0
    qx, qy, qz = qx + t * x, qy + t * y, qz + t * z
    u = (qx * ax + qy * ay + qz * az) / (ax * ax + ay * ay + az * az) + 0.03 * blur_u
    v = (qx * bx + qy * by + qz * bz) / (bx * bx + by * by + bz * bz) + 0.03 * blur_v
    return t if 0.05 < abs(u) < 1.0 and abs(v) < 1.0 else -1.0


@kernel
def visibility(blockers, solids, lights, room, points, normals, light_places, dome_places):
    """One noisy sample per pixel of how much of each light, and last of the surroundings, it sees: (H, W, L +
    1) float32."""
    height, width = points.shape[:2]
    count = lights.shape[0]
    seen = np.zeros((height, width, count + 1), dtype=np.float32)
    for i in range(height):
        for j in range(width):
            nx, ny, nz = normals[i, j, 0], normals[i, j, 1], normals[i, j, 2]
            px, py, pz = points[i, j, 0] + 2e-3 * nx, points[i, j, 1] + 2e-3 * ny, points[i, j, 2] + 2e-3 * nz
            place = (i & 3) * 4 + (j & 3)
            a, b = light_places[place, 0], light_places[place, 1]
            for k in range(count):
                strength, x, y, z = _unshaded(lights, k, px, py, pz, nx, ny, nz)
                if strength <= 0.0:
                    continue
                if lights[k, 0] == SUN_LIGHT:
                    reach = _through_window(lights, k, px, py, pz, x, y, z, a, b)
                    if reach > 0.0 and occlusion(blockers, solids, px, py, pz, x, y, z, reach, -1, False) >= reach:
                        seen[i, j, k] = 1.0
                    continue
                if strength * lights[k, 11] < 0.02:  # too weak for its shadow to be seen
                    seen[i, j, k] = 1.0
                    continue
                x = lights[k, 1] + a * lights[k, 4] + b * lights[k, 7] - px
                y = lights[k, 2] + a * lights[k, 5] + b * lights[k, 8] - py
                z = lights[k, 3] + a * lights[k, 6] + b * lights[k, 9] - pz
                if occlusion(blockers, solids, px, py, pz, x, y, z, 0.999, lights[k, 16], False) >= 0.999:
                    seen[i, j, k] = 1.0
            # ambient: a direction about the normal, in the basis of Duff et al. 2017
            x, y, z = dome_places[place, 0], dome_places[place, 1], dome_places[place, 2]
            flip = 1.0 if nz >= 0.0 else -1.0
            w = -1.0 / (flip + nz)
            s = nx * ny * w
            dx = x * (1.0 + flip * nx * nx * w) + y * s + z * nx
            dy = x * flip * s + y * (flip + ny * ny * w) + z * ny
            dz = -x * flip * nx - y * ny + z * nz
            far = occlusion(blockers, solids, px, py, pz, dx, dy, dz, REACH, -1, True)
            far = min(far, min(min(_wall(px, dx, room[0]), _wall(py, dy, room[1])), _wall(pz, dz, room[2])))
            seen[i, j, count] = 0.35 + 0.65 * max(far, 0.0) / REACH
    return seen


@kernel
def _wall(p, d, extent):
    """How far a ray from p gets between the walls at 0 and extent."""
    if abs(d) < 1e-9:
        return np.inf
    return ((extent if d > 0.0 else 0.0) - p) / d


@kernel
def illuminate(materials, lights, ambient, points, normals, albedo, hit, material, instance, seen, position):
    """Smooth the visibility over each surface and add up the light.

    `material` and `instance` are those of the primitives; ambient (2, 3) is the light from below and from
    above. Returns the linear radiance (H, W, 3), the irradiance plus emission in the eye's weights (H, W),
    and the mean log of the radiance, which sets the exposure.
    """
    height, width = hit.shape
    count = lights.shape[0]
    radiance, shading = np.empty((height, width, 3)), np.empty((height, width))
    smooth, total = np.zeros(count + 1), np.zeros(3)
    log_sum = 0.0
    for i in range(height):
        for j in range(width):
            n = hit[i, j]
            nx, ny, nz = normals[i, j, 0], normals[i, j, 1], normals[i, j, 2]
            px, py, pz = points[i, j, 0], points[i, j, 1], points[i, j, 2]
            smooth[:] = 0.0
            weight = 0
            for y in range(max(i - 2, 0), min(i + 2, height)):
                for x in range(max(j - 2, 0), min(j + 2, width)):
                    if hit[y, x] != n and instance[hit[y, x]] != instance[n]:
                        continue
                    if nx * normals[y, x, 0] + ny * normals[y, x, 1] + nz * normals[y, x, 2] < 0.85:
                        continue
                    weight += 1
                    for k in range(count + 1):
                        smooth[k] += seen[y, x, k]
            m = material[n]
            gloss, emission = materials[m, 9], materials[m, 10]
            up, share = 0.5 + 0.5 * nz, 1.0 / weight
            for e in range(3):
                total[e] = emission + (ambient[0, e] * (1.0 - up) + ambient[1, e] * up) * smooth[count] * share
            ex, ey, ez = position[0] - px, position[1] - py, position[2] - pz
            length = 1.0 / math.sqrt(ex * ex + ey * ey + ez * ez)
            shine = 0.0
            for k in range(count):
                if smooth[k] == 0.0:
                    continue
                strength, x, y, z = _unshaded(lights, k, px, py, pz, nx, ny, nz)
                strength *= smooth[k] * share
                for e in range(3):
                    total[e] += strength * lights[k, 10 + e]
                if gloss > 0.0:
                    x, y, z = x + ex * length, y + ey * length, z + ez * length
                    facing = max(nx * x + ny * y + nz * z, 0.0)
                    sharp = facing * facing / max(x * x + y * y + z * z, 1e-9)  # cosine², to the 16th below
                    for _ in range(4):
                        sharp *= sharp
                    shine += gloss * 4.0 * strength * lights[k, 11] * sharp
            bright = 0.0
            for e in range(3):
                value = albedo[i, j, e] * total[e] + shine
                radiance[i, j, e] = value
                bright += value
            shading[i, j] = 0.2126 * total[0] + 0.7152 * total[1] + 0.0722 * total[2]
            log_sum += math.log(bright / 3.0 + 1e-3)
    return radiance, shading, log_sum / (height * width)


@kernel
def develop(radiance, exposure, balance, vignette):
    """Exposure, white balance (3,), vignette, a filmic shoulder and display gamma: (H, W, 3) float32 in [0,
    1].

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
def antialias(solids, colours, hit, position, view, intrinsics):
    """Blend pixels that see more than one primitive: colours (H, W, 3) float32 -> a new array."""
    height, width = hit.shape
    out = colours.copy()
    near, total = np.zeros(9, dtype=np.int64), np.zeros(3)
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
                dx = a * view[0, 0] + b * view[1, 0] - view[2, 0]
                dy = a * view[0, 1] + b * view[1, 1] - view[2, 1]
                dz = a * view[0, 2] + b * view[1, 2] - view[2, 2]
                best, seen = np.inf, n
                for f in range(found):
                    t = strike(solids, near[f], position[0], position[1], position[2], dx, dy, dz, NEAR)
                    if t < best:
                        best, seen = t, near[f]
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
def expose(colours, grain, noise):
    """Add the sensor's noise, stronger in the dark, and round to 8 bits: (H, W, 3) uint8. `grain` is unit
    normal."""
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

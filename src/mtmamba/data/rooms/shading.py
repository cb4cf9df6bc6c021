"""Light: soft shadows and ambient occlusion.

Both send one ray per pixel, to one of 16 places on the light (or in the hemisphere) that depends on the pixel's place
in a 4x4 tile; averaging over the 4x4 neighbours that lie on the same surface then counts every place once
("interleaved sampling", Keller and Heidrich 2001).
"""

import math

import numpy as np

from .jit import kernel
from .raycast import choose_blockers, local, occlusion, surface
from .scene import PLANE, SUN_LIGHT, WINDOW_LIGHT
from .textures import texture

REACH = 0.7  # metres within which things dim the ambient light
TILE = 8  # pixels

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
def _turned(x, y, z, nx, ny, nz):
    """A direction about +z, turned to be about the normal, by the basis of Duff et al. 2017."""
    flip = 1.0 if nz >= 0.0 else -1.0
    w = -1.0 / (flip + nz)
    s = nx * ny * w
    return (
        x * (1.0 + flip * nx * nx * w) + y * s + z * nx,
        x * flip * s + y * (flip + ny * ny * w) + z * ny,
        -x * flip * nx - y * ny + z * nz,
    )


@kernel
def _choose(blockers, lights, points, top, left, bottom, right, chosen, low, high):
    """For a tile of pixels, list what can block each light and, in the last row, what is near enough to dim it."""
    count = lights.shape[0]
    x0, y0, z0, x1, y1, z1 = np.inf, np.inf, np.inf, -np.inf, -np.inf, -np.inf
    for i in range(top, bottom):
        for j in range(left, right):
            x, y, z = points[i, j, 0], points[i, j, 1], points[i, j, 2]
            x0, y0, z0 = min(x0, x), min(y0, y), min(z0, z)
            x1, y1, z1 = max(x1, x), max(y1, y), max(z1, z)
    for row in range(count + 1):
        low[0], low[1], low[2] = x0 - REACH, y0 - REACH, z0 - REACH
        high[0], high[1], high[2] = x1 + REACH, y1 + REACH, z1 + REACH
        if row < count:
            for e in range(3):
                spread = 1.1 * (abs(lights[row, 4 + e]) + abs(lights[row, 7 + e])) + 0.01
                low[e] = min(low[e] + REACH, lights[row, 1 + e] - spread)
                high[e] = max(high[e] - REACH, lights[row, 1 + e] + spread)
        choose_blockers(blockers, low, high, chosen, row)


@kernel
def visibility(blockers, solids, lights, room, points, normals, light_places, dome_places):
    """One noisy sample per pixel of how much of each light, and last of the surroundings, it sees.

    Returns (H, W, L + 1) float32.
    """
    height, width = points.shape[:2]
    count = lights.shape[0]
    seen = np.zeros((height, width, count + 1), dtype=np.float32)
    chosen = np.zeros((count + 1, blockers.shape[0] + 1), dtype=np.int64)
    low, high = np.zeros(3), np.zeros(3)
    for tile in range(((height + TILE - 1) // TILE) * ((width + TILE - 1) // TILE)):
        top = tile // ((width + TILE - 1) // TILE) * TILE
        left = tile % ((width + TILE - 1) // TILE) * TILE
        bottom, right = min(top + TILE, height), min(left + TILE, width)
        _choose(blockers, lights, points, top, left, bottom, right, chosen, low, high)
        for i in range(top, bottom):
            for j in range(left, right):
                nx, ny, nz = normals[i, j, 0], normals[i, j, 1], normals[i, j, 2]
                px, py, pz = points[i, j, 0] + 2e-3 * nx, points[i, j, 1] + 2e-3 * ny, points[i, j, 2] + 2e-3 * nz
                place = (i & 3) * 4 + (j & 3)
                a, b = light_places[place, 0], light_places[place, 1]
                for k in range(count):
                    strength, x, y, z = _unshaded(lights, k, px, py, pz, nx, ny, nz)
                    if strength <= 0.0:
                        continue
                    reach = 0.999
                    if lights[k, 0] == SUN_LIGHT:
                        reach = _through_window(lights, k, px, py, pz, x, y, z, a, b)
                        if reach < 0.0:
                            continue
                    elif strength * lights[k, 11] < 0.02:  # too weak for its shadow to be seen
                        seen[i, j, k] = 1.0
                        continue
                    else:
                        x = lights[k, 1] + a * lights[k, 4] + b * lights[k, 7] - px
                        y = lights[k, 2] + a * lights[k, 5] + b * lights[k, 8] - py
                        z = lights[k, 3] + a * lights[k, 6] + b * lights[k, 9] - pz
                    far = occlusion(blockers, chosen, k, solids, px, py, pz, x, y, z, reach, lights[k, 16], False)
                    if far >= reach:
                        seen[i, j, k] = 1.0
                x, y, z = _turned(dome_places[place, 0], dome_places[place, 1], dome_places[place, 2], nx, ny, nz)
                far = occlusion(blockers, chosen, count, solids, px, py, pz, x, y, z, REACH, -1.0, True)
                far = min(far, min(min(_wall(px, x, room[0]), _wall(py, y, room[1])), _wall(pz, z, room[2])))
                seen[i, j, count] = 0.35 + 0.65 * max(far, 0.0) / REACH
    return seen


@kernel
def _wall(p, d, extent):
    """How far a ray from p gets between the walls at 0 and extent."""
    if abs(d) < 1e-9:
        return np.inf
    return ((extent if d > 0.0 else 0.0) - p) / d


@kernel
def illuminate(solids, materials, lights, ambient, points, normals, albedo, hit, material, instance, seen, position):
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
            weight, curved = 0, solids[n, 0] != PLANE
            for y in range(max(i - 2, 0), min(i + 2, height)):
                for x in range(max(j - 2, 0), min(j + 2, width)):
                    if hit[y, x] != n and (not curved or instance[hit[y, x]] != instance[n]):
                        continue
                    if curved and nx * normals[y, x, 0] + ny * normals[y, x, 1] + nz * normals[y, x, 2] < 0.85:
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

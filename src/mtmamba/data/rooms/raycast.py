"""Rays against analytic primitives: what each pixel sees, and what stands between a surface and a light.

A primary ray leaves the camera as x * right + y * up - backward with unit step along the optical axis, so
that its parameter t is the depth itself. Primitives are drawn one by one into the rectangle of pixels they
can cover.
"""

import math

import numpy as np

from .jit import kernel
from .scene import BOX, CAPSULE, CYLINDER, PLANE, SPHERE

NEAR = 0.05  # metres; nothing closer than this is seen


@kernel
def intersect(kind, ox, oy, oz, dx, dy, dz, a, b, c, near):
    """The smallest ray parameter beyond `near` at which o + t d enters a primitive in its own frame, or
    infinity.

    The direction need not have unit length. A ray that starts inside a solid does not see it.
    """
    if kind == PLANE:
        if dz == 0.0:
            return np.inf
        t = -oz / dz
        if t > near and abs(ox + t * dx) <= a and abs(oy + t * dy) <= b:
            return t
        return np.inf
    if kind == BOX:
        ix = 1.0 / dx if dx != 0.0 else 1e30
        iy = 1.0 / dy if dy != 0.0 else 1e30
        iz = 1.0 / dz if dz != 0.0 else 1e30
        mx, my, mz = -ox * ix, -oy * iy, -oz * iz
        kx, ky, kz = abs(ix) * a, abs(iy) * b, abs(iz) * c
        enter = max(max(mx - kx, my - ky), mz - kz)
        leave = min(min(mx + kx, my + ky), mz + kz)
        return enter if enter < leave and enter > near else np.inf
    if kind == SPHERE:
        ox, oy, oz, dx, dy, dz = ox / a, oy / b, oz / c, dx / a, dy / b, dz / c
        dd, od = dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz
        disc = od * od - dd * (ox * ox + oy * oy + oz * oz - 1.0)
        if disc < 0.0:
            return np.inf
        t = (-od - math.sqrt(disc)) / dd
        return t if t > near else np.inf
    # CYLINDER and CAPSULE: the infinite cylinder first
    dd, od, oo = dx * dx + dy * dy, ox * dx + oy * dy, ox * ox + oy * oy - a * a
    disc = od * od - dd * oo
    if disc < 0.0:
        return np.inf
    root, z = math.sqrt(disc), 0.0
    if dd > 0.0:
        t = (-od - root) / dd
        z = oz + t * dz
        if abs(z) <= c:
            return t if t > near else np.inf
    elif oo > 0.0:
        return np.inf
    if kind == CYLINDER:
        if dz == 0.0:
            return np.inf
        t = ((-c if dz > 0.0 else c) - oz) / dz
        x, y = ox + t * dx, oy + t * dy
        return t if t > near and x * x + y * y <= a * a else np.inf
    end = c
    if dd > 0.0:
        end = c if z > 0.0 else -c
    elif dz > 0.0:
        end = -c
    oz -= end
    dd, od = dd + dz * dz, od + oz * dz
    disc = od * od - dd * (oo + oz * oz)
    if disc < 0.0:
        return np.inf
    t = (-od - math.sqrt(disc)) / dd
    return t if t > near else np.inf


@kernel
def surface(kind, x, y, z, a, b, c):
    """At a point on a primitive's surface, in its frame: normal (3), u, v, half_u, half_v; coordinates in
    metres.

    Normals are outward, a plane's is +z; u and v are where its texture is read.
    """
    if kind == PLANE:
        return 0.0, 0.0, 1.0, x, y, a, b
    if kind == BOX:
        ex, ey, ez = a - abs(x), b - abs(y), c - abs(z)
        if ex <= ey and ex <= ez:
            return (1.0 if x > 0.0 else -1.0), 0.0, 0.0, y, z, b, c
        if ey <= ez:
            return 0.0, (1.0 if y > 0.0 else -1.0), 0.0, x, z, a, c
        return 0.0, 0.0, (1.0 if z > 0.0 else -1.0), x, y, a, b
    if kind == SPHERE:
        nx, ny, nz = x / (a * a), y / (b * b), z / (c * c)
        r = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
        u, v = math.atan2(y, x) * a, math.asin(min(max(z / c, -1.0), 1.0)) * c
        return nx * r, ny * r, nz * r, u, v, math.pi * a, c
    if kind == CYLINDER and c - abs(z) < abs(a - math.sqrt(x * x + y * y)):
        return 0.0, 0.0, (1.0 if z > 0.0 else -1.0), x, y, a, a
    over = z - min(max(z, -c), c) if kind == CAPSULE else 0.0
    r = 1.0 / math.sqrt(x * x + y * y + over * over)
    return x * r, y * r, over * r, math.atan2(y, x) * a, z, math.pi * a, c


@kernel
def local(solids, n, x, y, z):
    """A world direction in the frame of primitive n."""
    return (
        solids[n, 4] * x + solids[n, 5] * y + solids[n, 6] * z,
        solids[n, 7] * x + solids[n, 8] * y + solids[n, 9] * z,
        solids[n, 10] * x + solids[n, 11] * y + solids[n, 12] * z,
    )


@kernel
def strike(solids, n, px, py, pz, vx, vy, vz, near):
    """`intersect` for primitive n and a ray given in the world: from p along v."""
    ox, oy, oz = local(solids, n, px - solids[n, 1], py - solids[n, 2], pz - solids[n, 3])
    dx, dy, dz = local(solids, n, vx, vy, vz)
    kind = int(solids[n, 0])
    return intersect(kind, ox, oy, oz, dx, dy, dz, solids[n, 13], solids[n, 14], solids[n, 15], near)


@kernel
def _rectangle(solids, n, position, view, intrinsics, height, width):
    """The pixels that primitive n may cover: top, bottom, left, right; the ends are excluded."""
    kind, a, b, c = int(solids[n, 0]), solids[n, 13], solids[n, 14], solids[n, 15]
    if kind != BOX and kind != SPHERE and kind != PLANE:
        b = a
    if kind == CAPSULE:
        c += a
    left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    ahead = 0
    for corner in range(8):
        i = a if corner & 1 else -a
        j = b if corner & 2 else -b
        k = c if corner & 4 else -c
        x, y, z = 0.0, 0.0, 0.0
        for e in range(3):
            w = solids[n, 1 + e] - position[e]
            w += solids[n, 4 + e] * i + solids[n, 7 + e] * j + solids[n, 10 + e] * k
            x += view[0, e] * w
            y += view[1, e] * w
            z -= view[2, e] * w
        if z > NEAR:
            ahead += 1
            u, v = intrinsics[0] * x / z + intrinsics[2], intrinsics[3] - intrinsics[1] * y / z
            left, right = min(left, u), max(right, u)
            top, bottom = min(top, v), max(bottom, v)
    if ahead == 0:
        return 0, 0, 0, 0
    if ahead < 8:  # it reaches behind the camera: no bound from its corners
        return 0, height, 0, width
    return (
        int(max(math.floor(top), 0.0)),
        int(min(math.ceil(bottom) + 1.0, float(height))),
        int(max(math.floor(left), 0.0)),
        int(min(math.ceil(right) + 1.0, float(width))),
    )


@kernel
def trace(solids, position, view, intrinsics, height, width):
    """What the centre of every pixel sees: depth (H, W) float64, infinite where nothing is hit, and primitive
    (H, W) int64.

    `solids` is that of SceneArrays; position (3,) and view (3, 3), rows right, up and backward, are the
    camera's; intrinsics are fx, fy, cx, cy.
    """
    depth = np.full((height, width), np.inf)
    hit = np.full((height, width), -1, dtype=np.int64)
    for n in range(solids.shape[0]):
        top, bottom, left, right = _rectangle(solids, n, position, view, intrinsics, height, width)
        if bottom <= top or right <= left:
            continue
        ox, oy, oz = local(
            solids, n, position[0] - solids[n, 1], position[1] - solids[n, 2], position[2] - solids[n, 3]
        )
        rx, ry, rz = local(solids, n, view[0, 0], view[0, 1], view[0, 2])
        ux, uy, uz = local(solids, n, view[1, 0], view[1, 1], view[1, 2])
        bx, by, bz = local(solids, n, view[2, 0], view[2, 1], view[2, 2])
        kind, a, b, c = int(solids[n, 0]), solids[n, 13], solids[n, 14], solids[n, 15]
        for i in range(top, bottom):
            v = (intrinsics[3] - i) / intrinsics[1]
            x, y, z = v * ux - bx, v * uy - by, v * uz - bz
            for j in range(left, right):
                u = (j - intrinsics[2]) / intrinsics[0]
                t = intersect(kind, ox, oy, oz, x + u * rx, y + u * ry, z + u * rz, a, b, c, NEAR)
                if t < depth[i, j]:
                    depth[i, j] = t
                    hit[i, j] = n
    return depth, hit


@kernel
def choose_blockers(blockers, low, high, chosen, row):
    """List in chosen[row] (B + 1) the blockers that reach into the box from low (3) to high (3), their number first."""
    count = 0
    for k in range(blockers.shape[0]):
        if (
            blockers[k, 0] <= high[0]
            and blockers[k, 1] <= high[1]
            and blockers[k, 2] <= high[2]
            and blockers[k, 3] >= low[0]
            and blockers[k, 4] >= low[1]
            and blockers[k, 5] >= low[2]
        ):
            count += 1
            chosen[row, count] = k
    chosen[row, 0] = count


@kernel
def occlusion(blockers, chosen, row, solids, px, py, pz, vx, vy, vz, reach, skip, whole):
    """How far along v a ray from p gets before something that throws shadows stops it, at most `reach`.

    Only those `blockers` are asked whose numbers chosen[row, 1:] lists, as many as chosen[row, 0] says. Unless `whole`,
    the first obstacle found is answer enough. `skip` is the instance that never stops it (a
    lamp's own shade). The room's surfaces are not asked.
    """
    if chosen[row, 0] == 0:
        return reach
    ix = 1.0 / vx if vx != 0.0 else 1e30
    iy = 1.0 / vy if vy != 0.0 else 1e30
    iz = 1.0 / vz if vz != 0.0 else 1e30
    inverse = 1.0 / (vx * vx + vy * vy + vz * vz)
    nearest = reach
    for entry in range(1, chosen[row, 0] + 1):
        k = chosen[row, entry]
        x0, x1 = (blockers[k, 0] - px) * ix, (blockers[k, 3] - px) * ix
        y0, y1 = (blockers[k, 1] - py) * iy, (blockers[k, 4] - py) * iy
        z0, z1 = (blockers[k, 2] - pz) * iz, (blockers[k, 5] - pz) * iz
        enter = max(max(min(x0, x1), min(y0, y1)), min(z0, z1))
        leave = min(min(max(x0, x1), max(y0, y1)), max(z0, z1))
        if enter > leave or leave < 0.0 or enter > nearest or blockers[k, 8] == skip:
            continue
        for n in range(int(blockers[k, 6]), int(blockers[k, 7])):
            x, y, z = solids[n, 1] - px, solids[n, 2] - py, solids[n, 3] - pz
            along = (x * vx + y * vy + z * vz) * inverse
            x, y, z = x - along * vx, y - along * vy, z - along * vz
            if x * x + y * y + z * z > solids[n, 16] * solids[n, 16]:
                continue
            t = strike(solids, n, px, py, pz, vx, vy, vz, 1e-4)
            if t < nearest:
                nearest = t
                if not whole:
                    return nearest
    return nearest

"""Rays against analytic primitives: what each pixel sees, and what stands between a surface and a light.

A primary ray leaves the camera as x * right + y * up - backward with unit step along the optical axis, so that its
parameter t is the depth itself. Primitives are drawn one by one into the rectangle of pixels they can cover.
"""

import math

import numpy as np

from .jit import kernel
from .scene import BOX, CAPSULE, CYLINDER, PLANE, SPHERE

NEAR = 0.05  # metres; nothing closer than this is seen


@kernel
def intersect(kind, ox, oy, oz, dx, dy, dz, a, b, c, near):  # type: ignore[no-untyped-def]
    """The smallest ray parameter beyond `near` at which o + t d enters a primitive in its own frame, or infinity.

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
def surface(kind, x, y, z, a, b, c, out):  # type: ignore[no-untyped-def]
    """At a point on a primitive's surface, in its frame: out = (normal (3), u, v, half_u, half_v), coordinates in metres.

    Local normals are outward, a plane's is +z; u and v are where its texture is read.
    """
    out[:] = 0.0
    out[5], out[6] = a, b
    if kind == PLANE:
        out[2], out[3], out[4] = 1.0, x, y
    elif kind == BOX:
        ex, ey, ez = a - abs(x), b - abs(y), c - abs(z)
        if ex <= ey and ex <= ez:
            out[0], out[3], out[4] = (1.0 if x > 0.0 else -1.0), y, z
            out[5], out[6] = b, c
        elif ey <= ez:
            out[1], out[3], out[4] = (1.0 if y > 0.0 else -1.0), x, z
            out[6] = c
        else:
            out[2], out[3], out[4] = (1.0 if z > 0.0 else -1.0), x, y
    elif kind == SPHERE:
        nx, ny, nz = x / (a * a), y / (b * b), z / (c * c)
        r = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
        out[0], out[1], out[2] = nx * r, ny * r, nz * r
        out[3], out[4] = math.atan2(y, x) * a, math.asin(min(max(z / c, -1.0), 1.0)) * c
        out[5], out[6] = math.pi * a, c
    elif kind == CYLINDER and c - abs(z) < abs(a - math.sqrt(x * x + y * y)):
        out[2], out[3], out[4] = (1.0 if z > 0.0 else -1.0), x, y
        out[6] = a
    else:
        over = z - min(max(z, -c), c) if kind == CAPSULE else 0.0
        r = 1.0 / math.sqrt(x * x + y * y + over * over)
        out[0], out[1], out[2] = x * r, y * r, over * r
        out[3], out[4] = math.atan2(y, x) * a, z
        out[5], out[6] = math.pi * a, c


@kernel
def local_ray(scene, n, origin, d, ray):  # type: ignore[no-untyped-def]
    """A world ray in the frame of primitive n: ray = (origin (3), direction (3))."""
    axes, centre = scene.axes[n], scene.centre[n]
    x, y, z = origin[0] - centre[0], origin[1] - centre[1], origin[2] - centre[2]
    for k in range(3):
        ray[k] = axes[k, 0] * x + axes[k, 1] * y + axes[k, 2] * z
        ray[3 + k] = axes[k, 0] * d[0] + axes[k, 1] * d[1] + axes[k, 2] * d[2]


@kernel
def _rectangle(scene, n, position, view, intrinsics, height, width, out):  # type: ignore[no-untyped-def]
    """The pixels that primitive n may cover, as out = (top, bottom, left, right), ends excluded; False: none."""
    a, b, c = scene.half[n, 0], scene.half[n, 1], scene.half[n, 2]
    kind = scene.kind[n]
    if kind == CYLINDER or kind == CAPSULE:
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
            w = scene.centre[n, e] - position[e]
            w += scene.axes[n, 0, e] * i + scene.axes[n, 1, e] * j + scene.axes[n, 2, e] * k
            x += view[0, e] * w
            y += view[1, e] * w
            z -= view[2, e] * w
        if z > NEAR:
            ahead += 1
            u, v = intrinsics[0] * x / z + intrinsics[2], intrinsics[3] - intrinsics[1] * y / z
            left, right = min(left, u), max(right, u)
            top, bottom = min(top, v), max(bottom, v)
    if ahead == 0:
        return False
    if ahead < 8:  # it reaches behind the camera: no bound from its corners
        out[0], out[1], out[2], out[3] = 0, height, 0, width
        return True
    out[0], out[1] = max(math.floor(top), 0.0), min(math.ceil(bottom) + 1.0, float(height))
    out[2], out[3] = max(math.floor(left), 0.0), min(math.ceil(right) + 1.0, float(width))
    return out[0] < out[1] and out[2] < out[3]


@kernel
def trace(scene, position, view, intrinsics, height, width):  # type: ignore[no-untyped-def]
    """What the centre of every pixel sees: depth (H, W) float64, infinite where nothing is hit, and primitive (H, W) int64.

    position (3,) and view (3, 3), rows right, up and backward, are the camera's; intrinsics are fx, fy, cx, cy.
    """
    depth = np.full((height, width), np.inf)
    hit = np.full((height, width), -1, dtype=np.int64)
    box = np.zeros(4)
    start, across, down = np.zeros(6), np.zeros(6), np.zeros(6)
    forward, right, sink = np.zeros(3), np.zeros(3), np.zeros(3)
    for e in range(3):
        right[e] = view[0, e] / intrinsics[0]
        sink[e] = -view[1, e] / intrinsics[1]
        forward[e] = -view[2, e] - intrinsics[2] * right[e] - intrinsics[3] * sink[e]
    for n in range(scene.kind.shape[0]):
        if not _rectangle(scene, n, position, view, intrinsics, height, width, box):
            continue
        local_ray(scene, n, position, forward, start)
        local_ray(scene, n, position, right, across)
        local_ray(scene, n, position, sink, down)
        kind, a, b, c = scene.kind[n], scene.half[n, 0], scene.half[n, 1], scene.half[n, 2]
        for i in range(int(box[0]), int(box[1])):
            x, y, z = start[3] + i * down[3], start[4] + i * down[4], start[5] + i * down[5]
            for j in range(int(box[2]), int(box[3])):
                dx, dy, dz = x + j * across[3], y + j * across[4], z + j * across[5]
                t = intersect(kind, start[0], start[1], start[2], dx, dy, dz, a, b, c, NEAR)
                if t < depth[i, j]:
                    depth[i, j] = t
                    hit[i, j] = n
    return depth, hit


@kernel
def occlusion(scene, origin, d, reach, skip, ray):  # type: ignore[no-untyped-def]
    """How far a ray (unit step |d|) gets before an object that casts shadows stops it, at most `reach`.

    `skip` is the instance that never stops it (a lamp's own shade). Room surfaces are not asked. `ray` (6,) is scratch.
    """
    ix = 1.0 / d[0] if d[0] != 0.0 else 1e30
    iy = 1.0 / d[1] if d[1] != 0.0 else 1e30
    iz = 1.0 / d[2] if d[2] != 0.0 else 1e30
    nearest = reach
    for k in range(scene.semantic.shape[0]):
        if not scene.casts[k] or k == skip:
            continue
        bounds = scene.bounds[k]
        x0, x1 = (bounds[0] - origin[0]) * ix, (bounds[3] - origin[0]) * ix
        y0, y1 = (bounds[1] - origin[1]) * iy, (bounds[4] - origin[1]) * iy
        z0, z1 = (bounds[2] - origin[2]) * iz, (bounds[5] - origin[2]) * iz
        enter = max(max(min(x0, x1), min(y0, y1)), min(z0, z1))
        leave = min(min(max(x0, x1), max(y0, y1)), max(z0, z1))
        if enter > leave or leave < 0.0 or enter > nearest:
            continue
        for n in range(scene.first[k], scene.first[k + 1]):
            local_ray(scene, n, origin, d, ray)
            t = intersect(
                scene.kind[n], ray[0], ray[1], ray[2], ray[3], ray[4], ray[5],
                scene.half[n, 0], scene.half[n, 1], scene.half[n, 2], 1e-4,
            )  # fmt: skip
            if t < nearest:
                nearest = t
    return nearest

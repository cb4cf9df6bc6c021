"""Kernels of :mod:`mtmamba.ops.triton`; see there for the algorithm and the shape letters.

dt (rows, steps, Dp) and BC (rows, steps, 2 Np) are in the order of their route; u, y and their gradients lie at pixels,
(M, L, D). Channels and states are padded with zeros. A route is padded by staying at its last pixel with dt = 0: the
state stays, and the last answer is written again.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def softplus(z):
    """max(z, 0) + log1p(exp(-|z|)); log1p(e) / e on [0, 1] by a polynomial of relative error 1e-7."""
    e = tl.exp2(-tl.abs(z) * LOG2E)
    series = e * 0.00523262424 - 0.0295049567
    series = series * e + 0.0782254934
    series = series * e - 0.13663207
    series = series * e + 0.191059887
    series = series * e - 0.248429775
    series = series * e + 0.333190948
    series = series * e - 0.499994934
    series = series * e + 0.99999994
    return tl.maximum(z, 0.0) + e * series


@triton.jit
def visited(step, route, H, W):
    """Pixel of a step of a route; after the last step, the last pixel. See :mod:`mtmamba.ops.routes`."""
    step = tl.minimum(step, H * W - 1)
    step = tl.where(route >= 2, H * W - 1 - step, step)
    return tl.where(route % 2 == 1, step % H * W + step // H, step)


@triton.jit
def prepare(
    proj, dt_weight, dt_bias, dt, BC, first_route, num_routes, start, steps, B, H, W, D, Dp,
    K: tl.constexpr, R: tl.constexpr, RP: tl.constexpr, N: tl.constexpr, NP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """dt = softplus(dt_weight @ dt_low + dt_bias), B and C along the routes."""
    row = tl.program_id(2)
    m, k = row // num_routes, first_route + row % num_routes
    gk = m // B * K + k
    i = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    d = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    r = tl.arange(0, RP)
    real = (start + i < H * W)[:, None] & (d < D)[None, :]
    source = m.to(tl.int64) * H * W + visited(start + i, k, H, W)
    of_pixel = proj + source[:, None] * (K * (R + 2 * N)) + k * (R + 2 * N)
    low = tl.load(of_pixel + r[None, :], mask=(r < R)[None, :], other=0.0).to(tl.float32)
    weight = tl.load(
        dt_weight + (gk * D + d)[None, :] * R + r[:, None], mask=(d < D)[None, :] & (r < R)[:, None], other=0.0
    )
    bias = tl.load(dt_bias + gk * D + d, mask=d < D, other=0.0)
    z = tl.dot(low, weight, input_precision="tf32x3") + bias[None, :]
    step = tl.where(real, softplus(z), 0.0)
    target = row.to(tl.int64) * steps + i
    place = target[:, None] * Dp + d[None, :]
    stored = (i < steps)[:, None] & (d < Dp)[None, :]
    tl.store(dt + place, step, mask=stored)
    if tl.program_id(0) == 0:
        n = tl.arange(0, NP)
        inside = (i < steps)[:, None] & (n < N)[None, :]
        to = BC + target[:, None] * (2 * NP) + n[None, :]
        written = tl.broadcast_to((i < steps)[:, None], inside.shape)
        tl.store(to, tl.load(of_pixel + R + n[None, :], mask=inside, other=0.0).to(tl.float32), mask=written)
        tl.store(to + NP, tl.load(of_pixel + R + N + n[None, :], mask=inside, other=0.0).to(tl.float32), mask=written)


@triton.jit
def columns_of(matrix):
    """The eight columns of (rows, 8).

    Walks take eight steps at a time: their loads are then matrices, which Triton copies to shared memory while the
    steps before them are computed (``num_stages``). Loads of single vectors would be waited for.
    """
    halves = tl.split(tl.reshape(matrix, (matrix.shape[0], 2, 2, 2)))
    even = tl.split(halves[0])
    odd = tl.split(halves[1])
    a0, a4 = tl.split(even[0])
    a2, a6 = tl.split(even[1])
    a1, a5 = tl.split(odd[0])
    a3, a7 = tl.split(odd[1])
    return a0, a1, a2, a3, a4, a5, a6, a7


@triton.jit
def matrix_of(v):
    """(rows, 8) of eight columns; the inverse of ``columns_of``."""
    even = tl.join(tl.join(v[0], v[4]), tl.join(v[2], v[6]))
    odd = tl.join(tl.join(v[1], v[5]), tl.join(v[3], v[7]))
    return tl.reshape(tl.join(even, odd), (v[0].shape[0], 8))


@triton.jit
def at_pixels(maps, place, inside, D: tl.constexpr, Dp: tl.constexpr):
    """Loads (TILE, 8); only padded channels need a mask."""
    if D < Dp:
        return tl.load(maps + place, mask=inside, other=0.0).to(tl.float32)
    else:
        return tl.load(maps + place).to(tl.float32)


@triton.jit
def to_pixels(maps, place, values, inside, D: tl.constexpr, Dp: tl.constexpr):
    """Stores (TILE, 8)."""
    if D < Dp:
        tl.store(maps + place, values.to(maps.dtype.element_ty), mask=inside)
    else:
        tl.store(maps + place, values.to(maps.dtype.element_ty))


@triton.jit
def walk(
    u, dt, BC, rate, skip, y, states, carry, start, steps, B, H, W, Lp,
    D: tl.constexpr, Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr,
    SEGMENT: tl.constexpr, STAGES: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Forward, steps ``start`` to ``start + steps`` of a route: y (K, M, L, D), each route's own answer."""
    k, m = tl.program_id(1), tl.program_id(2)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    j = tl.arange(0, 8)
    state = d[None, :] * N + n[:, None]
    row = m.to(tl.int64) * K + k
    gk = m // B * K + k
    A = tl.load(rate + gk * (Dp * N) + state)
    direct = tl.load(skip + gk * D + d, mask=d < D, other=0.0)
    u += m.to(tl.int64) * H * W * D
    dt += row * steps * Dp
    BC += row * steps * (2 * N)
    y += (k * tl.num_programs(2) + m).to(tl.int64) * H * W * D
    states += (row * (Lp // SEGMENT) + start // SEGMENT) * (N * Dp)
    inside = tl.broadcast_to((d < D)[:, None], (TILE, 8))
    h = tl.zeros([N, TILE], tl.float32)
    if start > 0:
        h = tl.load(carry + row * (N * Dp) + state)
    for i in tl.range(0, steps, 8, num_stages=STAGES):
        if KEEP:
            if i % SEGMENT == 0:
                tl.store(states + (i // SEGMENT) * (N * Dp) + state, h)
        pixel = visited(start + i + j, k, H, W)
        t = tl.load(dt + (i + j)[None, :] * Dp + d[:, None])
        b = tl.load(BC + (i + j)[None, :] * (2 * N) + n[:, None])
        c = tl.load(BC + (i + j)[None, :] * (2 * N) + N + n[:, None])
        place = pixel[None, :] * D + d[:, None]
        x = at_pixels(u, place, inside, D, Dp)
        ts = columns_of(t)
        xs = columns_of(t * x)
        bs = columns_of(b)
        cs = columns_of(c)
        answers = ()
        for s in tl.static_range(8):
            h = tl.exp2(ts[s][None, :] * A) * h + xs[s][None, :] * bs[s][:, None]
            answers = answers + (tl.sum(h * cs[s][:, None], 0),)
        to_pixels(y, place, matrix_of(answers) + direct[:, None] * x, inside, D, Dp)
    tl.store(carry + row * (N * Dp) + state, h)


@triton.jit
def restore(
    u, dt, BC, rate, states, blocks, k, B, H, W, Lp,
    D: tl.constexpr, Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr,
):  # fmt: skip
    """h before every eight steps, blocks (M, Lp / 8, Dp, N), from h before every segment."""
    segment, m = tl.program_id(1), tl.program_id(2).to(tl.int64)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    j = tl.arange(0, 8)
    state = d[None, :] * N + n[:, None]
    inside = tl.broadcast_to((d < D)[:, None], (TILE, 8))
    A = tl.load(rate + (tl.program_id(2) // B * K + k) * (Dp * N) + state)
    h = tl.load(states + ((m * K + k) * (Lp // SEGMENT) + segment) * (Dp * N) + state)
    first = m * Lp + segment * SEGMENT
    u += m * H * W * D
    dt += first * Dp
    BC += first * 2 * N
    blocks += first // 8 * (Dp * N)
    for i in tl.range(0, SEGMENT, 8, num_stages=3):
        pixel = visited(segment * SEGMENT + i + j, k, H, W)
        t = tl.load(dt + (i + j)[None, :] * Dp + d[:, None])
        b = columns_of(tl.load(BC + (i + j)[None, :] * (2 * N) + n[:, None]))
        x = at_pixels(u, pixel[None, :] * D + d[:, None], inside, D, Dp)
        steps, drives = columns_of(t), columns_of(t * x)
        tl.store(blocks + i // 8 * (Dp * N) + state, h)
        for s in tl.static_range(8):
            h = tl.exp2(steps[s][None, :] * A) * h + drives[s][None, :] * b[s][:, None]


@triton.jit
def adjoints(
    gy, dt, BC, rate, entry, total, k, per_chunk, B, H, W, Lp,
    D: tl.constexpr, Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr,
):  # fmt: skip
    """dL/dh that a chunk hands to the chunk before it when it receives none, and its sum of dt."""
    chunk, m = tl.program_id(1), tl.program_id(2)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    j = tl.arange(0, 8)
    state = d[None, :] * N + n[:, None]
    inside = tl.broadcast_to((d < D)[:, None], (TILE, 8))
    A = tl.load(rate + (m // B * K + k) * (Dp * N) + state)
    first = chunk * per_chunk * SEGMENT
    steps = tl.minimum(per_chunk * SEGMENT, Lp - first)
    row = m.to(tl.int64) * Lp + first
    gy += m.to(tl.int64) * H * W * D
    dt += row * Dp
    BC += row * 2 * N + N
    adjoint = tl.zeros([N, TILE], tl.float32)
    passed = tl.zeros([TILE], tl.float32)
    for i in tl.range(0, steps, 8, num_stages=3):
        step = steps - 8 - i + j
        pixel = visited(first + step, k, H, W)
        t = tl.load(dt + step[None, :] * Dp + d[:, None])
        c = columns_of(tl.load(BC + step[None, :] * (2 * N) + n[:, None]))
        upstream = at_pixels(gy, pixel[None, :] * D + d[:, None], inside, D, Dp)
        upstream = columns_of(tl.where((first + step < H * W)[None, :], upstream, 0.0))
        passed += tl.sum(t, 1)
        ts = columns_of(t)
        for s in tl.static_range(7, -1, -1):
            adjoint = (adjoint + upstream[s][None, :] * c[s][:, None]) * tl.exp2(ts[s][None, :] * A)
    at = m.to(tl.int64) * tl.num_programs(1) + chunk
    tl.store(entry + at * (Dp * N) + state, adjoint)
    tl.store(total + at * Dp + d, passed)


@triton.jit
def hand_on(
    entry, total, rate, k, chunks, B,
    Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """From what each chunk hands on by itself to what each receives, from the last chunk to the first."""
    m = tl.program_id(1)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    state = d[None, :] * N + n[:, None]
    A = tl.load(rate + (m // B * K + k) * (Dp * N) + state)
    entry += m.to(tl.int64) * chunks * (Dp * N)
    total += m.to(tl.int64) * chunks * Dp
    carry = tl.zeros([N, TILE], tl.float32)
    for done in tl.range(0, chunks, num_stages=6):
        chunk = chunks - 1 - done
        own = tl.load(entry + chunk * (Dp * N) + state)
        passed = tl.load(total + chunk * Dp + d)
        tl.store(entry + chunk * (Dp * N) + state, carry)
        carry = tl.exp2(passed[None, :] * A) * carry + own


@triton.jit
def walk_back(
    u, gy, dt, BC, rate, skip, blocks, entry, du, dz, dBC, dA, dD, k, per_chunk, B, H, W, Lp,
    D: tl.constexpr, Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr,
    FIRST: tl.constexpr, ALONE: tl.constexpr,
):  # fmt: skip
    """The adjoint of a chunk's walk, and of what came before it.

    Written: dz (M, L, D), of dt before softplus; dBC (tiles, M, Lp, 2N), sums over a tile; dA (M, chunks, Dp, N) and
    dD (M, chunks, Dp), sums over a chunk. du (M, L, D) is added to, or written with ``FIRST``, which adds the skip.
    """
    chunk, m = tl.program_id(1), tl.program_id(2)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    j = tl.arange(0, 8)
    state = d[None, :] * N + n[:, None]
    inside = tl.broadcast_to((d < D)[:, None], (TILE, 8))
    A = tl.load(rate + (m // B * K + k) * (Dp * N) + state)
    direct = tl.load(skip + m // B * D + d, mask=d < D, other=0.0)
    m64 = m.to(tl.int64)
    at = m64 * tl.num_programs(1) + chunk
    first = chunk * per_chunk * SEGMENT
    steps = tl.minimum(per_chunk * SEGMENT, Lp - first)
    row = m64 * Lp + first
    u += m64 * H * W * D
    gy += m64 * H * W * D
    du += m64 * H * W * D
    dz += m64 * H * W * D
    dt += row * Dp
    BC += row * 2 * N
    blocks += row // 8 * (Dp * N)
    dBC += (tl.program_id(0) * tl.num_programs(2) * Lp + row) * 2 * N
    adjoint = tl.zeros([N, TILE], tl.float32)
    if not ALONE:
        adjoint = tl.load(entry + at * (Dp * N) + state)
    to_A = tl.zeros([N, TILE], tl.float32)
    to_D = tl.zeros([TILE], tl.float32)
    for i in tl.range(0, steps, 8, num_stages=2):
        step = steps - 8 - i + j
        of_states = step[None, :] * (2 * N) + n[:, None]
        pixel = visited(first + step, k, H, W)
        t = tl.load(dt + step[None, :] * Dp + d[:, None])
        b = columns_of(tl.load(BC + of_states))
        c = columns_of(tl.load(BC + N + of_states))
        h = tl.load(blocks + (steps - 8 - i) // 8 * (Dp * N) + state)
        place = pixel[None, :] * D + d[:, None]
        real = tl.broadcast_to((first + step < H * W)[None, :], (TILE, 8))
        x = at_pixels(u, place, inside, D, Dp)
        upstream = tl.where(real, at_pixels(gy, place, inside, D, Dp), 0.0)
        ts, drives, ups = columns_of(t), columns_of(t * x), columns_of(upstream)
        before = ()
        for s in tl.static_range(8):
            before = before + (h,)
            h = tl.exp2(ts[s][None, :] * A) * h + drives[s][None, :] * b[s][:, None]
        to_drive = ()
        to_rate = ()
        to_b = ()
        to_c = ()
        for s in tl.static_range(7, -1, -1):
            adjoint += ups[s][None, :] * c[s][:, None]
            to_b = (tl.sum(adjoint * drives[s][None, :], 1),) + to_b
            to_c = (tl.sum(h * ups[s][None, :], 1),) + to_c
            to_drive = (tl.sum(adjoint * b[s][:, None], 0),) + to_drive
            adjoint *= tl.exp2(ts[s][None, :] * A)
            h = before[s]
            through = adjoint * h
            to_rate = (tl.sum(through * A, 0),) + to_rate
            to_A += through * ts[s][None, :]
        tl.store(dBC + of_states, matrix_of(to_b))
        tl.store(dBC + N + of_states, matrix_of(to_c))
        of_drive = matrix_of(to_drive)
        # softplus'(z) = 1 - exp(-dt); by its series where the difference would lose digits
        series = t * (1 - t * (0.5 - t * (0.16666667 - t * (0.041666667 - t * 0.0083333333))))
        slope = tl.where(t < 0.1, series, 1 - tl.exp2(-t * LOG2E))
        stored = inside & real
        tl.store(dz + place, ((matrix_of(to_rate) * LN2 + of_drive * x) * slope).to(dz.dtype.element_ty), mask=stored)
        of_u = of_drive * t
        if FIRST:
            of_u += direct[:, None] * upstream
            to_D += tl.sum(upstream * x, 1)
        else:
            of_u += tl.load(du + place, mask=stored, other=0.0)
        tl.store(du + place, of_u, mask=stored)
    tl.store(dA + at * (Dp * N) + state, to_A)
    if FIRST:
        tl.store(dD + at * Dp + d, to_D)

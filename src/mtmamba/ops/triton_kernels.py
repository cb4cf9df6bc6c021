"""Kernels of :mod:`mtmamba.ops.triton`; see there for the algorithm and the shape letters.

Route-ordered buffers are (rows, steps, Dp): dt, dx = dt * u, gy; BC (rows, steps, 2 Np). Channels and states are
padded with zeros. A route is padded by staying at its last pixel with dt = 0 and gy = 0: the state stays, and the last
answer is written again. What lies beyond the pads is fetched and never used.
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
def prepare(
    u, proj, dt_weight, dt_bias, routes, dt, dx, BC, gy, gy_route,
    first_route, num_routes, stride, start, steps, B, L, D, Dp,
    K: tl.constexpr, R: tl.constexpr, RP: tl.constexpr, N: tl.constexpr, NP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, GRADIENT: tl.constexpr,
):  # fmt: skip
    """dt = softplus(dt_weight @ dt_low + dt_bias), dt * u, B and C (and gy) along the routes."""
    row = tl.program_id(2)
    m, k = row // num_routes, first_route + row % num_routes
    gk = m // B * K + k
    i = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    d = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    r = tl.arange(0, RP)
    pixel = tl.load(routes + k * stride + start + i, mask=i < steps, other=0)
    real = (start + i < L)[:, None] & (d < D)[None, :]
    source = m.to(tl.int64) * L + pixel
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
    if GRADIENT:
        x = tl.load(u + source[:, None] * D + d[None, :], mask=real, other=0.0).to(tl.float32)
        tl.store(dx + place, step * x, mask=stored)
        upstream = tl.load(gy + source[:, None] * D + d[None, :], mask=real, other=0.0).to(tl.float32)
        tl.store(gy_route + place, upstream, mask=stored)
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
def walk(
    u, dt, BC, rate, skip, routes, y, states, carry, stride, start, steps, B, L, Lp,
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
    u += m.to(tl.int64) * L * D
    dt += row * steps * Dp
    BC += row * steps * (2 * N)
    routes += k * stride + start
    y += (k * tl.num_programs(2) + m).to(tl.int64) * L * D
    states += (row * (Lp // SEGMENT) + start // SEGMENT) * (N * Dp)
    inside = tl.broadcast_to((d < D)[:, None], (TILE, 8))
    h = tl.zeros([N, TILE], tl.float32)
    if start > 0:
        h = tl.load(carry + row * (N * Dp) + state)
    for i in tl.range(0, steps, 8, num_stages=STAGES):
        if KEEP:
            if i % SEGMENT == 0:
                tl.store(states + (i // SEGMENT) * (N * Dp) + state, h)
        pixel = tl.load(routes + i + j)
        t = tl.load(dt + (i + j)[None, :] * Dp + d[:, None])
        b = tl.load(BC + (i + j)[None, :] * (2 * N) + n[:, None])
        c = tl.load(BC + (i + j)[None, :] * (2 * N) + N + n[:, None])
        place = pixel[None, :] * D + d[:, None]
        if D < Dp:
            x = tl.load(u + place, mask=inside, other=0.0).to(tl.float32)
        else:
            x = tl.load(u + place).to(tl.float32)
        ts = columns_of(t)
        xs = columns_of(t * x)
        bs = columns_of(b)
        cs = columns_of(c)
        answers = ()
        for s in tl.static_range(8):
            h = tl.exp2(ts[s][None, :] * A) * h + xs[s][None, :] * bs[s][:, None]
            answers = answers + (tl.sum(h * cs[s][:, None], 0),)
        answer = matrix_of(answers) + direct[:, None] * x
        if D < Dp:
            tl.store(y + place, answer, mask=inside)
        else:
            tl.store(y + place, answer)
    tl.store(carry + row * (N * Dp) + state, h)


@triton.jit
def restore(
    dt, dx, BC, rate, states, blocks, k, B, Lp,
    Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr,
):  # fmt: skip
    """h before every eight steps, blocks (M, Lp / 8, Dp, N), from h before every segment."""
    segment, m = tl.program_id(1), tl.program_id(2).to(tl.int64)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    j = tl.arange(0, 8)
    state = d[None, :] * N + n[:, None]
    A = tl.load(rate + (tl.program_id(2) // B * K + k) * (Dp * N) + state)
    h = tl.load(states + ((m * K + k) * (Lp // SEGMENT) + segment) * (Dp * N) + state)
    first = m * Lp + segment * SEGMENT
    dt += first * Dp
    dx += first * Dp
    BC += first * 2 * N
    blocks += first // 8 * (Dp * N)
    for i in tl.range(0, SEGMENT, 8, num_stages=3):
        t = columns_of(tl.load(dt + (i + j)[None, :] * Dp + d[:, None]))
        x = columns_of(tl.load(dx + (i + j)[None, :] * Dp + d[:, None]))
        b = columns_of(tl.load(BC + (i + j)[None, :] * (2 * N) + n[:, None]))
        tl.store(blocks + i // 8 * (Dp * N) + state, h)
        for s in tl.static_range(8):
            h = tl.exp2(t[s][None, :] * A) * h + x[s][None, :] * b[s][:, None]


@triton.jit
def adjoints(
    dt, gy, BC, rate, entry, total, k, per_chunk, B, Lp,
    Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr,
):  # fmt: skip
    """dL/dh that a chunk hands to the chunk before it when it receives none, and its sum of dt."""
    chunk, m = tl.program_id(1), tl.program_id(2)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    j = tl.arange(0, 8)
    state = d[None, :] * N + n[:, None]
    A = tl.load(rate + (m // B * K + k) * (Dp * N) + state)
    first = chunk * per_chunk * SEGMENT
    steps = tl.minimum(per_chunk * SEGMENT, Lp - first)
    row = m.to(tl.int64) * Lp + first
    dt += row * Dp
    gy += row * Dp
    BC += row * 2 * N + N
    adjoint = tl.zeros([N, TILE], tl.float32)
    passed = tl.zeros([TILE], tl.float32)
    for i in tl.range(0, steps, 8, num_stages=3):
        l = steps - 8 - i + j
        t = tl.load(dt + l[None, :] * Dp + d[:, None])
        upstream = columns_of(tl.load(gy + l[None, :] * Dp + d[:, None]))
        c = columns_of(tl.load(BC + l[None, :] * (2 * N) + n[:, None]))
        passed += tl.sum(t, 1)
        ts = columns_of(t)
        for s in tl.static_range(7, -1, -1):
            adjoint = (adjoint + upstream[s][None, :] * c[s][:, None]) * tl.exp2(ts[s][None, :] * A)
    at = m.to(tl.int64) * tl.num_programs(1) + chunk
    tl.store(entry + at * (Dp * N) + state, adjoint)
    tl.store(total + at * Dp + d, passed)


@triton.jit
def hand_on(
    entry, total, rate, k, chunks, B, Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr
):  # fmt: skip
    """From what each chunk hands on by itself to what each receives, from the last chunk to the first."""
    m = tl.program_id(1)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    A = tl.load(rate + ((m // B * K + k) * Dp + d)[None, :] * N + n[:, None])
    carry = tl.zeros([N, TILE], tl.float32)
    for done in range(chunks):
        at = m.to(tl.int64) * chunks + chunks - 1 - done
        place = entry + at * N * Dp + d[None, :] * N + n[:, None]
        own = tl.load(place)
        tl.store(place, carry)
        carry = tl.exp2(tl.load(total + at * Dp + d)[None, :] * A) * carry + own


@triton.jit
def walk_back(
    dt, dx, gy, BC, rate, blocks, entry, dBC, dA, k, per_chunk, B, Lp,
    Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr,
    ALONE: tl.constexpr,
):  # fmt: skip
    """The adjoint of a chunk's walk.

    Written: dBC (tiles, M, Lp, 2N), dA (M, chunks, Dp, N); in place of dx and gy the gradients of dx and of dt * rate.
    """
    chunk, m = tl.program_id(1), tl.program_id(2)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    j = tl.arange(0, 8)
    state = d[None, :] * N + n[:, None]
    A = tl.load(rate + (m // B * K + k) * (Dp * N) + state)
    m64 = m.to(tl.int64)
    at = m64 * tl.num_programs(1) + chunk
    first = chunk * per_chunk * SEGMENT
    steps = tl.minimum(per_chunk * SEGMENT, Lp - first)
    row = m64 * Lp + first
    dt += row * Dp
    dx += row * Dp
    gy += row * Dp
    BC += row * 2 * N
    blocks += row // 8 * (Dp * N)
    dBC += (tl.program_id(0) * tl.num_programs(2) * Lp + row) * 2 * N
    adjoint = tl.zeros([N, TILE], tl.float32)
    if not ALONE:
        adjoint = tl.load(entry + at * (Dp * N) + state)
    to_A = tl.zeros([N, TILE], tl.float32)
    for i in tl.range(0, steps, 8, num_stages=2):
        l = steps - 8 - i + j
        place = l[None, :] * Dp + d[:, None]
        of_states = l[None, :] * (2 * N) + n[:, None]
        h = tl.load(blocks + (steps - 8 - i) // 8 * (Dp * N) + state)
        t = columns_of(tl.load(dt + place))
        x = columns_of(tl.load(dx + place))
        upstream = columns_of(tl.load(gy + place))
        b = columns_of(tl.load(BC + of_states))
        c = columns_of(tl.load(BC + N + of_states))
        before = ()
        for s in tl.static_range(8):
            before = before + (h,)
            h = tl.exp2(t[s][None, :] * A) * h + x[s][None, :] * b[s][:, None]
        to_x = ()
        to_t = ()
        to_b = ()
        to_c = ()
        for s in tl.static_range(7, -1, -1):
            adjoint += upstream[s][None, :] * c[s][:, None]
            to_b = (tl.sum(adjoint * x[s][None, :], 1),) + to_b
            to_c = (tl.sum(h * upstream[s][None, :], 1),) + to_c
            to_x = (tl.sum(adjoint * b[s][:, None], 0),) + to_x
            adjoint *= tl.exp2(t[s][None, :] * A)
            h = before[s]
            through = adjoint * h
            to_t = (tl.sum(through * A, 0),) + to_t
            to_A += through * t[s][None, :]
        tl.store(dBC + of_states, matrix_of(to_b))
        tl.store(dBC + N + of_states, matrix_of(to_c))
        tl.store(dx + place, matrix_of(to_x))
        tl.store(gy + place, matrix_of(to_t))
    tl.store(dA + at * (Dp * N) + state, to_A)


@triton.jit
def finish(
    dt, to_dx, to_rate, u, gy, skip, inverse, dz, du, dD, k, B, L, D, Lp, Dp,
    FIRST: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """From the gradients along a route to those at pixels: dz (before softplus) of this route, du of all so far."""
    m = tl.program_id(2)
    pixel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (pixel < L)[:, None] & (d < D)[None, :]
    m64 = m.to(tl.int64)
    place = (m64 * L + pixel)[:, None] * D + d[None, :]
    step = tl.load(inverse + k * L + pixel, mask=pixel < L, other=0)
    source = (m64 * Lp + step)[:, None] * Dp + d[None, :]
    t = tl.load(dt + source, mask=inside, other=0.0)
    x = tl.load(u + place, mask=inside, other=0.0).to(tl.float32)
    of_dx = tl.load(to_dx + source, mask=inside, other=0.0)
    of_rate = tl.load(to_rate + source, mask=inside, other=0.0)
    # softplus'(z) = 1 - exp(-dt); by its series where the difference would lose digits
    series = t * (1 - t * (0.5 - t * (0.16666667 - t * (0.041666667 - t * 0.0083333333))))
    slope = tl.where(t < 0.1, series, 1 - tl.exp2(-t * LOG2E))
    tl.store(dz + place, (of_rate * LN2 + of_dx * x) * slope, mask=inside)
    gradient = of_dx * t
    if FIRST:
        upstream = tl.load(gy + place, mask=inside, other=0.0).to(tl.float32)
        gradient += tl.load(skip + m // B * D + d, mask=d < D, other=0.0)[None, :] * upstream
        partial = tl.sum(upstream * x, 0)
        tl.store(dD + (m64 * tl.num_programs(0) + tl.program_id(0)) * D + d, partial, mask=d < D)
    else:
        gradient += tl.load(du + place, mask=inside, other=0.0)
    tl.store(du + place, gradient, mask=inside)

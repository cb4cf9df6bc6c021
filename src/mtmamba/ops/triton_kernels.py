"""Kernels of :mod:`mtmamba.ops.triton`; see there for the algorithm and the shape letters.

Route-ordered buffers are (rows, steps, Dp): dt, dx = dt * u, gy; BC (rows, steps, 2 Np). Pads are zeros, but for what
lies beyond the last step, which is fetched and never used.
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
    pixel = tl.load(routes + k * stride + start + i, mask=i < steps, other=L)
    there = pixel < L
    source = m.to(tl.int64) * L + tl.where(there, pixel, 0)
    low = tl.load(
        proj + source[:, None] * (K * (R + 2 * N)) + k * (R + 2 * N) + r[None, :],
        mask=there[:, None] & (r < R)[None, :],
        other=0.0,
    ).to(tl.float32)
    weight = tl.load(
        dt_weight + (gk * D + d)[None, :] * R + r[:, None], mask=(d < D)[None, :] & (r < R)[:, None], other=0.0
    )
    bias = tl.load(dt_bias + gk * D + d, mask=d < D, other=0.0)
    z = tl.dot(low, weight, input_precision="tf32x3") + bias[None, :]
    inside = there[:, None] & (d < D)[None, :]
    step = tl.where(inside, softplus(z), 0.0)
    target = row.to(tl.int64) * steps + i
    place = target[:, None] * Dp + d[None, :]
    stored = (i < steps)[:, None] & (d < Dp)[None, :]
    tl.store(dt + place, step, mask=stored)
    if GRADIENT:
        x = tl.load(u + source[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
        tl.store(dx + place, step * x, mask=stored)
        upstream = tl.load(gy + source[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
        tl.store(gy_route + place, upstream, mask=stored)
    if tl.program_id(0) == 0:
        n = tl.arange(0, NP)
        at = proj + source[:, None] * (K * (R + 2 * N)) + k * (R + 2 * N) + R + n[None, :]
        inside_n = there[:, None] & (n < N)[None, :]
        to = BC + target[:, None] * (2 * NP) + n[None, :]
        tl.store(to, tl.load(at, mask=inside_n, other=0.0).to(tl.float32), mask=(i < steps)[:, None])
        tl.store(to + NP, tl.load(at + N, mask=inside_n, other=0.0).to(tl.float32), mask=(i < steps)[:, None])


@triton.jit
def four(columns):
    """The columns of (TILE, 4)."""
    even, odd = tl.split(tl.reshape(columns, (columns.shape[0], 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def fetch(u, dt, BC, pixel, d, n, L, D: tl.constexpr, Dp: tl.constexpr, N: tl.constexpr):
    """What the next four steps read: dt and u (TILE, 4), and B and C of each."""
    j = tl.arange(0, 4)
    t = tl.load(dt + j[None, :] * Dp + d[:, None])
    inside = (pixel < L)[None, :]
    if D < Dp:
        inside = inside & (d < D)[:, None]
    x = tl.load(u + pixel[None, :] * D + d[:, None], mask=inside, other=0.0)
    bc = ()
    for i in tl.static_range(4):
        to_state = tl.broadcast_to((BC + i * 2 * N + n)[:, None], (N, d.shape[0]))
        bc = bc + ((tl.load(to_state), tl.load(to_state + N)),)
    return t, x.to(tl.float32), bc


@triton.jit
def advance(h, rate, skip, y, pixel, fetched, d, L, D: tl.constexpr, Dp: tl.constexpr):
    """h after the four fetched steps, their answers stored."""
    t, x, bc = fetched
    steps = four(t)
    drives = four(t * x)
    products = ()
    for j in tl.static_range(4):
        b, c = bc[j]
        h = tl.exp2(steps[j][None, :] * rate) * h + drives[j][None, :] * b
        products = products + (h * c,)
    joined = tl.join(tl.join(products[0], products[2]), tl.join(products[1], products[3]))
    answer = tl.reshape(tl.sum(joined, 0), x.shape) + skip[:, None] * x
    inside = (pixel < L)[None, :]
    if D < Dp:
        inside = inside & (d < D)[:, None]
    tl.store(y + pixel[None, :] * D + d[:, None], answer.to(y.dtype.element_ty), mask=inside)
    return h


@triton.jit
def walk(
    u, dt, BC, rate, skip, routes, y, states, carry, stride, start, steps, B, L, Lp,
    D: tl.constexpr, Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr,
    SEGMENT: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Forward, steps ``start`` to ``start + steps`` of a route: y (K, M, L, D), each route's own answer."""
    k, m = tl.program_id(1), tl.program_id(2)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
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
    h = tl.zeros([N, TILE], tl.float32)
    if start > 0:
        h = tl.load(carry + row * (N * Dp) + state)
    j = tl.arange(0, 4)
    here = tl.load(routes + j)
    there = tl.load(routes + 4 + j)
    now = fetch(u, dt, BC, here, d, n, L, D, Dp, N)
    for _ in range(0, steps, SEGMENT):
        if KEEP:
            tl.store(states + state, h)
            states += N * Dp
        for _ in range(0, SEGMENT, 8):
            then = fetch(u, dt + 4 * Dp, BC + 4 * 2 * N, there, d, n, L, D, Dp, N)
            yonder = tl.load(routes + 8 + j)
            h = advance(h, A, direct, y, here, now, d, L, D, Dp)
            dt += 8 * Dp
            BC += 8 * 2 * N
            routes += 8
            here = yonder
            now = fetch(u, dt, BC, here, d, n, L, D, Dp, N)
            yonder = tl.load(routes + 4 + j)
            h = advance(h, A, direct, y, there, then, d, L, D, Dp)
            there = yonder
    tl.store(carry + row * (N * Dp) + state, h)


@triton.jit
def adjoints(
    dt, gy, BC, rate, entry, total, k, per_chunk, B, Lp,
    Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr,
):  # fmt: skip
    """dL/dh that a chunk hands to the chunk before it when it receives none, and its sum of dt."""
    chunk, m = tl.program_id(1), tl.program_id(2)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    n = tl.arange(0, N)
    A = tl.load(rate + ((m // B * K + k) * Dp + d)[None, :] * N + n[:, None])
    first = chunk * per_chunk * SEGMENT
    last = tl.minimum(first + per_chunk * SEGMENT, Lp)
    row = m.to(tl.int64) * Lp
    adjoint = tl.zeros([N, TILE], tl.float32)
    passed = tl.zeros([TILE], tl.float32)
    for done in range(0, last - first, 4):
        for j in tl.static_range(4):
            l = row + last - 1 - done - j
            t = tl.load(dt + l * Dp + d)
            upstream = tl.load(gy + l * Dp + d)
            c = tl.load(BC + l * (2 * N) + N + n)
            adjoint = (adjoint + upstream[None, :] * c[:, None]) * tl.exp2(t[None, :] * A)
            passed += t
    at = m.to(tl.int64) * tl.num_programs(1) + chunk
    tl.store(entry + at * N * Dp + d[None, :] * N + n[:, None], adjoint)
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
    dt, dx, gy, BC, rate, states, entry, scratch, dBC, dA, k, per_chunk, B, Lp,
    Dp: tl.constexpr, K: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr, SEGMENT: tl.constexpr, BLOCK: tl.constexpr,
    ALONE: tl.constexpr,
):  # fmt: skip
    """The adjoint of a chunk's walk.

    Written: dBC (tiles, M, Lp, 2N), dA (M, chunks, N, Dp); in place of dx and gy the gradients of dx and of dt * rate.
    """
    chunk, m = tl.program_id(1), tl.program_id(2)
    d = tl.program_id(0) * TILE + tl.arange(0, TILE)
    own = tl.arange(0, TILE)
    n = tl.arange(0, N)
    A = tl.load(rate + ((m // B * K + k) * Dp + d)[None, :] * N + n[:, None])
    m64 = m.to(tl.int64)
    at = m64 * tl.num_programs(1) + chunk
    dt += m64 * Lp * Dp
    dx += m64 * Lp * Dp
    gy += m64 * Lp * Dp
    BC += m64 * Lp * 2 * N
    dBC += (tl.program_id(0) * tl.num_programs(2) + m64) * Lp * 2 * N
    states += (m64 * K + k) * (Lp // SEGMENT) * (N * Dp)
    scratch += (at * tl.num_programs(0) + tl.program_id(0)) * (SEGMENT // BLOCK * N * TILE)
    local = own[None, :] * N + n[:, None]
    state = d[None, :] * N + n[:, None]
    adjoint = tl.zeros([N, TILE], tl.float32)
    if not ALONE:
        adjoint = tl.load(entry + at * N * Dp + state)
    to_A = tl.zeros([N, TILE], tl.float32)
    first = chunk * per_chunk
    last = tl.minimum(first + per_chunk, Lp // SEGMENT)
    for done in range(last - first):
        segment = last - 1 - done
        l = segment * SEGMENT
        h = tl.load(states + segment * (N * Dp) + state)
        tl.store(scratch + local, h)
        for block in range(1, SEGMENT // BLOCK):
            for j in tl.static_range(BLOCK):
                t = tl.load(dt + (l + j) * Dp + d)
                x = tl.load(dx + (l + j) * Dp + d)
                b = tl.load(BC + (l + j) * 2 * N + n)
                h = tl.exp2(t[None, :] * A) * h + x[None, :] * b[:, None]
            l += BLOCK
            tl.store(scratch + block * N * TILE + local, h)
        tl.debug_barrier()
        for back in range(SEGMENT // BLOCK):
            h = tl.load(scratch + (SEGMENT // BLOCK - 1 - back) * N * TILE + local)
            before = ()
            for j in tl.static_range(BLOCK):
                t = tl.load(dt + (l + j) * Dp + d)
                x = tl.load(dx + (l + j) * Dp + d)
                b = tl.load(BC + (l + j) * 2 * N + n)
                before = before + (h,)
                h = tl.exp2(t[None, :] * A) * h + x[None, :] * b[:, None]
            for j in tl.static_range(BLOCK - 1, -1, -1):
                t = tl.load(dt + (l + j) * Dp + d)
                x = tl.load(dx + (l + j) * Dp + d)
                upstream = tl.load(gy + (l + j) * Dp + d)
                b = tl.load(BC + (l + j) * 2 * N + n)
                c = tl.load(BC + (l + j) * 2 * N + N + n)
                adjoint += upstream[None, :] * c[:, None]
                to_step = dBC + (l + j) * 2 * N + n
                tl.store(to_step, tl.sum(adjoint * x[None, :], 1))
                tl.store(to_step + N, tl.sum(h * upstream[None, :], 1))
                tl.store(dx + (l + j) * Dp + d, tl.sum(adjoint * b[:, None], 0))
                adjoint *= tl.exp2(t[None, :] * A)
                h = before[j]
                through = adjoint * h
                tl.store(gy + (l + j) * Dp + d, tl.sum(through * A, 0))
                to_A += through * t[None, :]
            l -= BLOCK
        tl.debug_barrier()
    tl.store(dA + at * N * Dp + state, to_A)


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

"""The selective scan on a CPU, by Numba."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from mtmamba.ops import simd
from mtmamba.ops.routes import NUM_ROUTES
from mtmamba.ops.simd import LANES, LOG2E, add_lane_sums, claim, dot, exp2, fma, load, mul, prefetch, repeat, sigmoid
from mtmamba.ops.simd import add, splat, load_lanes, softplus, spread, store, store_lanes

LN2 = np.float32(1 / LOG2E)
STEPS = 64  # of a segment; h is kept before every segment for backward
WIDTH = 4  # vectors of channels of a tile


def forward(
    u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor]:
    """2-D selective scan; shapes as in :func:`mtmamba.ops.selective_scan_2d`, float32 inside."""
    G, B, H, W, D = u.shape
    N, R = A_log.shape[-1], dt_weight.shape[-1]
    inputs = [flat(tensor) for tensor in (u, proj, dt_weight, dt_bias, A_log, D_skip)]
    inputs[4] = np.exp(inputs[4]) * np.float32(-LOG2E)
    y = torch.empty(u.shape)
    states = torch.empty(states_shape(G, B, H * W, D, N) if keep else (0,))
    vectors = -(-D // LANES)
    width = max(1, min(8, G * B * vectors // (4 * torch.get_num_threads())))
    tiles = -(-vectors // width)
    shape = (G * B, B, H, W, D, N, R, width, int(keep))
    _run(_forward, G * B * tiles, *inputs, flat(y), flat(states), shape)
    return y.unsqueeze(0).to(u.dtype), states


def backward(
    grad_y: Tensor,
    states: Tensor,
    u: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D_skip: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of the six inputs, each in its input's dtype."""
    G, B, H, W, D = u.shape
    N, R = A_log.shape[-1], dt_weight.shape[-1]
    inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
    arrays = [flat(tensor) for tensor in inputs]
    arrays[4] = np.exp(arrays[4]) * np.float32(-LOG2E)
    vectors = -(-D // LANES)
    chains = 1
    if G * B < 16 and vectors >= 4:
        chains = 4 * max(1, min(D // (4 * (R + 2 * N)), -(-16 // (4 * G * B)), vectors // 4))
    width = min(8, -(-vectors // chains))
    shape = (G * B, B, H, W, D, N, R, width, chains)
    quads = -(-chains // 4)
    du, dproj, extra = torch.empty(u.shape), torch.empty(proj.shape), torch.empty(quads - 1, *proj.shape)
    weights = [torch.empty(G, B, *tensor.shape[1:]) for tensor in inputs[2:]]
    for phases in [(0, 4)] if chains == 1 else [(i, i + 1) for i in range(4)]:
        _run(_backward, G * B * chains, flat(grad_y), flat(states), *arrays, flat(du), flat(dproj), flat(extra),
            *(flat(grad) for grad in weights), shape, phases)
    for part in extra:
        dproj += part
    grads = (du, dproj, *(grad.sum(1) for grad in weights))
    return tuple(grad.to(tensor.dtype) for grad, tensor in zip(grads, inputs, strict=True))


def states_shape(G: int, B: int, L: int, D: int, N: int) -> tuple[int, ...]:
    return G, B, NUM_ROUTES, -(-L // STEPS), -(-D // LANES), N, LANES


def flat(tensor):
    return tensor.detach().float().contiguous().numpy().reshape(-1)


def _run(kernel, jobs, *arguments):
    claims = np.zeros(1, np.int64)
    helpers = min(torch.get_num_threads(), jobs) - 1
    waiting = [_pool().submit(kernel, *arguments, claims) for _ in range(helpers)]
    kernel(*arguments, claims)
    for future in waiting:
        if not future.cancel():
            future.result()


_threads: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(max(1, (os.cpu_count() or 1)), thread_name_prefix="mtmamba-scan")
    return _threads


def _forget_pool() -> None:
    global _threads
    _threads = None  # its threads do not exist in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


_part = njit(nogil=True, error_model="numpy")


def _kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL; its machine code is kept on disk where there is a place for it.

    Numba notices changes of this file; those of the vectors it knows by the name that the file on disk gets.
    """
    function.__qualname__ += hashlib.sha256(Path(simd.__file__).read_bytes()).hexdigest()[:8]
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no writable place: compiled anew in every process
        return _part(function)


@_part
def _scratch(count):
    """Uninitialised floats that start at a multiple of 64 bytes."""
    buffer = np.empty(count + 16, np.float32)
    start = (-(buffer.ctypes.data // 4)) % 16
    return buffer[start : start + count]


@_part
def _pixel(route, step, height, width):
    if route >= 2:
        step = height * width - 1 - step
    return step if route % 2 == 0 else step % height * width + step // height


@_part
def _load_weights(weight, bias, A, where, D, N, R, start, vectors, weights, biases, rates):
    for v in range(vectors):
        for j in range(LANES):
            channel = start + v * LANES + j
            row = where * D + channel
            inside = channel < D
            biases[v * LANES + j] = bias[row] if inside else 0
            for r in range(R):
                weights[(v * R + r) * LANES + j] = weight[row * R + r] if inside else 0
            for n in range(N):
                rates[(v * N + n) * LANES + j] = A[row * N + n] if inside else 0


@_part
def _load_rows(proj, image, k, pixels, steps, L, row, rows):
    for s in range(steps):
        at = ((image * L + pixels[s]) * 4 + k) * row
        for i in range(row):
            rows[s * row + i] = proj[at + i]


@_part
def _read(array, at, lanes):
    return load(array, at, 1) if lanes >= LANES else load_lanes(array, at, lanes)


@_part
def _write(array, at, block, lanes):
    if lanes >= LANES:
        store(array, at, block)
    else:
        store_lanes(array, at, block, lanes)


@_part
def _steps_of(weights, rows, biases, v, R, row, steps, dt):
    for s in range(0, steps, 8):
        z = repeat(load(biases, v * LANES, 1), 8)
        for r in range(R):
            z = fma(load(weights, (v * R + r) * LANES, 1), spread(rows, s * row + r, 8, row), z)
        store(dt, s * LANES, softplus(z))


def _walk(count):
    @_part
    def walk(rates, h, at, rows, b, row, N, dt, dx, out, steps):
        a = load(rates, at, count)
        state = load(h, at, count)
        for s in range(steps):
            decay = exp2(mul(load(dt, s * LANES, 1), a))
            state = fma(decay, state, mul(load(dx, s * LANES, 1), spread(rows, s * row + b, count, 1)))
            store(out, s * LANES, dot(state, spread(rows, s * row + b + N, count, 1), load(out, s * LANES, 1)))
        store(h, at, state)

    return walk


_walk_8, _walk_4, _walk_2, _walk_1 = _walk(8), _walk(4), _walk(2), _walk(1)
MOST = int(os.environ.get("MOST", "4"))
AHEAD = int(os.environ.get("AHEAD", "64"))


@_kernel
def _forward(u, proj, weight, bias, A, skip, y, states, shape, claims):
    images, B, H, W, D, N, R, width, keep = shape
    L = H * W
    row = R + 2 * N
    all_vectors = (D + LANES - 1) // LANES
    tiles = (all_vectors + width - 1) // width
    weights, biases = _scratch(width * R * LANES), _scratch(width * LANES)
    skips = _scratch(width * LANES)
    rates, h = _scratch(width * N * LANES), _scratch(width * N * LANES)
    rows = _scratch((STEPS + 7) * row)
    dt, dx, out = _scratch(STEPS * LANES), _scratch(STEPS * LANES), _scratch(STEPS * LANES)
    pixels = np.empty(2*STEPS, np.int64)
    rows[:] = 0
    while True:
        job = claim(claims)
        if job >= images * tiles:
            break
        image, tile = job // tiles, job % tiles
        group = image // B
        start = tile * width * LANES
        vectors = min(width, all_vectors - tile * width)
        for j in range(vectors * LANES):
            skips[j] = 0
            if start + j < D:
                for k in range(4):
                    skips[j] += skip[(group * 4 + k) * D + start + j]
        for k in range(4):
            _load_weights(weight, bias, A, group * 4 + k, D, N, R, start, vectors, weights, biases, rates)
            h[:] = 0
            for segment in range((L + STEPS - 1) // STEPS):
                first = segment * STEPS
                steps = min(STEPS, L - first)
                for s in range(min(steps + AHEAD, L - first)):
                    pixels[s] = _pixel(k, first + s, H, W)
                if keep:
                    at = (((image * 4 + k) * ((L + STEPS - 1) // STEPS) + segment) * all_vectors + tile * width) * N * LANES
                    for i in range(0, vectors * N * LANES, LANES):
                        store(states, at + i, load(h, i, 1))
                _load_rows(proj, image, k, pixels, steps, L, row, rows)
                for v in range(vectors):
                    _steps_of(weights, rows, biases, v, R, row, steps, dt)
                    channel = start + v * LANES
                    lanes = D - channel
                    for s in range(steps):
                        at = (image * L + pixels[s]) * D + channel
                        if AHEAD:
                            ahead = (image * L + pixels[s + AHEAD]) * D + channel
                            prefetch(u, ahead)
                            if k>0: prefetch(y, ahead)
                        x = _read(u, at, lanes)
                        store(dx, s * LANES, mul(x, load(dt, s * LANES, 1)))
                        if k == 0:
                            store(out, s * LANES, mul(x, load(skips, v * LANES, 1)))
                        else:
                            store(out, s * LANES, _read(y, at, lanes))
                    n = 0
                    while n + MOST <= N:
                        if MOST == 8:
                            _walk_8(rates, h, (v * N + n) * LANES, rows, R + n, row, N, dt, dx, out, steps)
                        else:
                            _walk_4(rates, h, (v * N + n) * LANES, rows, R + n, row, N, dt, dx, out, steps)
                        n += MOST
                    while n + 2 <= N:
                        _walk_2(rates, h, (v * N + n) * LANES, rows, R + n, row, N, dt, dx, out, steps)
                        n += 2
                    if n < N:
                        _walk_1(rates, h, (v * N + n) * LANES, rows, R + n, row, N, dt, dx, out, steps)
                    for s in range(steps):
                        at = (image * L + pixels[s]) * D + channel
                        _write(y, at, load(out, s * LANES, 1), lanes)


@_part
def _steps_and_slopes(weights, rows, biases, v, R, row, steps, dt, slopes):
    for s in range(0, steps, 8):
        z = repeat(load(biases, v * LANES, 1), 8)
        for r in range(R):
            z = fma(load(weights, (v * R + r) * LANES, 1), spread(rows, s * row + r, 8, row), z)
        store(dt, (v * STEPS + s) * LANES, softplus(z))
        store(slopes, (v * STEPS + s) * LANES, sigmoid(z))


def _adjoint(count):
    @_part
    def adjoint(rates, states, entry, at, adjoints, to_rates, rows, b, row, N, dt, dx, gy, to_dx, to_dt, first,
                decays, carried, dB, dC, steps):
        a = load(rates, at, count)
        h = load(states, entry, count)
        for s in range(steps):
            i, j = first + s * LANES, s * count * LANES
            decay = exp2(mul(load(dt, i, 1), a))
            kept = mul(decay, h)
            h = fma(load(dx, i, 1), spread(rows, s * row + b, count, 1), kept)
            store(decays, j, decay)
            store(carried, j, kept)
            store(dC, j, fma(load(gy, i, 1), h, load(dC, j, count)))
        g = load(adjoints, at, count)
        to_rate = load(to_rates, at, count)
        for s in range(steps - 1, -1, -1):
            i, j = first + s * LANES, s * count * LANES
            g = fma(load(gy, i, 1), spread(rows, s * row + b + N, count, 1), g)
            store(to_dx, i, dot(g, spread(rows, s * row + b, count, 1), load(to_dx, i, 1)))
            store(dB, j, fma(g, load(dx, i, 1), load(dB, j, count)))
            through = mul(g, load(carried, j, count))
            store(to_dt, i, dot(through, a, load(to_dt, i, 1)))
            to_rate = fma(through, load(dt, i, 1), to_rate)
            g = mul(g, load(decays, j, count))
        store(adjoints, at, g)
        store(to_rates, at, to_rate)

    return adjoint


_adjoint_4, _adjoint_2, _adjoint_1 = _adjoint(4), _adjoint(2), _adjoint(1)


def _lane_sums(count):
    @_part
    def lane_sums(blocks, steps, out, at, row):
        for s in range(steps):
            add_lane_sums(out, s * row + at, load(blocks, s * count * LANES, count))

    return lane_sums


_lane_sums_4, _lane_sums_2, _lane_sums_1 = _lane_sums(4), _lane_sums(2), _lane_sums(1)


def _weight_grads(count):
    @_part
    def weight_grads(weights, rows, row, dz, steps, vectors, r, R, to_weights, drows):
        """dW[v, r] += sum over s of dz[v, s] low[s, r]; dlow[s, r] += sum over v and lanes of W[v, r] dz[v, s]."""
        for v in range(vectors):
            at = (v * R + r) * LANES
            total = load(to_weights, at, count)
            for s in range(steps):
                total = fma(load(dz, (v * STEPS + s) * LANES, 1), spread(rows, s * row + r, count, 1), total)
            store(to_weights, at, total)
        for s in range(steps):
            total = mul(load(dz, s * LANES, 1), load(weights, r * LANES, count))
            for v in range(1, vectors):
                total = fma(load(dz, (v * STEPS + s) * LANES, 1), load(weights, (v * R + r) * LANES, count), total)
            add_lane_sums(drows, s * row + r, total)

    return weight_grads


_weight_grads_4, _weight_grads_1 = _weight_grads(4), _weight_grads(1)


@_kernel
def _backward(
    gy, states, u, proj, weight, bias, A, skip, du, dproj, extra, dweight, dbias, dA, dskip, shape, phases, claims
):
    images, B, H, W, D, N, R, width, chains = shape
    L = H * W
    row = R + 2 * N
    segments = (L + STEPS - 1) // STEPS
    all_vectors = (D + LANES - 1) // LANES
    weights, to_weights = _scratch(width * R * LANES), _scratch(width * R * LANES)
    biases, to_biases = _scratch(width * LANES), _scratch(width * LANES)
    skips, to_skips = _scratch(width * LANES), _scratch(width * LANES)
    rates, to_rates = _scratch(width * N * LANES), _scratch(width * N * LANES)
    adjoints = _scratch(width * N * LANES)
    rows, drows = _scratch((STEPS + 7) * row), _scratch(STEPS * row)
    dt, slopes = _scratch(width * STEPS * LANES), _scratch(width * STEPS * LANES)
    dx, upstream = _scratch(width * STEPS * LANES), _scratch(width * STEPS * LANES)
    to_dx, to_dt = _scratch(width * STEPS * LANES), _scratch(width * STEPS * LANES)
    decays, carried = _scratch(STEPS * 4 * LANES), _scratch(STEPS * 4 * LANES)
    dB, dC = _scratch(STEPS * 4 * LANES), _scratch(STEPS * 4 * LANES)
    pixels = np.empty(STEPS, np.int64)
    rows[:] = 0
    while True:
        job = claim(claims)
        if job >= images * chains:
            break
        image, chain = job // chains, job % chains
        group = image // B
        quad = chain // 4
        target = dproj
        base = image * L * 4 * row
        if quad > 0:
            target = extra
            base += (quad - 1) * images * L * 4 * row
        chain_end = (chain + 1) * all_vectors // chains
        for phase in range(phases[0], phases[1]):
            k = (chain + phase) % 4
            for tile in range(chain * all_vectors // chains, chain_end, width):
                vectors = min(width, chain_end - tile)
                fresh = tile == chain * all_vectors // chains and (chains == 1 or phase == 0)
                start = tile * LANES
                _load_weights(weight, bias, A, group * 4 + k, D, N, R, start, vectors, weights, biases, rates)
                for j in range(vectors * LANES):
                    skips[j] = 0
                    if start + j < D:
                        for kk in range(4):
                            skips[j] += skip[(group * 4 + kk) * D + start + j]
                to_weights[:] = 0
                to_biases[:] = 0
                to_skips[:] = 0
                to_rates[:] = 0
                adjoints[:] = 0
                for segment in range(segments - 1, -1, -1):
                    first = segment * STEPS
                    steps = min(STEPS, L - first)
                    entry = (((image * 4 + k) * segments + segment) * all_vectors + tile) * N * LANES
                    for s in range(steps):
                        pixels[s] = _pixel(k, first + s, H, W)
                    _load_rows(proj, image, k, pixels, steps, L, row, rows)
                    drows[:] = 0
                    for v in range(vectors):
                        _steps_and_slopes(weights, rows, biases, v, R, row, steps, dt, slopes)
                        channel = start + v * LANES
                        for s in range(steps):
                            at = (image * L + pixels[s]) * D + channel
                            i = (v * STEPS + s) * LANES
                            store(dx, i, mul(_read(u, at, D - channel), load(dt, i, 1)))
                            store(upstream, i, _read(gy, at, D - channel))
                    to_dx[:] = 0
                    to_dt[:] = 0
                    n = 0
                    while n < N:
                        dB[:] = 0
                        dC[:] = 0
                        if n + 4 <= N:
                            for v in range(vectors):
                                at = (v * N + n) * LANES
                                _adjoint_4(rates, states, entry + at, at, adjoints, to_rates, rows, R + n, row, N, dt, dx,
                                    upstream, to_dx, to_dt, v * STEPS * LANES, decays, carried, dB, dC, steps)
                            _lane_sums_4(dB, steps, drows, R + n, row)
                            _lane_sums_4(dC, steps, drows, R + N + n, row)
                            n += 4
                        elif n + 2 <= N:
                            for v in range(vectors):
                                at = (v * N + n) * LANES
                                _adjoint_2(rates, states, entry + at, at, adjoints, to_rates, rows, R + n, row, N, dt, dx,
                                    upstream, to_dx, to_dt, v * STEPS * LANES, decays, carried, dB, dC, steps)
                            _lane_sums_2(dB, steps, drows, R + n, row)
                            _lane_sums_2(dC, steps, drows, R + N + n, row)
                            n += 2
                        else:
                            for v in range(vectors):
                                at = (v * N + n) * LANES
                                _adjoint_1(rates, states, entry + at, at, adjoints, to_rates, rows, R + n, row, N, dt, dx,
                                    upstream, to_dx, to_dt, v * STEPS * LANES, decays, carried, dB, dC, steps)
                            _lane_sums_1(dB, steps, drows, R + n, row)
                            _lane_sums_1(dC, steps, drows, R + N + n, row)
                            n += 1
                    for v in range(vectors):
                        channel = start + v * LANES
                        total = load(to_biases, v * LANES, 1)
                        skipped = load(to_skips, v * LANES, 1)
                        for s in range(steps):
                            at = (image * L + pixels[s]) * D + channel
                            i = (v * STEPS + s) * LANES
                            x, g, to_step = _read(u, at, D - channel), load(upstream, i, 1), load(to_dx, i, 1)
                            if phase == 0:
                                before = mul(g, load(skips, v * LANES, 1))
                                skipped = fma(g, x, skipped)
                            else:
                                before = _read(du, at, D - channel)
                            _write(du, at, fma(to_step, load(dt, i, 1), before), D - channel)
                            dz = fma(to_step, x, mul(load(to_dt, i, 1), splat(LN2)))
                            dz = mul(dz, load(slopes, i, 1))
                            total = add(total, dz)
                            store(to_dt, i, dz)
                        store(to_biases, v * LANES, total)
                        store(to_skips, v * LANES, skipped)
                    r = 0
                    while r + 4 <= R:
                        _weight_grads_4(weights, rows, row, to_dt, steps, vectors, r, R, to_weights, drows)
                        r += 4
                    while r < R:
                        _weight_grads_1(weights, rows, row, to_dt, steps, vectors, r, R, to_weights, drows)
                        r += 1
                    for s in range(steps):
                        at = base + (pixels[s] * 4 + k) * row
                        if fresh:
                            for i in range(row):
                                target[at + i] = drows[s * row + i]
                        else:
                            for i in range(row):
                                target[at + i] += drows[s * row + i]
                for j in range(min(vectors * LANES, D - start)):
                    v, lane = j // LANES, j % LANES
                    at = (image * 4 + k) * D + start + j
                    dbias[at] = to_biases[j]
                    for r in range(R):
                        dweight[at * R + r] = to_weights[(v * R + r) * LANES + lane]
                    for n in range(N):
                        i = (v * N + n) * LANES + lane
                        dA[at * N + n] = to_rates[i] * rates[i] * LN2
                    if phase == 0:
                        for kk in range(4):
                            dskip[(image * 4 + kk) * D + start + j] = to_skips[j]

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
from mtmamba.ops.simd import LANES, LOG2E, add_lane_sums, claim, dot, exp2, fma, load, mul, prefetch, sigmoid
from mtmamba.ops.simd import load_lanes, softplus, spread, store, store_lanes

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
    tiles = -(-D // (LANES * WIDTH))
    shape = (G * B, B, H, W, D, N, R, WIDTH, int(keep))
    _run(_forward, G * B * tiles, *inputs, flat(y), flat(states), shape)
    return y.unsqueeze(0).to(u.dtype), states


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
    ranks = (R + 3) // 4 * 4
    for v in range(vectors):
        for j in range(LANES):
            channel = start + v * LANES + j
            row = where * D + channel
            inside = channel < D
            biases[v * LANES + j] = bias[row] if inside else 0
            for r in range(R):
                weights[(v * ranks + r) * LANES + j] = weight[row * R + r] if inside else 0
            for n in range(N):
                rates[(v * N + n) * LANES + j] = A[row * N + n] if inside else 0


@_part
def _load_rows(proj, image, k, pixels, steps, L, N, R, low, BC):
    for s in range(steps):
        row = ((image * L + pixels[s]) * 4 + k) * (R + 2 * N)
        for r in range(R):
            low[r * STEPS + s] = proj[row + r]
        for n in range(2 * N):
            BC[s * 2 * N + n] = proj[row + R + n]


@_part
def _steps_of(weights, low, biases, v, ranks, steps, dt):
    for s in range(0, steps, 8):
        z = mul(load(biases, v * LANES, 1), spread(ONES, 0, 8, 1))
        for r in range(ranks):
            z = fma(load(weights, (v * ranks + r) * LANES, 1), spread(low, r * STEPS + s, 8, 1), z)
        store(dt, s * LANES, softplus(z))


ONES = np.ones(8, np.float32)


def _walk(count):
    @_part
    def walk(rates, h, at, BC, n, N, dt, dx, out, steps):
        a = load(rates, at, count)
        state = load(h, at, count)
        for s in range(steps):
            decay = exp2(mul(load(dt, s * LANES, 1), a))
            state = fma(decay, state, mul(load(dx, s * LANES, 1), spread(BC, s * 2 * N + n, count, 1)))
            store(out, s * LANES, dot(state, spread(BC, s * 2 * N + N + n, count, 1), load(out, s * LANES, 1)))
        store(h, at, state)

    return walk


_walk_8, _walk_4, _walk_2, _walk_1 = _walk(8), _walk(4), _walk(2), _walk(1)
MOST = int(os.environ.get("MOST", "4"))


@_kernel
def _forward(u, proj, weight, bias, A, skip, y, states, shape, claims):
    images, B, H, W, D, N, R, width, keep = shape
    L = H * W
    ranks = (R + 3) // 4 * 4
    all_vectors = (D + LANES - 1) // LANES
    tiles = (all_vectors + width - 1) // width
    weights, biases = _scratch(width * ranks * LANES), _scratch(width * LANES)
    skips = _scratch(width * LANES)
    rates, h = _scratch(width * N * LANES), _scratch(width * N * LANES)
    low, BC = _scratch(ranks * STEPS), _scratch(STEPS * 2 * N)
    dt, dx, out = _scratch(STEPS * LANES), _scratch(STEPS * LANES), _scratch(STEPS * LANES)
    pixels = np.empty(STEPS + 1, np.int64)
    low[:] = 0
    weights[:] = 0
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
                for s in range(steps):
                    pixels[s] = _pixel(k, first + s, H, W)
                if keep:
                    at = (((image * 4 + k) * ((L + STEPS - 1) // STEPS) + segment) * all_vectors + tile * width) * N * LANES
                    for i in range(0, vectors * N * LANES, LANES):
                        store(states, at + i, load(h, i, 1))
                _load_rows(proj, image, k, pixels, steps, L, N, R, low, BC)
                for v in range(vectors):
                    _steps_of(weights, low, biases, v, ranks, steps, dt)
                    channel = start + v * LANES
                    lanes = min(LANES, D - channel)
                    for s in range(steps):
                        at = (image * L + pixels[s]) * D + channel
                        x = load_lanes(u, at, lanes)
                        store(dx, s * LANES, mul(x, load(dt, s * LANES, 1)))
                        if k == 0:
                            store(out, s * LANES, mul(x, load(skips, v * LANES, 1)))
                        else:
                            store(out, s * LANES, load_lanes(y, at, lanes))
                    n = 0
                    while n + MOST <= N:
                        if MOST == 8:
                            _walk_8(rates, h, (v * N + n) * LANES, BC, n, N, dt, dx, out, steps)
                        else:
                            _walk_4(rates, h, (v * N + n) * LANES, BC, n, N, dt, dx, out, steps)
                        n += MOST
                    while n + 2 <= N:
                        _walk_2(rates, h, (v * N + n) * LANES, BC, n, N, dt, dx, out, steps)
                        n += 2
                    if n < N:
                        _walk_1(rates, h, (v * N + n) * LANES, BC, n, N, dt, dx, out, steps)
                    for s in range(steps):
                        at = (image * L + pixels[s]) * D + channel
                        store_lanes(y, at, load(out, s * LANES, 1), lanes)

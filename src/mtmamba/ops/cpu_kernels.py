"""Numba kernels of the CPU's selective scan: in-order walks over tiles of channels, forward and backward.

A tile is a few vectors of ``LANES`` channels of one image. A kernel walks a route in segments of ``STEPS`` pixels:

1. the segment's rows of ``proj`` (dt_low | B | C) and of ``u`` are copied together, and dt = softplus(W dt_low + bias)
   is computed, into scratch that stays in the caches; pixels are read and written where they lie, in runs of a tile;
2. for every block of up to four states, h and A stay in registers over all steps of the segment.

Backward starts every segment, the last one first, from h as the forward kept it before the segment, and replays it.
Sums over channels (for B, C and dt_low) collect per tile and segment, then in one of a few partial results.
What is added in which order depends on the shapes alone: any number of threads gives the same bits.

Arrays are flat. Shape letters: v vectors of a tile, s steps, r rank of dt, n states, j lanes. Layouts of scratch:
weights [v][r][j], biases and skips [v][j], rates [v][n][j] (A times log2 e), rows [s][r + 2n], all else [v][s][j].
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from mtmamba.ops import simd
from mtmamba.ops.simd import (
    LANES,
    add,
    add_lane_sums,
    claim,
    dot,
    exp2,
    fma,
    load,
    load_lanes,
    mul,
    prefetch,
    repeat,
    sigmoid,
    softplus,
    splat,
    spread,
    store,
    store_lanes,
)

STEPS = 64  # of a segment, a multiple of 8; the forward keeps h before every segment
LN2 = np.float32(0.6931471805599453)


class Sizes(NamedTuple):
    """What both kernels are told of the shapes."""

    images: int  # of all groups together
    batch: int  # images of a group
    height: int
    width: int
    channels: int
    states: int
    rank: int
    tile: int  # most vectors of a tile
    chains: int  # jobs of an image: tiles in forward; in backward runs of tiles


class _Tile(NamedTuple):
    """Scratch of a tile and the present segment of its route."""

    weights: np.ndarray
    biases: np.ndarray
    skips: np.ndarray
    rates: np.ndarray
    rows: np.ndarray
    pixels: np.ndarray  # [2][s]: of this segment and of the next one
    dt: np.ndarray
    dx: np.ndarray  # dt * u
    y: np.ndarray  # backward: its gradient


class _Adjoint(NamedTuple):
    """More scratch for backward: gradients of a tile, named after what they are gradients of."""

    state: np.ndarray  # [v][n][j], of h after the segment
    rates: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    skips: np.ndarray
    rows: np.ndarray
    slopes: np.ndarray  # softplus', of dt's logits
    dx: np.ndarray
    dt: np.ndarray  # of dt by way of the decays; in the end of dt's logits
    decays: np.ndarray  # [s][block of states][j], and the next three
    decayed: np.ndarray
    B: np.ndarray
    C: np.ndarray


_part = njit(nogil=True, error_model="numpy")


def _kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL; its machine code is kept on disk where there is a place for it.

    Numba notices changes of this file. Those of the vectors' file, which it would miss, change the name on disk.
    """
    function.__qualname__ += "_" + hashlib.sha256(Path(simd.__file__).read_bytes()).hexdigest()[:8]
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no writable place: compiled anew in every process
        return _part(function)


@_part
def _scratch(count):
    """Floats that start at a multiple of 64 bytes, as they come."""
    buffer = np.empty(count + 16, np.float32)
    start = -(buffer.ctypes.data // 4) % 16
    return buffer[start : start + count]


@_part
def _make_tile(sizes):
    most = sizes.tile * LANES
    return _Tile(
        _scratch(most * sizes.rank),
        _scratch(most),
        _scratch(most),
        _scratch(most * sizes.states),
        _scratch(STEPS * (sizes.rank + 2 * sizes.states)),
        np.empty(2 * STEPS, np.int64),
        _scratch(most * STEPS),
        _scratch(most * STEPS),
        _scratch(most * STEPS),
    )


@_part
def _pixel(route, step, height, width):
    """Row-major index of a step's pixel: the routes of :func:`mtmamba.ops.route_indices`."""
    if route >= 2:
        step = height * width - 1 - step
    return step if route % 2 == 0 else step % height * width + step // height


@_part
def _read(array, at, lanes):
    return load(array, at, 1) if lanes >= LANES else load_lanes(array, at, lanes)


@_part
def _write(array, at, vector, lanes):
    if lanes >= LANES:
        store(array, at, vector)
    else:
        store_lanes(array, at, vector, lanes)


@_part
def _load_weights(tile, sizes, group, route, first, vectors, dt_weight, dt_bias, A, D_skip):
    """Weights of a route for ``vectors`` vectors from channel ``first`` on; zeros for channels that do not exist."""
    N, R, D = sizes.states, sizes.rank, sizes.channels
    for i in range(vectors * LANES):
        v, j = i // LANES, i % LANES
        inside = first + i < D
        row = (group * 4 + route) * D + first + i
        tile.biases[i] = dt_bias[row] if inside else 0
        for r in range(R):
            tile.weights[(v * R + r) * LANES + j] = dt_weight[row * R + r] if inside else 0
        for n in range(N):
            tile.rates[(v * N + n) * LANES + j] = A[row * N + n] if inside else 0
        tile.skips[i] = 0
        for k in range(4 if inside else 0):
            tile.skips[i] += D_skip[(group * 4 + k) * D + first + i]


@_part
def _load_segment(tile, sizes, image, route, segment, towards, proj):
    """Pixels of a segment and of the one after it in direction ``towards``, and rows; returns the number of steps."""
    L = sizes.height * sizes.width
    row = sizes.rank + 2 * sizes.states
    first = segment * STEPS
    steps = min(STEPS, L - first)
    for s in range(steps):
        pixel = _pixel(route, first + s, sizes.height, sizes.width)
        later = min(max(first + s + towards * STEPS, 0), L - 1)
        tile.pixels[s] = image * L + pixel
        tile.pixels[STEPS + s] = image * L + _pixel(route, later, sizes.height, sizes.width)
        start = (tile.pixels[s] * 4 + route) * row
        for i in range(0, row, LANES):
            _write(tile.rows, s * row + i, _read(proj, start + i, row - i), row - i)
    return steps


@_part
def _logits(tile, sizes, v, s):
    """W dt_low + bias of vector v at eight steps from s on."""
    row = sizes.rank + 2 * sizes.states
    z = repeat(load(tile.biases, v * LANES, 1), 8)
    for r in range(sizes.rank):
        z = fma(load(tile.weights, (v * sizes.rank + r) * LANES, 1), spread(tile.rows, s * row + r, 8, row), z)
    return z


def _walk(count):
    @_part
    def walk(tile, h, sizes, v, n, steps):
        """Vector v, states n to n + count: h after the segment, and what they add to y."""
        N, row, b = sizes.states, sizes.rank + 2 * sizes.states, sizes.rank + n
        A = load(tile.rates, (v * N + n) * LANES, count)
        state = load(h, (v * N + n) * LANES, count)
        for s in range(steps):
            i = (v * STEPS + s) * LANES
            decay = exp2(mul(load(tile.dt, i, 1), A))
            state = fma(decay, state, mul(load(tile.dx, i, 1), spread(tile.rows, s * row + b, count, 1)))
            store(tile.y, i, dot(state, spread(tile.rows, s * row + b + N, count, 1), load(tile.y, i, 1)))
        store(h, (v * N + n) * LANES, state)

    return walk


_walk_4, _walk_2, _walk_1 = _walk(4), _walk(2), _walk(1)


@_kernel
def forward_kernel(u, proj, dt_weight, dt_bias, A, D_skip, y, states, keep, shape, claims):
    """y, and with ``keep`` h before every segment; each call takes jobs until there are no more."""
    sizes = Sizes(*shape)
    D, N = sizes.channels, sizes.states
    all_vectors = (D + LANES - 1) // LANES
    segments = (sizes.height * sizes.width + STEPS - 1) // STEPS
    tile = _make_tile(sizes)
    h = _scratch(sizes.tile * N * LANES)
    while True:
        job = claim(claims)
        if job >= sizes.images * sizes.chains:
            return
        image, start = job // sizes.chains, job % sizes.chains * sizes.tile
        first, vectors = start * LANES, min(sizes.tile, all_vectors - start)
        for route in range(4):
            _load_weights(
                tile, sizes, image // sizes.batch, route, first, vectors, dt_weight, dt_bias, A, D_skip
            )
            h[:] = 0
            for segment in range(segments):
                if keep:
                    at = (((image * 4 + route) * segments + segment) * all_vectors + start) * N * LANES
                    states[at : at + vectors * N * LANES] = h[: vectors * N * LANES]
                steps = _load_segment(tile, sizes, image, route, segment, 1, proj)
                for v in range(vectors):
                    for s in range(0, steps, 8):
                        store(tile.dt, (v * STEPS + s) * LANES, softplus(_logits(tile, sizes, v, s)))
                for s in range(steps):
                    for v in range(vectors):
                        channel, i = first + v * LANES, (v * STEPS + s) * LANES
                        at = tile.pixels[s] * D + channel
                        prefetch(u, tile.pixels[STEPS + s] * D + channel)
                        prefetch(y, tile.pixels[STEPS + s] * D + channel)
                        x = _read(u, at, D - channel)
                        store(tile.dx, i, mul(x, load(tile.dt, i, 1)))
                        if route == 0:
                            store(tile.y, i, mul(x, load(tile.skips, v * LANES, 1)))
                        else:
                            store(tile.y, i, _read(y, at, D - channel))
                for v in range(vectors):
                    n = 0
                    while n + 4 <= N:
                        _walk_4(tile, h, sizes, v, n, steps)
                        n += 4
                    if n + 2 <= N:
                        _walk_2(tile, h, sizes, v, n, steps)
                        n += 2
                    if n < N:
                        _walk_1(tile, h, sizes, v, n, steps)
                for s in range(steps):
                    for v in range(vectors):
                        channel = first + v * LANES
                        _write(y, tile.pixels[s] * D + channel, load(tile.y, (v * STEPS + s) * LANES, 1), D - channel)


@_part
def _make_adjoint(sizes):
    most = sizes.tile * LANES
    return _Adjoint(
        _scratch(most * sizes.states),
        _scratch(most * sizes.states),
        _scratch(most * sizes.rank),
        _scratch(most),
        _scratch(most),
        _scratch(STEPS * (sizes.rank + 2 * sizes.states)),
        _scratch(most * STEPS),
        _scratch(most * STEPS),
        _scratch(most * STEPS),
        _scratch(STEPS * 4 * LANES),
        _scratch(STEPS * 4 * LANES),
        _scratch(STEPS * 4 * LANES),
        _scratch(STEPS * 4 * LANES),
    )


def _walk_back(count):
    @_part
    def walk_back(tile, grad, states, entry, sizes, vectors, n, steps):
        """States n to n + count of all vectors: replay the segment, then the adjoint."""
        N, row, b = sizes.states, sizes.rank + 2 * sizes.states, sizes.rank + n
        grad.B[: steps * count * LANES] = 0
        grad.C[: steps * count * LANES] = 0
        for v in range(vectors):
            at = (v * N + n) * LANES
            A = load(tile.rates, at, count)
            h = load(states, entry + at, count)
            for s in range(steps):
                i, k = (v * STEPS + s) * LANES, s * count * LANES
                decay = exp2(mul(load(tile.dt, i, 1), A))
                decayed = mul(decay, h)
                h = fma(load(tile.dx, i, 1), spread(tile.rows, s * row + b, count, 1), decayed)
                store(grad.decays, k, decay)
                store(grad.decayed, k, decayed)
                store(grad.C, k, fma(load(tile.y, i, 1), h, load(grad.C, k, count)))
            g = load(grad.state, at, count)
            to_rate = load(grad.rates, at, count)
            for s in range(steps - 1, -1, -1):
                i, k = (v * STEPS + s) * LANES, s * count * LANES
                g = fma(load(tile.y, i, 1), spread(tile.rows, s * row + b + N, count, 1), g)
                store(grad.dx, i, dot(g, spread(tile.rows, s * row + b, count, 1), load(grad.dx, i, 1)))
                store(grad.B, k, fma(g, load(tile.dx, i, 1), load(grad.B, k, count)))
                through = mul(g, load(grad.decayed, k, count))
                store(grad.dt, i, dot(through, A, load(grad.dt, i, 1)))
                to_rate = fma(through, load(tile.dt, i, 1), to_rate)
                g = mul(g, load(grad.decays, k, count))
            store(grad.state, at, g)
            store(grad.rates, at, to_rate)
        for s in range(steps):
            add_lane_sums(grad.rows, s * row + b, load(grad.B, s * count * LANES, count))
            add_lane_sums(grad.rows, s * row + b + N, load(grad.C, s * count * LANES, count))

    return walk_back


_walk_back_4, _walk_back_2, _walk_back_1 = _walk_back(4), _walk_back(2), _walk_back(1)


def _back_to_rank(count):
    @_part
    def back_to_rank(tile, grad, sizes, vectors, r, steps):
        """From dt's logits to ranks r to r + count of dt_low, and of the weights."""
        R, row = sizes.rank, sizes.rank + 2 * sizes.states
        for v in range(vectors):
            at = (v * R + r) * LANES
            total = load(grad.weights, at, count)
            for s in range(steps):
                total = fma(load(grad.dt, (v * STEPS + s) * LANES, 1), spread(tile.rows, s * row + r, count, 1), total)
            store(grad.weights, at, total)
        for s in range(steps):
            total = mul(load(grad.dt, s * LANES, 1), load(tile.weights, r * LANES, count))
            for v in range(1, vectors):
                weights = load(tile.weights, (v * R + r) * LANES, count)
                total = fma(load(grad.dt, (v * STEPS + s) * LANES, 1), weights, total)
            add_lane_sums(grad.rows, s * row + r, total)

    return back_to_rank


_back_to_rank_4, _back_to_rank_1 = _back_to_rank(4), _back_to_rank(1)


@_part
def _gather_back(tile, grad, sizes, first, vectors, steps, u, grad_y, du):
    D = sizes.channels
    for v in range(vectors):
        for s in range(0, steps, 8):
            z = _logits(tile, sizes, v, s)
            store(tile.dt, (v * STEPS + s) * LANES, softplus(z))
            store(grad.slopes, (v * STEPS + s) * LANES, sigmoid(z))
    for s in range(steps):
        for v in range(vectors):
            channel, i = first + v * LANES, (v * STEPS + s) * LANES
            at, later = tile.pixels[s] * D + channel, tile.pixels[STEPS + s] * D + channel
            prefetch(u, later)
            prefetch(grad_y, later)
            prefetch(du, later)
            store(tile.dx, i, mul(_read(u, at, D - channel), load(tile.dt, i, 1)))
            store(tile.y, i, _read(grad_y, at, D - channel))


@_part
def _scatter_back(tile, grad, sizes, first, vectors, steps, fresh, u, du):
    """du, and from the gradients of dt * u and dt those of dt's logits; ``fresh``: the first to write du."""
    D = sizes.channels
    for s in range(steps):
        for v in range(vectors):
            channel, i, j = first + v * LANES, (v * STEPS + s) * LANES, v * LANES
            at = tile.pixels[s] * D + channel
            x, upstream, to_dx = _read(u, at, D - channel), load(tile.y, i, 1), load(grad.dx, i, 1)
            if fresh:
                before = mul(upstream, load(tile.skips, j, 1))
                store(grad.skips, j, fma(upstream, x, load(grad.skips, j, 1)))
            else:
                before = _read(du, at, D - channel)
            _write(du, at, fma(to_dx, load(tile.dt, i, 1), before), D - channel)
            to_logit = mul(fma(to_dx, x, mul(load(grad.dt, i, 1), splat(LN2))), load(grad.slopes, i, 1))
            store(grad.dt, i, to_logit)
            store(grad.biases, j, add(load(grad.biases, j, 1), to_logit))


@_kernel
def backward_kernel(
    grad_y, states, u, proj, dt_weight, dt_bias, A, D_skip, du, dproj, others, ddt_weight, ddt_bias, dA_log, dD_skip,
    phases, shape, claims,
):  # fmt: skip
    """Gradients; each call takes jobs until there are no more.

    A job is a chain: a run of tiles, which takes route (chain + phase) % 4 in each of the ``phases``. So four chains
    write one array of gradients of ``proj`` without ever meeting: ``dproj`` the first four, ``others`` the rest.
    Gradients of the weights are per image, that of D_skip is the same for all routes.
    """
    sizes = Sizes(*shape)
    D, N, R = sizes.channels, sizes.states, sizes.rank
    L, row = sizes.height * sizes.width, R + 2 * N
    all_vectors = (D + LANES - 1) // LANES
    segments = (L + STEPS - 1) // STEPS
    tile, grad = _make_tile(sizes), _make_adjoint(sizes)
    while True:
        job = claim(claims)
        if job >= sizes.images * sizes.chains:
            return
        image, chain = job // sizes.chains, job % sizes.chains
        chain_start, chain_end = chain * all_vectors // sizes.chains, (chain + 1) * all_vectors // sizes.chains
        to_proj = dproj if chain < 4 else others
        proj_start = max(chain // 4 - 1, 0) * sizes.images * L * 4 * row
        for phase in range(phases[0], phases[1]):
            route = (chain + phase) % 4
            for start in range(chain_start, chain_end, sizes.tile):
                first, vectors = start * LANES, min(sizes.tile, chain_end - start)
                new_rows = start == chain_start and (phase == 0 or sizes.chains == 1)
                _load_weights(
                    tile, sizes, image // sizes.batch, route, first, vectors, dt_weight, dt_bias, A, D_skip
                )
                for total in (grad.state, grad.rates, grad.weights, grad.biases, grad.skips):
                    total[:] = 0
                for segment in range(segments - 1, -1, -1):
                    steps = _load_segment(tile, sizes, image, route, segment, -1, proj)
                    _gather_back(tile, grad, sizes, first, vectors, steps, u, grad_y, du)
                    for total in (grad.rows, grad.dx, grad.dt):
                        total[:] = 0
                    entry = (((image * 4 + route) * segments + segment) * all_vectors + start) * N * LANES
                    n = 0
                    while n + 4 <= N:
                        _walk_back_4(tile, grad, states, entry, sizes, vectors, n, steps)
                        n += 4
                    if n + 2 <= N:
                        _walk_back_2(tile, grad, states, entry, sizes, vectors, n, steps)
                        n += 2
                    if n < N:
                        _walk_back_1(tile, grad, states, entry, sizes, vectors, n, steps)
                    _scatter_back(tile, grad, sizes, first, vectors, steps, phase == 0, u, du)
                    for r in range(0, R - 3, 4):
                        _back_to_rank_4(tile, grad, sizes, vectors, r, steps)
                    for r in range(R // 4 * 4, R):
                        _back_to_rank_1(tile, grad, sizes, vectors, r, steps)
                    for s in range(steps):
                        at = proj_start + (tile.pixels[s] * 4 + route) * row
                        for i in range(0, row, LANES):
                            vector = _read(grad.rows, s * row + i, row - i)
                            if not new_rows:
                                vector = add(vector, _read(to_proj, at + i, row - i))
                            _write(to_proj, at + i, vector, row - i)
                for i in range(min(vectors * LANES, D - first)):
                    v, j = i // LANES, i % LANES
                    at = (image * 4 + route) * D + first + i
                    ddt_bias[at] = grad.biases[i]
                    for r in range(R):
                        ddt_weight[at * R + r] = grad.weights[(v * R + r) * LANES + j]
                    for n in range(N):
                        k = (v * N + n) * LANES + j
                        dA_log[at * N + n] = grad.rates[k] * tile.rates[k] * LN2
                    if phase == 0:
                        dD_skip[image * D + first + i] = grad.skips[i]

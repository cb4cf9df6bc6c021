"""Backward kernel: the adjoint of the walk, segment by segment from the last to the first.

A segment starts from h as the forward kept it. For every block of up to four states all vectors are replayed, which
keeps the decays, and walked backwards. Sums over channels (gradients of B, C and dt_low) collect per tile and segment
and then in one of a few arrays; what is added in which order depends on the shapes alone: any number of threads gives
the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mtmamba.ops.cpu.simd import (
    LANES,
    add,
    add_lane_sums,
    claim,
    dot,
    exp2,
    fma,
    load,
    mul,
    prefetch,
    sigmoid,
    softplus,
    splat,
    spread,
    store,
)
from mtmamba.ops.cpu.tiles import (
    STEPS,
    Sizes,
    kernel,
    load_segment,
    load_weights,
    logits,
    make_tile,
    part,
    read,
    scratch,
    write,
)

LN2 = np.float32(0.6931471805599453)


class _Adjoint(NamedTuple):
    """More scratch for backward: gradients of a tile, named after what they are gradients of."""

    state: np.ndarray  # [v][n][j]: h after the segment
    rates: np.ndarray  # [v][n][j]: A
    weights: np.ndarray  # [v][r][j]
    biases: np.ndarray  # [v][j]
    skips: np.ndarray  # [v][j]
    rows: np.ndarray  # [s][r + 2n]
    slopes: np.ndarray  # [v][s][j]: softplus' of dt's logits
    dx: np.ndarray  # [v][s][j]
    dt: np.ndarray  # [v][s][j]: by way of the decays; in the end of dt's logits
    decays: np.ndarray  # [s][block of states][j]
    decayed: np.ndarray  # as decays: decay * h
    B: np.ndarray  # as decays: over the vectors of the tile, not yet over lanes
    C: np.ndarray


@part
def _make_adjoint(sizes):
    most = sizes.tile * LANES
    return _Adjoint(
        scratch(most * sizes.states),
        scratch(most * sizes.states),
        scratch(most * sizes.rank),
        scratch(most),
        scratch(most),
        scratch(STEPS * (sizes.rank + 2 * sizes.states)),
        scratch(most * STEPS),
        scratch(most * STEPS),
        scratch(most * STEPS),
        scratch(STEPS * 4 * LANES),
        scratch(STEPS * 4 * LANES),
        scratch(STEPS * 4 * LANES),
        scratch(STEPS * 4 * LANES),
    )


def _walk_back(count):
    @part
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
    @part
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


@part
def _gather_back(tile, grad, sizes, first, vectors, steps, u, grad_y, du):
    """dt and its slopes, dt * u, and the gradient of y; du is only asked for, for the next segment."""
    D = sizes.channels
    for v in range(vectors):
        for s in range(0, steps, 8):
            z = logits(tile, sizes, v, s)
            store(tile.dt, (v * STEPS + s) * LANES, softplus(z))
            store(grad.slopes, (v * STEPS + s) * LANES, sigmoid(z))
    for s in range(steps):
        for v in range(vectors):
            channel, i = first + v * LANES, (v * STEPS + s) * LANES
            at, later = tile.pixels[s] * D + channel, tile.pixels[STEPS + s] * D + channel
            prefetch(u, later)
            prefetch(grad_y, later)
            prefetch(du, later)
            store(tile.dx, i, mul(read(u, at, D - channel), load(tile.dt, i, 1)))
            store(tile.y, i, read(grad_y, at, D - channel))


@part
def _scatter_back(tile, grad, sizes, first, vectors, steps, fresh, u, du):
    """du, and from the gradients of dt * u and dt those of dt's logits; ``fresh``: the first to write du."""
    D = sizes.channels
    for s in range(steps):
        for v in range(vectors):
            channel, i, j = first + v * LANES, (v * STEPS + s) * LANES, v * LANES
            at = tile.pixels[s] * D + channel
            x, upstream, to_dx = read(u, at, D - channel), load(tile.y, i, 1), load(grad.dx, i, 1)
            if fresh:
                before = mul(upstream, load(tile.skips, j, 1))
                store(grad.skips, j, fma(upstream, x, load(grad.skips, j, 1)))
            else:
                before = read(du, at, D - channel)
            write(du, at, fma(to_dx, load(tile.dt, i, 1), before), D - channel)
            to_logit = mul(fma(to_dx, x, mul(load(grad.dt, i, 1), splat(LN2))), load(grad.slopes, i, 1))
            store(grad.dt, i, to_logit)
            store(grad.biases, j, add(load(grad.biases, j, 1), to_logit))


@kernel
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
    tile, grad = make_tile(sizes), _make_adjoint(sizes)
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
                load_weights(tile, sizes, image // sizes.batch, route, first, vectors, dt_weight, dt_bias, A, D_skip)
                for total in (grad.state, grad.rates, grad.weights, grad.biases, grad.skips):
                    total[:] = 0
                for segment in range(segments - 1, -1, -1):
                    steps = load_segment(tile, sizes, image, route, segment, -1, proj)
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
                            vector = read(grad.rows, s * row + i, row - i)
                            if not new_rows:
                                vector = add(vector, read(to_proj, at + i, row - i))
                            write(to_proj, at + i, vector, row - i)
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

"""Forward kernel: in-order walks over tiles of channels.

For every segment of a route, dt = softplus(W dt_low + bias) is computed into scratch that stays in the caches. Then,
for every vector and every block of up to four states, h and A stay in registers over all steps of the segment.
"""

from __future__ import annotations

from mtmamba.ops.cpu.simd import LANES, claim, dot, exp2, fma, load, mul, prefetch, softplus, spread, store
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


def _walk(count):
    @part
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


@part
def _gather(tile, sizes, first, vectors, steps, fresh, u, y):
    """dt, dt * u, and y as the routes before left it; ``fresh``: there were none, so y starts with the skips."""
    D = sizes.channels
    for v in range(vectors):
        for s in range(0, steps, 8):
            store(tile.dt, (v * STEPS + s) * LANES, softplus(logits(tile, sizes, v, s)))
    for s in range(steps):
        for v in range(vectors):
            channel, i = first + v * LANES, (v * STEPS + s) * LANES
            at, later = tile.pixels[s] * D + channel, tile.pixels[STEPS + s] * D + channel
            prefetch(u, later)
            prefetch(y, later)
            x = read(u, at, D - channel)
            store(tile.dx, i, mul(x, load(tile.dt, i, 1)))
            store(tile.y, i, mul(x, load(tile.skips, v * LANES, 1)) if fresh else read(y, at, D - channel))


@kernel
def forward_kernel(u, proj, dt_weight, dt_bias, A, D_skip, y, states, keep, shape, claims):
    """y, and with ``keep`` h before every segment; each call takes jobs until there are no more."""
    sizes = Sizes(*shape)
    D, N = sizes.channels, sizes.states
    all_vectors = (D + LANES - 1) // LANES
    segments = (sizes.height * sizes.width + STEPS - 1) // STEPS
    tile = make_tile(sizes)
    h = scratch(sizes.tile * N * LANES)
    while True:
        job = claim(claims)
        if job >= sizes.images * sizes.chains:
            return
        image, start = job // sizes.chains, job % sizes.chains * sizes.tile
        first, vectors = start * LANES, min(sizes.tile, all_vectors - start)
        for route in range(4):
            load_weights(tile, sizes, image // sizes.batch, route, first, vectors, dt_weight, dt_bias, A, D_skip)
            h[:] = 0
            for segment in range(segments):
                if keep:
                    at = (((image * 4 + route) * segments + segment) * all_vectors + start) * N * LANES
                    states[at : at + vectors * N * LANES] = h[: vectors * N * LANES]
                steps = load_segment(tile, sizes, image, route, segment, 1, proj)
                _gather(tile, sizes, first, vectors, steps, route == 0, u, y)
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
                        write(y, tile.pixels[s] * D + channel, load(tile.y, (v * STEPS + s) * LANES, 1), D - channel)

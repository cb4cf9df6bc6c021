"""What the forward and the backward kernel share: sizes, scratch, and a tile's weights and segments.

A tile is a few vectors of channels of one image, on one route. A kernel walks it in segments of ``STEPS`` pixels, whose
rows of ``proj`` (dt_low | B | C) are copied together; pixels of all else are read and written where they lie.

Arrays are flat. Shape letters: v vectors of a tile, s steps of a segment, r rank of dt, n states, j lanes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from mtmamba.ops.cpu.simd import LANES, fma, load, load_lanes, repeat, spread, store, store_lanes

STEPS = 64  # of a segment, a multiple of 8; the forward keeps h before every segment


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


class Tile(NamedTuple):
    """Scratch of a tile and the present segment of its route."""

    weights: np.ndarray  # [v][r][j]
    biases: np.ndarray  # [v][j]
    skips: np.ndarray  # [v][j]: D_skip, summed over the routes
    rates: np.ndarray  # [v][n][j]: A * log2(e)
    rows: np.ndarray  # [s][r + 2n]
    pixels: np.ndarray  # [2][s]: of this segment and of the next one
    dt: np.ndarray  # [v][s][j]
    dx: np.ndarray  # [v][s][j]: dt * u
    y: np.ndarray  # [v][s][j]; in backward its gradient


part: Any = njit(nogil=True, error_model="numpy")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL; its machine code is kept on disk where there is a place for it.

    Numba compiles anew when the function's own file changes. Changes of the files beside it change the name on disk.
    """
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    function.__qualname__ += "_" + hashlib.sha256(sources).hexdigest()[:8]
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no writable place: compiled anew in every process
        return part(function)


@part
def scratch(count):
    """Floats that start at a multiple of 64 bytes, as they come."""
    buffer = np.empty(count + 16, np.float32)
    start = -(buffer.ctypes.data // 4) % 16
    return buffer[start : start + count]


@part
def make_tile(sizes):
    most = sizes.tile * LANES
    return Tile(
        scratch(most * sizes.rank),
        scratch(most),
        scratch(most),
        scratch(most * sizes.states),
        scratch(STEPS * (sizes.rank + 2 * sizes.states)),
        np.empty(2 * STEPS, np.int64),
        scratch(most * STEPS),
        scratch(most * STEPS),
        scratch(most * STEPS),
    )


@part
def _pixel(route, step, height, width):
    """Row-major index of a step's pixel: the routes of :func:`mtmamba.ops.route_indices`."""
    if route >= 2:
        step = height * width - 1 - step
    return step if route % 2 == 0 else step % height * width + step // height


@part
def read(array, at, lanes):
    """A vector, of whose lanes only the first ``lanes`` exist."""
    return load(array, at, 1) if lanes >= LANES else load_lanes(array, at, lanes)


@part
def write(array, at, vector, lanes):
    """The first ``lanes`` lanes of a vector, or all."""
    if lanes >= LANES:
        store(array, at, vector)
    else:
        store_lanes(array, at, vector, lanes)


@part
def load_weights(tile, sizes, group, route, first, vectors, dt_weight, dt_bias, A, D_skip):
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


@part
def load_segment(tile, sizes, image, route, segment, towards, proj):
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
            write(tile.rows, s * row + i, read(proj, start + i, row - i), row - i)
    return steps


@part
def logits(tile, sizes, v, s):
    """W dt_low + bias of vector v at eight steps from s on."""
    row = sizes.rank + 2 * sizes.states
    z = repeat(load(tile.biases, v * LANES, 1), 8)
    for r in range(sizes.rank):
        z = fma(load(tile.weights, (v * sizes.rank + r) * LANES, 1), spread(tile.rows, s * row + r, 8, row), z)
    return z

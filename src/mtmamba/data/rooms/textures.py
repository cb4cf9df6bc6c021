"""Procedural textures: surface coordinates in metres -> linear colour.

Every hard pattern is blurred by the width of a pixel on the surface, so that it fades to its mean in the
distance instead of flickering.
"""

import math

import numpy as np

from .jit import kernel

(
    PLAIN,
    CHECKER,
    PLANKS,
    GRAIN,
    NOISE,
    STRIPES,
    BRICKS,
    DOTS,
    ZIGZAG,
    BORDER,
    PANELS,
    BOOKS,
    LANDSCAPE,
    ABSTRACT,
    OUTDOORS,
) = range(15)


@kernel
def _hash(x, y, seed):
    """A number in [0, 1) for every cell of the integer grid (an avalanche of 32-bit multiplications)."""
    h = np.uint32(np.int64(x) * 374761393 + np.int64(y) * 668265263 + np.int64(seed) * 1274126177)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(2246822519))
    h = np.uint32(h ^ (h >> np.uint32(15)))
    return np.float64(h) / 4294967296.0


@kernel
def _noise(u, v, seed):
    """Value noise in [0, 1] with a period of one."""
    i, j = float(math.floor(u)), float(math.floor(v))
    a, b = u - i, v - j
    a, b = a * a * (3.0 - 2.0 * a), b * b * (3.0 - 2.0 * b)
    low = _hash(i, j, seed) * (1.0 - a) + _hash(i + 1.0, j, seed) * a
    high = _hash(i, j + 1.0, seed) * (1.0 - a) + _hash(i + 1.0, j + 1.0, seed) * a
    return low * (1.0 - b) + high * b


@kernel
def _inside(x, half, width):
    """1 within `half` of the nearest whole number, 0 outside, ramped over `width`."""
    d = abs(x - math.floor(x + 0.5))
    if width > 0.5:  # the pixel covers whole periods: the share of the line
        return 2.0 * half
    return min(max((half - d) / max(width, 1e-6) + 0.5, 0.0), 1.0)


@kernel
def _wave(x, width):
    """A square wave of period 1 in [-1, 1], fading to 0 as a pixel gets wider than half a period."""
    d = 0.25 - abs(x - math.floor(x) - 0.5)
    return min(max(2.0 * d / max(width, 1e-6), -1.0), 1.0) * min(max(2.0 - 3.0 * width, 0.0), 1.0)


@kernel
def _layers(u, v, seed, ratio, gain):
    """A weighted mean of three noises, each `ratio` times finer and `gain` times fainter than the one before."""
    total, weight, share = 0.0, 0.0, 1.0
    for layer in range(3):
        total += share * _noise(u, v, seed + layer)
        weight += share
        share *= gain
        u *= ratio
        v *= ratio
    return total / weight


@kernel
def _pattern(kind, seed, x, y, px, py):
    """How far from the first to the second colour, and by what factor lighter, at (x, y) in periods."""
    mix, shade = 0.0, 1.0
    if kind == CHECKER:
        mix = 0.5 - 0.5 * _wave(x, px) * _wave(y, py)
    elif kind == PLANKS:
        row = float(math.floor(y))
        x += _hash(row, 0.0, seed)
        board = float(math.floor(x))
        tone = _hash(board, row, seed)
        fade = min(max(2.0 - 30.0 * py, 0.0), 1.0)
        grain = 1.5 * (_layers(x * 3.0 + 17.0 * tone, y * 14.0, seed, 3.0, 0.5) - 0.5)
        mix = min(max(tone * 0.8 + 0.1 + 0.7 * grain * fade, 0.0), 1.0)
        gap = max(_inside(y, 0.02, py), 0.6 * _inside(x, 0.005, px))
        shade = 1.0 - 0.55 * gap
    elif kind == GRAIN:
        fade = min(max(2.0 - 2.0 * py, 0.0), 1.0)
        ring = _layers(0.5 * x, 2.0 * y, seed, 3.3, 0.25)
        mix = 0.7 * ring + 0.3 * (0.5 + 0.5 * math.cos(25.0 * ring) * fade)
        mix = min(max(mix, 0.0), 1.0)
    elif kind == NOISE:
        mix = _layers(x, y, seed, 3.0, 0.6)
        mix = min(max(1.6 * mix - 0.3, 0.0), 1.0)
    elif kind == STRIPES:
        mix = 0.5 - 0.5 * _wave(x, px)
    elif kind == BRICKS:
        row = float(math.floor(y + 0.5))
        x += 0.5 * (row - 2.0 * math.floor(row / 2.0))
        mix = max(_inside(x + 0.5, 0.02, px), _inside(y + 0.5, 0.03, py))
        shade = 0.85 + 0.3 * _hash(float(math.floor(x + 0.5)), row, seed) * (1.0 - mix)
    elif kind == DOTS:
        a, b = x - math.floor(x) - 0.5, y - math.floor(y) - 0.5
        fade = min(max(2.0 - 3.0 * px, 0.0), 1.0)
        spot = min(max((0.3 - math.sqrt(a * a + b * b)) / max(px, 1e-6) + 0.5, 0.0), 1.0)
        mix = spot * fade + 0.28 * (1.0 - fade)
    elif kind == ZIGZAG:
        tooth = abs(x - math.floor(x) - 0.5)
        mix = 0.5 - 0.5 * _wave(y + tooth, max(px, py))
    return mix, shade


@kernel
def _picture(kind, seed, materials, m, u, v, half_u, half_v, out, i, j):
    """Things with more than two colours; x is along the books."""
    x = u / materials[m, 7]
    if kind == BOOKS:
        book = float(math.floor(x * 1.3 + 0.8 * _noise(x * 0.9, 0.5, seed)))
        hue = _hash(book, 1.0, seed)
        height = half_v * (2.0 * (0.7 + 0.3 * _hash(book, 2.0, seed)) - 1.0)
        shade = 0.35 + 0.9 * _hash(book, 3.0, seed)
        for c in range(3):
            cover = 0.5 + 0.45 * math.cos(6.2832 * (hue + c / 3.0))
            out[i, j, c] = (0.15 + 0.5 * cover * cover) * shade
            if abs(v / half_v - 0.45) < 0.08:
                out[i, j, c] = 0.5 * out[i, j, c] + 0.3
            if v > height:
                out[i, j, c] = 0.02
    elif kind == LANDSCAPE:
        s, t = u / half_u, v / half_v
        ridge = -0.6 + 1.0 * _layers(1.5 * s + 7.0, 0.5, seed, 2.4, 0.45)
        shore = -0.9 + 0.7 * _layers(1.1 * s + 3.0, 0.5, seed + 1, 2.4, 0.45)
        sun = (s - 0.4 + _hash(1.0, 1.0, seed)) ** 2 + (t - 0.5) ** 2
        for c in range(3):
            first, second = materials[m, 1 + c], materials[m, 4 + c]
            out[i, j, c] = first + (0.9 - first) * (0.35 - 0.3 * t)
            if sun < 0.03:
                out[i, j, c] = 0.95 - 0.2 * c
            if t < ridge:
                out[i, j, c] = 0.6 * second + 0.25 * first
            if t < shore:
                out[i, j, c] = 0.6 * second
    elif kind == ABSTRACT:
        s, t = (u / half_u + 1.0) * 1.5, (v / half_v + 1.0) * 1.5
        row = float(math.floor(t))
        a, b = s - 1.0 - _hash(4.0, 4.0, seed), t - 1.0 - _hash(5.0, 5.0, seed)
        chosen = _hash(float(math.floor(s + 0.4 * _hash(0.0, row, seed))), row, seed)
        disc = a * a + b * b < 0.5
        for c in range(3):
            colour = materials[m, 1 + c] * (1.0 - chosen) + materials[m, 4 + c] * chosen
            if chosen > 0.75:
                colour = 0.7 - 0.2 * c * chosen
            if disc:
                colour = 0.8 * materials[m, 4 + 2 - c] + 0.05
            out[i, j, c] = colour
    elif kind == OUTDOORS:
        t = v / half_v
        horizon = -0.35 + 0.3 * _layers(u * 1.2 + 5.0, 0.5, seed, 2.4, 0.45)
        trees = -0.75 + 0.7 * _layers(u * 2.5 + 9.0, 0.5, seed + 1, 2.4, 0.45)
        cloud = max(_noise(u * 2.0, v * 5.0, seed + 2) - 0.5, 0.0)
        for c in range(3):
            out[i, j, c] = materials[m, 1 + c] * (0.8 - 0.25 * t) + 0.2 + 0.5 * cloud * (1.0 - materials[m, 1 + c])
            if t < horizon:
                out[i, j, c] = 0.5 * materials[m, 4 + c] + 0.25 * materials[m, 1 + c]
            if t < trees:
                out[i, j, c] = materials[m, 4 + c] * (0.5 + 0.5 * _noise(u * 15.0, v * 15.0, seed))
            out[i, j, c] = min(out[i, j, c], 1.0)


@kernel
def texture(materials, m, u, v, half_u, half_v, pixel, out, i, j):
    """Write the linear colour of material m at (u, v), in metres from the middle of the surface, to out[i, j]
    (3).

    half_u and half_v are the half extent of the surface and `pixel` the width of a pixel on it, in metres.
    """
    kind, seed = int(materials[m, 0]), int(materials[m, 11])
    if kind >= BOOKS:
        if min(half_u - abs(u), half_v - abs(v)) >= materials[m, 12]:
            _picture(kind, seed, materials, m, u, v, half_u, half_v, out, i, j)
            return
        tone = _hash(1.0, 2.0, seed)  # the frame: black, oak or white
        for c in range(3):
            out[i, j, c] = 0.03 if tone < 0.3 else 0.8 if tone > 0.75 else 0.3 - 0.1 * c
        return
    if materials[m, 12] > 0.0 and v + half_v < materials[m, 12]:
        out[i, j, 0] = out[i, j, 1] = out[i, j, 2] = 0.7
        return
    if kind == BORDER:
        edge, band = min(half_u - abs(u), half_v - abs(v)), materials[m, 7]
        mix = 1.0 if band < edge < 2.0 * band or edge > 4.0 * band else 0.0
        shade = 0.9 + 0.2 * _noise(u * 25.0, v * 25.0, seed)
    elif kind == PANELS:  # three bevelled rectangles, one above the other
        third = (v / half_v + 1.0) * 1.5
        high = (abs(third - math.floor(third) - 0.5) - 0.38) * half_v / 1.5
        off = max(abs(u) - 0.66 * half_u, high) / materials[m, 7]
        mix = _noise(u * 4.0, v * 1.5, seed)
        shade = 0.6 if -1.0 < off <= 0.0 else 1.2 if 0.0 < off < 1.0 else 1.0
    else:
        across, along = materials[m, 7], materials[m, 8]
        if kind == GRAIN and half_v > half_u:  # wood runs along its piece
            u, v = v, u
        mix, shade = _pattern(kind, seed, u / across, v / along, pixel / across, pixel / along)
    for c in range(3):
        out[i, j, c] = min((materials[m, 1 + c] * (1.0 - mix) + materials[m, 4 + c] * mix) * shade, 1.0)

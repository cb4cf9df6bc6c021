"""Boundaries matched to true boundaries within a tolerance: what odsF counts, without MATLAB.

A boundary map goes through non-maximum suppression (:func:`suppress`), is cut at 101 :data:`THRESHOLDS`, each cut is
thinned, and its pixels are matched one to one to the true ones (:func:`true_edges`): :func:`count_matches`.

Only the size of a largest matching enters precision and recall, and that size is unique: what a matching costs
changes who is matched to whom, never how many. Counts here are therefore exact and the same in every run. The usual
tool solves an assignment of least cost in which random edges stand for outliers; its counts may differ from run to
run, and from these by a few pixels.

Sources: Martin, Fowlkes and Malik, "Learning to detect natural image boundaries", PAMI 2004 (the measure); Lam, Lee
and Suen, "Thinning methodologies", PAMI 1992 (thinning, after Guo and Hall, CACM 1989); Kuhn 1955 (augmenting paths).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

try:
    import numba
except ImportError:  # the kernels are plain Python then
    numba = None  # type: ignore[assignment]

THRESHOLDS = np.concatenate(([0.001], np.arange(1, 100) / 100, [0.999]))
"""Cuts of odsF, (101,): a pixel passes where its value is larger."""

_TRIANGLE = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25
_DAMPED = 5  # pixels along the border
_SLACK = 1.01  # a pixel is kept if it is nearly as strong as its neighbours


class Counts(NamedTuple):
    """Pixels of one image: ``matched`` and ``found`` int64 (101,), by threshold, and how many are true."""

    matched: np.ndarray
    found: np.ndarray
    truth: int


def kernel(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without the GIL; the machine code is kept on disk where there is a place for it."""
    if numba is None:
        return function
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no writable place: compiled anew in every process
        return numba.njit(nogil=True)(function)


def suppress(probability: np.ndarray) -> np.ndarray:
    """Keep the ridges of a boundary map: zero what is weaker than its neighbour across the boundary.

    The direction across is that of the largest curvature of the map smoothed by a triangle of 9 pixels,
    atan(Oyy sign(-Oxy) / (Oxx + 1e-5)). A pixel becomes 0 if 1.01 times its value is below the bilinear value one
    pixel away on either side (places outside are taken at the border). Then the outer 5 pixels are multiplied by
    (distance to the border) / 5, so the outermost is 0. The formula has no answer where Oxy is exactly 0, on a
    perfectly level boundary: there nothing is suppressed, and thinning does the work.

    Args:
        probability: (H, W), floating, in [0, 1]; H and W at least 2.

    Returns:
        float64 (H, W).

    Raises:
        ValueError: for another shape, or values outside [0, 1].
    """
    values = np.ascontiguousarray(probability, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"boundary map of shape {values.shape}; expected (H, W), each at least 2")
    if not (values.min() >= 0 and values.max() <= 1):  # NaN fails as well
        raise ValueError(f"boundary map from {values.min():g} to {values.max():g}; expected probabilities, 0 to 1")
    smooth = values
    for axis in (0, 1):
        smooth = ndimage.convolve1d(smooth, _TRIANGLE, axis=axis, mode="reflect")  # SciPy's name of "symmetric"
    along_y, along_x = np.gradient(smooth)
    o_yy, o_xy = np.gradient(along_y)
    o_xx = np.gradient(along_x, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.mod(np.nan_to_num(np.arctan(o_yy * np.sign(-o_xy) / (o_xx + 1e-5))), np.pi)
    height, width = values.shape
    rows, columns = np.arange(height), np.arange(width)
    border = np.minimum(np.minimum(rows, rows[::-1])[:, None], np.minimum(columns, columns[::-1]))
    return _ridges(values, angle) * np.minimum(border / _DAMPED, 1)


def thin(image: np.ndarray) -> np.ndarray:
    """Thin to lines of one pixel, until nothing changes: bool (H, W) -> bool (H, W).

    The same answer as :func:`skimage.morphology.thin`, in less time where few pixels are set.
    """
    padded = np.pad(np.asarray(image, dtype=bool), 1).view(np.uint8)
    _thin(padded.reshape(-1), np.flatnonzero(padded), padded.shape[1], _thinning_table())
    return padded[1:-1, 1:-1].astype(bool)


def true_edges(labels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Boundaries of a label map: pixels that differ from their right, lower or lower right neighbour, thinned.

    Args:
        labels: (H, W), of any type.
        valid: bool (H, W); pairs of pixels with one that is not valid make no boundary. All are valid by default.

    Returns:
        bool (H, W).
    """
    labels = np.asarray(labels)
    valid = np.ones(labels.shape, dtype=bool) if valid is None else valid
    height, width = labels.shape
    marks = np.zeros(labels.shape, dtype=bool)
    for down, right in ((0, 1), (1, 0), (1, 1)):
        here = (slice(height - down), slice(width - right))
        there = (slice(down, None), slice(right, None))
        marks[here] |= (labels[here] != labels[there]) & valid[here] & valid[there]
    return thin(marks)


def matched_count(found: np.ndarray, truth: np.ndarray, distance: float) -> int:
    """The most pixels that can be matched one to one; :func:`match` says which, and takes longer.

    Args:
        found: bool (H, W).
        truth: bool (H, W).
        distance: pixels; a pair may be matched if it is no farther apart.

    Raises:
        ValueError: for shapes that differ, or a distance below 0.
    """
    starts, candidates = _candidates(found, truth, distance)
    pairs = np.full(len(starts) - 1, -1)
    total = int(np.count_nonzero(truth))
    return int(_extend(starts, candidates, np.arange(len(pairs)), pairs, np.full(total, -1), 0))


def match(found: np.ndarray, truth: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Match found to true pixels one to one: as many as can be, and of these matchings one of the shortest.

    "Shortest" is the sum of Euclidean distances. Solved apart for each connected group of pixels that could be
    matched, by SciPy's sparse assignment; deterministic.

    Args:
        found: bool (H, W).
        truth: bool (H, W).
        distance: pixels; a pair may be matched if it is no farther apart.

    Returns:
        The matched pixels of ``found`` and those of ``truth``, bool (H, W) each, equally many.

    Raises:
        ValueError: for shapes that differ, or a distance below 0.
    """
    starts, candidates = _candidates(found, truth, distance)
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    places, goals = np.argwhere(found), np.argwhere(truth)
    lengths = np.linalg.norm(places[rows] - goals[candidates], axis=1)
    size = len(places) + len(goals)
    graph = sparse.coo_array((np.ones(len(rows)), (rows, len(places) + candidates)), shape=(size, size))
    group = csgraph.connected_components(graph, directed=False)[1][rows]
    order = np.argsort(group, kind="stable")
    matched_found, matched_truth = np.zeros(found.shape, dtype=bool), np.zeros(truth.shape, dtype=bool)
    for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(part):
            used = part[_assign(rows[part], candidates[part], lengths[part], distance)]
            matched_found[tuple(places[rows[used]].T)] = True
            matched_truth[tuple(goals[candidates[used]].T)] = True
    return matched_found, matched_truth


def count_matches(suppressed: np.ndarray, truth: np.ndarray, distance: float) -> Counts:
    """Cut at every one of :data:`THRESHOLDS`, thin, match and count.

    One matching is kept from the highest threshold to the lowest: pixels that vanish leave it, new ones enter, and
    augmenting paths make it largest again. Its size is that of :func:`matched_count`.

    Args:
        suppressed: floating (H, W), of :func:`suppress`.
        truth: bool (H, W), of :func:`true_edges`.
        distance: pixels.

    Raises:
        ValueError: for shapes that differ, or a distance below 0.
    """
    _mention_missing()
    starts, candidates = _candidates(suppressed > THRESHOLDS[0], truth, distance)
    padded = np.pad(np.asarray(suppressed, dtype=np.float64), 1)
    total = int(np.count_nonzero(truth))
    matched, found = _sweep(padded, THRESHOLDS, starts, candidates, total, _thinning_table())
    return Counts(matched, found, total)


@cache
def _mention_missing() -> None:
    """Once."""
    if numba is None:
        text = "without Numba boundaries are matched by plain Python: the same figures, but minutes per image"
        warnings.warn(text, RuntimeWarning, stacklevel=4)


def _assign(rows: np.ndarray, columns: np.ndarray, lengths: np.ndarray, distance: float) -> np.ndarray:
    """Which of a connected group's pairs make up its largest matching of least length: their indices."""
    if len(rows) == 1:
        return np.zeros(1, dtype=np.int64)
    row_ids, row = np.unique(rows, return_inverse=True)
    column_ids, column = np.unique(columns, return_inverse=True)
    if len(row_ids) > len(column_ids):
        row_ids, row, column_ids, column = column_ids, column, row_ids, row
    # Each row may stay alone, at a price that no saving elsewhere can reach; zeros would count as missing, hence 1 +.
    count = len(row_ids)
    price = (1 + distance) * (count + 1)
    weights = np.concatenate((1 + lengths, np.full(count, price)))
    ends = np.concatenate((column, len(column_ids) + np.arange(count)))
    begins = np.concatenate((row, np.arange(count)))
    graph = sparse.csr_array((weights, (begins, ends)), shape=(count, len(column_ids) + count))
    partner = csgraph.min_weight_full_bipartite_matching(graph)[1]
    return np.flatnonzero(partner[row] == column)


def _candidates(found: np.ndarray, truth: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """For each found pixel the true pixels in reach, nearest first, both numbered row by row, as sparse rows."""
    if found.ndim != 2 or found.shape != truth.shape:
        raise ValueError(f"found boundaries of shape {found.shape}, true ones of {truth.shape}; expected one (H, W)")
    if not 0 <= distance < math.inf:
        raise ValueError(f"distance {distance}; expected pixels, 0 or more")
    radius = min(int(distance), max(found.shape))
    width = found.shape[1] + 2 * radius
    numbers = np.full(found.shape, -1, dtype=np.int32)
    numbers[truth] = np.arange(np.count_nonzero(truth))
    numbers = np.pad(numbers, radius, constant_values=-1)
    span = np.arange(-radius, radius + 1)
    length = np.hypot(span[:, None], span).reshape(-1)
    nearest = np.argsort(length, kind="stable")[: np.count_nonzero(length <= distance)]
    steps = (span[:, None] * width + span).reshape(-1)[nearest]
    rows, columns = np.nonzero(found)
    return _neighbours(numbers.reshape(-1), (rows + radius) * width + columns + radius, steps)


@cache
def _thinning_table() -> np.ndarray:
    """Which pixels each of the two half-steps of thinning deletes, by neighbours: bool (2, 256).

    Bits are the neighbours x1..x8 of Lam, Lee and Suen: from the right one, by way of the upper one. Conditions G1
    (one connected component), G2 (neither the end of a line nor inside) and G3 (from one side only).
    """
    table = np.zeros((2, 256), dtype=bool)
    for code in range(256):
        x = [bool(code >> bit & 1) for bit in range(8)]
        crossings = sum(not x[k] and (x[k + 1] or x[(k + 2) % 8]) for k in range(0, 8, 2))
        fewer = min(
            sum(x[k] or x[k + 1] for k in range(0, 8, 2)), sum(x[k + 1] or x[(k + 2) % 8] for k in (0, 2, 4, 6))
        )
        if crossings == 1 and fewer in (2, 3):
            table[0, code] = not (x[0] and (x[1] or x[2] or not x[7]))
            table[1, code] = not (x[4] and (x[5] or x[6] or not x[3]))
    return table


@kernel
def _ridges(values, angle):
    height, width = values.shape
    out = np.zeros_like(values)
    for y in range(height):
        for x in range(width):
            value = values[y, x]
            if value == 0:
                continue
            keep = True
            for sign in (-1, 1):
                v = min(max(y + sign * math.sin(angle[y, x]), 0.0), height - 1.0)
                u = min(max(x + sign * math.cos(angle[y, x]), 0.0), width - 1.0)
                top, left = min(int(v), height - 2), min(int(u), width - 2)
                v, u = v - top, u - left
                upper = (1 - u) * values[top, left] + u * values[top, left + 1]
                lower = (1 - u) * values[top + 1, left] + u * values[top + 1, left + 1]
                if _SLACK * value < (1 - v) * upper + v * lower:
                    keep = False
            if keep:
                out[y, x] = value
    return out


@kernel
def _thin(image, pixels, width, table):
    """Thin in place the flat image with a border of zeros; what is left of ``pixels`` comes first: their number."""
    count = len(pixels)
    doomed = np.empty(count, np.bool_)
    changed = True
    while changed:
        changed = False
        for half in range(2):
            for i in range(count):
                p = pixels[i]
                code = (
                    image[p + 1]
                    | image[p - width + 1] << 1
                    | image[p - width] << 2
                    | image[p - width - 1] << 3
                    | image[p - 1] << 4
                    | image[p + width - 1] << 5
                    | image[p + width] << 6
                    | image[p + width + 1] << 7
                )
                doomed[i] = table[half, code]
            left = 0
            for i in range(count):
                if doomed[i]:
                    image[pixels[i]] = 0
                    changed = True
                else:
                    pixels[left] = pixels[i]
                    left += 1
            count = left
    return count


@kernel
def _neighbours(numbers, places, steps):
    starts = np.zeros(len(places) + 1, np.int64)
    for i in range(len(places)):
        degree = 0
        for step in steps:
            degree += numbers[places[i] + step] >= 0
        starts[i + 1] = starts[i] + degree
    candidates = np.empty(starts[-1], np.int64)
    for i in range(len(places)):
        at = starts[i]
        for step in steps:
            number = numbers[places[i] + step]
            if number >= 0:
                candidates[at] = number
                at += 1
    return starts, candidates


@kernel
def _extend(starts, candidates, active, of_found, of_truth, matched):
    """Enlarge a matching of the ``active`` found pixels, of size ``matched``, until it is largest: its new size.

    ``of_found`` and ``of_truth`` hold partners or -1. From each free pixel the shortest augmenting path is sought,
    breadth first. Where there is none, no later path can pass what was seen: it stays out of all later searches.
    """
    total = len(of_truth)
    seen, parent = np.zeros(total, np.bool_), np.empty(total, np.int64)
    visited, queue = np.empty(total, np.int64), np.empty(total + 1, np.int64)
    for root in active:
        if of_found[root] >= 0:
            continue
        if matched == total:
            break
        queue[0] = root
        head, tail, count, end = 0, 1, 0, -1
        while head < tail and end < 0:
            u = queue[head]
            head += 1
            for k in range(starts[u], starts[u + 1]):
                t = candidates[k]
                if seen[t]:
                    continue
                seen[t] = True
                parent[t] = u
                visited[count] = t
                count += 1
                if of_truth[t] < 0:
                    end = t
                    break
                queue[tail] = of_truth[t]
                tail += 1
        if end < 0:
            continue
        matched += 1
        while end >= 0:
            u = parent[end]
            of_found[u], of_truth[end], end = end, u, of_found[u]
        for i in range(count):
            seen[visited[i]] = False
    return matched


@kernel
def _sweep(values, thresholds, starts, candidates, total, table):
    width = values.shape[1]
    values = values.reshape(-1)
    places = np.flatnonzero(values > thresholds[0])
    image = np.zeros(len(values), np.uint8)
    pixels, active = np.empty(len(places), np.int64), np.empty(len(places), np.int64)
    of_found, of_truth = np.full(len(places), -1), np.full(total, -1)
    matched, found = np.zeros(len(thresholds), np.int64), np.zeros(len(thresholds), np.int64)
    size, passed_before, matched_before, found_before = 0, 0, 0, 0
    for index in range(len(thresholds) - 1, -1, -1):
        passed = 0
        for place in places:
            if values[place] > thresholds[index]:
                image[place] = 1
                pixels[passed] = place
                passed += 1
        if passed > passed_before:  # else the very same pixels as at the threshold above
            _thin(image, pixels[:passed], width, table)
            count = 0
            for vertex in range(len(places)):
                if image[places[vertex]]:
                    active[count] = vertex
                    count += 1
                elif of_found[vertex] >= 0:
                    of_truth[of_found[vertex]] = -1
                    of_found[vertex] = -1
                    size -= 1
            size = _extend(starts, candidates, active[:count], of_found, of_truth, size)
            passed_before, matched_before, found_before = passed, size, count
        matched[index], found[index] = matched_before, found_before
        for place in places:
            image[place] = 0
    return matched, found

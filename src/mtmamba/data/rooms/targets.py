"""Targets that follow from the picture: edges and saliency, by stated rules."""

import math

import numpy as np

from .jit import kernel

CREASE_DEGREES = 45.0
STEP = 0.04  # a depth step counts from this share of the depth
SALIENT_SHARE = 0.6
SALIENT_AREA = 0.25


@kernel
def _off_plane(depth, normals, rays, i, j, y, x):
    """How far pixel (y, x) lies from the tangent plane of pixel (i, j), in metres."""
    total = 0.0
    for e in range(3):
        total += normals[i, j, e] * (depth[y, x] * rays[y, x, e] - depth[i, j] * rays[i, j, e])
    return abs(total)


@kernel
def edges(depth, normals, instance, rays, crease, step):
    """Edges (H, W) uint8 and, of these, the boundaries between instances (H, W) uint8.

    Between a pixel and its right or lower neighbour there is a boundary if they show different instances; a
    crease if their normals differ by more than `crease` (given as the cosine); a step if each is further from
    the other's tangent plane than `step` times the smaller depth. Of the two pixels the nearer one is marked,
    so that the edge lies on the object in front; lines are one to two pixels wide.

    depth (H, W), normals (H, W, 3), instance (H, W) int, rays (H, W, 3): the direction of each pixel, unit
    step in depth; normals and rays in the same frame.
    """
    height, width = instance.shape
    edge, boundary = np.zeros((height, width), dtype=np.uint8), np.zeros((height, width), dtype=np.uint8)
    for i in range(height):
        for j in range(width):
            for way in range(2):
                y, x = (i, j + 1) if way == 0 else (i + 1, j)
                if y >= height or x >= width:
                    continue
                other = instance[i, j] != instance[y, x]
                marked = other
                if not marked:
                    cosine = 0.0
                    for e in range(3):
                        cosine += normals[i, j, e] * normals[y, x, e]
                    marked = cosine < crease
                if not marked:
                    limit = step * min(depth[i, j], depth[y, x])
                    marked = (
                        _off_plane(depth, normals, rays, i, j, y, x) > limit
                        and _off_plane(depth, normals, rays, y, x, i, j) > limit
                    )
                if marked:
                    a, b = (i, j) if depth[i, j] <= depth[y, x] else (y, x)
                    edge[a, b] = 1
                    if other:
                        boundary[a, b] = 1
    return edge, boundary


@kernel
def _salient(image, instance, weight, count):
    """Scores of the instances, (count,), and their areas, (count,) in pixels: see `saliency`."""
    height, width = instance.shape
    sums = np.zeros((height + 1, width + 1, 3))
    area, mean, middle = np.zeros(count), np.zeros((count, 3)), np.zeros((count, 2))
    low, high = np.full((count, 2), 1 << 30), np.full((count, 2), -1)
    for i in range(height):
        for j in range(width):
            k = instance[i, j]
            area[k] += 1.0
            middle[k, 0] += i
            middle[k, 1] += j
            low[k, 0], low[k, 1] = min(low[k, 0], i), min(low[k, 1], j)
            high[k, 0], high[k, 1] = max(high[k, 0], i), max(high[k, 1], j)
            for c in range(3):
                mean[k, c] += image[i, j, c]
                sums[i + 1, j + 1, c] = image[i, j, c] + sums[i, j + 1, c] + sums[i + 1, j, c] - sums[i, j, c]
    score = np.zeros(count)
    for k in range(count):
        if area[k] < 0.002 * height * width or weight[k] == 0.0:
            continue
        tall, wide = high[k, 0] - low[k, 0] + 1, high[k, 1] - low[k, 1] + 1
        top, bottom = max(low[k, 0] - tall // 3 - 1, 0), min(high[k, 0] + tall // 3 + 2, height)
        left, right = max(low[k, 1] - wide // 3 - 1, 0), min(high[k, 1] + wide // 3 + 2, width)
        around = (bottom - top) * (right - left) - area[k]
        contrast = 0.0
        for c in range(3):
            outside = (
                sums[bottom, right, c] - sums[top, right, c] - sums[bottom, left, c] + sums[top, left, c] - mean[k, c]
            )
            contrast += (mean[k, c] / area[k] - outside / max(around, 1.0)) ** 2
        contrast = math.sqrt(contrast / 3.0) / 255.0
        y, x = middle[k, 0] / area[k] / height - 0.5, middle[k, 1] / area[k] / width - 0.5
        central = math.exp(-4.0 * (x * x + y * y))
        share = area[k] / (height * width)
        score[k] = weight[k] * (0.08 + contrast) * central * math.sqrt(min(share, 0.08))
    return score, area


def saliency(image: np.ndarray, instance: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What draws the eye, (H, W) uint8 in {0, 1}.

    Every instance of at least 0.2% of the picture gets the score

        w * (0.08 + contrast) * exp(-4 r²) * sqrt(min(share, 0.08))

    with w its class's weight (`weight`, (K,) per instance; 0 for the room itself), contrast the root mean
    square difference between its mean colour and that of its bounding box widened by a third on all sides
    (itself left out), r the distance of its middle from the centre in units of height and width, and share
    its share of the picture. Salient is the best instance, and in falling order of score every other with at
    least 0.6 of the best, as long as the sum does not exceed 25% of the picture.

    Args:
        image: (H, W, 3) uint8.
        instance: (H, W) int32, values below K.
    """
    score, area = _salient(image, instance, weight, len(weight))
    chosen = np.zeros(len(weight), dtype=np.uint8)
    order = np.argsort(-score, kind="stable")
    covered = 0.0
    for k in order:
        if score[k] <= 0 or score[k] < SALIENT_SHARE * score[order[0]]:
            break
        if covered and covered + area[k] > SALIENT_AREA * instance.size:
            continue
        chosen[k] = 1
        covered += area[k]
    return chosen[instance]

"""From light to picture: tone curve, antialiasing and the sensor's noise.

Antialiasing casts four more rays in pixels where the primitive changes, against the primitives of the neighbourhood
only, and takes their colours from the neighbours (after "subpixel reconstruction antialiasing", Chajdas et al. 2011).
"""

import numpy as np

from .jit import kernel
from .raycast import NEAR, strike


@kernel
def develop(radiance, exposure, balance, vignette):
    """Exposure, white balance (3,), vignette, a filmic shoulder and display gamma: (H, W, 3) float32 in [0,
    1].

    The curve is Hejl and Burgess-Dawson's rational fit of film, which includes the gamma.
    """
    height, width = radiance.shape[:2]
    out = np.empty((height, width, 3), dtype=np.float32)
    for i in range(height):
        for j in range(width):
            y, x = (2.0 * i + 1.0) / height - 1.0, (2.0 * j + 1.0) / width - 1.0
            gain = exposure * (1.0 - vignette * (x * x + y * y))
            for c in range(3):
                v = max(radiance[i, j, c] * gain * balance[c] - 0.004, 0.0)
                out[i, j, c] = v * (6.2 * v + 0.5) / (v * (6.2 * v + 1.7) + 0.06)
    return out


@kernel
def antialias(solids, colours, hit, position, view, intrinsics):
    """Blend pixels that see more than one primitive: colours (H, W, 3) float32 -> a new array."""
    height, width = hit.shape
    out = colours.copy()
    near, total = np.zeros(9, dtype=np.int64), np.zeros(3)
    for i in range(height):
        for j in range(width):
            n = hit[i, j]
            if not (
                hit[max(i - 1, 0), j] != n
                or hit[min(i + 1, height - 1), j] != n
                or hit[i, max(j - 1, 0)] != n
                or hit[i, min(j + 1, width - 1)] != n
            ):
                continue
            found = 0
            for y in range(max(i - 1, 0), min(i + 2, height)):
                for x in range(max(j - 1, 0), min(j + 2, width)):
                    known = False
                    for f in range(found):
                        known = known or near[f] == hit[y, x]
                    if not known:
                        near[found] = hit[y, x]
                        found += 1
            total[:] = 0.0
            for sample in range(4):
                v = i + (0.125 if sample == 0 else -0.375 if sample == 1 else 0.375 if sample == 2 else -0.125)
                u = j + (-0.375 if sample == 0 else -0.125 if sample == 1 else 0.125 if sample == 2 else 0.375)
                a, b = (u - intrinsics[2]) / intrinsics[0], (intrinsics[3] - v) / intrinsics[1]
                dx = a * view[0, 0] + b * view[1, 0] - view[2, 0]
                dy = a * view[0, 1] + b * view[1, 1] - view[2, 1]
                dz = a * view[0, 2] + b * view[1, 2] - view[2, 2]
                best, seen = np.inf, n
                for f in range(found):
                    t = strike(solids, near[f], position[0], position[1], position[2], dx, dy, dz, NEAR)
                    if t < best:
                        best, seen = t, near[f]
                row, column, distance = i, j, np.inf
                for y in range(max(i - 1, 0), min(i + 2, height)):
                    for x in range(max(j - 1, 0), min(j + 2, width)):
                        if hit[y, x] == seen:
                            square = (y - v) ** 2 + (x - u) ** 2
                            if square < distance:
                                row, column, distance = y, x, square
                for c in range(3):
                    total[c] += colours[row, column, c]
            for c in range(3):
                out[i, j, c] = 0.25 * total[c]
    return out


@kernel
def expose(colours, grain, noise):
    """Add the sensor's noise, stronger in the dark, and round to 8 bits: (H, W, 3) uint8. `grain` is unit
    normal."""
    height, width = colours.shape[:2]
    image = np.empty((height, width, 3), dtype=np.uint8)
    for i in range(height):
        for j in range(width):
            shared = grain[i, j, 3]
            for c in range(3):
                value = colours[i, j, c]
                value += noise * (1.3 - 0.8 * value) * (0.8 * shared + 0.6 * grain[i, j, c])
                image[i, j, c] = np.uint8(min(max(value * 255.0 + 0.5, 0.0), 255.0))
    return image

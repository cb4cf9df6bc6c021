"""Colours of classes and of values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

RGB = tuple[int, int, int]


def voc_colormap(count: int, start: int = 0) -> tuple[str, ...]:
    """``count`` colours of PASCAL VOC's map, "#rrggbb", from entry ``start`` on; entry 0 is black.

    Bit 3k+c of the index becomes bit 7-k of channel c, so that near indices differ most.
    """
    colors = []
    for index in range(start, start + count):
        channels = (sum((index >> (3 * k + c) & 1) << (7 - k) for k in range(8)) for c in range(3))
        colors.append("#" + "".join(f"{channel:02x}" for channel in channels))
    return tuple(colors)


def rgb(color: str) -> RGB:
    """ "#rrggbb" -> (r, g, b). ValueError for anything else."""
    if len(color) != 7 or color[0] != "#":
        raise ValueError(f"a colour is written #rrggbb, not {color!r}")
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


@cache
def scale(name: str) -> np.ndarray:
    """Matplotlib's colour map of this name as (256, 3) uint8."""
    from matplotlib import colormaps  # here, as it takes a while to import

    table: np.ndarray = (colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    table.flags.writeable = False
    return table


def paint(values: np.ndarray, valid: np.ndarray, limits: tuple[float, float], name: str) -> np.ndarray:
    """Values (H, W) -> (H, W, 3) uint8 by colour map ``name``; black where not ``valid``."""
    low, high = limits
    share = (np.where(valid, values, low) - low) / max(high - low, 1e-12)
    colors = scale(name)[(share.clip(0, 1) * 255).round().astype(np.uint8)]
    return np.where(valid[..., None], colors, np.uint8(0))


def samples(limits: tuple[float, float], name: str, unit: str, count: int = 5) -> list[tuple[str, RGB]]:
    """``count`` evenly spaced values of a colour scale as text with the unit, and their colours."""
    values = np.linspace(*limits, count)
    colors = paint(values[None], np.ones((1, count), bool), limits, name)[0]
    return [(f"{v:.3g} {unit}".strip(), to_rgb(color)) for v, color in zip(values, colors)]


def to_rgb(color: np.ndarray | Sequence[int]) -> RGB:
    """Three numbers as a tuple of ints."""
    red, green, blue = (int(channel) for channel in color)
    return red, green, blue

"""Colours and materials, drawn by chance from ranges that go together."""

import colorsys
from typing import NamedTuple

from . import textures
from .dice import Dice
from .scene import Material, Vector


def linear(red: float, green: float, blue: float) -> Vector:
    """A display colour as linear albedo, kept inside [0.01, 0.9]: nothing real is black or white."""

    def one(value: float) -> float:
        return min(max(value, 0.0) ** 2.2, 0.9) * 0.98 + 0.01

    return one(red), one(green), one(blue)


def hsv(hue: float, saturation: float, value: float) -> Vector:
    """A linear colour from hue, saturation and value of the display colour."""
    return linear(*colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)))


class Palette(NamedTuple):
    """What the furniture of one room shares."""

    wood: Material
    metal: Material
    fabric: Material
    accent: Material


def plain(colour: Vector, gloss: float = 0.0) -> Material:
    """One colour all over."""
    return Material(textures.PLAIN, colour, colour, gloss=gloss)


def any_colour(
    dice: Dice, saturation: tuple[float, float] = (0.3, 0.9), value: tuple[float, float] = (0.3, 0.95)
) -> Vector:
    """Any hue."""
    return hsv(dice.random(), dice.uniform(*saturation), dice.uniform(*value))


def wood(dice: Dice) -> Material:
    """Furniture wood: from white lacquer over pine to walnut."""
    seed = float(dice.integer(0, 999))
    if dice.chance(0.2):
        value = dice.uniform(0.75, 0.92)
        return plain(hsv(0.1, 0.06, value), gloss=0.15)
    hue, saturation, value = dice.uniform(0.05, 0.1), dice.uniform(0.35, 0.65), dice.uniform(0.3, 0.8)
    first, second = hsv(hue, saturation, value), hsv(hue, saturation * 1.1, value * 0.72)
    kind = textures.PLANKS if dice.chance(0.15) else textures.GRAIN
    return Material(kind, first, second, (1.2, dice.uniform(0.1, 0.2)), dice.uniform(0.05, 0.25), 0.0, seed)


def metal(dice: Dice) -> Material:
    """Legs and poles: steel, black, brass."""
    colour = dice.pick(
        [linear(0.6, 0.6, 0.62), linear(0.15, 0.15, 0.16), linear(0.7, 0.55, 0.25), linear(0.9, 0.9, 0.9)]
    )
    return plain(colour, gloss=0.5)


def fabric(dice: Dice, loud: float = 0.35) -> Material:
    """Cloth: mottled, or with probability `loud` patterned."""
    hue, seed = dice.random(), float(dice.integer(0, 999))
    saturation, value = dice.uniform(0.1, 0.75), dice.uniform(0.25, 0.85)
    first = hsv(hue, saturation, value)
    if dice.chance(loud):
        second = hsv(
            hue + dice.pick([0.0, 0.08, 0.5]),
            saturation * dice.uniform(0.2, 1.0),
            value * dice.uniform(0.5, 1.5),
        )
        kind = dice.pick([textures.STRIPES, textures.CHECKER, textures.DOTS, textures.ZIGZAG])
        period = dice.uniform(0.08, 0.25)
        return Material(kind, first, second, (period, period), 0.0, 0.0, seed)
    return Material(textures.NOISE, first, hsv(hue, saturation, value * 0.82), (0.09, 0.09), 0.0, 0.0, seed)


def wall(dice: Dice) -> Material:
    """Paint, wallpaper or brick, with a skirting board."""
    hue, seed = dice.random(), float(dice.integer(0, 999))
    saturation = dice.uniform(0.02, 0.2) if dice.chance(0.65) else dice.uniform(0.2, 0.5)
    value = dice.uniform(0.65, 0.95)
    first, trim = hsv(hue, saturation, value), dice.uniform(0.07, 0.14)
    kind = dice.weighted([textures.NOISE, textures.STRIPES, textures.DOTS, textures.BRICKS], [0.6, 0.18, 0.1, 0.12])
    if kind == textures.NOISE:
        return Material(kind, first, hsv(hue, saturation, value * 0.93), (0.6, 0.6), 0.0, 0.0, seed, trim)
    if kind == textures.BRICKS:
        if dice.chance(0.5):
            first = hsv(dice.uniform(0.01, 0.06), 0.5, dice.uniform(0.45, 0.65))
        return Material(kind, first, hsv(0.1, 0.05, 0.75), (0.28, 0.1), 0.0, 0.0, seed)
    period = dice.uniform(0.12, 0.35)
    second = hsv(hue + dice.uniform(-0.05, 0.05), saturation * dice.uniform(0.5, 1.8), value * dice.uniform(0.8, 1.0))
    return Material(kind, first, second, (period, period), 0.0, 0.0, seed, trim)


def floor(dice: Dice) -> Material:
    """Planks, tiles, chessboard or carpet."""
    seed = float(dice.integer(0, 999))
    kind = dice.weighted([textures.PLANKS, textures.BRICKS, textures.CHECKER, textures.NOISE], [0.5, 0.15, 0.15, 0.2])
    if kind == textures.PLANKS:
        hue, saturation, value = dice.uniform(0.05, 0.1), dice.uniform(0.25, 0.6), dice.uniform(0.35, 0.8)
        second = hsv(hue, saturation * 1.1, value * 0.7)
        board = dice.uniform(0.1, 0.2)
        return Material(kind, hsv(hue, saturation, value), second, (1.4, board), dice.uniform(0.05, 0.35), 0.0, seed)
    hue, saturation, value = dice.random(), dice.uniform(0.0, 0.3), dice.uniform(0.35, 0.85)
    period = dice.uniform(0.3, 0.6)
    if kind == textures.NOISE:
        return Material(
            kind, hsv(hue, saturation, value), hsv(hue, saturation, value * 0.8), (0.25, 0.25), 0.0, 0.0, seed
        )
    if kind == textures.BRICKS:
        return Material(kind, hsv(hue, saturation, value), hsv(hue, 0.05, 0.4), (period, period), 0.3, 0.0, seed)
    return Material(
        kind, hsv(hue, saturation, value), hsv(hue, saturation, value * 0.5), (period, period), 0.3, 0.0, seed
    )


def rug(dice: Dice) -> Material:
    """A loud cloth or one with a border."""
    if dice.chance(0.5):
        first, second = any_colour(dice), any_colour(dice, (0.1, 0.6))
        return Material(textures.BORDER, first, second, (0.08, 0.08), 0.0, 0.0, float(dice.integer(0, 999)))
    return fabric(dice, loud=0.8)


def painting(dice: Dice) -> Material:
    """A landscape or an abstract, with a painted frame: in relief it would be finer than a pixel."""
    kind = dice.pick([textures.LANDSCAPE, textures.ABSTRACT])
    first, second, seed = any_colour(dice), any_colour(dice), float(dice.integer(0, 999))
    return Material(kind, first, second, (1.0, 1.0), 0.05, 0.0, seed, dice.uniform(0.02, 0.05))


def panels(dice: Dice) -> Material:
    """A panelled door, painted or of wood. The panels are painted on: in relief they would be finer than a pixel."""
    hue, saturation, value = dice.uniform(0.05, 0.12), dice.uniform(0.03, 0.55), dice.uniform(0.4, 0.92)
    first, second = hsv(hue, saturation, value), hsv(hue, saturation, value * 0.9)
    return Material(textures.PANELS, first, second, (0.025, 1.0), 0.1, 0.0, float(dice.integer(0, 999)))


def books(dice: Dice) -> Material:
    """A row of spines."""
    return Material(
        textures.BOOKS,
        (0.5,) * 3,
        (0.5,) * 3,
        (dice.uniform(0.035, 0.06), 1.0),
        0.0,
        0.0,
        float(dice.integer(0, 999)),
    )


def outdoors(dice: Dice, day: bool) -> Material:
    """What the window shows, which shines by itself."""
    if day:
        sky, land = (
            hsv(0.58, dice.uniform(0.1, 0.5), 0.95),
            hsv(dice.uniform(0.2, 0.36), 0.5, dice.uniform(0.3, 0.6)),
        )
        return Material(
            textures.OUTDOORS, sky, land, (1.0, 1.0), 0.0, dice.uniform(1.6, 2.6), float(dice.integer(0, 999))
        )
    sky, land = hsv(0.63, 0.7, 0.3), hsv(0.6, 0.4, 0.12)
    return Material(textures.OUTDOORS, sky, land, (1.0, 1.0), 0.0, 0.25, float(dice.integer(0, 999)))


def skin(dice: Dice) -> Material:
    """From pale to dark."""
    depth = dice.random()
    return plain(linear(0.93 - 0.55 * depth, 0.76 - 0.52 * depth, 0.64 - 0.48 * depth))


def hair(dice: Dice) -> Material:
    """Black, brown, blond, red, grey."""
    colours = [
        (0.08, 0.07, 0.07),
        (0.25, 0.15, 0.08),
        (0.4, 0.25, 0.12),
        (0.8, 0.65, 0.35),
        (0.55, 0.25, 0.1),
        (0.65, 0.65, 0.65),
    ]
    return plain(linear(*dice.pick(colours)))


def palette(dice: Dice) -> Palette:
    """The materials one room's furniture shares."""
    return Palette(wood(dice), metal(dice), fabric(dice), fabric(dice, loud=0.6))

"""Smaller things: lamps, plants, balls, boxes, rugs, and what belongs on a wall; built as in `furniture`."""

import math

from . import palette
from .dice import Dice
from .furniture import Size
from .palette import Palette
from .scene import Group, Material, Vector


def floor_lamp(group: Group, dice: Dice, look: Palette, size: Size, shade: Material) -> Vector:
    """A standing lamp; a low one is a table lamp. Returns where its light is."""
    width, _, height = size
    radius = width / 2
    tall = min(0.3, 0.5 * height)
    group.cylinder((0, 0, 0), (0, 0, 0.025), radius * 0.75, look.metal)
    if height > 0.8:
        group.cylinder((0, 0, 0.02), (0, 0, height - tall), 0.016, look.metal)
    else:
        group.sphere((0, 0, 0.3 * height), (0.35 * radius, 0.35 * radius, 0.28 * height), look.accent)
        group.cylinder((0, 0, 0.4 * height), (0, 0, height - tall), 0.012, look.metal)
    if dice.chance(0.3):
        group.sphere((0, 0, height - radius), radius, shade)
    else:
        group.cylinder((0, 0, height - tall), (0, 0, height), radius, shade)
    return group.world((0.0, 0.0, height - tall / 2))


def pendant(group: Group, dice: Dice, look: Palette, drop: float, shade: Material) -> Vector:
    """A lamp that hangs `drop` below the group's origin. Returns where its light is."""
    radius = dice.uniform(0.13, 0.24)
    group.cylinder((0, 0, -drop), (0, 0, 0), 0.01, look.metal)
    if dice.chance(0.5):
        group.sphere((0, 0, -drop - radius * 0.8), (radius, radius, radius * 0.85), shade)
    else:
        group.cylinder((0, 0, -drop - radius), (0, 0, -drop), radius * 1.2, shade)
    return group.world((0.0, 0.0, -drop - radius - 0.05))


def plant(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """A pot with leaves on stems, or a little tree."""
    width, _, height = size
    pot = min(0.4 * height, 0.35)
    radius = min(width * 0.32, 0.5 * pot)
    clay = palette.plain(
        palette.hsv(dice.pick([0.04, 0.04, dice.random()]), dice.uniform(0.1, 0.6), dice.uniform(0.4, 0.9))
    )
    group.cylinder((0, 0, 0), (0, 0, pot), radius, clay)
    group.cylinder((0, 0, pot - 0.05), (0, 0, pot + 0.005), radius * 1.12, clay)
    hue, value = dice.uniform(0.22, 0.4), dice.uniform(0.3, 0.65)
    stem = palette.plain(palette.hsv(0.1, 0.5, 0.3))
    crown = height - pot
    if dice.chance(0.35):
        group.capsule((0, 0, pot), (0, 0, pot + 0.5 * crown), 0.02, stem)
        for _ in range(7):
            a, r = dice.uniform(0, 2 * math.pi), dice.uniform(0.0, 0.25) * width
            ball = dice.uniform(0.13, 0.22) * width + 0.03
            leaf = palette.plain(palette.hsv(hue + dice.uniform(-0.03, 0.03), 0.6, value * dice.uniform(0.8, 1.2)))
            spot = (r * math.cos(a), r * math.sin(a), pot + crown * dice.uniform(0.55, 0.85))
            group.sphere(spot, (ball, ball, ball * 0.9), leaf)
        return
    leaves = dice.integer(9, 14)
    for k in range(leaves):
        a = 2.4 * k + dice.uniform(-0.3, 0.3)  # the golden angle, as plants do
        rise = dice.uniform(0.35, 1.0) * crown
        out = (0.12 + 0.38 * math.sqrt(1 - (rise / crown) ** 2 * 0.8)) * width * dice.uniform(0.6, 1.0)
        tip = (out * math.cos(a), out * math.sin(a), pot + rise * 0.85)
        leaf = palette.plain(
            palette.hsv(hue + dice.uniform(-0.03, 0.03), dice.uniform(0.5, 0.8), value * dice.uniform(0.75, 1.25)),
            0.1,
        )
        long = dice.uniform(0.3, 0.45) * min(width, crown)
        if k % 2 == 0:
            group.capsule((0, 0, pot), (tip[0] * 0.8, tip[1] * 0.8, tip[2]), 0.008, stem)
        group.sphere(tip, (0.38 * long, long * 0.75, 0.02), leaf, a - math.pi / 2, dice.uniform(-0.7, 0.5))


def ball(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """A ball, often two-coloured."""
    radius = size[2] / 2
    if dice.chance(0.5):
        material = palette.plain(palette.any_colour(dice, (0.5, 0.95), (0.4, 0.95)), 0.5)
    else:
        material = palette.fabric(dice, loud=1.0)
    group.sphere((0, 0, radius), radius, material, dice.uniform(0, 6), dice.uniform(0, 3))


def box(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """A cardboard box with tape, a crate or a coloured cube."""
    width, depth, height = size
    kind = dice.random()
    if kind < 0.45:
        card = palette.plain(palette.hsv(0.09, dice.uniform(0.3, 0.5), dice.uniform(0.5, 0.75)))
        tape = palette.plain(palette.hsv(0.1, 0.25, 0.85))
        group.box((0, 0, height / 2), size, card)
        group.box((0, 0, height / 2), (0.05, depth + 0.004, height + 0.004), tape)
        return
    material = palette.wood(dice) if kind < 0.6 else palette.fabric(dice, loud=0.5)
    group.box((0, 0, height / 2), size, material)
    if dice.chance(0.5):
        group.box((0, 0, height - 0.02), (width + 0.03, depth + 0.03, 0.05), palette.plain(palette.any_colour(dice)))


def rug(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """A rectangular or round rug."""
    width, depth, height = size
    material = palette.rug(dice)
    if dice.chance(0.25):
        group.cylinder((0, 0, 0), (0, 0, height), min(width, depth) / 2, material)
    else:
        group.box((0, 0, height / 2), size, material)


def window(group: Group, dice: Dice, look: Palette, size: Size, view: Material) -> None:
    """A window with panes, frame, sill and perhaps curtains; origin at the middle of its lower edge, on the
    wall."""
    width, _, height = size
    frame, bar = palette.plain(palette.hsv(0.1, dice.uniform(0.0, 0.1), dice.uniform(0.6, 0.95))), 0.05
    group.box((0, -0.005, height / 2), (width, 0.01, height), view)
    for side in (-1, 1):
        group.box((side * (width + bar) / 2, -0.03, height / 2), (bar, 0.06, height + 2 * bar), frame)
        group.box((0, -0.03, height / 2 + side * (height + bar) / 2), (width, 0.06, bar), frame)
    group.box((0, -0.02, height / 2), (bar, 0.04, height), frame)
    if dice.chance(0.6):
        group.box((0, -0.02, height * dice.uniform(0.5, 0.7)), (width, 0.04, bar * 0.8), frame)
    group.box((0, -0.08, -bar), (width + 0.16, 0.16, 0.03), frame)
    if dice.chance(0.35):
        cloth = palette.fabric(dice, loud=0.3)
        low = -dice.uniform(0.1, 0.6)
        for side in (-1, 1):
            for k in range(3):  # three folds
                x = side * (width / 2 + 0.02 + 0.09 * k)
                group.cylinder((x, -0.13, low), (x, -0.13, height + 0.12), 0.055, cloth)
        group.cylinder(
            (-width / 2 - 0.35, -0.13, height + 0.12),
            (width / 2 + 0.35, -0.13, height + 0.12),
            0.015,
            look.metal,
        )


def door(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """A closed door with frame and handle, smooth or with panels."""
    width, _, height = size
    leaf = palette.wood(dice) if dice.chance(0.5) else palette.panels(dice)
    frame = dice.pick([leaf, palette.plain(palette.hsv(0.1, 0.05, dice.uniform(0.6, 0.95)))])
    bar = 0.07
    group.box((0, -0.015, height / 2), (width, 0.03, height), leaf)
    for side in (-1, 1):
        group.box((side * (width + bar) / 2, -0.025, (height + bar) / 2), (bar, 0.05, height + bar), frame)
    group.box((0, -0.025, height + bar / 2), (width, 0.05, bar), frame)
    x = dice.sign() * width * 0.4
    group.capsule((x, -0.07, 1.02), (x * 0.72, -0.07, 1.02), 0.014, look.metal)
    group.cylinder((x, -0.03, 1.02), (x, -0.07, 1.02), 0.018, look.metal)


def picture(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """A framed picture; origin in its middle, on the wall."""
    width, depth, height = size
    group.box((0, -depth / 2, 0), (width, depth, height), palette.painting(dice))

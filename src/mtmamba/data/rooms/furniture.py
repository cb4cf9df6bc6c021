"""Furniture: each builder adds one object's primitives to its group, within a given size (width, depth,
height).

The object's frame: origin on the floor under its middle, front towards -y, z up; things on a wall have their
back at y = 0. Builders return the seats, as (x, y, height).
"""

import math

from . import palette
from .dice import Dice
from .palette import Palette
from .scene import Group, Material, Vector

Size = tuple[float, float, float]


def _legs(group: Group, size: Size, thick: float, material: Material, round_: bool, inset: float = 0.0) -> None:
    """Four legs in the corners, from the floor to the height size[2]."""
    x, y = size[0] / 2 - thick / 2 - inset, size[1] / 2 - thick / 2 - inset
    for i in (-x, x):
        for j in (-y, y):
            if round_:
                group.cylinder((i, j, 0.0), (i, j, size[2]), thick / 2, material)
            else:
                group.box((i, j, size[2] / 2), (thick, thick, size[2]), material)


def table(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """A rectangular table on four legs, or a round one on a foot."""
    width, depth, height = size
    top = dice.pick([look.wood, look.wood, palette.wood(dice)])
    if dice.chance(0.3):
        radius = min(width, depth) / 2
        group.cylinder((0, 0, height - 0.04), (0, 0, height), radius, top)
        group.cylinder((0, 0, 0.03), (0, 0, height - 0.04), 0.05, look.metal)
        group.cylinder((0, 0, 0), (0, 0, 0.03), radius * 0.5, look.metal)
        return
    thick = dice.uniform(0.03, 0.06)
    group.box((0, 0, height - thick / 2), (width, depth, thick), top)
    legs = dice.pick([top, look.metal])
    _legs(group, (width, depth, height - thick), dice.uniform(0.04, 0.08), legs, dice.chance(0.4), 0.03)
    if dice.chance(0.5):
        group.box((0, 0, height - thick - 0.05), (width - 0.12, depth - 0.12, 0.1), top)


def chair(group: Group, dice: Dice, look: Palette, size: Size) -> list[Vector]:
    """A chair with four legs or an office chair; `size` is that of the seat, its height the seat's."""
    width, depth, height = size
    cover = dice.pick([look.wood, look.fabric, look.accent])
    frame = dice.pick([look.wood, look.metal])
    thick = dice.uniform(0.03, 0.08)
    group.box((0, 0, height - thick / 2), (width, depth, thick), cover)
    back = dice.uniform(0.4, 0.55)
    lean = dice.uniform(0.05, 0.2)
    y = depth / 2 - 0.02
    top = y + math.tan(lean) * back
    if dice.chance(0.25):  # office chair
        group.cylinder((0, 0, 0.08), (0, 0, height - thick), 0.03, look.metal)
        for k in range(5):
            a = 2 * math.pi * k / 5 + 0.3
            group.capsule((0, 0, 0.1), (0.26 * math.cos(a), 0.26 * math.sin(a), 0.04), 0.022, look.metal)
        group.box((0, (y + top) / 2, height + back * 0.6), (width, 0.06, back * 0.8), cover, pitch=-lean)
        group.box((0, y, height + 0.06), (0.06, 0.03, 0.2), look.metal, pitch=-lean)
        return [(0.0, 0.02, height)]
    _legs(group, (width, depth, height - thick), 0.04, frame, dice.chance(0.5))
    if dice.chance(0.5):
        group.box((0, (y + top) / 2, height + back / 2), (width, 0.035, back), cover, pitch=-lean)
    else:
        for side in (-1, 1):
            x = side * (width / 2 - 0.02)
            group.capsule((x, y, height), (x, top, height + back), 0.02, frame)
        for k in range(3):
            share = (k + 1.2) / 3.4
            spot = (0.0, y + (top - y) * share, height + back * share)
            group.box(spot, (width - 0.04, 0.02, 0.07), cover, pitch=-lean)
    return [(0.0, 0.02, height)]


def sofa(group: Group, dice: Dice, look: Palette, size: Size) -> list[Vector]:
    """A sofa for one to three, with armrests, cushions and perhaps a pillow."""
    width, depth, height = size
    cover, seat, arm = look.fabric, 0.42, dice.uniform(0.12, 0.2)
    group.box((0, 0, 0.18), (width - 0.012, depth - 0.012, 0.2), cover)  # no two faces in one plane
    _legs(group, (width, depth, 0.08), 0.05, look.metal, True, 0.04)
    back = 0.2
    lean = dice.uniform(0.05, 0.2)
    group.box((0, depth / 2 - back / 2, 0.28 + (height - 0.28) / 2), (width, back, height - 0.28), cover)
    for side in (-1, 1):
        x = side * (width - arm) / 2
        group.box((x, -0.01, 0.4), (arm, depth - 0.02, 0.28), cover)
        if dice.chance(0.5):
            group.capsule((x, -depth / 2 + arm / 2, 0.55), (x, depth / 2 - arm / 2, 0.55), arm / 2, cover)
    count = max(1, round((width - 2 * arm) / 0.65))
    step = (width - 2 * arm) / count
    seats = []
    for k in range(count):
        x = -width / 2 + arm + (k + 0.5) * step
        group.box((x, -back / 2 - 0.01, 0.35), (step - 0.02, depth - back, 0.14), cover)
        group.box((x, depth / 2 - back - 0.05, 0.6), (step - 0.02, 0.12, height - 0.42), cover, pitch=-lean)
        seats.append((x, -0.02, seat))
    for side in (-1, 1):
        if dice.chance(0.4):
            x = side * (width / 2 - arm - 0.22)
            group.box(
                (x, depth / 2 - back - 0.2, 0.6),
                (0.38, 0.12, 0.36),
                look.accent,
                dice.uniform(-0.4, 0.4),
                -0.35,
            )
    return seats


def bed(group: Group, dice: Dice, look: Palette, size: Size) -> list[Vector]:
    """A bed whose head is at the wall (+y): frame, mattress, blanket, pillows."""
    width, depth, height = size
    sheet = palette.plain(palette.hsv(dice.random(), dice.uniform(0.0, 0.15), dice.uniform(0.8, 0.95)))
    group.box((0, 0, 0.15), (width, depth, 0.2), look.wood)
    group.box((0, -0.02, height - 0.11), (width - 0.06, depth - 0.08, 0.22), sheet)
    cover = depth * dice.uniform(0.55, 0.72)
    group.box((0, -(depth - cover) / 2, height - 0.07), (width + 0.02, cover, 0.2), look.fabric)
    if dice.chance(0.5):
        group.box((0, -depth / 2 + cover + 0.02, height + 0.01), (width + 0.03, 0.22, 0.06), look.accent)
    head = dice.uniform(0.8, 1.2)
    group.box((0, depth / 2 - 0.03, head / 2), (width + 0.04, 0.06, head), look.wood)
    count = 1 if width < 1.2 else 2
    for k in range(count):
        x = (k - (count - 1) / 2) * width * 0.47
        group.sphere((x, depth / 2 - 0.3, height + 0.09), (min(0.33, width * 0.4), 0.2, 0.09), sheet, 0.0, 0.25)
    return [(dice.uniform(-0.2, 0.2) * width, -depth / 2 + 0.18, height + 0.03)]


def shelf(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """An open bookcase, or a cupboard with doors below."""
    width, depth, height = size
    wood, thick = palette.wood(dice), 0.03
    for side in (-1, 1):
        group.box((side * (width - thick) / 2, 0, height / 2), (thick, depth, height), wood)
    group.box((0, depth / 2 - 0.01, height / 2), (width - 0.02, 0.02, height), wood)
    rows = max(2, round(height / 0.36))
    closed = dice.integer(1, 2) if rows > 3 and dice.chance(0.35) else 0
    step = (height - thick) / rows
    for k in range(rows + 1):
        group.box((0, 0, thick / 2 + k * step), (width - 0.004, depth - 0.01, thick), wood)
    inner = width - 2 * thick
    if closed:
        for side in (-1, 1):
            group.box(
                (side * inner / 4, -depth / 2 + 0.01, closed * step / 2 + 0.02),
                (inner / 2 - 0.01, 0.03, closed * step - 0.04),
                wood,
            )
            group.sphere((side * 0.05, -depth / 2 - 0.015, closed * step / 2), 0.018, look.metal)
    for k in range(closed, rows):
        base = thick + k * step
        room = step - thick
        fill = dice.random()
        if fill < 0.7:  # books, leaving some free
            share = dice.uniform(0.4, 0.97)
            tall, x = room * dice.uniform(0.7, 0.95), dice.sign() * inner * (1 - share) / 2
            group.box((x, 0.02, base + tall / 2), (inner * share, depth * 0.7, tall), palette.books(dice))
            if share < 0.65:
                radius = min(0.4 * room, 0.1)
                spot = (-x * 1.6 / (1 - share) * 0.5, -0.02, base + radius)
                group.sphere(spot, radius, palette.plain(palette.any_colour(dice), 0.3))
        elif fill < 0.9:
            for side in (-1, 1):
                tall = room * dice.uniform(0.4, 0.85)
                material = palette.plain(palette.any_colour(dice))
                group.box((side * inner / 4, 0, base + tall / 2), (inner * 0.36, depth * 0.7, tall), material)

"""Furniture: each builder adds one object's primitives to its group, within a given size (width, depth,
height).

The object's frame: origin on the floor under its middle, front towards -y, z up; things on a wall have their
back at y = 0. Builders return what the sampler must know: seats (x, y, height), or the place of a light.
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
    group.box((0, 0, 0.18), (width, depth, 0.2), cover)
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
        group.box((0, -depth / 2 + cover + 0.02, height + 0.01), (width + 0.02, 0.22, 0.06), look.accent)
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
        group.box((0, 0, thick / 2 + k * step), (width, depth - 0.01, thick), wood)
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
    """A closed door with frame, panels or a glass, and a handle."""
    width, _, height = size
    leaf = palette.wood(dice)
    frame = dice.pick([leaf, palette.plain(palette.hsv(0.1, 0.05, dice.uniform(0.6, 0.95)))])
    bar = 0.07
    group.box((0, -0.015, height / 2), (width, 0.03, height), leaf)
    for side in (-1, 1):
        group.box((side * (width + bar) / 2, -0.025, (height + bar) / 2), (bar, 0.05, height + bar), frame)
    group.box((0, -0.025, height + bar / 2), (width, 0.05, bar), frame)
    for k in range(dice.integer(0, 3)):
        z = (k + 0.5) * height / 3 + 0.02
        group.box((0, -0.03, z), (width * 0.62, 0.02, height / 3 - 0.2), leaf)
    x = dice.sign() * width * 0.4
    group.capsule((x, -0.07, 1.02), (x * 0.72, -0.07, 1.02), 0.014, look.metal)
    group.cylinder((x, -0.03, 1.02), (x, -0.07, 1.02), 0.018, look.metal)


def picture(group: Group, dice: Dice, look: Palette, size: Size) -> None:
    """A framed picture; origin in its middle, on the wall."""
    width, _, height = size
    frame = dice.pick([look.wood, look.metal, palette.wood(dice)])
    bar = dice.uniform(0.02, 0.06)
    group.box((0, -0.01, 0), (width, 0.02, height), palette.painting(dice))
    for side in (-1, 1):
        group.box((side * (width + bar) / 2, -0.018, 0), (bar, 0.036, height + 2 * bar), frame)
        group.box((0, -0.018, side * (height + bar) / 2), (width, 0.036, bar), frame)

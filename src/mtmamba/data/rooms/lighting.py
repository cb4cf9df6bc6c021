"""Light by chance: the window's, the sun's, a ceiling lamp's; and how the camera is set for it."""

import math
from collections.abc import Sequence

from . import objects, palette
from .classes import LAMP
from .dice import Dice
from .furniture import Size
from .palette import Palette
from .scene import LAMP_LIGHT, SUN_LIGHT, WINDOW_LIGHT, Group, Light, Scene, Vector

MOST = 3  # lights per room: each costs a ray per pixel


def light(scene: Scene, dice: Dice, look: Palette, bright: Sequence[tuple[Group, Size]]) -> None:
    """Light a furnished room, by day through the first of the `bright` windows and their sizes; set the camera."""
    if bright:
        scene.lights[:0] = daylight(dice, *bright[0])
    if dice.chance(0.6) or not scene.lights:
        scene.lights.append(ceiling_lamp(scene, dice, look))
    del scene.lights[MOST:]
    level, tint = dice.uniform(0.22, 0.4), dice.uniform(-0.06, 0.06)
    below = (level * 0.8, level * 0.74, level * 0.66)
    scene.ambient = (below, (level * (1 + tint), level, level * (1 - tint)))
    scene.exposure = dice.uniform(0.65, 1.7)
    scene.white_balance = (dice.uniform(0.92, 1.08), 1.0, dice.uniform(0.9, 1.1))
    scene.noise = dice.uniform(0.004, 0.025)


def lamp(place: Vector, radius: float, power: float, warm: float, owner: int) -> Light:
    """A round lamp's light, white with `warm` 0 and orange with 1."""
    colour = (power, power * (1.0 - 0.45 * warm), power * (1.0 - warm))
    return Light(LAMP_LIGHT, place, (radius, 0.0, 0.0), (0.0, radius, 0.0), colour, owner=owner)


def ceiling_lamp(scene: Scene, dice: Dice, look: Palette) -> Light:
    """A light below the ceiling, mostly with a lamp to be seen."""
    width, length, height = scene.extent
    place = (width * dice.uniform(0.35, 0.65), length * dice.uniform(0.35, 0.7), height - 0.12)
    owner, warm = -1, dice.uniform(0.0, 0.4)
    if dice.chance(0.7):
        group = scene.group(LAMP, (place[0], place[1], height))
        shade = palette.plain(palette.hsv(dice.uniform(0.06, 0.14), dice.uniform(0.0, 0.4), 0.95))
        drop = max(min(dice.uniform(0.15, 0.7), height - 2.2), 0.1)
        place = objects.pendant(group, dice, look, drop, shade._replace(emission=2.5))
        owner = group.instance
    return lamp(place, 0.2, dice.uniform(2.0, 4.0), warm, owner)


def daylight(dice: Dice, window: Group, pane: Size) -> list[Light]:
    """The light of the sky through a window, and perhaps the sun's."""
    middle, out = window.world((0.0, -0.02, pane[2] / 2)), window.world((0.0, -1.02, pane[2] / 2))
    inward = (out[0] - middle[0], out[1] - middle[1], 0.0)
    along = (-inward[1] * pane[0] / 2, inward[0] * pane[0] / 2, 0.0)
    up = (0.0, 0.0, pane[2] / 2)
    power = dice.uniform(2.5, 5.0)
    sky = Light(WINDOW_LIGHT, middle, along, up, (power * 0.92, power, power * 1.08), inward, window.instance)
    if dice.chance(0.4):
        return [sky]
    side, fall = dice.uniform(-0.7, 0.7), -dice.uniform(0.5, 1.1)
    x, y = inward[0] - inward[1] * side, inward[1] + inward[0] * side
    norm = math.sqrt(x * x + y * y + fall * fall)
    strong = dice.uniform(2.0, 4.0)
    ray = (x / norm, y / norm, fall / norm)
    return [sky, Light(SUN_LIGHT, middle, along, up, (strong, strong * 0.9, strong * 0.75), ray)]

"""People: capsules on a skeleton, with clothes, in several poses, each piece labelled with its body part.

Parts: 1 head (with hair), 2 torso (with neck and hips), 3 upper arm, 4 lower arm and hand, 5 upper leg, 6
lower leg and foot. Lengths are shares of the stature, after the usual tables of body proportions.
"""

import math
from typing import NamedTuple

from . import palette
from .classes import HEAD, LOWER_ARM, LOWER_LEG, PERSON, TORSO, UPPER_ARM, UPPER_LEG
from .dice import Dice
from .scene import Group, Material, Scene, Vector

POSES = ("stand", "walk", "arms up", "wave", "point", "hold", "hips", "crouch")


class Limb(NamedTuple):
    """Two angles per bone in radians: `swing` forward from hanging down, `spread` sideways from the body."""

    swing: float
    spread: float
    bend: float  # of elbow or knee, added to the swing of the lower bone (knees bend backward: negative)
    turn: float = 0.0  # added to the spread of the lower bone


class Pose(NamedTuple):
    """Left and right arm, left and right leg, the lean of the trunk forward and of the head sideways and
    forward."""

    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]
    lean: float = 0.0
    tilt: float = 0.0
    nod: float = 0.0


class Clothes(NamedTuple):
    """Materials of one person's pieces."""

    skin: Material
    hair: Material
    shirt: Material
    sleeve: Material
    trousers: Material
    shin: Material
    shoes: Material
    eyes: Material


def clothes(dice: Dice) -> Clothes:
    """Shirt with long or short sleeves, trousers or shorts, shoes."""
    skin = palette.skin(dice)
    shirt = palette.fabric(dice, loud=0.4)
    trousers = palette.fabric(dice, loud=0.08)
    sleeve = shirt if dice.chance(0.45) else skin
    shin = trousers if dice.chance(0.7) else skin
    shoes = palette.plain(palette.any_colour(dice, (0.0, 0.7), (0.1, 0.9)))
    return Clothes(
        skin, palette.hair(dice), shirt, sleeve, trousers, shin, shoes, palette.plain((0.02, 0.02, 0.03), 0.3)
    )


def pose(dice: Dice, name: str) -> Pose:
    """A pose by name ("sit", "lie" or one of POSES), with some play in every joint.

    Raises:
        ValueError: an unknown name.
    """

    def play(centre: float, spread: float = 0.12) -> float:
        return centre + dice.uniform(-spread, spread)

    def arm() -> Limb:
        return Limb(play(0.0, 0.2), play(0.14, 0.08), play(0.25, 0.2))

    def leg() -> Limb:
        return Limb(play(0.0, 0.06), play(0.07, 0.05), play(-0.05, 0.05))

    arms, legs, lean = (arm(), arm()), (leg(), leg()), play(0.02, 0.04)
    if name == "walk":
        stride = play(0.45, 0.15) * dice.sign()
        legs = (Limb(stride, 0.05, play(-0.15)), Limb(-stride, 0.05, play(-0.35, 0.2)))
        arms = (Limb(-stride, 0.1, play(0.4)), Limb(stride, 0.1, play(0.4)))
        lean = play(0.07, 0.04)
    elif name == "arms up":
        arms = (
            Limb(play(2.6, 0.4), play(0.3, 0.2), play(0.3)),
            Limb(play(2.6, 0.4), play(0.3, 0.2), play(0.3)),
        )
    elif name == "wave":
        arms = (arm(), Limb(play(0.4, 0.2), play(1.4, 0.2), play(0.2), play(1.1, 0.4)))
    elif name == "point":
        arms = (arm(), Limb(play(1.4, 0.2), play(0.2, 0.4), play(0.1, 0.1)))
    elif name == "hold":
        arms = (Limb(play(0.4), play(0.1), play(1.2)), Limb(play(0.4), play(0.1), play(1.2)))
    elif name == "hips":
        arms = (Limb(play(-0.2), play(0.75), 0.5, play(-1.4)), Limb(play(-0.2), play(0.75), 0.5, play(-1.4)))
    elif name == "crouch":
        legs = (Limb(play(1.5), 0.2, play(-2.0)), Limb(play(1.2), 0.2, play(-2.1)))
        arms = (Limb(play(0.9), 0.1, play(0.4)), Limb(play(0.9), 0.1, play(0.4)))
        lean = play(0.4)
    elif name == "sit":
        legs = (
            Limb(play(1.45, 0.08), play(0.15, 0.1), play(-1.4)),
            Limb(play(1.45, 0.08), play(0.15, 0.1), play(-1.4)),
        )
        arms = (
            Limb(play(0.5, 0.2), play(0.12), play(0.8, 0.3)),
            Limb(play(0.5, 0.2), play(0.12), play(0.8, 0.3)),
        )
        lean = play(-0.05, 0.15)
    elif name not in POSES:
        raise ValueError(f"unknown pose {name!r}; known: sit, {', '.join(POSES)}")
    if dice.chance(0.5):
        arms, legs = arms[::-1], legs[::-1]
    return Pose(arms, legs, lean, play(0.0, 0.15), play(0.05, 0.2))


def person(
    scene: Scene, dice: Dice, at: Vector, yaw: float, stature: float, name: str, seat: float | None = None
) -> Group:
    """Add a person whose hips are above `at` (on the floor); facing -y, turned by yaw.

    With `seat`, a height in metres, the hips rest there; otherwise the lower foot stands on the floor.
    """
    group = scene.group(PERSON, at, yaw)
    look, stance, build = clothes(dice), pose(dice, name), dice.uniform(0.9, 1.2)
    thigh, shin = 0.245 * stature, 0.235 * stature
    foot = 0.035 * stature
    if seat is None:
        reach = max(
            thigh * math.cos(leg.swing) * math.cos(leg.spread) + shin * math.cos(leg.swing + leg.bend)
            for leg in stance.legs
        )
        hips = reach + foot
    else:
        hips = seat + 0.075 * stature
    _trunk(group, look, stance, stature, build, hips)
    for side, leg in zip((1.0, -1.0), stance.legs):
        start = (side * 0.052 * stature, 0.0, hips)
        knee = _reach(start, thigh, leg.swing, leg.spread, side)
        x, y, z = _reach(knee, shin, leg.swing + leg.bend, leg.spread + leg.turn, side)
        sole = 0.03 * stature  # the feet stay on the floor
        ankle = (x, y, max(z, sole))
        group.capsule(start, knee, 0.05 * stature * build, look.trousers, UPPER_LEG)
        group.capsule(knee, ankle, 0.034 * stature * build, look.shin, LOWER_LEG)
        toe, lift = 0.09 * stature, max(0.0, -(leg.swing + leg.bend)) * 0.6
        tip = (x + side * 0.02, y - toe * math.cos(lift), max(z - toe * math.sin(lift), sole))
        group.capsule(ankle, tip, sole, look.shoes, LOWER_LEG)
    return group


def _trunk(group: Group, look: Clothes, stance: Pose, stature: float, build: float, hips: float) -> None:
    """Hips, chest, neck, head and arms."""

    def spine(height: float, across: float = 0.0, ahead: float = 0.0) -> Vector:
        """A point of the leaning trunk, `height` above the hips and `ahead` of it, in shares of the
        stature."""
        c, s = math.cos(stance.lean), math.sin(stance.lean)
        return (
            across * stature,
            -(height * s + ahead * c) * stature,
            hips + (height * c - ahead * s) * stature,
        )

    wide = 0.085 * build
    group.capsule(spine(0.01, -0.04), spine(0.01, 0.04), 0.068 * stature * build, look.trousers, TORSO)
    group.capsule(spine(0.09, -0.03), spine(0.09, 0.03), 0.068 * stature * build, look.shirt, TORSO)
    group.sphere(
        spine(0.17),
        (wide * 1.18 * stature, 0.072 * stature * build, 0.15 * stature),
        look.shirt,
        0.0,
        stance.lean,
        TORSO,
    )
    group.capsule(spine(0.265, -wide), spine(0.265, wide), 0.042 * stature, look.shirt, TORSO)
    group.capsule(spine(0.28), spine(0.34), 0.03 * stature, look.skin, TORSO)
    head = spine(0.405, 0.05 * stance.tilt, 0.03 + 0.05 * stance.nod)
    radii = (0.043 * stature, 0.052 * stature, 0.064 * stature)
    group.sphere(head, radii, look.skin, 0.0, stance.nod, HEAD)
    top = (head[0], head[1] + 0.02 * stature, head[2] + 0.02 * stature)
    group.sphere(top, (radii[0] * 1.1, radii[1] * 1.02, radii[2] * 0.95), look.hair, 0.0, stance.nod, HEAD)
    face = (head[0], head[1] - radii[1], head[2])
    group.sphere((face[0], face[1], face[2] - 0.01), 0.011 * stature, look.skin, part=HEAD)
    for side in (-1.0, 1.0):
        eye = (face[0] + side * 0.018 * stature, face[1] + 0.006 * stature, face[2] + 0.008 * stature)
        group.sphere(eye, 0.006 * stature, look.eyes, part=HEAD)
    upper, lower = 0.17 * stature, 0.145 * stature
    for side, arm in zip((1.0, -1.0), stance.arms):
        start = spine(0.265, side * (wide + 0.025))
        elbow = _reach(start, upper, arm.swing + stance.lean, arm.spread, side)
        wrist = _reach(elbow, lower, arm.swing + stance.lean + arm.bend, arm.spread + arm.turn, side)
        hand = _reach(wrist, 0.04 * stature, arm.swing + stance.lean + arm.bend, arm.spread + arm.turn, side)
        group.capsule(start, elbow, 0.031 * stature * build, look.shirt, UPPER_ARM)
        group.capsule(elbow, wrist, 0.024 * stature * build, look.sleeve, LOWER_ARM)
        group.sphere(hand, 0.029 * stature, look.skin, part=LOWER_ARM)


def _reach(start: Vector, length: float, swing: float, spread: float, side: float) -> Vector:
    """The far end of a bone that hangs from start, swung forward (-y) and spread to its side."""
    x = side * math.sin(spread)
    down, ahead = math.cos(spread) * math.cos(swing), math.cos(spread) * math.sin(swing)
    return start[0] + length * x, start[1] - length * ahead, start[2] - length * down

"""Plausible rooms by chance: shell, camera, openings, people, furniture, light, in that order."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from . import classes, furniture, lighting, objects, palette, people
from .dice import Dice
from .furniture import Size
from .palette import Palette
from .plan import BACK, LEFT, RIGHT, Plan
from .scene import Camera, Group, Scene, Vector

WALLS = (BACK, LEFT, RIGHT)


class _Sampler:
    """Builds one scene; holds what its steps share."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        long = dice.uniform(4.0, 6.5) if dice.chance(0.75) else dice.uniform(6.5, 9.0)
        extent = (dice.uniform(3.2, 5.8), long, dice.uniform(2.4, 3.0))
        self.scene = Scene(extent)
        self.look: Palette = palette.palette(dice)
        self.day = dice.chance(0.7)
        self.plan = Plan(extent, dice)
        self.people = dice.weighted([0, 1, 2, 3], [0.2, 0.42, 0.26, 0.12])

    def build(self) -> Scene:
        """All steps."""
        self._shell()
        self._camera()
        self._openings()
        standing = sum(self.dice.chance(0.62) for _ in range(self.people))
        self._standing(standing)
        self._furniture(self.people - standing)
        lighting.light(self.scene, self.dice, self.look, self.windows if self.day else [])
        return self.scene

    def _shell(self) -> None:
        dice, (width, length, height) = self.dice, self.scene.extent
        paint, slack = palette.wall(dice), 0.01
        accent = palette.wall(dice) if dice.chance(0.25) else paint
        x, y, z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
        walls = [
            ((width / 2, length, height / 2), width, (x, z), accent),
            ((width / 2, 0.0, height / 2), width, (x, z), paint),
            ((0.0, length / 2, height / 2), length, (y, z), paint),
            (((width, length / 2, height / 2)), length, (y, z), paint),
        ]
        for centre, long, axes, material in walls:
            group = self.scene.group(classes.WALL, casts=False)
            group.plane(centre, (long / 2 + slack, height / 2 + slack), axes, material)
        half = (width / 2 + slack, length / 2 + slack)
        ground = (x, y) if dice.chance(0.5) else (y, (-1.0, 0.0, 0.0))
        sides = half if ground[0] == x else half[::-1]
        middle = (width / 2, length / 2)
        self.scene.group(classes.FLOOR, casts=False).plane((*middle, 0.0), sides, ground, palette.floor(dice))
        white = palette.plain(palette.hsv(dice.random(), dice.uniform(0.0, 0.08), dice.uniform(0.8, 0.95)))
        self.scene.group(classes.CEILING, casts=False).plane((*middle, height), half, (x, y), white)

    def _camera(self) -> None:
        dice, (width, length, _) = self.dice, self.scene.extent
        x, y, z = width * dice.uniform(0.25, 0.75), dice.uniform(0.35, 1.1), dice.uniform(1.15, 1.75)
        aim = (width * dice.uniform(0.25, 0.75), length * dice.uniform(0.6, 0.95), dice.uniform(0.5, 1.3))
        yaw = -math.atan2(aim[0] - x, aim[1] - y)
        pitch = math.atan2(aim[2] - z, math.hypot(aim[0] - x, aim[1] - y)) + dice.uniform(-0.08, 0.05)
        focal = 0.5 / math.tan(math.radians(dice.uniform(54.0, 70.0)) / 2)
        self.scene.camera = Camera.looking((x, y, z), yaw, pitch, dice.uniform(-0.035, 0.035), focal)
        self.plan.watch(x, y, yaw, focal)

    def _openings(self) -> None:
        """Windows, a door and pictures on the walls."""
        dice, (_, _, height) = self.dice, self.scene.extent
        self.windows: list[tuple[Group, Size]] = []
        view = palette.outdoors(dice, self.day)
        if dice.chance(0.72):
            size = (dice.uniform(0.75, 0.95), 0.05, dice.uniform(1.95, 2.1))
            door = partial(objects.door, dice=dice, look=self.look, size=size)
            self._on_wall(classes.DOOR, size, 0.0, WALLS, door, clear=0.75)
        for _ in range(dice.weighted([0, 1, 2], [0.15, 0.55, 0.3])):
            size = (dice.uniform(0.8, 1.9), 0.06, dice.uniform(0.9, 1.4))
            sill = min(dice.uniform(0.7, 1.0), height - size[2] - 0.2)
            build = partial(objects.window, dice=dice, look=self.look, size=size, view=view)
            group = self._on_wall(classes.WINDOW, size, sill, WALLS, build)
            if group is not None:
                self.windows.append((group, size))
        for _ in range(dice.integer(1, 3)):
            size, level = (dice.uniform(0.4, 1.1), 0.03, dice.uniform(0.4, 0.8)), dice.uniform(1.35, 1.75)
            build = partial(objects.picture, dice=dice, look=self.look, size=size)
            self._on_wall(classes.PICTURE, size, level, (BACK, *WALLS), build)

    def _on_wall(
        self,
        semantic: int,
        size: Size,
        level: float,
        walls: Sequence[int],
        build: Callable[[Group], None],
        clear: float = 0.0,
    ) -> Group | None:
        """Hang something on a free stretch of one of the walls, its origin at `level`; None if there is none.

        `clear` is the depth of floor before it that must stay free.
        """
        spot = self.plan.stretch(size[0] + 0.25, walls, low=level < 1.3 and clear == 0.0, clear=clear)
        if spot is None:
            return None
        x, y, yaw = spot
        group = self.scene.group(semantic, (x, y, level), yaw, casts=semantic == classes.DOOR)
        build(group)
        return group

    def _standing(self, count: int) -> None:
        for _ in range(count):
            spot = self.plan.in_view(0.3, near=1.7, far=4.0, tries=40, inner=0.75)
            if spot is None:
                continue
            self.plan.take(*spot, 0.6, 0.6, 0.0)
            camera = self.scene.camera.position
            towards = math.atan2(camera[0] - spot[0], spot[1] - camera[1])
            turn = self.dice.weighted([self.dice.uniform(-0.9, 0.9), self.dice.uniform(-math.pi, math.pi)], [0.6, 0.4])
            child = self.dice.chance(0.18)
            stature = self.dice.uniform(1.05, 1.4) if child else self.dice.uniform(1.55, 1.92)
            pose = self.dice.pick(people.POSES)
            people.person(self.scene, self.dice, (spot[0], spot[1], 0.0), towards + turn, stature, pose)

    def _seated(self, group: Group, seats: list[Vector], yaw: float, count: int) -> int:
        """Let at most `count` people sit down; how many did."""
        done = 0
        for seat in seats:
            x, y, height = group.world(seat)
            if done >= count or not self.plan.visible(x, y, 0.9, 5.0):
                continue
            turn, stature = yaw + self.dice.uniform(-0.15, 0.15), self.dice.uniform(1.5, 1.9)
            people.person(self.scene, self.dice, (x, y, 0.0), turn, stature, "sit", seat=height)
            self.plan.take(x + 0.5 * math.sin(yaw), y - 0.5 * math.cos(yaw), 0.4, 0.4, 0.0)  # for the legs
            done += 1
        return done

    def _furniture(self, sitters: int) -> None:
        dice, look, plan = self.dice, self.look, self.plan
        sitters -= self._sofa(sitters) if dice.chance(0.55) else 0
        sitters -= self._bed(sitters) if dice.chance(0.42) else 0
        for _ in range(dice.weighted([0, 1, 2], [0.3, 0.5, 0.2])):
            self._shelf()
        sitters -= self._table(sitters) if dice.chance(0.8) else 0
        sitters -= self._chair(sitters) if dice.chance(0.2) else 0
        if dice.chance(0.6):
            self._floor_lamp()
        if sitters > 0:
            sitters -= self._chair(sitters)
        self._standing(max(sitters, 0))
        if dice.chance(0.55):
            size = (dice.uniform(1.2, 2.4), dice.uniform(0.9, 1.7), 0.012)
            spot = plan.in_view(0.0, near=1.6, far=4.0, tries=20, ignore=True)
            if spot is not None:
                x = min(max(spot[0], size[0] / 2 + 0.1), self.scene.extent[0] - size[0] / 2 - 0.1)
                y = min(max(spot[1], size[0] / 2 + 0.1), self.scene.extent[1] - size[0] / 2 - 0.1)
                yaw = dice.pick([0.0, math.pi / 2, dice.uniform(-0.4, 0.4)])
                objects.rug(self.scene.group(classes.RUG, (x, y, 0.0), yaw, casts=False), dice, look, size)
        small = ["plant"] * dice.weighted([0, 1, 2], [0.25, 0.5, 0.25])
        small += ["ball"] * dice.weighted([0, 1, 2], [0.25, 0.5, 0.25])
        small += ["box"] * dice.weighted([0, 1, 2], [0.25, 0.5, 0.25])
        for name in small:
            self._small(name)

    def _sofa(self, sitters: int) -> int:
        dice = self.dice
        size = (
            dice.pick([dice.uniform(0.9, 1.1), dice.uniform(1.5, 2.2)]),
            dice.uniform(0.85, 1.0),
            dice.uniform(0.75, 0.95),
        )
        spot = self.plan.against(size, WALLS)
        if spot is None:
            return 0
        group = self.scene.group(classes.SOFA, (spot[0], spot[1], 0.0), spot[2])
        return self._seated(group, furniture.sofa(group, dice, self.look, size), spot[2], sitters)

    def _bed(self, sitters: int) -> int:
        dice = self.dice
        size = (dice.uniform(0.9, 1.7), dice.uniform(1.9, 2.1), dice.uniform(0.42, 0.55))
        spot = self.plan.against(size, (BACK, *WALLS))
        if spot is None:
            return 0
        group = self.scene.group(classes.BED, (spot[0], spot[1], 0.0), spot[2])
        return self._seated(group, furniture.bed(group, dice, self.look, size), spot[2], sitters)

    def _shelf(self) -> None:
        dice = self.dice
        size = (
            dice.uniform(0.6, 1.3),
            dice.uniform(0.26, 0.38),
            dice.pick([dice.uniform(0.75, 1.1), dice.uniform(1.5, 2.05)]),
        )
        spot = self.plan.against(size, WALLS, tall=True)
        if spot is not None:
            furniture.shelf(self.scene.group(classes.SHELF, (spot[0], spot[1], 0.0), spot[2]), dice, self.look, size)
            if size[2] < 1.2 and dice.chance(0.6):
                self._on_top(spot[0], spot[1], size[2], size[1] * 0.8)

    def _floor_lamp(self) -> None:
        size = (self.dice.uniform(0.28, 0.42), 0.4, self.dice.uniform(1.3, 1.75))
        spot = self.plan.corner(0.4) or self.plan.in_view(0.2, 1.5, 5.5, 20)
        if spot is not None:
            self.plan.take(*spot, 0.4, 0.4, 0.0)
            self._lit(self.scene.group(classes.LAMP, (spot[0], spot[1], 0.0)), size)

    def _lit(self, group: Group, size: Size) -> None:
        """A standing lamp, switched on more often in the evening."""
        on = self.dice.chance(0.5 if self.day else 0.9)
        shade = palette.plain(palette.hsv(self.dice.uniform(0.06, 0.14), self.dice.uniform(0.1, 0.5), 0.95))
        shade = shade._replace(emission=2.2 if on else 0.0)
        place = objects.floor_lamp(group, self.dice, self.look, size, shade)
        if on:
            power = self.dice.uniform(0.7, 1.4)
            self.scene.lights.append(lighting.lamp(place, 0.12, power, warm=0.35, owner=group.instance))

    def _table(self, sitters: int) -> int:
        dice = self.dice
        low = dice.chance(0.3)
        size = (
            dice.uniform(0.8, 1.5),
            dice.uniform(0.55, 0.9),
            dice.uniform(0.38, 0.48) if low else dice.uniform(0.68, 0.78),
        )
        yaw = dice.pick([0.0, 0.0, math.pi / 2])
        across = size if yaw == 0.0 else (size[1], size[0])
        spot = self.plan.in_view(max(size[0], size[1]) / 2, near=1.7, far=4.5, tries=40)
        if spot is None:
            return 0
        self.plan.take(*spot, across[0], across[1], 0.05)
        group = self.scene.group(classes.TABLE, (spot[0], spot[1], 0.0), yaw)
        furniture.table(group, dice, self.look, size)
        for half in (-1, 1)[: dice.integer(0, 2)]:  # one thing on each half
            x, y, _ = group.world((half * dice.uniform(0.17, 0.28) * size[0], dice.uniform(-0.2, 0.2) * size[1], 0.0))
            self._on_top(x, y, size[2], 0.25)
        sat = 0
        if not low:
            for _ in range(dice.weighted([0, 1, 2, 3], [0.15, 0.35, 0.3, 0.2])):
                sat += self._chair_at(spot, across, sitters - sat)
        return sat

    def _chair_size(self) -> Size:
        return self.dice.uniform(0.4, 0.48), self.dice.uniform(0.4, 0.46), self.dice.uniform(0.43, 0.48)

    def _chair_at(self, spot: tuple[float, float], table: tuple[float, ...], sitters: int) -> int:
        """A chair at one side of a table, facing it."""
        dice, size = self.dice, self._chair_size()
        side = dice.integer(0, 3)
        out = dice.uniform(0.1, 0.3)
        dx, dy = [(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)][side]
        x = spot[0] + dx * (table[0] / 2 + out) + dice.uniform(-0.1, 0.1)
        y = spot[1] + dy * (table[1] / 2 + out) + dice.uniform(-0.1, 0.1)
        if not self.plan.free(x + 0.28 * dx, y + 0.28 * dy, 0.45, 0.45):
            return 0
        self.plan.take(x, y, 0.5, 0.5, 0.0)
        yaw = [0.0, math.pi, -math.pi / 2, math.pi / 2][side] + dice.uniform(-0.2, 0.2)
        group = self.scene.group(classes.CHAIR, (x, y, 0.0), yaw)
        return self._seated(group, furniture.chair(group, dice, self.look, size), yaw, sitters)

    def _chair(self, sitters: int) -> int:
        """A chair on its own."""
        spot = self.plan.in_view(0.3, near=1.5, far=4.5, tries=30)
        if spot is None:
            return 0
        self.plan.take(*spot, 0.55, 0.6, 0.0)
        yaw = self.dice.uniform(-1.6, 1.6)
        group = self.scene.group(classes.CHAIR, (spot[0], spot[1], 0.0), yaw)
        return self._seated(group, furniture.chair(group, self.dice, self.look, self._chair_size()), yaw, sitters)

    def _on_top(self, x: float, y: float, level: float, room: float) -> None:
        """Something small on a table or a low shelf."""
        dice = self.dice
        yaw = dice.uniform(0, 3)
        name = dice.pick(["lamp", "plant", "ball", "box"])
        if name == "lamp":
            self._lit(
                self.scene.group(classes.LAMP, (x, y, level), yaw), (min(room, 0.28), 0.25, dice.uniform(0.35, 0.5))
            )
        elif name == "plant":
            size = (min(room * 1.4, 0.4), 0.3, dice.uniform(0.25, 0.5))
            objects.plant(self.scene.group(classes.PLANT, (x, y, level), yaw), dice, self.look, size)
        elif name == "ball":
            wide = dice.uniform(0.12, min(room, 0.25))
            objects.ball(self.scene.group(classes.BALL, (x, y, level), yaw), dice, self.look, (wide, wide, wide))
        else:
            size = (room * dice.uniform(0.5, 0.9), room * dice.uniform(0.5, 0.8), dice.uniform(0.08, 0.25))
            objects.box(self.scene.group(classes.BOX, (x, y, level), yaw), dice, self.look, size)

    def _small(self, name: str) -> None:
        """A plant (rather in a corner), ball or box on the floor."""
        dice, plan = self.dice, self.plan
        if name == "plant":
            size = (dice.uniform(0.45, 0.85), 0.6, dice.uniform(0.6, 1.5))
            spot = plan.corner(size[0]) if dice.chance(0.6) else None
            spot = spot or plan.in_view(size[0] / 2, 1.3, 5.0, 20)
            if spot is not None:
                plan.take(*spot, size[0], size[0], 0.0)
                objects.plant(self.scene.group(classes.PLANT, (*spot, 0.0), dice.uniform(0, 6)), dice, self.look, size)
            return
        if name == "ball":
            wide = dice.uniform(0.18, 0.5)
            size = (wide, wide, wide)
        else:
            size = (dice.uniform(0.25, 0.6), dice.uniform(0.25, 0.5), dice.uniform(0.2, 0.55))
        spot = plan.in_view(max(size[:2]) / 2, 1.2, 4.2, 25)
        if spot is not None:
            plan.take(*spot, size[0], size[1], 0.0)
            group = self.scene.group(classes.BALL if name == "ball" else classes.BOX, (*spot, 0.0), dice.uniform(0, 6))
            (objects.ball if name == "ball" else objects.box)(group, dice, self.look, size)


def sample_room(dice: Dice) -> Scene:
    """A furnished, inhabited and lit room, with a camera in it."""
    return _Sampler(dice).build()

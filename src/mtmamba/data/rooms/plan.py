"""The floor plan of a room: what is taken, what the camera sees, and where something still fits."""

import math
from collections.abc import Sequence

from .dice import Dice

BACK, LEFT, RIGHT = range(3)  # the walls before the camera; the fourth is behind it

Spot = tuple[float, float]


class Plan:
    """Axis-aligned rectangles on the floor and stretches of the walls that are taken already."""

    def __init__(self, extent: tuple[float, float, float], dice: Dice) -> None:
        self.width, self.length, _ = extent
        self._dice = dice
        self._taken: list[tuple[float, float, float, float]] = []
        self._walls: dict[int, list[tuple[float, float, bool]]] = {BACK: [], LEFT: [], RIGHT: []}
        self._x = self._y = self._yaw = 0.0
        self._tangent = 0.5

    def watch(self, x: float, y: float, yaw: float, focal: float) -> None:
        """Say where the camera stands (that place is taken) and how wide it sees."""
        self._x, self._y, self._yaw, self._tangent = x, y, yaw, 0.5 / focal
        self.take(x, y, 0.9, 0.9, 0.0)

    def take(self, x: float, y: float, width: float, depth: float, margin: float) -> None:
        """Take a rectangle about (x, y)."""
        w, d = width / 2 + margin, depth / 2 + margin
        self._taken.append((x - w, x + w, y - d, y + d))

    def free(self, x: float, y: float, width: float, depth: float) -> bool:
        """Whether the rectangle lies in the room and overlaps nothing."""
        left, right, low, high = x - width / 2, x + width / 2, y - depth / 2, y + depth / 2
        if left < 0.0 or right > self.width or low < 0.0 or high > self.length:
            return False
        return all(right <= a or left >= b or high <= c or low >= d for a, b, c, d in self._taken)

    def visible(self, x: float, y: float, inner: float, far: float) -> bool:
        """Whether a point is within `inner` of half the view's width, and between 0.6 m and `far` away."""
        dx, dy = x - self._x, y - self._y
        ahead = dy * math.cos(self._yaw) - dx * math.sin(self._yaw)
        aside = dx * math.cos(self._yaw) + dy * math.sin(self._yaw)
        return 0.6 < ahead < far and abs(aside) < inner * self._tangent * ahead

    def in_view(
        self, radius: float, near: float, far: float, tries: int, inner: float = 0.9, ignore: bool = False
    ) -> Spot | None:
        """A free place for a disc in front of the camera, `near` to `far` metres ahead; None if none was
        found.

        With `ignore`, what is taken does not count (rugs lie under things).
        """
        for _ in range(tries):
            ahead = self._dice.uniform(near, far)
            aside = self._dice.uniform(-inner, inner) * self._tangent * ahead
            x = self._x + aside * math.cos(self._yaw) - ahead * math.sin(self._yaw)
            y = self._y + ahead * math.cos(self._yaw) + aside * math.sin(self._yaw)
            inside = radius < x < self.width - radius and radius < y < self.length - radius
            if inside and (ignore or self.free(x, y, 2 * radius, 2 * radius)):
                return x, y
        return None

    def corner(self, wide: float) -> Spot | None:
        """A free place in one of the two corners before the camera."""
        inset = wide / 2 + 0.08
        spots = [(inset, self.length - inset), (self.width - inset, self.length - inset)]
        first = self._dice.integer(0, 1)
        for x, y in (spots[first], spots[1 - first]):
            if self.free(x, y, wide, wide):
                return x, y
        return None

    def stretch(self, wide: float, walls: Sequence[int], low: bool, clear: float) -> tuple[float, float, float] | None:
        """A free stretch of wall for something to hang: x, y and yaw of its middle.

        `low`: it hangs so low that nothing tall may stand before it; `clear`: the depth of floor it needs
        free (a door).
        """
        for _ in range(12):
            wall = self._dice.pick(walls)
            along = self._along(wall, wide)
            if along is None or not self._open(wall, along, wide):
                continue
            x, y, _ = self._place(wall, along, clear / 2)
            across = (wide, clear) if wall == BACK else (clear, wide)
            if clear and not self.free(x, y, *across):
                continue
            if clear:
                self.take(x, y, *across, 0.0)
            self._walls[wall].append((along - wide / 2, along + wide / 2, low or clear > 0))
            return self._place(wall, along, 0.0)
        return None

    def against(
        self, size: tuple[float, float, float], walls: Sequence[int], tall: bool = False
    ) -> tuple[float, float, float] | None:
        """A free place for something with its back to a wall, taken at once: x, y and yaw.

        Something `tall` avoids what hangs there.
        """
        for attempt in range(25):
            wall = self._dice.pick(walls)
            along = self._along(wall, size[0] + 0.1)
            if along is None or (tall and not self._open(wall, along, size[0])):
                continue
            x, y, yaw = self._place(wall, along, size[1] / 2 + 0.03)
            if attempt < 18 and not self.visible(x, y, 0.9, 9.0):
                continue
            across = (size[0], size[1]) if wall == BACK else (size[1], size[0])
            if self.free(x, y, *across):
                self.take(x, y, *across, 0.04)
                if tall:
                    self._walls[wall].append((along - size[0] / 2, along + size[0] / 2, True))
                return x, y, yaw
        return None

    def _along(self, wall: int, wide: float) -> float | None:
        low = wide / 2 if wall == BACK else max(wide / 2, self._y + 0.5)
        high = (self.width if wall == BACK else self.length) - wide / 2
        return self._dice.uniform(low, high) if low < high else None

    def _open(self, wall: int, along: float, wide: float) -> bool:
        return all(along + wide / 2 <= a or along - wide / 2 >= b for a, b, _ in self._walls[wall])

    def _place(self, wall: int, along: float, off: float) -> tuple[float, float, float]:
        if wall == BACK:
            return along, self.length - off, 0.0
        if wall == LEFT:
            return off, along, math.pi / 2
        return self.width - off, along, -math.pi / 2

"""A scene: analytic primitives in groups (objects), their materials, lights and one camera.

World frame: metres, x and y on the floor, z up. A primitive lives in its own frame: centre c and the rows of
`axes` are its three axes in the world, so a world point p has local coordinates `axes @ (p - c)`. In that
frame, with half = (a, b, c):

- PLANE     a rectangle |x| <= a, |y| <= b with normal +z
- BOX       |x| <= a, |y| <= b, |z| <= c
- CYLINDER  x² + y² <= a², |z| <= c, with flat caps
- SPHERE    (x/a)² + (y/b)² + (z/c)² <= 1: an ellipsoid
- CAPSULE   points within a of the segment from z = -c to z = c
"""

import math
from typing import NamedTuple

import numpy as np

PLANE, BOX, CYLINDER, SPHERE, CAPSULE = range(5)
LAMP_LIGHT, WINDOW_LIGHT, SUN_LIGHT = range(3)

Vector = tuple[float, float, float]


class Material(NamedTuple):
    """How a surface looks: a texture between two linear colours in [0, 1].

    `scale` is the texture's period along u and v in metres, `gloss` the strength of the highlight, `emission`
    the light it sends out itself (in units of albedo), `trim` the height in metres of a skirting board
    painted at its foot.
    """

    texture: int
    first: Vector
    second: Vector
    scale: tuple[float, float] = (0.2, 0.2)
    gloss: float = 0.0
    emission: float = 0.0
    seed: float = 0.0
    trim: float = 0.0

    def row(self) -> tuple[float, ...]:
        """Flat numbers for the kernels: texture, first (3), second (3), scale (2), gloss, emission, seed,
        trim."""
        return (
            float(self.texture), *self.first, *self.second, *self.scale,
            self.gloss, self.emission, self.seed, self.trim,
        )  # fmt: skip


class Camera(NamedTuple):
    """A pinhole camera. `axes` rows are right, up and backward in the world; `focal` is in units of sqrt(H *
    W) pixels."""

    position: Vector
    axes: tuple[Vector, Vector, Vector]
    focal: float

    @classmethod
    def looking(cls, position: Vector, yaw: float, pitch: float, roll: float, focal: float) -> "Camera":
        """A camera that looks along +y at yaw 0 and turns left with yaw, up with pitch (radians)."""
        cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
        right, forward = (cy, sy, 0.0), (-sy * cp, cy * cp, sp)
        up = (sy * sp, -cy * sp, cp)
        cr, sr = math.cos(roll), math.sin(roll)
        tilted_right = _mix(cr, right, sr, up)
        tilted_up = _mix(cr, up, -sr, right)
        return cls(position, (tilted_right, tilted_up, (-forward[0], -forward[1], -forward[2])), focal)

    def intrinsics(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels; the centre of the top left pixel is (0, 0)."""
        focal = self.focal * math.sqrt(size[0] * size[1])
        return focal, focal, (size[1] - 1) / 2, (size[0] - 1) / 2


class Light(NamedTuple):
    """A light spread over the parallelogram centre ± first ± second; `owner` is the instance that does not
    shade it.

    LAMP_LIGHT shines all around, WINDOW_LIGHT to the side of `direction`, SUN_LIGHT along `direction` through
    the parallelogram only.
    """

    kind: int
    centre: Vector
    first: Vector
    second: Vector
    colour: Vector
    direction: Vector = (0.0, 0.0, 0.0)
    owner: int = -1

    def row(self) -> tuple[float, ...]:
        """Flat numbers for the kernels, in the order of the fields."""
        return (
            float(self.kind),
            *self.centre,
            *self.first,
            *self.second,
            *self.colour,
            *self.direction,
            float(self.owner),
        )


class SceneArrays(NamedTuple):
    """A scene as the kernels read it: N primitives, K instances, M materials, L lights, B instances that
    throw shadows."""

    solids: np.ndarray  # (N, 17): kind, centre (3), axes (9, row by row), half (3), radius about the centre
    material: np.ndarray  # (N,) int64
    instance: np.ndarray  # (N,) int64
    part: np.ndarray  # (N,) int64, 0 where it is not a body
    semantic: np.ndarray  # (K,) int64
    blockers: np.ndarray  # (B, 9): lowest and highest corner in the world, first and last + 1 primitive, instance
    materials: np.ndarray  # (M, 13)
    lights: np.ndarray  # (L, 17)


class Scene:
    """A room under construction. Objects are added as groups of primitives; `arrays` hands it to the
    kernels."""

    def __init__(self, extent: Vector) -> None:
        self.extent = extent
        self.camera = Camera.looking((extent[0] / 2, 0.5, 1.5), 0.0, 0.0, 0.0, 0.8)
        self.lights: list[Light] = []
        self.ambient: tuple[Vector, Vector] = ((0.2, 0.2, 0.2), (0.3, 0.3, 0.3))
        self.exposure = 1.0
        self.white_balance: Vector = (1.0, 1.0, 1.0)
        self.noise = 0.01
        self._rows: list[tuple[float, ...]] = []
        self._materials: dict[Material, int] = {}
        self._semantic: list[int] = []
        self._casts: list[bool] = []
        self._first: list[int] = []

    def group(self, semantic: int, at: Vector = (0.0, 0.0, 0.0), yaw: float = 0.0, casts: bool = True) -> "Group":
        """Start a new object (instance) of a class; what is added to it is placed at `at`, turned by
        `yaw`."""
        self._semantic.append(semantic)
        self._casts.append(casts)
        self._first.append(len(self._rows))
        return Group(self, len(self._semantic) - 1, at, yaw)

    def arrays(self) -> SceneArrays:
        """The scene as arrays.

        Raises:
            ValueError: nothing was added yet.
        """
        if not self._rows:
            raise ValueError("a scene needs at least one primitive")
        table = np.array(self._rows, dtype=np.float64)
        kind, axes, half = table[:, 0], table[:, 7:16].reshape(-1, 3, 3), table[:, 16:19].copy()
        tubes, balls = np.isin(kind, (CYLINDER, CAPSULE)), kind == SPHERE
        half[tubes, 1] = half[tubes, 0]
        # how far each reaches along the world's axes: boxes by their corners, ellipsoids and rods exactly
        reach = np.einsum("nij,ni->nj", np.abs(axes), half)
        reach[balls] = np.sqrt(np.einsum("nij,ni->nj", axes[balls] ** 2, half[balls] ** 2))
        along, radius = np.abs(axes[tubes, 2]), half[tubes, :1]
        flat = kind[tubes, None] == CYLINDER
        reach[tubes] = along * half[tubes, 2:] + radius * np.where(flat, np.sqrt((1 - along**2).clip(0)), 1.0)
        low, high = table[:, 4:7] - reach, table[:, 4:7] + reach
        first = np.array([*self._first, len(self._rows)])
        bounds = [np.minimum.reduceat(low, first[:-1]), np.maximum.reduceat(high, first[:-1])]
        blockers = np.column_stack([*bounds, first[:-1], first[1:], np.arange(len(first) - 1)])
        radius = np.sqrt((half**2).sum(1))
        radius[balls] = half[balls].max(1)
        radius[kind == CAPSULE] = half[kind == CAPSULE, 0] + half[kind == CAPSULE, 2]
        return SceneArrays(
            solids=np.column_stack([kind, table[:, 4:], radius]),
            material=table[:, 1].astype(np.int64),
            instance=table[:, 2].astype(np.int64),
            part=table[:, 3].astype(np.int64),
            semantic=np.array(self._semantic, dtype=np.int64),
            blockers=np.ascontiguousarray(blockers[self._casts]),
            materials=np.array([material.row() for material in self._materials], dtype=np.float64),
            lights=np.array([light.row() for light in self.lights], dtype=np.float64).reshape(-1, 17),
        )

    def _add(self, row: tuple[float, ...], kind: int, instance: int, part: int, material: Material) -> None:
        index = self._materials.setdefault(material, len(self._materials))
        self._rows.append((kind, index, instance, part, *row))


class Group:
    """One object: primitives given in the object's own frame (origin on the floor, front towards -y, z
    up)."""

    def __init__(self, scene: Scene, instance: int, at: Vector, yaw: float) -> None:
        self.instance = instance
        self._scene = scene
        self._at = at
        self._yaw = yaw
        self._cos, self._sin = math.cos(yaw), math.sin(yaw)

    def world(self, point: Vector) -> Vector:
        """The world coordinates of a point of the object."""
        x, y, z = point
        turned = self._turn((x, y, z))
        return self._at[0] + turned[0], self._at[1] + turned[1], self._at[2] + turned[2]

    def plane(self, centre: Vector, half: tuple[float, float], axes: tuple[Vector, Vector], material: Material) -> None:
        """A rectangle spanned by two unit vectors; its normal is their cross product."""
        first, second = self._turn(axes[0]), self._turn(axes[1])
        frame = (*first, *second, *_cross(first, second))
        self._put(PLANE, centre, (half[0], half[1], 0.0), frame, material, 0)

    def box(
        self,
        centre: Vector,
        size: Vector,
        material: Material,
        yaw: float = 0.0,
        pitch: float = 0.0,
        part: int = 0,
    ) -> None:
        """A box of full `size`, pitched about its x axis and then turned by yaw (radians)."""
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        self._put(BOX, centre, half, self._frame(yaw, pitch), material, part)

    def sphere(
        self,
        centre: Vector,
        radii: Vector | float,
        material: Material,
        yaw: float = 0.0,
        pitch: float = 0.0,
        part: int = 0,
    ) -> None:
        """A ball, or with three radii an ellipsoid."""
        half = (radii, radii, radii) if isinstance(radii, float) else radii
        self._put(SPHERE, centre, half, self._frame(yaw, pitch), material, part)

    def cylinder(self, start: Vector, end: Vector, radius: float, material: Material, part: int = 0) -> None:
        """A cylinder with flat caps from start to end."""
        self._rod(CYLINDER, start, end, radius, material, part)

    def capsule(self, start: Vector, end: Vector, radius: float, material: Material, part: int = 0) -> None:
        """All points within `radius` of the segment from start to end."""
        self._rod(CAPSULE, start, end, radius, material, part)

    def _rod(self, kind: int, start: Vector, end: Vector, radius: float, material: Material, part: int) -> None:
        centre = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, (start[2] + end[2]) / 2)
        along = self._turn((end[0] - start[0], end[1] - start[1], end[2] - start[2]))
        length = math.sqrt(along[0] ** 2 + along[1] ** 2 + along[2] ** 2)
        third = (0.0, 0.0, 1.0) if length < 1e-9 else (along[0] / length, along[1] / length, along[2] / length)
        other = (1.0, 0.0, 0.0) if abs(third[0]) < 0.9 else (0.0, 1.0, 0.0)
        second = _unit(_cross(third, other))
        frame = (*_cross(second, third), *second, *third)
        self._put(kind, centre, (radius, radius, length / 2), frame, material, part)

    def _put(
        self, kind: int, centre: Vector, half: Vector, frame: tuple[float, ...], material: Material, part: int
    ) -> None:
        self._scene._add((*self.world(centre), *frame, *half), kind, self.instance, part, material)

    def _turn(self, v: Vector) -> Vector:
        return self._cos * v[0] - self._sin * v[1], self._sin * v[0] + self._cos * v[1], v[2]

    def _frame(self, yaw: float, pitch: float) -> tuple[float, ...]:
        c, s = (self._cos, self._sin) if yaw == 0.0 else (math.cos(self._yaw + yaw), math.sin(self._yaw + yaw))
        if pitch == 0.0:
            return (c, s, 0.0, -s, c, 0.0, 0.0, 0.0, 1.0)
        cp, sp = math.cos(pitch), math.sin(pitch)
        return (c, s, 0.0, -s * cp, c * cp, sp, s * sp, -c * sp, cp)


def _mix(a: float, first: Vector, b: float, second: Vector) -> Vector:
    return a * first[0] + b * second[0], a * first[1] + b * second[1], a * first[2] + b * second[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _unit(v: Vector) -> Vector:
    length = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    return v[0] / length, v[1] / length, v[2] / length

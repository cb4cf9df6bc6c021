"""Analytic intersections against the primitives' definitions, and light against hand-made scenes."""

import math
from typing import Any

import numpy as np
import pytest
from numba import njit

from mtmamba.data.rooms import jit, render_scene
from mtmamba.data.rooms.palette import plain
from mtmamba.data.rooms.raycast import choose_blockers, intersect, occlusion, surface
from mtmamba.data.rooms.scene import BOX, CAPSULE, CYLINDER, LAMP_LIGHT, PLANE, SPHERE, Camera, Light, Scene

HALF = (0.7, 0.5, 0.9)
WALL, BALL, PERSON = 0, 13, 16
GREY = plain((0.5, 0.5, 0.5))


def inside(kind: int, p: np.ndarray) -> np.ndarray:
    """The definitions of `scene`'s docstring."""
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    a, b, c = HALF
    if kind == BOX:
        return (abs(x) <= a) & (abs(y) <= b) & (abs(z) <= c)
    if kind == SPHERE:
        return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 <= 1
    if kind == CYLINDER:
        return (x**2 + y**2 <= a**2) & (abs(z) <= c)
    return x**2 + y**2 + (z - z.clip(-c, c)) ** 2 <= a**2


def rays(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins outside all primitives, directions towards their neighbourhood."""
    generator = np.random.default_rng(0)
    origins = generator.normal(size=(count, 3))
    origins *= 3.0 / np.linalg.norm(origins, axis=1, keepdims=True)
    return origins, generator.uniform(-0.8, 0.8, size=(count, 3)) - origins


@pytest.mark.parametrize("kind", [BOX, SPHERE, CYLINDER, CAPSULE])
def test_intersect_brute_force(kind: int) -> None:
    origins, directions = rays(300)
    steps = np.linspace(0.0, 2.0, 4001)
    within = inside(kind, origins[:, None] + steps[:, None] * directions[:, None])
    first = np.where(within.any(1), steps[within.argmax(1)], np.inf)
    found = np.array([intersect(kind, *o, *d, *HALF, 0.0) for o, d in zip(origins, directions)])
    hits = np.isfinite(first)
    assert 100 < hits.sum() < 300
    np.testing.assert_allclose(found[hits], first[hits], atol=6e-4)
    # what the march missed may only be grazed: less than a step of the ray lies within
    grazed = np.isfinite(found) & ~hits
    middle = origins + (found[:, None] + 6e-4) * directions
    assert not inside(kind, middle[grazed]).any()


@pytest.mark.parametrize("kind", [BOX, SPHERE, CYLINDER, CAPSULE])
def test_surface_normal(kind: int) -> None:
    tested = 0
    for o, d in zip(*rays(200)):
        t = intersect(kind, *o, *d, *HALF, 0.0)
        if math.isinf(t):
            continue
        point = o + t * d
        normal = np.array(surface(kind, *point, *HALF)[:3])
        assert np.linalg.norm(normal) == pytest.approx(1.0)
        assert inside(kind, point - 1e-4 * normal)
        assert not inside(kind, point + 1e-4 * normal)
        assert normal @ d <= 1e-9
        tested += 1
    assert tested > 80


def test_intersect_plane() -> None:
    assert intersect(PLANE, 0.1, 0.2, 2.0, 0.0, 0.0, -1.0, *HALF, 0.0) == 2.0
    assert intersect(PLANE, 0.1, 0.2, 2.0, 0.0, 0.0, -1.0, *HALF, 3.0) == np.inf  # nearer than `near`
    assert intersect(PLANE, 0.8, 0.2, 2.0, 0.0, 0.0, -1.0, *HALF, 0.0) == np.inf  # beside it
    assert intersect(PLANE, 0.1, 0.2, 2.0, 1.0, 0.0, 0.0, *HALF, 0.0) == np.inf  # along it


@pytest.mark.parametrize("kind", [CYLINDER, CAPSULE])
def test_intersect_along_the_axis(kind: int) -> None:
    top = HALF[2] + (HALF[0] if kind == CAPSULE else 0.0)
    assert intersect(kind, 0.0, 0.0, 3.0, 0.0, 0.0, -1.0, *HALF, 0.0) == pytest.approx(3.0 - top)
    assert intersect(kind, 0.8, 0.0, 3.0, 0.0, 0.0, -1.0, *HALF, 0.0) == np.inf


def closed_room(extent: tuple[float, float, float] = (6.0, 6.0, 4.0)) -> Scene:
    """A grey room with the camera near the wall y = 0, level, looking along +y."""
    scene = Scene(extent)
    half = (extent[0] / 2, extent[1] / 2, extent[2] / 2)
    x, y, z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    group = scene.group(WALL, casts=False)
    for at in (0.0, extent[1]):
        group.plane((half[0], at, half[2]), (half[0], half[2]), (x, z), GREY)
    for at in (0.0, extent[0]):
        group.plane((at, half[1], half[2]), (half[1], half[2]), (y, z), GREY)
    for at in (0.0, extent[2]):
        group.plane((half[0], half[1], at), (half[0], half[1]), (x, y), GREY)
    scene.camera = Camera.looking((half[0], 0.5, half[2]), 0.0, 0.0, 0.0, 0.4)
    scene.lights = [Light(LAMP_LIGHT, (half[0], half[1], 3.8), (0.1, 0, 0), (0, 0.1, 0), (30.0, 30.0, 30.0))]
    return scene


def rendered(scene: Scene, size: tuple[int, int] = (63, 81)) -> dict[str, np.ndarray]:
    return render_scene(scene, size, np.random.default_rng(0))


def test_ball_ahead() -> None:
    scene = closed_room()
    scene.group(BALL).sphere((3.0, 3.5, 2.0), 0.5, GREY)
    room = rendered(scene, (127, 163))
    assert room["semseg"][63, 81] == BALL
    assert room["depth"][63, 81] == pytest.approx(2.5)  # 3 m away, less the radius
    np.testing.assert_allclose(room["normals"][63, 81], (0, 0, 1), atol=1e-6)
    far = (room["normals"][..., 2] > 0.99) & (room["semseg"] == WALL)
    np.testing.assert_allclose(room["depth"][far], 5.5, rtol=1e-6)  # along the axis: constant on the far wall
    # its outline is a circle, apart from perspective: radius f * r / sqrt(d² - r²)
    area = (room["semseg"] == BALL).sum()
    radius = room["intrinsics"][0] * 0.5 / math.sqrt(3.0**2 - 0.5**2)
    assert area == pytest.approx(math.pi * radius**2, rel=0.05)


def test_frame_of_normals() -> None:
    room = rendered(closed_room(), (63, 91))
    np.testing.assert_allclose(room["normals"][31, 45], (0, 0, 1), atol=1e-6)  # far wall: towards the viewer
    np.testing.assert_allclose(room["normals"][31, 0], (1, 0, 0), atol=1e-6)  # left wall looks right
    np.testing.assert_allclose(room["normals"][31, -1], (-1, 0, 0), atol=1e-6)
    np.testing.assert_allclose(room["normals"][-1, 45], (0, 1, 0), atol=1e-6)  # floor looks up
    np.testing.assert_allclose(room["normals"][0, 45], (0, -1, 0), atol=1e-6)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0.3, -0.2, 0.1), (-2.0, 0.4, -0.3)])
def test_camera_axes(yaw: float, pitch: float, roll: float) -> None:
    axes = np.array(Camera.looking((0, 0, 0), yaw, pitch, roll, 1.0).axes)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    forward = -axes[2]
    np.testing.assert_allclose(forward[2], math.sin(pitch))
    np.testing.assert_allclose(math.atan2(-forward[0], forward[1]), yaw)


def test_shadow() -> None:
    """A plate under the lamp darkens the floor below it, and nothing beside it."""
    free, shaded = closed_room(), closed_room()
    shaded.group(BALL).box((3.0, 3.0, 1.5), (1.0, 1.0, 0.02), GREY)
    bare, dark = rendered(free), rendered(shaded)
    below = (dark["semseg"] == WALL) & (np.abs(floor_points(dark) - (3.0, 3.0)) < 0.5).all(-1)
    far = (
        (dark["semseg"] == WALL)
        & (np.abs(floor_points(dark) - (3.0, 3.0)) > 2.0).any(-1)
        & (dark["normals"][..., 1] > 0.9)
    )
    assert below.sum() > 20
    assert far.sum() > 20
    ratio = (dark["shading"] / bare["shading"]) / (dark["shading"][0, 0] / bare["shading"][0, 0])
    assert ratio[below].mean() < 0.5
    np.testing.assert_allclose(ratio[far], 1.0, atol=0.02)


def floor_points(room: dict[str, np.ndarray]) -> np.ndarray:
    """World (x, y) of floor pixels of `closed_room`; infinite elsewhere."""
    fx, _, cx, _ = room["intrinsics"]
    depth = room["depth"]
    x = 3.0 + (np.arange(depth.shape[1]) - cx) / fx * depth
    points = np.stack([x, 0.5 + depth], axis=-1)
    points[room["normals"][..., 1] < 0.9] = np.inf
    return points


def test_occlusion() -> None:
    scene = closed_room()
    group = scene.group(BALL)
    group.box((3.0, 3.0, 1.0), (1.0, 1.0, 1.0), GREY)
    arrays = scene.arrays()
    chosen = np.array([[0, 0], [1, 0]])  # none; the box

    def reach(row: int, up: float, limit: float, skip: float = -1.0) -> float:
        ray = (3.0, 3.0, 3.5, 0.0, 0.0, up)
        return float(occlusion(arrays.blockers, chosen, row, arrays.solids, *ray, limit, skip, True))

    assert len(arrays.blockers) == 1  # walls throw no shadows
    assert reach(1, -1.0, 3.0) == pytest.approx(2.0)
    assert reach(1, -1.0, 1.5) == 1.5  # further than asked
    assert reach(1, -1.0, 3.0, float(group.instance)) == 3.0  # its own lamp
    assert reach(1, 1.0, 9.0) == 9.0  # away from it
    assert reach(0, -1.0, 3.0) == 3.0  # not among the chosen


def test_kernels_without_a_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba refuses to decorate where it finds no place to write; the kernel must then work without."""

    def refuse(cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function 'twice': no locator available for file 'x.py'")
        return njit(**options)

    monkeypatch.setattr(jit, "njit", refuse)
    twice = jit.kernel(lambda x: 2 * x)
    assert twice(1.5) == 3.0
    assert twice.signatures  # compiled all the same


def test_choose_blockers() -> None:
    boxes = np.array([[0, 0, 0, 1, 1, 1], [2, 0, 0, 3, 1, 1], [0, 0, 4, 3, 1, 5]], dtype=np.float64)
    blockers = np.concatenate([boxes, np.zeros((3, 3))], axis=1)
    chosen = np.zeros((2, 4), dtype=np.int64)
    choose_blockers(blockers, np.array([0.5, 0.5, 0.5]), np.array([2.5, 0.6, 0.6]), chosen, 1)
    assert chosen[1, 0] == 2
    assert set(chosen[1, 1:3]) == {0, 1}
    assert not chosen[0].any()


def test_open_scene_is_an_error() -> None:
    scene = Scene((4.0, 4.0, 3.0))
    with pytest.raises(ValueError, match="at least one primitive"):
        scene.arrays()
    scene.group(BALL).sphere((2.0, 3.0, 1.5), 0.5, GREY)
    with pytest.raises(ValueError, match="sees out of the scene"):
        rendered(scene)


def test_groups_turn_about_their_origin() -> None:
    scene = closed_room()
    group = scene.group(BALL, (2.0, 3.0, 0.5), yaw=math.pi / 2)
    np.testing.assert_allclose(group.world((1.0, 0.0, 0.25)), (2.0, 4.0, 0.75), atol=1e-12)
    group.box((1.0, 0.0, 0.0), (0.4, 0.2, 0.6), GREY)
    group.capsule((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.1, GREY)
    group.cylinder((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.1, GREY)
    arrays = scene.arrays()
    np.testing.assert_allclose(arrays.blockers[-1, :6], (1.9, 2.9, 0.2, 2.1, 4.2, 1.6), atol=1e-9)
    frames = arrays.solids[:, 4:13].reshape(-1, 3, 3)
    np.testing.assert_allclose(frames @ frames.transpose(0, 2, 1), np.broadcast_to(np.eye(3), frames.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(frames[6:]), 1.0)

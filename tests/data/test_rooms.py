"""Rooms as a whole: determinism, ranges, and truths that must agree with one another."""

from functools import cache

import numpy as np
import pytest

from mtmamba.data.rooms import classes, pixel_rays, render_room, render_scene, sample_room
from mtmamba.data.rooms.dice import SPLITS, Dice, seed_sequence
from mtmamba.data.rooms.people import POSES, pose
from mtmamba.data.rooms.plan import Plan
from mtmamba.data.rooms.targets import CREASE_DEGREES, STEP
from mtmamba.tasks import CLASS_NAMES

SIZE = (60, 76)
COUNT = 24
Room = dict[str, np.ndarray]


@cache
def room(index: int, split: str = "train", size: tuple[int, int] = SIZE) -> Room:
    return render_room(7, index, size, split)


def test_smoke() -> None:
    expected = {
        "image": (np.uint8, (3,)),
        "semseg": (np.uint8, ()),
        "human_parts": (np.uint8, ()),
        "saliency": (np.uint8, ()),
        "depth": (np.float32, ()),
        "normals": (np.float32, (3,)),
        "edge": (np.uint8, ()),
        "albedo": (np.float32, (3,)),
        "shading": (np.float32, ()),
        "instance_edge": (np.uint8, ()),
        "instance": (np.int32, ()),
    }
    result = room(0)
    assert set(result) == {*expected, "intrinsics"}
    for name, (dtype, channels) in expected.items():
        assert result[name].dtype == dtype, name
        assert result[name].shape == SIZE + channels, name
    assert result["intrinsics"].shape == (4,)


def test_deterministic() -> None:
    again = render_room(7, 0, SIZE, "train")
    for name, values in room(0).items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_other_numbers_are_other_rooms() -> None:
    rooms = [room(0), room(1), render_room(8, 0, SIZE), *(room(0, split) for split in ("val", "test"))]
    for i, first in enumerate(rooms):
        for second in rooms[:i]:
            assert not np.array_equal(first["depth"], second["depth"])


def test_splits_never_share_a_stream() -> None:
    states = {
        tuple(seed_sequence(split, seed, index).generate_state(4))
        for split in SPLITS
        for seed in range(6)
        for index in range(20)
    }
    assert len(states) == len(SPLITS) * 6 * 20


def test_same_scene_at_every_size() -> None:
    """At three times the size, every third pixel is the same ray."""
    small, large = room(2), room(2, size=(SIZE[0] * 3, SIZE[1] * 3))
    middle = np.s_[1::3, 1::3]
    for name in ("semseg", "human_parts", "instance"):
        assert (small[name] == large[name][middle]).mean() > 0.999, name
    close = np.isclose(small["depth"], large["depth"][middle], rtol=1e-5)
    assert close.mean() > 0.999
    np.testing.assert_allclose(large["intrinsics"][:2], 3 * small["intrinsics"][:2])


@pytest.mark.parametrize("index", range(COUNT))
def test_ranges(index: int) -> None:
    result = room(index)
    assert result["semseg"].max() < len(classes.ROOM_CLASSES)
    assert result["human_parts"].max() <= 6
    for name in ("saliency", "edge", "instance_edge"):
        assert set(np.unique(result[name])) == {0, 1}, name
    assert result["depth"].min() > 0.3
    assert result["depth"].max() < 12.0
    assert result["albedo"].min() >= 0.0
    assert result["albedo"].max() <= 1.0
    assert result["shading"].min() > 0.0
    assert result["shading"].max() <= 4.0
    assert 60 < result["image"].mean() < 190  # neither black nor burnt out
    assert result["image"].std() > 15


@pytest.mark.parametrize("index", range(0, COUNT, 3))
def test_normals_face_the_camera(index: int) -> None:
    result = room(index)
    np.testing.assert_allclose(np.linalg.norm(result["normals"], axis=-1), 1.0, atol=1e-5)
    towards = (result["normals"] * pixel_rays(result["intrinsics"], SIZE)).sum(-1)
    assert towards.max() <= 1e-6


@pytest.mark.parametrize("index", range(0, COUNT, 3))
def test_depth_agrees_with_normals(index: int) -> None:
    """The points of a wall, floor or ceiling lie on one plane, and its normal is the one given."""
    result = room(index)
    points = pixel_rays(result["intrinsics"], SIZE) * result["depth"][..., None].astype(np.float64)
    flat = np.isin(result["semseg"], (classes.WALL, classes.FLOOR, classes.CEILING))
    surfaces = [k for k in np.unique(result["instance"][flat]) if (result["instance"] == k).sum() > 30]
    assert len(surfaces) >= 3
    for k in surfaces:
        mask = result["instance"] == k
        normal = result["normals"][mask]
        np.testing.assert_allclose(normal, np.broadcast_to(normal[0], normal.shape), atol=1e-6)
        height = points[mask] @ normal[0]
        assert np.ptp(height) < 1e-4


@pytest.mark.parametrize("index", range(COUNT))
def test_parts_are_people(index: int) -> None:
    result = room(index)
    np.testing.assert_array_equal(result["human_parts"] > 0, result["semseg"] == classes.PERSON)


@pytest.mark.parametrize("index", range(0, COUNT, 4))
def test_instances_have_one_class(index: int) -> None:
    result = room(index)
    for k in np.unique(result["instance"]):
        assert len(np.unique(result["semseg"][result["instance"] == k])) == 1


def test_everything_occurs() -> None:
    classes_seen = np.zeros(len(classes.ROOM_CLASSES), dtype=int)
    parts_seen = np.zeros(7, dtype=int)
    for index in range(COUNT):
        result = room(index)
        classes_seen[np.unique(result["semseg"])] += 1
        parts_seen[np.unique(result["human_parts"])] += 1
    assert (classes_seen >= COUNT // 5).all(), dict(zip(classes.ROOM_CLASSES, classes_seen))
    assert (parts_seen >= COUNT // 2).all(), parts_seen


def test_shares() -> None:
    """Mean shares of the picture, in the ranges that make the tasks learnable."""
    rooms = [room(index, size=(128, 160)) for index in range(COUNT)]
    assert 0.05 < np.mean([result["saliency"].mean() for result in rooms]) < 0.25
    assert 0.04 < np.mean([result["edge"].mean() for result in rooms]) < 0.12
    assert 0.5 < np.mean([(result["semseg"] == classes.PERSON).any() for result in rooms]) < 1.0
    for result in rooms:
        assert (result["edge"] >= result["instance_edge"]).all()
        assert (result["edge"] > result["instance_edge"]).any()


@pytest.mark.parametrize("index", [0, 5, 11])
def test_edge_rule(index: int) -> None:
    """The rule of `targets.edges`, written again with whole arrays."""
    result = room(index)
    depth, normals = result["depth"].astype(np.float64), result["normals"].astype(np.float64)
    points = pixel_rays(result["intrinsics"], SIZE) * depth[..., None]
    edge, boundary = np.zeros(SIZE, dtype=bool), np.zeros(SIZE, dtype=bool)
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        other = result["instance"][first] != result["instance"][second]
        cosine = (normals[first] * normals[second]).sum(-1)
        gap = points[second] - points[first]
        limit = STEP * np.minimum(depth[first], depth[second])
        step = (abs((gap * normals[first]).sum(-1)) > limit) & (abs((gap * normals[second]).sum(-1)) > limit)
        marked = other | (np.degrees(np.arccos(cosine.clip(-1, 1))) > CREASE_DEGREES) | step
        nearer = depth[first] <= depth[second]
        for target, where in ((edge, marked), (boundary, other)):
            target[first] |= where & nearer
            target[second] |= where & ~nearer
    assert (edge != result["edge"]).mean() < 2e-3  # depth and normals were rounded to float32 since
    np.testing.assert_array_equal(boundary, result["instance_edge"])


@pytest.mark.parametrize("index", [0, 3, 8, 14])
def test_saliency_rule(index: int) -> None:
    """The rule of `targets.saliency`, written again with masks."""
    result = room(index)
    image, instance = result["image"].astype(np.float64), result["instance"]
    weights = dict.fromkeys(range(17), 1.0)
    weights |= dict.fromkeys((classes.WALL, classes.FLOOR, classes.CEILING), 0.0)
    weights |= dict.fromkeys((classes.TABLE, classes.SHELF, classes.BED, classes.SOFA), 0.6)
    weights |= dict.fromkeys((classes.WINDOW, classes.DOOR, classes.RUG), 0.4) | {classes.PERSON: 1.6}
    scores = {}
    for k in np.unique(instance):
        mask = instance == k
        share = mask.mean()
        if share < 0.002:
            continue
        rows, columns = np.nonzero(mask)
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        around = np.zeros_like(mask)
        top, left = max(rows.min() - tall // 3 - 1, 0), max(columns.min() - wide // 3 - 1, 0)
        around[top : rows.max() + tall // 3 + 2, left : columns.max() + wide // 3 + 2] = True
        difference = image[mask].mean(0) - image[around & ~mask].mean(0)
        contrast = np.sqrt((difference**2).mean()) / 255
        square = (rows.mean() / SIZE[0] - 0.5) ** 2 + (columns.mean() / SIZE[1] - 0.5) ** 2
        weight = weights[int(result["semseg"][mask][0])]
        scores[k] = weight * (0.08 + contrast) * np.exp(-4 * square) * np.sqrt(min(share, 0.08))
    expected, best = np.zeros(SIZE, dtype=np.uint8), max(scores.values())
    for k in sorted(scores, key=lambda k: -scores[k]):
        mask = instance == k
        if scores[k] >= 0.6 * best and (not expected.any() or expected.mean() + mask.mean() <= 0.25):
            expected[mask] = 1
    np.testing.assert_array_equal(result["saliency"], expected)


@pytest.mark.parametrize("index", range(0, COUNT, 4))
def test_image_follows_albedo_and_shading(index: int) -> None:
    scene = sample_room(Dice(seed_sequence("train", 7, index)))
    scene.noise, scene.white_balance = 0.0, (1.0, 1.0, 1.0)
    clean = render_scene(scene, SIZE, np.random.default_rng(0))
    light = (clean["albedo"] * clean["shading"][..., None]).mean(-1)
    order = [values.ravel().argsort().argsort() for values in (light, clean["image"].mean(-1))]
    assert np.corrcoef(order)[0, 1] > 0.93  # rank correlation: the tone curve does not matter


def test_sensor() -> None:
    scene = sample_room(Dice(seed_sequence("train", 7, 0)))
    scene.noise = 0.0
    clean = render_scene(scene, SIZE, np.random.default_rng(0))
    scene.noise = 0.02
    noisy, other = (render_scene(scene, SIZE, np.random.default_rng(k)) for k in (0, 1))
    spread = (noisy["image"].astype(float) - clean["image"]).std() / 255
    assert 0.01 < spread < 0.03
    assert not np.array_equal(noisy["image"], other["image"])
    for name in set(clean) - {"image", "saliency"}:  # the truth has no noise
        np.testing.assert_array_equal(noisy[name], clean[name], err_msg=name)


def test_errors() -> None:
    with pytest.raises(ValueError, match="unknown split 'dev'; known: train, val, test"):
        render_room(0, 0, SIZE, "dev")
    with pytest.raises(ValueError, match="negative"):
        render_room(-1, 0, SIZE)
    with pytest.raises(ValueError, match="negative"):
        render_room(0, -1, SIZE)
    with pytest.raises(ValueError, match="at least 8x8"):
        render_room(0, 0, (4, 76))


def test_any_size() -> None:
    for size in ((8, 8), (17, 230)):
        assert render_room(3, 1, size)["image"].shape == (*size, 3)


def test_class_numbers() -> None:
    names = CLASS_NAMES["rooms"]
    assert tuple(names) == classes.ROOM_CLASSES
    for name in names:
        assert names[getattr(classes, name.upper())] == name


@pytest.mark.parametrize("name", [*POSES, "sit"])
def test_poses_are_for_both_sides(name: str) -> None:
    """Over many throws, what the left limbs do the right ones do as well."""
    dice = Dice(np.random.SeedSequence(0))
    thrown = [pose(dice, name) for _ in range(400)]
    left, right = (np.mean([(p.arms[k].swing, p.legs[k].swing) for p in thrown], axis=0) for k in (0, 1))
    np.testing.assert_allclose(left, right, atol=0.25)


def test_unknown_pose() -> None:
    with pytest.raises(ValueError, match="unknown pose 'fly'; known: sit, stand"):
        pose(Dice(np.random.SeedSequence(0)), "fly")


def test_plan_keeps_things_apart() -> None:
    plan = Plan((4.0, 5.0, 2.5), Dice(np.random.SeedSequence(0)))
    plan.take(1.0, 1.0, 1.0, 1.0, 0.1)
    assert not plan.free(1.55, 1.0, 0.2, 0.2)  # within the margin
    assert plan.free(1.8, 1.0, 0.2, 0.2)
    assert not plan.free(3.95, 1.0, 0.2, 0.2)  # in the wall


@pytest.mark.parametrize("index", range(30))
def test_people_stand_in_the_room(index: int) -> None:
    scene = sample_room(Dice(seed_sequence("train", 11, index)))
    arrays = scene.arrays()
    people = [k for k in range(len(arrays.blockers)) if arrays.semantic[int(arrays.blockers[k, 8])] == classes.PERSON]
    assert len(people) <= 3
    for low, high in ((arrays.blockers[k, :3], arrays.blockers[k, 3:6]) for k in people):
        assert low[2] > -0.02
        assert 0.7 < high[2] < 2.7


def test_dice() -> None:
    dice = Dice(np.random.SeedSequence(1))
    draws = [dice.integer(2, 4) for _ in range(300)]
    assert set(draws) == {2, 3, 4}
    picks = [dice.weighted("ab", [0.0, 1.0]) for _ in range(50)]
    assert set(picks) == {"b"}
    assert np.mean([dice.chance(0.2) for _ in range(2000)]) == pytest.approx(0.2, abs=0.05)

"""The contract that every task keeps, each task's own rules, and the benchmarks' sets."""

import json
import math
import os
import pickle
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mtmamba import metrics
from mtmamba.tasks import (
    CLASS_NAMES,
    IGNORE,
    Depth,
    Edge,
    Normals,
    Regression,
    Saliency,
    Segmentation,
    Task,
    benchmark,
)

CHANNELS = {
    "nyudv2": {"semseg": 40, "depth": 1, "normals": 3, "edge": 1},
    "pascal_context": {"semseg": 21, "human_parts": 7, "saliency": 2, "normals": 3, "edge": 1},
    "cityscapes": {"semseg": 19, "depth": 1},
    "ade20k": {"semseg": 150, "edge": 1},
    "rooms": {"semseg": 17, "human_parts": 7, "saliency": 2, "depth": 1, "normals": 3, "edge": 1},
}
CHANNELS["rooms_extended"] = CHANNELS["rooms"] | {"albedo": 3, "shading": 1, "instance_edge": 1}


@dataclass(frozen=True)
class Flow(Task):
    """A task as a user adds it: two channels, nothing but the abstract methods."""

    name: str = "flow"
    channels: int = 2
    unit: str = "px"
    primary: str = "rmse"
    higher_is_better: bool = False

    def loss(self, logits, target):
        self.check(logits, target)
        return torch.where(target == IGNORE, 0, (logits - target) ** 2).sum() / (target != IGNORE).sum().clamp(1)

    def metric(self):
        return metrics.RegressionMetric(2, self.name)

    def constant(self, targets):
        return torch.stack([t.movedim(1, 0)[:, (t != IGNORE).all(1)].mean(1) for t in targets]).mean(0)

    def decode(self, logits):
        return logits

    def colorize(self, decoded, *, limits=None):
        valid = (np.asarray(decoded) != IGNORE).all(0)
        return torch.from_numpy(np.repeat(valid[..., None] * np.uint8(200), 3, axis=2))


BUILT_IN = {task: f"{name}-{task.name}" for name in reversed(CHANNELS) for task in benchmark(name)}
each_built_in = pytest.mark.parametrize("task", BUILT_IN, ids=BUILT_IN.values())
each_task = pytest.mark.parametrize("task", [*BUILT_IN, Flow()], ids=[*BUILT_IN.values(), "user-flow"])
H, W = 6, 8


def truth(task, seed=0, ignored=0.2):
    """A raw target of a batch of two, valid everywhere but for pixels of 255."""
    generator = torch.Generator().manual_seed(seed)
    if task.labels:
        target = torch.randint(0, task.channels, (2, H, W), generator=generator)
        hole = torch.rand(target.shape, generator=generator) < ignored
    else:
        target = torch.rand((2, task.channels, H, W), generator=generator) + 0.1
        if isinstance(task, Normals):
            target = torch.nn.functional.normalize(target - 0.6, dim=1)
        if isinstance(task, Edge):
            target = (target > 0.8).float()
        hole = torch.rand((2, 1, H, W), generator=generator) < ignored
    return torch.where(hole, IGNORE, target)


def logits_of(task, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((2, task.channels, H, W), generator=generator)


def is_ignored(target):
    return (target == IGNORE) if target.ndim == 3 else (target == IGNORE).any(dim=1)


# The contract


@each_task
def test_config_and_pickle_round_trip(task):
    config = json.loads(json.dumps(task.to_config()))
    for copy in (Task.from_config(config), pickle.loads(pickle.dumps(task))):
        assert copy == task
        assert hash(copy) == hash(task)
        assert type(copy) is type(task)
    assert task != replace(task, name="other")


@each_task
def test_immutable(task):
    with pytest.raises(FrozenInstanceError):
        task.name = "other"


@each_task
def test_loss_has_finite_gradients(task):
    logits = logits_of(task).requires_grad_()
    loss = task.loss(logits, task.prepare(truth(task)))
    loss.backward()
    assert loss.ndim == 0
    assert loss.item() > 0
    assert logits.grad.isfinite().all()
    assert logits.grad.any()


@each_task
def test_loss_of_nothing_is_zero_with_a_graph(task):
    logits = logits_of(task).requires_grad_()
    loss = task.loss(logits, torch.full_like(truth(task), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@each_task
def test_metric_has_its_primary_key(task):
    metric = task.metric()
    metric.update(logits_of(task), task.prepare(truth(task)))
    result = metric.compute()
    assert result[task.primary].isfinite()
    assert all(value.ndim == 0 for value in result.values())
    assert metric.higher_is_better == task.higher_is_better


@each_task
def test_a_better_answer_has_a_better_primary_metric(task):
    """Logits made from the truth, against noise: the direction of higher_is_better, end to end."""
    target = task.prepare(truth(task))
    clean = torch.where(target == IGNORE, 0, target)
    if task.labels:
        good = torch.nn.functional.one_hot(clean, task.channels).movedim(-1, 1) * 10.0
    else:
        good = (clean * 10 - 5) if isinstance(task, Edge) else clean
    scores = []
    for logits in (good, logits_of(task)):
        metric = task.metric()
        metric.update(logits, target)
        scores.append(metric.compute()[task.primary].item())
    assert (scores[0] > scores[1]) == task.higher_is_better
    assert scores[0] != scores[1]


@each_task
def test_wrong_shapes_name_the_task(task):
    logits, target = logits_of(task), truth(task)
    squeezed = target[:, None] if task.labels else target[:, 0]
    for call in (task.loss, task.metric().update):
        with pytest.raises(ValueError, match=rf"{task.name}: target of shape .* expected"):
            call(logits, squeezed)
        with pytest.raises(ValueError, match=rf"{task.name}: target of shape .* expected"):
            call(logits, target[..., :-1])
        with pytest.raises(ValueError, match=rf"{task.name}: logits of shape .* expected \(B, {task.channels}, "):
            call(torch.cat((logits, logits), dim=1), target)


@each_task
def test_decode_shapes(task):
    decoded = task.decode(logits_of(task).bfloat16().float())
    several = isinstance(task, Normals | Regression | Flow)
    assert decoded.shape == ((2, task.channels, H, W) if several else (2, H, W))
    assert decoded.dtype == (torch.int64 if isinstance(task, Segmentation) else torch.float32)


@each_task
def test_target_to_map_has_the_form_of_decode(task):
    target = task.prepare(truth(task))
    decoded = task.decode(logits_of(task))
    shown = task.target_to_map(target[0])
    assert shown.shape == decoded[0].shape
    assert shown.dtype == decoded.dtype
    assert torch.equal(is_ignored(target)[0], (shown == IGNORE).reshape(-1, H, W).any(dim=0))


@each_task
def test_colorize(task):
    decoded = task.decode(logits_of(task))[0]
    colors = task.colorize(decoded)
    assert colors.shape == (H, W, 3)
    assert colors.dtype == torch.uint8
    assert torch.equal(colors, task.colorize(decoded.numpy()))


@each_task
def test_colorize_paints_ignored_pixels_black_and_others_not(task):
    target = task.prepare(truth(task, ignored=0.4))[0]
    if isinstance(task, Segmentation) and task.colors[0] == "#000000":
        target = torch.where(target == 0, 1, target)  # VOC's background is black too
    colors = task.colorize(task.target_to_map(target))
    ignored = is_ignored(target[None])[0]
    assert ignored.any()
    assert not colors[ignored].any()
    assert colors[~ignored].any(dim=-1).all()


@each_task
def test_everything_ignored_can_be_shown(task):
    target = torch.full_like(truth(task), IGNORE)[0]
    assert not task.colorize(task.target_to_map(target)).any()


@each_task
def test_legend(task):
    for text, color in task.legend():
        assert isinstance(text, str)
        assert all(0 <= channel <= 255 and type(channel) is int for channel in color)


@each_task
def test_save(task, tmp_path):
    decoded = task.decode(logits_of(task))[0]
    paths = task.save(decoded, tmp_path / "new" / "image.0001")
    assert paths
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    assert {path.name for path in paths} <= {"image.0001.png", "image.0001.npy"}
    for path in paths:
        if path.suffix == ".npy":
            stored = np.load(path)
            assert stored.dtype == np.float32
            np.testing.assert_array_equal(stored, decoded.numpy())
        else:
            assert Image.open(path).size == (W, H)


@each_task
def test_save_where_it_cannot(task, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write the prediction") as caught:
        task.save(task.decode(logits_of(task))[0], tmp_path / "file" / "image")
    assert str(tmp_path / "file" / "image") in str(caught.value)


@pytest.mark.parametrize(
    "task", [task for task in BUILT_IN if not isinstance(task, Saliency | Edge)], ids=lambda t: BUILT_IN[t]
)
def test_constant_is_the_best_there_is(task):
    """Others, drawn at random, are no better: by the loss for classes, else by the metric that papers report."""
    targets = [task.prepare(truth(task, seed)) for seed in range(3)]
    best = task.constant(targets)
    assert best.shape == (task.channels,)

    def cost(constant):
        logits = constant[None, :, None, None].expand(2, -1, H, W)
        if isinstance(task, Segmentation):
            valid = torch.tensor([float((target != IGNORE).sum()) for target in targets])
            return (torch.stack([task.loss(logits, target) for target in targets]) * valid).sum() / valid.sum()
        metric = task.metric()
        for target in targets:
            metric.update(logits, target)
        return metric.compute()[task.primary] * (-1 if task.higher_is_better else 1)

    generator = torch.Generator().manual_seed(5)
    for size in (0.1, 0.3, 1.0, 3.0):
        other = best + size * torch.randn(best.shape, generator=generator)
        assert cost(other) > cost(best)


@each_built_in
def test_constant_of_nothing(task):
    nothing = torch.full_like(truth(task), IGNORE)
    for targets in ([], [nothing]):
        with pytest.raises(ValueError, match=f"{task.name}: none of the targets"):
            task.constant(targets)


@each_task
def test_rescale_and_hflip_undo_themselves(task):
    target = truth(task)
    for one in (target, target[0]):
        assert torch.equal(task.hflip(task.hflip(one)), one)
        torch.testing.assert_close(task.rescale(task.rescale(one, 2.0), 0.5), one)
        assert torch.equal(one == IGNORE, task.hflip(one) == IGNORE)
        assert torch.equal(one == IGNORE, task.rescale(one, 1.7) == IGNORE)


@each_task
def test_prepare_twice_is_once_with_and_without_batch(task):
    target = truth(task)
    before = target.clone()
    prepared = task.prepare(target)
    assert torch.equal(target, before)
    assert torch.equal(task.prepare(prepared), prepared)
    assert torch.equal(torch.stack([task.prepare(one) for one in target]), prepared)


@each_task
def test_padding_does_not_count(task):
    """Pixels of the value `fill` are ignored once the target is prepared."""
    target = truth(task, ignored=0)
    padded = torch.nn.functional.pad(target, (0, 3), value=task.fill)
    assert is_ignored(task.prepare(padded))[..., W:].all()
    assert not is_ignored(task.prepare(padded))[..., :W].any()


# Segmentation


def test_human_parts_without_a_person_do_not_count():
    parts = benchmark("pascal_context", ["human_parts"])[0]
    target = torch.tensor([[[0, 0, 255]], [[0, 3, 255]]])
    assert torch.equal(parts.prepare(target), torch.tensor([[[255, 255, 255]], [[0, 3, 255]]]))
    semseg = benchmark("pascal_context", ["semseg"])[0]
    assert torch.equal(semseg.prepare(target), target)


def test_segmentation_colors_and_legend():
    names, tints = ("good", "dent", "rust"), ("#010203", "#ff0000", "#00ff00")
    task = Segmentation("defects", 3, class_names=names, colors=tints)
    colors = task.colorize(torch.tensor([[0, 1, 2, 255]]))
    assert colors.tolist() == [[[1, 2, 3], [255, 0, 0], [0, 255, 0], [0, 0, 0]]]
    assert task.legend() == [("good", (1, 2, 3)), ("dent", (255, 0, 0)), ("rust", (0, 255, 0))]
    assert task.legend(present=[2, 255, 0]) == [("good", (1, 2, 3)), ("rust", (0, 255, 0))]


def test_segmentation_png_holds_classes_and_their_colors(tmp_path):
    task = benchmark("cityscapes")[0]
    classes = torch.arange(19).reshape(1, 19)
    image = Image.open(task.save(classes, tmp_path / "map")[0])
    assert image.mode == "P"
    assert np.asarray(image).tolist() == classes.tolist()
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), task.colorize(classes).numpy())


def test_segmentation_constant_is_the_majority_and_the_prior():
    targets = [torch.tensor([[[2, 2, 0]]]), torch.tensor([[[2, 1, 255]]])]
    constant = Segmentation("semseg", 4).constant(targets)
    assert constant.argmax() == 2
    assert constant.softmax(0).tolist() == pytest.approx([0.2, 0.2, 0.6, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2, "class_names": ("a",)}, "1 class names for 2 classes"),
        ({"channels": 2, "class_names": ("a", "a")}, "occur twice"),
        ({"channels": 2, "colors": ("#000000",)}, "1 colours for 2 classes"),
        ({"channels": 1, "colors": ("red",)}, "#rrggbb"),
        ({"channels": 256}, "256 classes"),
        ({"channels": 0}, "0 channels"),
        ({"name": "my task"}, "my task"),
    ],
)
def test_segmentation_exceptions(options, message):
    with pytest.raises(ValueError, match=message):
        Segmentation(**options)


# Saliency and edges


def test_saliency_decodes_the_probability_of_class_one():
    logits = torch.tensor([[[[0.0]], [[math.log(3)]]]])
    assert Saliency().decode(logits).item() == pytest.approx(0.75)


def test_edge_decodes_by_sigmoid():
    assert Edge().decode(torch.tensor([[[[math.log(3)]]]])).item() == pytest.approx(0.75)


def test_probability_png_is_truncated_to_8_bits(tmp_path):
    for task in (Saliency(), Edge()):
        path = task.save(torch.tensor([[0.0, 0.5, 0.999, 1.0]]), tmp_path / task.name)[0]
        image = Image.open(path)
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[0, 127, 254, 255]]


def test_constant_probability_is_the_prior():
    labels = torch.tensor([[[1, 0, 0, 0, 255]]])
    assert Saliency().constant([labels]).softmax(0)[1].item() == pytest.approx(0.25)
    assert Edge().constant([labels[:, None].float()]).sigmoid().item() == pytest.approx(0.25)
    assert Edge().constant([torch.zeros(1, 1, 2, 2)]).isfinite()


# Depth


def test_depth_of_zero_was_not_measured():
    target = torch.tensor([[[0.0, 2.0, 255.0]]])
    assert Depth().prepare(target).tolist() == [[[255.0, 2.0, 255.0]]]


def test_depth_is_divided_by_the_factor():
    assert Depth().rescale(torch.tensor([[[3.0, 0.0, 255.0]]]), 1.5).tolist() == [[[2.0, 0.0, 255.0]]]


def test_cityscapes_disparity_keeps_sky_and_missing_pixels():
    """0 and -1 train, as published, but do not count in the metric; enlarging multiplies what was measured."""
    task = benchmark("cityscapes")[1]
    target = torch.tensor([[[[-1.0, 0.0, 40.0, 90.0]]]])
    assert torch.equal(task.prepare(target), target)
    assert task.loss(torch.zeros(1, 1, 1, 4), target).item() == pytest.approx((1 + 0 + 40 + 90) / 4)
    metric = task.metric()
    metric.update(torch.full((1, 1, 1, 4), 43.0), target)
    assert metric.compute()["rmse"].item() == pytest.approx(3.0)
    assert task.constant([target]).item() == 40
    assert task.rescale(target, 2.0).tolist() == [[[[-1.0, 0.0, 80.0, 180.0]]]]


def test_depth_decodes_above_zero():
    assert (Depth().decode(torch.tensor([[[[-2.0, 0.0, 3.0]]]])) > 0).all()


def test_depth_files(tmp_path):
    png, npy = Depth().save(torch.tensor([[1.2345, 70.0, 255.0]]), tmp_path / "depth")
    assert Image.open(png).mode == "I;16"
    assert np.asarray(Image.open(png)).tolist() == [[1234, 65535, 0]]
    assert np.load(npy).tolist() == [[pytest.approx(1.2345), 70.0, 255.0]]


def test_disparity_png_is_that_of_cityscapes(tmp_path):
    png, _ = benchmark("cityscapes")[1].save(torch.tensor([[10.0, 0.5, -1.0]]), tmp_path / "disparity")
    raw = np.asarray(Image.open(png)).astype(float)
    assert raw.tolist() == [[2561, 129, 0]]
    assert ((raw[0, :2] - 1) / 256).tolist() == [10.0, 0.5]


def test_near_is_light_for_depth_and_disparity():
    near_far = torch.tensor([[1.0, 5.0]])
    near, far = Depth().colorize(near_far)[0].float().mean(dim=-1)
    assert near > far
    far, near = benchmark("cityscapes")[1].colorize(near_far)[0].float().mean(dim=-1)
    assert near > far


def test_shared_limits_share_colors():
    task = Depth()
    one, other = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 9.0]])
    limits = (0.0, 10.0)
    assert torch.equal(task.colorize(one, limits=limits)[0, 1], task.colorize(other, limits=limits)[0, 0])
    assert [text for text, _ in task.legend(limits=limits)] == ["0 m", "2.5 m", "5 m", "7.5 m", "10 m"]
    assert task.limits(torch.tensor([[255.0, 3.0, 3.0]])) == (3.0, 3.0)


# Normals


def test_normals_of_zero_length_were_not_measured():
    target = torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]])
    assert Normals().prepare(target).tolist() == [[[255.0, 0.0]], [[255.0, 1.0]], [[255.0, 0.0]]]


def test_hflip_changes_the_sign_of_x_alone():
    target = torch.tensor([0.6, 0.8, -0.1]).reshape(3, 1, 1)
    assert Normals().hflip(target).flatten().tolist() == pytest.approx([-0.6, 0.8, -0.1])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_a_mirrored_wall_is_the_mirror_of_the_wall(seed):
    """Mirroring pixels and correcting values commutes with measuring normals from a depth map."""
    depth = np.random.default_rng(seed).normal(size=(7, 9))

    def normals(z):
        dy, dx = np.gradient(z)
        n = np.stack((-dx, -dy, np.ones_like(z)))
        return torch.from_numpy(n / np.linalg.norm(n, axis=0))

    torch.testing.assert_close(Normals().hflip(normals(depth).flip(-1)), normals(depth[:, ::-1]))


def test_normals_colors_follow_the_usual_convention():
    axes = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]])
    assert Normals().colorize(axes).tolist() == [[[255, 128, 128], [128, 128, 255]]]
    assert Normals().legend()[0] == ("+x", (255, 128, 128))


def test_normals_decode_to_unit_length():
    torch.testing.assert_close(Normals().decode(logits_of(Normals())).norm(dim=1), torch.ones(2, H, W))


# Regression


def test_regression_colors():
    albedo = Regression("albedo", 3)
    assert albedo.colorize(torch.tensor([[[0.0]], [[0.5]], [[2.0]]])).tolist() == [[[0, 128, 255]]]
    shading = Regression("shading", 1, display=(0.0, 2.0))
    dark, light = shading.colorize(torch.tensor([[[0.0, 2.0]]]))[0].float().mean(dim=-1)
    assert dark < light
    assert shading.legend()[-1][0] == "2"
    linear = Regression("albedo", 3, gamma=2.0)
    assert linear.colorize(torch.tensor([[[0.0]], [[0.25]], [[1.0]]])).tolist() == [[[0, 128, 255]]]
    with pytest.raises(ValueError, match="gamma"):
        Regression("albedo", 3, gamma=0.0)
    with pytest.raises(ValueError, match="display"):
        Regression("shading", display=(1.0, 1.0))


# Benchmarks


@pytest.mark.parametrize("name", CHANNELS)
def test_benchmark_order_and_channels(name):
    """Published weights depend on the order."""
    assert list({task.name: task.channels for task in benchmark(name)}.items()) == list(CHANNELS[name].items())


def test_benchmark_only_keeps_the_order():
    assert [task.name for task in benchmark("nyudv2", ["edge", "semseg"])] == ["semseg", "edge"]


def test_benchmark_exceptions():
    with pytest.raises(ValueError, match="unknown benchmark 'nyu'; known: nyudv2, pascal_context"):
        benchmark("nyu")
    with pytest.raises(ValueError, match="nyudv2 has no task 'saliency'; it has semseg, depth, normals, edge"):
        benchmark("nyudv2", ["semseg", "saliency"])


def test_class_names():
    sizes = {name: len(CLASS_NAMES[name]) for name in CLASS_NAMES}
    assert sizes == {
        "nyudv2": 40,
        "pascal_context": 21,
        "cityscapes": 19,
        "ade20k": 150,
        "human_parts": 7,
        "rooms": 17,
    }
    assert CLASS_NAMES["pascal_context"][15] == "person"
    assert CLASS_NAMES["cityscapes"][10] == "sky"
    assert CLASS_NAMES["nyudv2"][37:] == ["otherstructure", "otherfurniture", "otherprop"]
    assert CLASS_NAMES["ade20k"][149] == "flag"
    assert CLASS_NAMES["rooms"][-1] == "person"
    for name in CLASS_NAMES:
        assert len(set(CLASS_NAMES[name])) == len(CLASS_NAMES[name])
    CLASS_NAMES["rooms"].append("a list of one's own")
    assert len(CLASS_NAMES["rooms"]) == 17


def test_official_colors():
    assert dict(benchmark("cityscapes")[0].legend())["car"] == (0, 0, 142)
    assert dict(benchmark("pascal_context")[0].legend())["person"] == (192, 128, 128)
    assert dict(benchmark("pascal_context")[0].legend())["background"] == (0, 0, 0)


@pytest.mark.parametrize("name", ["rooms", "nyudv2", "ade20k", "pascal_context"])
def test_colors_of_classes_differ(name):
    colors = [color for _, color in benchmark(name)[0].legend()]
    assert len(set(colors)) == len(colors)


# A user's own task


def test_user_task_is_known_by_its_class_name():
    assert Task.from_config(Flow(name="motion").to_config()) == Flow(name="motion")


def test_from_config_exceptions():
    with pytest.raises(ValueError, match=r"unknown kind of task 'Sonar'; known: \['Depth'"):
        Task.from_config({"kind": "Sonar", "name": "sonar"})
    with pytest.raises(ValueError, match="unknown kind of task None"):
        Task.from_config({"name": "depth"})
    with pytest.raises(ValueError, match=r"options of Depth .*wavelength"):
        Task.from_config(Depth().to_config() | {"wavelength": 3})


def test_two_kinds_cannot_share_a_name():
    with pytest.raises(ValueError, match="choose another class name"):
        type("Depth", (Depth,), {"__module__": "elsewhere"})


def test_a_task_without_its_methods_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Task("nothing", 1, primary="mae", higher_is_better=False)


@pytest.mark.parametrize("kind", [Depth, Normals, Saliency, Edge])
def test_fixed_channels(kind):
    with pytest.raises(ValueError, match="5"):
        kind(channels=5)


@each_built_in
def test_maps_of_another_shape_are_refused(task):
    with pytest.raises(ValueError, match=f"{task.name}: map of shape"):
        task.colorize(torch.zeros(2, 2, 4, 4))


@pytest.mark.skipif(not Path("/dev/full").exists() or os.name != "posix", reason="needs /dev/full")
def test_full_disk(tmp_path):
    (tmp_path / "map.png").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write the prediction \(No space left on device\)") as caught:
        Edge().save(torch.rand(200, 200), tmp_path / "map")
    assert caught.value.filename == str(tmp_path / "map.png")

"""The losses against numbers worked out by hand, and against NumPy written from the protocol's text."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtmamba import losses
from mtmamba.losses import IGNORE, MultiTaskLoss


def labels(shape, classes, seed=0, ignored=0.3):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < ignored, IGNORE, target)


def values(*shape, seed=0, ignored=0.0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(shape, generator=generator)
    hole = torch.rand((shape[0], 1, *shape[2:]), generator=generator) < ignored
    return torch.where(hole, IGNORE, target)


def batch(kind, seed=0, ignored=0.3, dtype=torch.float32):
    """(loss, logits, target) of a small batch."""
    logits = torch.randn((2, CHANNELS[kind], 5, 7), generator=torch.Generator().manual_seed(seed + 1))
    if kind in ("cross_entropy", "balanced_cross_entropy"):
        target = labels((2, 5, 7), CHANNELS[kind], seed, ignored)
    else:
        target = values(2, CHANNELS[kind], 5, 7, seed=seed, ignored=ignored)
    return getattr(losses, kind), logits.to(dtype).requires_grad_(), target


CHANNELS = {
    "cross_entropy": 4,
    "balanced_cross_entropy": 2,
    "balanced_binary_cross_entropy": 1,
    "normals_l1": 3,
    "depth_l1": 1,
    "regression_l1": 3,
}
each_loss = pytest.mark.parametrize("kind", CHANNELS)


def by_the_protocol(kind, logits, target):
    """Pixel by pixel in float64."""
    logits = logits.detach().double().numpy()
    target = target.numpy()
    total, count = 0.0, 0
    positives = (target == 1).sum() / max((target != IGNORE).sum(), 1)
    for b, y, x in np.ndindex(logits.shape[0], *logits.shape[2:]):
        p = logits[b, :, y, x]
        t = target[b, y, x] if target.ndim == 3 else target[b, :, y, x]
        if np.any(t == IGNORE):
            continue
        count += 1
        if kind == "cross_entropy":
            total += math.log(np.exp(p).sum()) - p[t]
        elif kind == "balanced_cross_entropy":
            total += (math.log(np.exp(p).sum()) - p[t]) * (1 - positives if t == 1 else positives)
        elif kind == "balanced_binary_cross_entropy":
            q = 1 / (1 + math.exp(-p[0]))
            total -= 0.95 * t[0] * math.log(q) + 0.05 * (1 - t[0]) * math.log(1 - q)
        elif kind == "normals_l1":
            total += np.abs(p / np.linalg.norm(p) - t).sum()
        else:
            total += np.abs(p - t).mean()
    return total / count


@each_loss
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**20), ignored=st.sampled_from([0.0, 0.3, 0.9]))
def test_protocol(kind, seed, ignored):
    loss, logits, target = batch(kind, seed, ignored)
    target[0, ..., 0, 0] = 1  # one pixel is valid
    expected = by_the_protocol(kind, logits, target)
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@each_loss
def test_nothing_valid_is_zero_with_a_graph(kind):
    loss, logits, target = batch(kind, ignored=1.1)
    assert (target == IGNORE).all()
    value = loss(logits, target)
    assert value.item() == 0
    value.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@each_loss
def test_ignored_pixels_get_no_gradient_and_others_a_finite_one(kind):
    loss, logits, target = batch(kind)
    loss(logits, target).backward()
    ignored = (target == IGNORE) if target.ndim == 3 else (target == IGNORE).any(dim=1)
    assert logits.grad.isfinite().all()
    assert (logits.grad.abs().sum(dim=1)[ignored] == 0).all()
    assert (logits.grad.abs().sum(dim=1)[~ignored] > 0).all()


@each_loss
def test_gradcheck(kind):
    loss, logits, target = batch(kind, dtype=torch.float64)
    target = target.double() if target.is_floating_point() else target
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(kind, dtype):
    loss, logits, target = batch(kind, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.detach().float(), target).item(), rel=1e-6)


@each_loss
def test_extreme_logits_stay_finite(kind):
    loss, logits, target = batch(kind)
    for scale in (0.0, 1e4, -1e4):
        extreme = (logits.detach() * scale).requires_grad_()
        value = loss(extreme, target)
        value.backward()
        assert value.isfinite()
        assert extreme.grad.isfinite().all()


# By hand


def test_cross_entropy_by_hand():
    logits = torch.zeros(1, 4, 1, 3)  # every class is as likely
    target = torch.tensor([[[0, 3, IGNORE]]])
    assert losses.cross_entropy(logits, target).item() == pytest.approx(math.log(4))


def test_balanced_cross_entropy_by_hand():
    # 1 positive and 3 negatives: weights 3/4 and 1/4; each pixel costs log 2
    target = torch.tensor([[[1, 0, 0, 0, IGNORE]]])
    value = losses.balanced_cross_entropy(torch.zeros(1, 2, 1, 5), target).item()
    assert value == pytest.approx((0.75 + 3 * 0.25) * math.log(2) / 4)


def test_balanced_cross_entropy_of_one_class_is_zero():
    assert losses.balanced_cross_entropy(torch.randn(1, 2, 2, 2), torch.ones(1, 2, 2).long()).item() == 0


def test_balanced_binary_cross_entropy_by_hand():
    target = torch.tensor([[[[1.0, 0.0, 0.0, IGNORE]]]])
    value = losses.balanced_binary_cross_entropy(torch.zeros(1, 1, 1, 4), target).item()
    assert value == pytest.approx((0.95 + 2 * 0.05) * math.log(2) / 3)


def test_normals_l1_by_hand():
    prediction = torch.tensor([[0.0, 3.0, 4.0], [0.0, 0.0, 9.0]]).T.reshape(1, 3, 1, 2)
    target = torch.tensor([[0.0, 0.0, 1.0], [255.0, 255.0, 255.0]]).T.reshape(1, 3, 1, 2)
    assert losses.normals_l1(prediction, target).item() == pytest.approx(0.6 + 0.2)


def test_depth_l1_counts_minus_one_but_not_255():
    prediction = torch.tensor([[[[2.0, 3.0, 9.0]]]])
    target = torch.tensor([[[[1.0, -1.0, 255.0]]]])
    assert losses.depth_l1(prediction, target).item() == pytest.approx((1 + 4) / 2)


def test_regression_l1_ignores_a_pixel_if_any_channel_is():
    prediction = torch.tensor([[[[1.0, 0.0]], [[2.0, 0.0]]]])
    target = torch.tensor([[[[0.0, 5.0]], [[0.0, 255.0]]]])
    assert losses.regression_l1(prediction, target).item() == pytest.approx(1.5)


# All tasks together


def test_multi_task_log_by_hand():
    total = MultiTaskLoss(["a", "b"], {"b": 2.0})({"a": torch.tensor(math.e), "b": torch.tensor(0.0)})
    assert total.item() == pytest.approx(1 + 2 * math.log(1e-8))


def test_multi_task_sum_by_hand():
    loss = MultiTaskLoss(["semseg", "edge"], {"edge": 50.0}, reduction="sum")
    value = torch.tensor(2.0, requires_grad=True)
    total = loss({"semseg": value, "edge": torch.tensor(0.5)})
    total.backward()
    assert total.item() == pytest.approx(27.0)
    assert value.grad.item() == 1


def test_multi_task_log_without_valid_pixels_has_a_finite_gradient():
    logits = torch.randn(1, 1, 2, 2, requires_grad=True)
    nothing = losses.depth_l1(logits, torch.full((1, 1, 2, 2), 255.0))
    MultiTaskLoss(["depth"])({"depth": nothing}).backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_multi_task_is_float32_of_half():
    assert MultiTaskLoss(["a"])({"a": torch.tensor(1.0, dtype=torch.bfloat16)}).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["a"], "reduction": "mean"}, "'log' or 'sum'"),
        ({"names": ["a"], "weights": {"b": 1.0}}, "not trained: \\['b'\\]"),
        ({"names": []}, "at least one"),
    ],
)
def test_multi_task_exceptions(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskLoss(**arguments)


@pytest.mark.parametrize("given_tasks", [["a"], ["a", "b", "c"]])
def test_multi_task_needs_exactly_its_tasks(given_tasks):
    with pytest.raises(ValueError, match="expected those of"):
        MultiTaskLoss(["a", "b"])({name: torch.tensor(1.0) for name in given_tasks})

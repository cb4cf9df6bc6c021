"""What all metrics promise: the same answer in one update, in many, on one device and on several."""

import copy
import pickle

import pytest
import torch

from mtmamba import metrics
from mtmamba.losses import IGNORE

METRICS = {
    "segmentation": lambda: metrics.SegmentationMetric(["a", "b", "c", "d"]),
    "saliency": metrics.SaliencyMetric,
    "depth": metrics.DepthMetric,
    "normals": metrics.NormalsMetric,
    "boundaries": metrics.PixelBoundaryMetric,
    "regression": lambda: metrics.RegressionMetric(2),
}
each_metric = pytest.mark.parametrize("kind", METRICS)


def data(metric, batch=6, seed=0, ignored=0.3):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, metric.channels, 9, 11)
    logits = torch.randn(shape, generator=generator)
    if metric.labels:
        target = torch.randint(0, metric.channels, (batch, 9, 11), generator=generator)
        hole = torch.rand(target.shape, generator=generator) < ignored
    else:
        target = torch.rand(shape, generator=generator) + 0.01
        hole = torch.rand((batch, 1, 9, 11), generator=generator) < ignored
    return logits, torch.where(hole, IGNORE, target)


def computed(metric):
    return {key: float(value) for key, value in metric.compute().items()}


@each_metric
def test_smoke_keys_are_scalars_in_double_precision(kind):
    metric = METRICS[kind]()
    metric.update(*data(metric))
    result = metric.compute()
    assert all(value.ndim == 0 and value.dtype == torch.float64 for value in result.values())
    assert all(value.isfinite() for value in result.values())


@each_metric
def test_counts_and_sums_stay_exact_over_many_pixels(kind):
    assert {state.dtype for state in METRICS[kind]().metric_state.values()} <= {torch.int64, torch.float64}


@each_metric
def test_many_updates_are_one(kind):
    whole, parts = METRICS[kind](), METRICS[kind]()
    logits, target = data(whole)
    whole.update(logits, target)
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        parts.update(logits[start:stop], target[start:stop])
    assert computed(parts) == pytest.approx(computed(whole), rel=1e-6)


@each_metric
def test_two_processes_are_one(kind):
    whole, first, second = (METRICS[kind]() for _ in range(3))
    logits, target = data(whole)
    whole.update(logits, target)
    first.update(logits[:2], target[:2])
    second.update(logits[2:], target[2:])
    others = {id(getattr(first, key)): getattr(second, key) for key in first.metric_state}
    first.dist_sync_fn = lambda state, group=None: [state, others[id(state)]]  # what all_gather would bring
    first.distributed_available_fn = lambda: True
    assert computed(first) == pytest.approx(computed(whole), rel=1e-6)


@each_metric
def test_merge(kind):
    whole, first, second = (METRICS[kind]() for _ in range(3))
    logits, target = data(whole)
    whole.update(logits, target)
    first.update(logits[:5], target[:5])
    second.update(logits[5:], target[5:])
    first.merge_state(second)
    assert computed(first) == pytest.approx(computed(whole), rel=1e-6)


@each_metric
def test_values_under_ignored_pixels_do_not_matter(kind):
    metric, other = METRICS[kind](), METRICS[kind]()
    logits, target = data(metric)
    ignored = (target == IGNORE).reshape(6, -1, 9, 11).any(dim=1, keepdim=True)
    assert ignored.any()
    metric.update(logits, target)
    other.update(torch.where(ignored, torch.randn_like(logits) * 9, logits), target)
    assert computed(metric) == computed(other)


@each_metric
def test_all_ignored_changes_nothing(kind):
    metric = METRICS[kind]()
    logits, target = data(metric)
    metric.update(logits, target)
    before = computed(metric)
    metric.update(logits, torch.full_like(target, IGNORE))
    assert computed(metric) == before


@each_metric
def test_nothing_seen(kind):
    metric = METRICS[kind]()
    logits, target = data(metric)
    metric.update(logits, torch.full_like(target, IGNORE))
    result = computed(metric)
    shares_of_matches = {key for key in result if key.startswith(("mIoU", "iou/", "maxF", "pixelF"))}
    assert all(result[key] == 0 for key in shares_of_matches)
    assert all(result[key] != result[key] for key in result.keys() - shares_of_matches)  # NaN


@each_metric
def test_reset(kind):
    metric, fresh = METRICS[kind](), METRICS[kind]()
    metric.update(*data(metric, seed=1))
    metric.reset()
    for one in (metric, fresh):
        one.update(*data(metric, seed=2))
    assert computed(metric) == computed(fresh)


@each_metric
def test_pickle(kind):
    metric = METRICS[kind]()
    metric.update(*data(metric))
    assert computed(pickle.loads(pickle.dumps(metric))) == computed(metric)


@each_metric
def test_half_precision_logits(kind):
    half, full = METRICS[kind](), METRICS[kind]()
    logits, target = data(half)
    half.update(logits.bfloat16(), target)
    full.update(logits.bfloat16().float(), target)
    assert computed(half) == computed(full)


@each_metric
def test_logits_of_nan_do_not_crash(kind):
    metric = METRICS[kind]()
    logits, target = data(metric)
    metric.update(torch.full_like(logits, float("nan")), target)
    result = computed(metric)
    for key in result.keys() & {"rmse", "mean", "mae", "loss"}:
        assert result[key] != result[key]


@each_metric
def test_inputs_stay_as_they_were(kind):
    metric = METRICS[kind]()
    logits, target = data(metric)
    copies = copy.deepcopy((logits, target))
    metric.update(logits, target)
    assert torch.equal(logits, copies[0])
    assert torch.equal(target, copies[1])


@each_metric
def test_a_device_without_float64(kind):
    metric, plain = METRICS[kind](), METRICS[kind]()

    def to_device(tensor):
        if tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return tensor.clone()

    metric._apply(to_device)
    assert all(state.dtype != torch.float64 for state in metric.metric_state.values())
    metric.update(*data(metric))
    plain.update(*data(plain))
    assert computed(metric) == pytest.approx(computed(plain), rel=1e-5)
    metric.reset()
    assert all(state.dtype != torch.float64 for state in metric.metric_state.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_metric
def test_cuda(kind):
    metric, plain = METRICS[kind]().cuda(), METRICS[kind]()
    logits, target = data(metric)
    metric.update(logits.cuda(), target.cuda())
    plain.update(logits, target)
    assert computed(metric) == pytest.approx(computed(plain), rel=1e-5)


@each_metric
def test_exception_names_the_task_and_both_shapes(kind):
    metric = METRICS[kind]()
    metric.name = "mine"
    logits, target = data(metric)
    with pytest.raises(
        ValueError, match=rf"mine: logits of shape \(6, 9, 11\); expected \(B, {metric.channels}, H, W\)"
    ):
        metric.update(logits[:, 0], target)
    with pytest.raises(ValueError, match=r"mine: target of shape .*; expected \(6, "):
        metric.update(logits, target[..., 1:])
    with pytest.raises(ValueError, match="mine: target of shape"):
        metric.update(logits, target[:, None] if metric.labels else target[:, 0])
    with pytest.raises(ValueError, match="mine: target of type"):
        metric.update(logits, target.float() if metric.labels else target.long())

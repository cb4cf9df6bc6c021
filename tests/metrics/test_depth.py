"""DepthMetric against NumPy, and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_percentage_error, root_mean_squared_error

from mtmamba.metrics import DepthMetric


def compute(prediction, target, **options):
    metric = DepthMetric(**options)
    metric.update(
        torch.tensor(prediction, dtype=torch.float32).reshape(1, 1, 1, -1),
        torch.tensor(target, dtype=torch.float32).reshape(1, 1, 1, -1),
    )
    return {key: value.item() for key, value in metric.compute().items()}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), max_value=st.sampled_from([None, 3.0]))
def test_independent(seed, max_value):
    generator = np.random.default_rng(seed)
    g = generator.uniform(0.1, 10, 200).astype(np.float32)
    p = (g * generator.uniform(0.4, 2, 200)).astype(np.float32)
    g[:20] = 255
    result = compute(p, g, max_value=max_value)
    keep = (g != 255) & (g < (max_value or 255))
    p, g = p[keep].astype(np.float64), g[keep].astype(np.float64)
    assert result["rmse"] == pytest.approx(root_mean_squared_error(g, p))
    assert result["log_rmse"] == pytest.approx(root_mean_squared_error(np.log(g), np.log(p)))
    assert result["abs_rel"] == pytest.approx(mean_absolute_percentage_error(g, p))
    assert result["sq_rel"] == pytest.approx(sum((b - a) ** 2 / a for a, b in zip(g, p)) / len(g))
    for k in (1, 2, 3):
        hits = [max(a / b, b / a) < 1.25**k for a, b in zip(g, p)]
        assert result[f"delta{k}"] == pytest.approx(sum(hits) / len(hits))


def test_by_hand():
    result = compute([2.0, 2.0], [1.0, 4.0])
    assert result["rmse"] == pytest.approx(math.sqrt((1 + 4) / 2))
    assert result["log_rmse"] == pytest.approx(math.log(2))
    assert result["abs_rel"] == pytest.approx((1 + 0.5) / 2)
    assert result["sq_rel"] == pytest.approx((1 + 1) / 2)
    assert result["delta1"] == result["delta3"] == 0  # a factor of 2 is more than 1.25^3 = 1.95


def test_delta_is_below_not_at_the_factor():
    assert compute([1.25], [1.0])["delta1"] == 0
    assert compute([1.25], [1.0])["delta2"] == 1


def test_negative_predictions_are_raised_above_zero():
    result = compute([-3.0], [2.0])
    assert result["rmse"] == pytest.approx(2.0)
    assert result["log_rmse"] == pytest.approx(math.log(2.0) - math.log(1e-9))


def test_cityscapes_counts_between_0_and_80_only():
    result = compute([5.0, 5.0, 5.0, 5.0], [-1.0, 0.0, 80.0, 4.0], max_value=80.0)
    assert result["rmse"] == pytest.approx(1.0)


def test_pooled_over_pixels_not_images():
    metric = DepthMetric()
    metric.update(torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), 1.0))
    metric.update(torch.full((1, 1, 1, 3), 1.0), torch.full((1, 1, 1, 3), 1.0))
    assert metric.compute()["rmse"].item() == pytest.approx(1.0)  # sqrt(4/4); the mean over images: 1 as sqrt(4)/2
    metric.update(torch.full((1, 1, 1, 12), 1.0), torch.full((1, 1, 1, 12), 1.0))
    assert metric.compute()["rmse"].item() == pytest.approx(0.5)  # the mean over images would be 2/3

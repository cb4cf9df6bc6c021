"""NormalsMetric against arc cosines in NumPy, and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtmamba.metrics import NormalsMetric


def maps(vectors):
    return torch.tensor(np.asarray(vectors), dtype=torch.float32).T.reshape(1, 3, 1, -1)


def tilted(*degrees):
    """Unit vectors at these angles to the z axis."""
    return maps([(math.sin(math.radians(d)), 0, math.cos(math.radians(d))) for d in degrees])


def compute(prediction, target):
    metric = NormalsMetric()
    metric.update(prediction, target)
    return {key: value.item() for key, value in metric.compute().items()}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), spread=st.sampled_from([0.1, 0.5, 5.0]))
def test_independent(seed, spread):
    generator = np.random.default_rng(seed)
    g = generator.normal(size=(501, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    p = g + spread * generator.normal(size=g.shape)
    p *= generator.uniform(0.1, 9, (501, 1))  # its length must not matter
    result = compute(maps(p), maps(g))
    cosine = (p * g).sum(axis=1) / np.linalg.norm(p, axis=1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    assert result["mean"] == pytest.approx(angle.mean(), rel=1e-5)
    assert result["median"] == pytest.approx(np.median(angle), abs=0.011)
    for limit in (11.25, 22.5, 30):
        share = (angle < limit).mean()
        edge_cases = (np.abs(angle - limit) < 1e-3).mean()  # float32 may put these on the other side
        assert result[f"within_{limit:g}"] == pytest.approx(share, abs=edge_cases + 1e-9)


def test_by_hand():
    result = compute(tilted(0, 10, 20, 90, 180), tilted(0, 0, 0, 0, 0))
    assert result["mean"] == pytest.approx(60, abs=1e-4)
    assert result["median"] == pytest.approx(20, abs=0.01)
    assert result["within_11.25"] == pytest.approx(0.4)
    assert result["within_22.5"] == pytest.approx(0.6)
    assert result["within_30"] == pytest.approx(0.6)


def test_small_angles_are_precise():
    assert compute(tilted(0.01), tilted(0))["mean"] == pytest.approx(0.01, rel=1e-3)


def test_a_pixel_with_any_channel_at_255_is_ignored():
    target = tilted(0, 0)
    target[0, 1, 0, 1] = 255
    assert compute(tilted(30, 90), target)["mean"] == pytest.approx(30, abs=1e-4)


def test_a_prediction_that_is_not_a_number_is_no_good_one():
    result = compute(torch.full((1, 3, 1, 1), float("nan")), tilted(0))
    assert math.isnan(result["mean"])
    assert result["median"] == pytest.approx(180, abs=0.011)
    assert result["within_30"] == 0


def test_a_prediction_of_zero_is_90_degrees():
    assert compute(torch.zeros(1, 3, 1, 1), tilted(0))["mean"] == pytest.approx(90)

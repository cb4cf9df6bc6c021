"""SaliencyMetric against a loop over thresholds in NumPy, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import fbeta_score, mean_absolute_error

from mtmamba.losses import IGNORE
from mtmamba.metrics import SaliencyMetric


def logits_of(probability):
    return torch.stack((torch.zeros_like(probability), torch.logit(probability)), dim=1)


def compute(logits, target):
    metric = SaliencyMetric()
    metric.update(logits, target)
    return {key: value.item() for key, value in metric.compute().items()}


def f_measure(truth, positive):
    """b2 = 0.3, by scikit-learn; 0 where it is not defined."""
    return fbeta_score(truth, positive, beta=0.3**0.5, zero_division=0.0)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**20), skill=st.sampled_from([0.0, 1.0, 3.0]))
def test_every_threshold(seed, skill):
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand((2, 8, 9), generator=generator) < 0.3).long()
    logits = torch.randn((2, 2, 8, 9), generator=generator)
    logits[:, 1] += skill * (2 * target - 1)
    target[0, :2] = IGNORE
    result = compute(logits, target)
    keep = (target != IGNORE).numpy()
    truth = target.numpy()[keep]
    p = logits.softmax(dim=1)[:, 1]
    twice = p.sigmoid().numpy()[keep]
    p = p.numpy()[keep]
    assert result["maxF"] == pytest.approx(max(f_measure(truth, p >= k / 256) for k in range(1, 256)))
    cuts = np.arange(1, 20, dtype=np.float32) / np.float32(20)
    assert result["maxF_published"] == pytest.approx(max(f_measure(truth, twice >= cut) for cut in cuts))
    assert result["mae"] == pytest.approx(mean_absolute_error(truth, p), rel=1e-6)


@pytest.mark.parametrize("cut", [0.2007, 0.4055, 0.6190, 0.8473])
def test_published_arithmetic_has_four_cuts(cut):
    """Only a cut tells positives, just above it, from negatives, just below."""
    target = torch.tensor([[[1, 0, 0, 0]]])
    above_and_below = torch.tensor([[[cut + 1e-3, cut - 1e-3, cut - 1e-3, cut - 1e-3]]])
    assert compute(logits_of(above_and_below), target)["maxF_published"] == 1
    both_above = (above_and_below + 2e-3).clamp(max=0.999)
    everything = 1.3 * 0.25 / (0.3 * 0.25 + 1)  # precision 1/4, recall 1
    result = compute(logits_of(both_above), target)
    assert result["maxF_published"] == pytest.approx(everything)


def test_thresholds_of_the_probability_are_256ths():
    target = torch.tensor([[[1, 0]]])
    on_the_cut = torch.tensor([[[0.5, 0.499]]])  # 128/256 passes, 127.7/256 does not
    assert compute(logits_of(on_the_cut), target)["maxF"] == 1
    between_cuts = torch.tensor([[[0.5030, 0.5010]]])
    assert compute(logits_of(between_cuts), target)["maxF"] == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))


def test_nothing_salient():
    result = compute(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2).long())
    assert result == {"maxF": 0, "maxF_published": 0, "mae": 0.5}

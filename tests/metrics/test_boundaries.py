"""PixelBoundaryMetric against scikit-learn's F1 at each threshold, and against the loss."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mtmamba.losses import IGNORE, balanced_binary_cross_entropy
from mtmamba.metrics import PixelBoundaryMetric


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**20), skill=st.sampled_from([0.0, 2.0]))
def test_every_threshold(seed, skill):
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand((2, 1, 8, 9), generator=generator) < 0.2).float()
    logits = torch.randn(target.shape, generator=generator) + skill * (2 * target - 1)
    target[0, :, :2] = IGNORE
    metric = PixelBoundaryMetric()
    metric.update(logits, target)
    keep = target != IGNORE
    p, truth = logits.sigmoid()[keep], target[keep].numpy()
    cuts = torch.arange(1, 100) / 100
    expected = max(f1_score(truth, (p >= cut).numpy(), zero_division=0.0) for cut in cuts)
    result = metric.compute()
    assert result["pixelF"].item() == pytest.approx(expected)
    assert result["loss"].item() == pytest.approx(balanced_binary_cross_entropy(logits, target).item())


def test_loss_is_the_mean_over_the_pixels_of_the_set():
    metric = PixelBoundaryMetric()
    wide, narrow = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 1)
    for logits in (wide, narrow):
        metric.update(logits, torch.zeros_like(logits))
    together = torch.cat((wide, narrow), dim=3)
    expected = balanced_binary_cross_entropy(together, torch.zeros_like(together)).item()
    assert metric.compute()["loss"].item() == pytest.approx(expected)


def test_a_cut_is_passed_where_it_is_met():
    metric = PixelBoundaryMetric()
    metric.update(torch.tensor([[[[0.0, -1e-3]]]]), torch.tensor([[[[1.0, 0.0]]]]))  # 0.5 and just below
    assert metric.compute()["pixelF"].item() == 1


def test_by_hand():
    metric = PixelBoundaryMetric()
    metric.update(torch.tensor([[[[4.0, 2.0, 1.0, -5.0]]]]), torch.tensor([[[[1.0, 0.0, 0.7, 0.2]]]]))
    assert metric.compute()["pixelF"].item() == pytest.approx(2 * 2 / (2 * 2 + 1))  # three found, two of them true

"""RegressionMetric against scikit-learn, and by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from mtmamba.losses import IGNORE
from mtmamba.metrics import RegressionMetric


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), channels=st.integers(1, 4))
def test_scikit_learn(seed, channels):
    generator = torch.Generator().manual_seed(seed)
    guess, truth = torch.randn((2, 2, channels, 5, 6), generator=generator)
    truth[0, :, 0] = IGNORE
    metric = RegressionMetric(channels)
    metric.update(guess, truth)
    keep = truth != IGNORE
    result = metric.compute()
    assert result["mae"].item() == pytest.approx(mean_absolute_error(truth[keep], guess[keep]), rel=1e-5)
    assert result["rmse"].item() == pytest.approx(root_mean_squared_error(truth[keep], guess[keep]), rel=1e-5)


def test_a_pixel_with_any_channel_at_255_is_ignored():
    metric = RegressionMetric(2)
    metric.update(torch.tensor([[[[3.0, 0.0]], [[0.0, 0.0]]]]), torch.tensor([[[[0.0, 9.0]], [[0.0, 255.0]]]]))
    result = metric.compute()
    assert result["mae"].item() == pytest.approx(1.5)
    assert result["rmse"].item() == pytest.approx(4.5**0.5)

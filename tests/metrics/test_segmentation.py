"""SegmentationMetric against scikit-learn's confusion matrix, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix

from mtmamba.losses import IGNORE
from mtmamba.metrics import SegmentationMetric


def logits_for(prediction, classes):
    return torch.nn.functional.one_hot(prediction, classes).movedim(-1, 1).float()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), classes=st.sampled_from([2, 7, 40]), ignored=st.sampled_from([0.0, 0.5]))
def test_scikit_learn(seed, classes, ignored):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, (3, 6, 8))
    guess = np.where(generator.random(truth.shape) < 0.5, truth, generator.integers(0, classes, truth.shape))
    holes = generator.random(truth.shape) < ignored
    metric = SegmentationMetric([f"c{index}" for index in range(classes)])
    metric.update(logits_for(torch.from_numpy(guess), classes), torch.from_numpy(np.where(holes, IGNORE, truth)))
    matrix = confusion_matrix(truth[~holes], guess[~holes], labels=range(classes))
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    iou = np.divide(np.diag(matrix), union, out=np.zeros(classes), where=union > 0)
    result = metric.compute()
    assert result["mIoU"].item() == pytest.approx(iou.mean())
    assert result["pixel_accuracy"].item() == pytest.approx(accuracy_score(truth[~holes], guess[~holes]))
    assert [result[f"iou/c{index}"].item() for index in range(classes)] == pytest.approx(iou.tolist())


def test_by_hand():
    metric = SegmentationMetric(["background", "head", "leg"])
    truth = torch.tensor([[[0, 0, 1, 1, IGNORE]]])
    guess = torch.tensor([[[0, 1, 1, 1, 0]]])
    metric.update(logits_for(guess, 3), truth)
    result = {key: value.item() for key, value in metric.compute().items()}
    assert result["iou/background"] == pytest.approx(1 / 2)
    assert result["iou/head"] == pytest.approx(2 / 3)
    assert result["iou/leg"] == 0  # never occurs, and counts
    assert result["mIoU"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert result["pixel_accuracy"] == pytest.approx(3 / 4)


def test_pooled_not_averaged_over_images():
    metric = SegmentationMetric(["a", "b"])
    metric.update(logits_for(torch.tensor([[[0]]]), 2), torch.tensor([[[0]]]))
    metric.update(logits_for(torch.tensor([[[0, 0, 0]]]), 2), torch.tensor([[[1, 1, 1]]]))
    assert metric.compute()["iou/a"].item() == pytest.approx(1 / 4)  # the mean over images would be 1/2


def test_exception_label_too_large():
    with pytest.raises(ValueError, match="parts: a target of class 7; there are 3 classes"):
        SegmentationMetric(["a", "b", "c"], "parts").update(torch.randn(1, 3, 1, 2), torch.tensor([[[7, 0]]]))


def test_exception_same_name_twice():
    with pytest.raises(ValueError, match="occur twice"):
        SegmentationMetric(["a", "a"])

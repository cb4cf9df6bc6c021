"""Mean intersection over union, and what comes with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtmamba.losses import IGNORE
from mtmamba.metrics.base import DenseMetric, ratio, real


class SegmentationMetric(DenseMetric):
    """``mIoU``, ``pixel_accuracy`` and ``iou/<class name>``, from the pooled confusion matrix.

    A class that never occurs, neither in targets nor in predictions, counts as 0 in the mean.

    Args:
        class_names: one per channel, each different.
        name: of the task, for messages.
        kwargs: of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = SegmentationMetric(["cat", "mat"])
        >>> logits = torch.tensor([[2.0, 2.0, 0.0]]).reshape(1, 1, 1, 3)
        >>> metric.update(torch.cat((logits, 1 - logits), dim=1), torch.tensor([[[0, 1, 1]]]))
        >>> round(float(metric.compute()["mIoU"]), 3)
        0.5
    """

    higher_is_better = True
    confusion: Tensor

    def __init__(self, class_names: Sequence[str], name: str = "semseg", **kwargs: Any) -> None:
        if len(set(class_names)) != len(class_names):
            raise ValueError(f"{name}: class names occur twice: {list(class_names)}")
        super().__init__(name, len(class_names), labels=True, **kwargs)
        self.class_names = tuple(class_names)
        self.add_count("confusion", self.channels, self.channels)  # target's class x predicted class

    def accumulate(self, logits: Tensor, target: Tensor) -> None:
        valid = target != IGNORE
        pairs = (target * self.channels + logits.argmax(dim=1))[valid]
        counts = torch.bincount(pairs, minlength=self.channels**2)
        if counts.numel() > self.channels**2:
            largest = int(target[valid].max())
            raise ValueError(f"{self.name}: a target of class {largest}; there are {self.channels} classes")
        self.confusion += counts.view(self.channels, self.channels)

    def compute(self) -> dict[str, Tensor]:
        """``mIoU``, ``pixel_accuracy`` and ``iou/<class name>``: fractions."""
        hits = self.confusion.diagonal()
        iou = ratio(hits, self.confusion.sum(dim=0) + self.confusion.sum(dim=1) - hits)
        result = {"mIoU": iou.mean(), "pixel_accuracy": real(hits.sum()) / self.confusion.sum()}
        return result | {f"iou/{name}": value for name, value in zip(self.class_names, iou)}

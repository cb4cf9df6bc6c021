"""Errors of any continuous map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtmamba.losses import IGNORE
from mtmamba.metrics.base import DenseMetric


class RegressionMetric(DenseMetric):
    """``mae`` and ``rmse`` over valid pixels and channels; a pixel is ignored where any channel is 255.

    Args:
        channels: of the map.
        name: of the task, for messages.
        kwargs: of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    sums: Tensor
    count: Tensor

    def __init__(self, channels: int = 1, name: str = "regression", **kwargs: Any) -> None:
        super().__init__(name, channels, **kwargs)
        self.add_sum("sums", 2)  # absolute error, squared error
        self.add_count("count")

    def accumulate(self, logits: Tensor, target: Tensor) -> None:
        valid = (target != IGNORE).all(dim=1)
        error = (logits - target).movedim(1, -1)[valid].to(self.sums.dtype)
        self.sums += torch.stack((error.abs().sum(), error.square().sum()))
        self.count += error.numel()

    def compute(self) -> dict[str, Tensor]:
        """``mae`` and ``rmse`` in the target's unit."""
        absolute, square = self.sums / self.count
        return {"mae": absolute, "rmse": square.sqrt()}

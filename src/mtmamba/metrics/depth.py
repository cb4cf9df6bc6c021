"""Errors of depth, or of disparity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtmamba.losses import IGNORE
from mtmamba.metrics.base import DenseMetric, real

SMALLEST = 1e-9
"""Predictions are raised to this, as depth is positive."""


class DepthMetric(DenseMetric):
    """``rmse``, ``log_rmse``, ``abs_rel``, ``sq_rel``, ``delta1``, ``delta2``, ``delta3``.

    A pixel counts where the target is above 0, is not 255 and, if there is one, is below ``max_value``.

    With prediction p, raised to above 0, and target g: rmse = sqrt(mean (p-g)^2); log_rmse is the
    same of natural logarithms; abs_rel = mean |p-g|/g; sq_rel = mean (p-g)^2/g; delta_k is the share of
    pixels where max(p/g, g/p) < 1.25^k. Each is pooled over pixels.

    Args:
        name: of the task, for messages.
        max_value: targets from here on do not count (80 for Cityscapes).
        kwargs: of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    sums: Tensor
    within: Tensor
    count: Tensor

    def __init__(self, name: str = "depth", max_value: float | None = None, **kwargs: Any) -> None:
        super().__init__(name, channels=1, **kwargs)
        self.max_value = max_value
        self.add_sum("sums", 4)  # squared error, squared log error, relative error, squared relative error
        self.add_count("within", 3)
        self.add_count("count")

    def accumulate(self, logits: Tensor, target: Tensor) -> None:
        valid = (target > 0) & (target != IGNORE)
        if self.max_value is not None:
            valid &= target < self.max_value
        truth = target[valid].to(self.sums.dtype)
        guess = logits[valid].to(self.sums.dtype).clamp(min=SMALLEST)
        error = guess - truth
        log_error = guess.log() - truth.log()
        sums = (error**2, log_error**2, error.abs() / truth, error**2 / truth)
        self.sums += torch.stack([values.sum() for values in sums])
        factor = torch.maximum(guess / truth, truth / guess)
        self.within += torch.stack([(factor < 1.25**k).sum() for k in (1, 2, 3)])
        self.count += truth.numel()

    def compute(self) -> dict[str, Tensor]:
        """Errors in the target's unit, ratios as fractions."""
        square, log_square, absolute, relative = self.sums / self.count
        deltas = real(self.within) / self.count
        return {
            "rmse": square.sqrt(),
            "log_rmse": log_square.sqrt(),
            "abs_rel": absolute,
            "sq_rel": relative,
            "delta1": deltas[0],
            "delta2": deltas[1],
            "delta3": deltas[2],
        }

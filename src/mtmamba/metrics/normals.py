"""Angles between predicted and true surface normals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mtmamba.losses import IGNORE
from mtmamba.metrics.base import DenseMetric, real

WITHIN = (11.25, 22.5, 30.0)
BINS_PER_DEGREE = 100


class NormalsMetric(DenseMetric):
    """``mean`` and ``median`` angle in degrees; ``within_11.25``, ``within_22.5``, ``within_30``: fractions.

    The angle between prediction p and target g, both of unit length, is 2 atan2(|p-g|, |p+g|), which stays
    precise at small angles where the arc cosine does not. Mean and shares are exact. The median is read
    from a histogram of 0.01 degree bins (linear within the bin): within 0.01 degree of the exact one unless
    the pixels around the middle leave a gap, where any value in it is a median.

    Args:
        name: of the task, for messages.
        kwargs: of :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    total: Tensor
    within: Tensor
    histogram: Tensor

    def __init__(self, name: str = "normals", **kwargs: Any) -> None:
        super().__init__(name, channels=3, **kwargs)
        self.add_sum("total")
        self.add_count("within", len(WITHIN))
        self.add_count("histogram", 180 * BINS_PER_DEGREE)

    def accumulate(self, logits: Tensor, target: Tensor) -> None:
        valid = (target != IGNORE).all(dim=1)
        guess = F.normalize(logits.movedim(1, -1)[valid], dim=-1)
        truth = F.normalize(target.float().movedim(1, -1)[valid], dim=-1)
        angle = torch.rad2deg(2 * torch.atan2((guess - truth).norm(dim=-1), (guess + truth).norm(dim=-1)))
        self.total += angle.sum(dtype=self.total.dtype)
        self.within += torch.stack([(angle < limit).sum() for limit in WITHIN])
        bins = (angle.nan_to_num(180.0) * BINS_PER_DEGREE).long().clamp(max=self.histogram.numel() - 1)
        self.histogram += torch.bincount(bins, minlength=self.histogram.numel())

    def compute(self) -> dict[str, Tensor]:
        """Degrees and fractions."""
        count = self.histogram.sum()
        shares = real(self.within) / count
        result = {"mean": self.total / count, "median": self._median(count)}
        return result | {f"within_{limit:g}": share for limit, share in zip(WITHIN, shares)}

    def _median(self, count: Tensor) -> Tensor:
        cumulative = real(self.histogram.cumsum(0))
        half = real(count) / 2
        index = torch.searchsorted(cumulative, half).clamp(max=self.histogram.numel() - 1)
        inside = self.histogram[index]  # 0 only if nothing was seen: NaN then
        before = cumulative[index] - inside
        return (index + (half - before) / inside) / BINS_PER_DEGREE

"""How well the pixels of edges are found."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtmamba.losses import IGNORE, balanced_binary_cross_entropy
from mtmamba.metrics.base import DenseMetric, from_top, ratio

THRESHOLDS = 99  # 0.01, 0.02, ..., 0.99


class PixelBoundaryMetric(DenseMetric):
    """``pixelF`` and ``loss`` of edges, pooled over valid pixels.

    - ``pixelF``: the largest F1 over the cuts sigmoid(logit) >= 0.01, 0.02, ..., 0.99, pixel against pixel:
      no thinning and no tolerance. It is not the odsF that papers report, and is lower.
    - ``loss``: the balanced binary cross-entropy of training, its mean over the set's valid pixels.

    A target above 0.5 is an edge.

    Args:
        name: of the task, for messages.
        kwargs: of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    histogram: Tensor
    total: Tensor

    def __init__(self, name: str = "edge", **kwargs: Any) -> None:
        super().__init__(name, channels=1, **kwargs)
        self.add_count("histogram", 2, THRESHOLDS + 1)  # edge or not x how many of the cuts the pixel passes
        self.add_sum("total")

    def accumulate(self, logits: Tensor, target: Tensor) -> None:
        valid = target != IGNORE
        truth = (target[valid] > 0.5).long()
        steps = torch.arange(1, THRESHOLDS + 1, device=logits.device) / (THRESHOLDS + 1)
        cuts = torch.bucketize(logits[valid].sigmoid(), steps, right=True)
        size = THRESHOLDS + 1
        self.histogram += torch.bincount(truth * size + cuts, minlength=2 * size).view(2, size)
        self.total += balanced_binary_cross_entropy(logits, target) * truth.numel()

    def compute(self) -> dict[str, Tensor]:
        """``pixelF`` as a fraction (0 where there is no edge), ``loss``."""
        false, true = from_top(self.histogram)[:, 1:]
        f1 = ratio(2 * true, true + false + self.histogram[1].sum())
        return {"pixelF": f1.max(), "loss": self.total / self.histogram.sum()}

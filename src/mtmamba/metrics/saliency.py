"""The maximal F-measure and the mean absolute error of a saliency map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtmamba.losses import IGNORE
from mtmamba.metrics.base import DenseMetric, from_top, ratio

BETA_SQUARED = 0.3
PUBLISHED_THRESHOLDS = 19  # 0.05, 0.10, ..., 0.95


class SaliencyMetric(DenseMetric):
    """``maxF``, ``maxF_published`` and ``mae`` of the probability p of class 1 (softmax over two channels).

    F = (1 + b2) P R / (b2 P + R), b2 = 0.3, with precision P and recall R pooled over the set's pixels.

    - ``maxF``: the largest F over the 255 cuts p >= k/256, k = 1..255.
    - ``maxF_published``: what the published code computes: it takes the sigmoid of p, once more, and cuts
      that at 0.05, 0.10, ..., 0.95. The sigmoid of a probability lies between 0.5 and 0.731, so only four
      cuts act (p >= 0.2007, 0.4055, 0.6190, 0.8473) beside "everything" and "nothing". Published maxF are
      comparable to this.
    - ``mae``: mean |p - target|.

    Args:
        name: of the task, for messages.
        kwargs: of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    histogram: Tensor
    published: Tensor
    error: Tensor

    def __init__(self, name: str = "saliency", **kwargs: Any) -> None:
        super().__init__(name, channels=2, labels=True, **kwargs)
        self.add_count("histogram", 2, 256)  # target's class x how many of the cuts the pixel passes
        self.add_count("published", 2, PUBLISHED_THRESHOLDS + 1)
        self.add_sum("error")

    def accumulate(self, logits: Tensor, target: Tensor) -> None:
        valid = target != IGNORE
        probability = logits.softmax(dim=1)[:, 1][valid]
        truth = (target[valid] == 1).long()
        cuts = (probability * 256).long().clamp(0, 255)
        self.histogram += torch.bincount(truth * 256 + cuts, minlength=2 * 256).view(2, 256)

        steps = torch.arange(1, PUBLISHED_THRESHOLDS + 1, device=probability.device) / (PUBLISHED_THRESHOLDS + 1)
        cuts = torch.bucketize(probability.sigmoid(), steps, right=True)
        size = self.published.shape[1]
        self.published += torch.bincount(truth * size + cuts, minlength=2 * size).view(2, size)
        self.error += (probability - truth).abs().sum(dtype=self.error.dtype)

    def compute(self) -> dict[str, Tensor]:
        """``maxF``, ``maxF_published``, ``mae``: fractions. F is 0 where nothing is salient."""
        return {
            "maxF": self._largest_f(self.histogram),
            "maxF_published": self._largest_f(self.published),
            "mae": self.error / self.histogram.sum(),
        }

    @staticmethod
    def _largest_f(histogram: Tensor) -> Tensor:
        false, true = from_top(histogram)[:, 1:]  # counts of pixels that pass cut 1, 2, ...
        precision, recall = ratio(true, true + false), ratio(true, histogram[1].sum())
        return ratio((1 + BETA_SQUARED) * precision * recall, BETA_SQUARED * precision + recall).max()

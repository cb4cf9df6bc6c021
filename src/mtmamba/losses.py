"""The losses of the published recipes, each averaged over the valid pixels of the batch it is given.

Every loss here
- takes predictions of shape (B, C, H, W) and a target of the same height and width,
- leaves out the pixels whose target is :data:`IGNORE`,
- computes in float32 when it is given less (under autocast too),
- is 0, with a graph, for a batch that has no valid pixel: never NaN.

B batch, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IGNORE = 255
"""The value of a target's pixel that neither trains nor counts."""

EDGE_POSITIVE_WEIGHT = 0.95
"""Weight of an edge's pixel in :func:`balanced_binary_cross_entropy`; any other pixel weighs the rest."""


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy: the sum over valid pixels / the number of valid pixels.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W) int64 classes; 255 is ignored.

    Returns:
        Scalar, in nats.
    """
    total = F.cross_entropy(_at_least_float32(logits), target, ignore_index=IGNORE, reduction="sum")
    return total / _count(target != IGNORE)


def balanced_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Two-class cross-entropy in which both classes weigh the same, for saliency.

    A pixel of class 0 is weighted by the batch's share of positives, one of class 1 by the share of
    negatives; the sum over valid pixels is divided by their number (not by the sum of the weights).

    Args:
        logits: (B, 2, H, W).
        target: (B, H, W) int64: 0 or 1; 255 is ignored.

    Returns:
        Scalar. It is 0 where only one class occurs.
    """
    count = _count(target != IGNORE)
    positives = (target == 1).sum() / count
    weight = torch.stack((positives, 1 - positives))
    logits = _at_least_float32(logits)
    total = F.cross_entropy(logits, target, weight.to(logits.dtype), ignore_index=IGNORE, reduction="sum")
    return total / count


def balanced_binary_cross_entropy(
    logits: Tensor, target: Tensor, positive_weight: float = EDGE_POSITIVE_WEIGHT
) -> Tensor:
    """Binary cross-entropy with fixed weights for positives and negatives, for edges.

    With p = ``positive_weight`` an edge's pixel weighs p and any other 1 - p; the mean is over valid pixels.

    Args:
        logits: (B, C, H, W).
        target: (B, C, H, W) float in [0, 1]; 255 is ignored.
        positive_weight: p, between 0 and 1.

    Returns:
        Scalar.
    """
    logits = _at_least_float32(logits)
    valid = target != IGNORE
    target = torch.where(valid, target, 0).to(logits.dtype)
    ratio = logits.new_tensor(positive_weight / (1 - positive_weight))
    loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=ratio, reduction="none")
    return (1 - positive_weight) * torch.where(valid, loss, 0).sum() / _count(valid)


def normals_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 between the prediction, scaled to unit length, and the target: sum over channels, mean over pixels.

    Args:
        prediction: (B, 3, H, W), of any length.
        target: (B, 3, H, W) unit vectors; a pixel is ignored where any channel is 255.

    Returns:
        Scalar.
    """
    unit = F.normalize(_at_least_float32(prediction), dim=1)
    valid = (target != IGNORE).all(dim=1, keepdim=True)
    return torch.where(valid, (unit - target).abs(), 0).sum() / _count(valid)


def depth_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """L1: the sum over valid pixels / the number of valid pixels.

    Args:
        prediction: (B, 1, H, W).
        target: (B, 1, H, W); only 255 is ignored, so that other marks (-1 in Cityscapes' disparity) train.

    Returns:
        Scalar, in the target's unit.
    """
    return regression_l1(prediction, target)


def regression_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """L1: the mean over valid pixels and over channels.

    Args:
        prediction: (B, C, H, W).
        target: (B, C, H, W); a pixel is ignored where any channel is 255.

    Returns:
        Scalar, in the target's unit.
    """
    valid = (target != IGNORE).all(dim=1, keepdim=True)
    error = torch.where(valid, (_at_least_float32(prediction) - target).abs(), 0)
    return error.sum() / (_count(valid) * prediction.shape[1])


class MultiTaskLoss(nn.Module):
    """One number to minimise, from every task's loss.

    Args:
        names: the tasks whose losses are expected.
        weights: a weight per task; 1 for those that are not named.
        reduction: ``"log"``: the sum of weight * log(loss + 1e-8), which asks each task for the same relative
            progress (MTMamba); ``"sum"``: the weighted sum (MTMamba++ on NYUDv2).

    Raises:
        ValueError: for a weight of an unknown task, or another reduction.
    """

    def __init__(
        self, names: Sequence[str], weights: Mapping[str, float] | None = None, reduction: str = "log"
    ) -> None:
        super().__init__()
        if reduction not in ("log", "sum"):
            raise ValueError(f"reduction is {reduction!r}; it can be 'log' or 'sum'")
        if not names:
            raise ValueError("MultiTaskLoss needs the name of at least one task")
        if unknown := sorted(set(weights or {}) - set(names)):
            raise ValueError(f"weights for tasks that are not trained: {unknown}; the tasks are {list(names)}")
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in names}
        self.reduction = reduction

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Scalar losses by task -> scalar. ValueError where the tasks are not those it was built for."""
        if set(losses) != set(self.weights):
            raise ValueError(f"losses of {sorted(losses)}; expected those of {sorted(self.weights)}")
        terms = []
        for name, weight in self.weights.items():
            loss = _at_least_float32(losses[name])
            terms.append(weight * (torch.log(loss + 1e-8) if self.reduction == "log" else loss))
        return torch.stack(terms).sum()

    def extra_repr(self) -> str:
        return f"weights={self.weights}, reduction={self.reduction!r}"


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _count(valid: Tensor) -> Tensor:
    """The number of valid pixels to divide by; 1 where there is none, as the sum is 0 then."""
    return valid.sum().clamp(min=1)

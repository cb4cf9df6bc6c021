"""What the metrics have in common: summed states, and a check of what they are given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def check_shapes(name: str, channels: int, logits: Tensor, target: Tensor, *, labels: bool) -> None:
    """Raise a ValueError that names the task, the shape it got and the one it wants.

    Args:
        name: the task's name, for the message.
        channels: C.
        logits: should be (B, C, H, W).
        target: should be integer (B, H, W) if ``labels``, else floating (B, C, H, W).
        labels: whether the target is a map of classes.
    """
    if logits.ndim != 4 or logits.shape[1] != channels:
        raise ValueError(f"{name}: logits of shape {tuple(logits.shape)}; expected (B, {channels}, H, W)")
    batch, _, height, width = logits.shape
    expected = (batch, height, width) if labels else (batch, channels, height, width)
    if tuple(target.shape) != expected:
        raise ValueError(f"{name}: target of shape {tuple(target.shape)}; expected {expected}, as the logits")
    if target.is_floating_point() == labels:
        kind = "integer classes" if labels else "floating point"
        raise ValueError(f"{name}: target of type {target.dtype}; expected {kind}")


class DenseMetric(Metric):
    """A metric whose states are sums over pixels, so that updates and devices merge by addition.

    Counts are int64 and sums float64 (float32 on a device that has no float64, as Apple's).

    Args:
        name: of the task, for messages.
        channels: of the logits.
        labels: whether targets are maps of classes (B, H, W), or (B, channels, H, W).
        kwargs: of :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, name: str, channels: int, *, labels: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name, self.channels, self.labels = name, channels, labels

    def add_count(self, name: str, *size: int) -> None:
        """Declare an int64 state of zeros, summed across devices."""
        self.add_state(name, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def add_sum(self, name: str, *size: int) -> None:
        """Declare a float64 state of zeros, summed across devices."""
        self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in a batch.

        Args:
            logits: (B, C, H, W).
            target: (B, H, W) for labels, else (B, C, H, W), prepared; 255 is ignored.

        Raises:
            ValueError: for other shapes.
        """
        check_shapes(self.name, self.channels, logits, target, labels=self.labels)
        self.accumulate(logits.float(), target)

    @abstractmethod
    def accumulate(self, logits: Tensor, target: Tensor) -> None:
        """Add a checked batch, in float32, to the states."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """The metrics so far, each a 0-d tensor."""

    def _apply(self, fn: Callable, exclude_state: Any = "") -> Any:
        try:
            return super()._apply(fn, exclude_state)
        except TypeError:  # the device has no float64
            states: list[dict[str, Any]] = [self._defaults, self.__dict__]
            for values in states:
                values.update({k: values[k].float() for k in self._defaults if values[k].dtype == torch.float64})
            return super()._apply(fn, exclude_state)


def from_top(histogram: Tensor) -> Tensor:
    """Counts per bin -> counts in this bin or a higher one, along the last axis."""
    return histogram.flip(-1).cumsum(-1).flip(-1)


def real(count: Tensor) -> Tensor:
    """Counts as float64, or as float32 where the device has no other."""
    return count.to(torch.float32 if count.device.type == "mps" else torch.float64)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, and 0 where the denominator is 0."""
    quotient = real(numerator) / real(denominator)
    return torch.where(denominator == 0, torch.zeros_like(quotient), quotient)

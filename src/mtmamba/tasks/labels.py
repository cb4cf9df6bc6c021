"""Tasks that tell classes apart: of the pixel (segmentation), or something from nothing (saliency, edges)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from mtmamba import losses, metrics
from mtmamba.losses import IGNORE
from mtmamba.tasks import colors, files
from mtmamba.tasks.base import Limits, Task, as_plane, is_valid, mean_of_valid
from mtmamba.tasks.colors import RGB


@dataclass(frozen=True)
class Segmentation(Task):
    """A class for every pixel. Targets are int64 (B, H, W), 255 ignored; maps are int64 (B, H, W).

    Attributes:
        class_names: one per channel, each different; "class 0", "class 1", ... by default.
        colors: one "#rrggbb" per channel; PASCAL VOC's colour map by default. Ignored pixels are black.
        empty_is_ignored: a target with nothing but background (class 0) does not count at all, as in human
            parsing.
    """

    name: str = "semseg"
    channels: int = 2
    _: KW_ONLY
    unit: str = "class"
    primary: str = "mIoU"
    higher_is_better: bool = True
    class_names: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    empty_is_ignored: bool = False

    labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels > IGNORE:
            raise ValueError(f"{self.name}: {self.channels} classes; there can be {IGNORE}, as 255 means ignored")
        names = tuple(self.class_names) or tuple(f"class {index}" for index in range(self.channels))
        tints = tuple(self.colors) or colors.voc_colormap(self.channels, start=1)
        for what, values in (("class names", names), ("colours", tints)):
            if len(values) != self.channels:
                raise ValueError(f"{self.name}: {len(values)} {what} for {self.channels} classes")
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: class names occur twice: {names}")
        for tint in tints:
            colors.rgb(tint)
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "colors", tints)

    def prepare(self, target: Tensor) -> Tensor:
        """Ignore an image without any object, if ``empty_is_ignored``. (H, W) or (B, H, W)."""
        if not self.empty_is_ignored:
            return target
        occupied = ((target != 0) & (target != IGNORE)).flatten(-2).any(dim=-1)[..., None, None]
        return torch.where(occupied, target, IGNORE)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy over valid pixels; :func:`mtmamba.losses.cross_entropy`."""
        self.check(logits, target)
        return losses.cross_entropy(logits, target)

    def metric(self) -> Metric:
        """:class:`mtmamba.metrics.SegmentationMetric`."""
        return metrics.SegmentationMetric(self.class_names, self.name)

    def constant(self, targets: Iterable[Tensor]) -> Tensor:
        """Log shares of the classes: their largest is the majority, their softmax the prior."""
        return _log_shares(self.name, self.channels, targets)

    def decode(self, logits: Tensor) -> Tensor:
        """The likeliest class, (B, H, W) int64."""
        return logits.argmax(dim=1)

    def colorize(self, decoded: Tensor | np.ndarray, *, limits: Limits | None = None) -> Tensor:
        """The colours of the classes; black where the class is 255 (PASCAL's background is black as well)."""
        return torch.from_numpy(self._table()[as_plane(self.name, decoded).astype(np.uint8)])

    def legend(self, present: Collection[int] | None = None, limits: Limits | None = None) -> list[tuple[str, RGB]]:
        """Class names with their colours, in the order of classes."""
        chosen = range(self.channels) if present is None else sorted(set(present) & set(range(self.channels)))
        return [(self.class_names[index], colors.rgb(self.colors[index])) for index in chosen]

    def save(self, decoded: Tensor | np.ndarray, stem: Path) -> list[Path]:
        """``stem``.png: 8 bits, the class as index into the palette of the colours."""
        plane = as_plane(self.name, decoded).astype(np.uint8)
        return [files.write_png(plane, stem, palette=self._table().flatten().tolist())]

    def _table(self) -> np.ndarray:
        table = np.zeros((256, 3), np.uint8)
        table[: self.channels] = [colors.rgb(tint) for tint in self.colors]
        return table


class _Probability(Task):
    """What tasks whose map is a probability between 0 and 1 have in common."""

    color_map: ClassVar[str]

    def limits(self, decoded: Tensor | np.ndarray) -> Limits:
        """0 and 1, whatever the map."""
        return 0.0, 1.0

    def colorize(self, decoded: Tensor | np.ndarray, *, limits: Limits | None = None) -> Tensor:
        """Light for 0, dark for 1; black where ignored."""
        plane = as_plane(self.name, decoded)
        return torch.from_numpy(colors.paint(plane, is_valid(plane), limits or self.limits(decoded), self.color_map))

    def legend(self, present: Collection[int] | None = None, limits: Limits | None = None) -> list[tuple[str, RGB]]:
        """Five probabilities."""
        return colors.samples(limits or (0.0, 1.0), self.color_map, "")

    def save(self, decoded: Tensor | np.ndarray, stem: Path) -> list[Path]:
        """``stem``.png: 8 bits, 255 times the probability, truncated (as the protocol of odsF has it)."""
        plane = as_plane(self.name, decoded)
        return [files.write_png((plane.clip(0, 1) * 255).astype(np.uint8), stem)]


@dataclass(frozen=True)
class Saliency(_Probability):
    """What catches the eye. Targets are int64 (B, H, W), 255 ignored; maps are probabilities (B, H, W)."""

    name: str = "saliency"
    channels: int = 2
    _: KW_ONLY
    unit: str = "probability"
    primary: str = "maxF"
    higher_is_better: bool = True

    labels: ClassVar[bool] = True
    color_map: ClassVar[str] = "YlGnBu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels != 2:
            raise ValueError(f"{self.name}: saliency has 2 channels, not {self.channels}")

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """:func:`mtmamba.losses.balanced_cross_entropy`."""
        self.check(logits, target)
        return losses.balanced_cross_entropy(logits, target)

    def metric(self) -> Metric:
        """:class:`mtmamba.metrics.SaliencyMetric`."""
        return metrics.SaliencyMetric(self.name)

    def constant(self, targets: Iterable[Tensor]) -> Tensor:
        """Log shares: their softmax is the prior probability."""
        return _log_shares(self.name, self.channels, targets)

    def decode(self, logits: Tensor) -> Tensor:
        """Probability of class 1, (B, H, W)."""
        return logits.float().softmax(dim=1)[:, 1]

    def target_to_map(self, target: Tensor) -> Tensor:
        """(H, W) classes -> float; 255 stays."""
        return super().target_to_map(target).float()


@dataclass(frozen=True)
class Edge(_Probability):
    """Boundaries. Targets are float (B, 1, H, W) in [0, 1], 255 ignored; maps are probabilities (B, H, W).

    Attributes:
        max_distance: evaluation gives odsF, oisF and AP too, with edges matched within this share of the diagonal.
        truth: what odsF takes targets for: "boundaries", or "labels" of regions, as the protocol does on NYUDv2.
    """

    name: str = "edge"
    channels: int = 1
    _: KW_ONLY
    max_distance: float | None = None
    truth: Literal["labels", "boundaries"] = "boundaries"
    unit: str = "probability"
    primary: str = "pixelF"
    higher_is_better: bool = True

    color_map: ClassVar[str] = "Blues"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels != 1:
            raise ValueError(f"{self.name}: edges have 1 channel, not {self.channels}")

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """:func:`mtmamba.losses.balanced_binary_cross_entropy`."""
        self.check(logits, target)
        return losses.balanced_binary_cross_entropy(logits, target)

    def metric(self) -> Metric:
        """:class:`mtmamba.metrics.PixelBoundaryMetric`."""
        return metrics.PixelBoundaryMetric(self.name)

    def evaluation_metric(self) -> Metric | None:
        """:class:`mtmamba.metrics.BoundaryMetric`, where there is a tolerance."""
        if self.max_distance is None:
            return None
        return metrics.BoundaryMetric(self.name, self.max_distance, targets=self.truth)

    @property
    def reported(self) -> str:
        """odsF where there is a tolerance."""
        return self.primary if self.max_distance is None else "odsF"

    def constant(self, targets: Iterable[Tensor]) -> Tensor:
        """The logit of the share of edges."""
        shares = mean_of_valid(self.name, (target[target != IGNORE][:, None] for target in targets))
        return torch.logit(shares, eps=1e-6)

    def decode(self, logits: Tensor) -> Tensor:
        """Probability of an edge, (B, H, W)."""
        return logits.float().sigmoid()[:, 0]


def _log_shares(name: str, channels: int, targets: Iterable[Tensor]) -> Tensor:
    counts = torch.zeros(channels, dtype=torch.int64)
    for target in targets:
        counts += torch.bincount(target[target != IGNORE].cpu(), minlength=channels)
    if not counts.any():
        raise ValueError(f"{name}: none of the targets has a pixel that counts")
    return (counts / counts.sum()).clamp(min=1e-9).log()

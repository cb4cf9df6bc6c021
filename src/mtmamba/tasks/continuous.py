"""Tasks that measure: depth, surface normals, and any other continuous map."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from mtmamba import losses, metrics
from mtmamba.losses import IGNORE
from mtmamba.metrics.depth import SMALLEST
from mtmamba.tasks import colors, files
from mtmamba.tasks.base import Limits, Task, as_plane, as_planes, is_valid, mean_of_valid
from mtmamba.tasks.colors import RGB


@dataclass(frozen=True)
class Depth(Task):
    """Distance, or disparity. Targets are float (B, 1, H, W), 255 ignored; maps are (B, H, W), above 0.

    Before :meth:`prepare`, a depth of 0 is one that was not measured. Disparities are left as they are: 0 is
    the sky, and -1 a missing pixel of Cityscapes, on which the published recipe trains too; neither counts in
    the metric.

    Attributes:
        disparity: whether values shrink with distance; ``fill`` should be 255 then, as 0 is a value.
        max_value: targets from here on do not count in the metric.
    """

    name: str = "depth"
    channels: int = 1
    _: KW_ONLY
    unit: str = "m"
    fill: float = 0.0
    primary: str = "rmse"
    higher_is_better: bool = False
    disparity: bool = False
    max_value: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels != 1:
            raise ValueError(f"{self.name}: depth has 1 channel, not {self.channels}")

    @property
    def color_map(self) -> str:
        """Near is light and far is dark, for depth and disparity."""
        return "viridis" if self.disparity else "viridis_r"

    def rescale(self, target: Tensor, factor: float) -> Tensor:
        """Enlarging brings the scene nearer: depth is divided by the factor, disparity multiplied by it."""
        scaled = target * factor if self.disparity else target / factor
        return torch.where((target > 0) & (target != IGNORE), scaled, target)

    def prepare(self, target: Tensor) -> Tensor:
        """Ignore pixels of depth 0; disparities stay."""
        return target if self.disparity else torch.where(target == 0, IGNORE, target)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """:func:`mtmamba.losses.depth_l1`."""
        self.check(logits, target)
        return losses.depth_l1(logits, target)

    def metric(self) -> Metric:
        """:class:`mtmamba.metrics.DepthMetric`."""
        return metrics.DepthMetric(self.name, self.max_value)

    def constant(self, targets: Iterable[Tensor]) -> Tensor:
        """The mean of the pixels that count in the metric."""
        limit = np.inf if self.max_value is None else self.max_value
        pixels = (t[(t > 0) & (t != IGNORE) & (t < limit)][:, None] for t in targets)
        return mean_of_valid(self.name, pixels)

    def decode(self, logits: Tensor) -> Tensor:
        """Depth in ``unit``, (B, H, W), above 0."""
        return logits.float()[:, 0].clamp(min=SMALLEST)

    def limits(self, decoded: Tensor | np.ndarray) -> Limits:
        """The 2nd and 98th percentile of the map."""
        plane, valid = self._plane(decoded)
        if not valid.any():
            return 0.0, 1.0
        low, high = np.percentile(plane[valid], (2, 98))
        return float(low), float(high)

    def colorize(self, decoded: Tensor | np.ndarray, *, limits: Limits | None = None) -> Tensor:
        """Near is yellow and far is violet; black where ignored or not above 0."""
        plane, valid = self._plane(decoded)
        return torch.from_numpy(colors.paint(plane, valid, limits or self.limits(decoded), self.color_map))

    def legend(self, present: Collection[int] | None = None, limits: Limits | None = None) -> list[tuple[str, RGB]]:
        """Five values between the limits (0 and 10 by default)."""
        return colors.samples(limits or (0.0, 10.0), self.color_map, self.unit)

    def save(self, decoded: Tensor | np.ndarray, stem: Path) -> list[Path]:
        """``stem``.npy in float32, and ``stem``.png in 16 bits.

        The PNG holds 1000 times the depth (millimetres, up to 65.535 m), or as Cityscapes 256 times the
        disparity plus 1; 0 is ignored or not above 0.
        """
        plane, valid = self._plane(decoded)
        numbers = plane * 256 + 1 if self.disparity else plane * 1000
        png = np.where(valid, numbers.round().clip(0, 65535), 0).astype(np.uint16)
        return [files.write_png(png, stem), files.write_npy(plane, stem)]

    def _plane(self, decoded: Tensor | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        plane = as_plane(self.name, decoded).astype(np.float32)
        return plane, is_valid(plane) & (plane > 0)


@dataclass(frozen=True)
class Normals(Task):
    """Surface normals. Targets are float (B, 3, H, W), ignored where any is 255; maps are unit vectors.

    Before :meth:`prepare`, a vector of zero length is one that was not measured.
    """

    name: str = "normals"
    channels: int = 3
    _: KW_ONLY
    unit: str = "unit vector"
    fill: float = 0.0
    primary: str = "mean"
    higher_is_better: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels != 3:
            raise ValueError(f"{self.name}: normals have 3 channels, not {self.channels}")

    def hflip(self, target: Tensor) -> Tensor:
        """The x component changes sign. (3, H, W) or (B, 3, H, W)."""
        x, rest = target.narrow(-3, 0, 1), target.narrow(-3, 1, 2)
        return torch.cat((torch.where(x == IGNORE, x, -x), rest), dim=-3)

    def prepare(self, target: Tensor) -> Tensor:
        """Ignore vectors of zero length. (3, H, W) or (B, 3, H, W)."""
        return torch.where((target == 0).all(dim=-3, keepdim=True), IGNORE, target)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """:func:`mtmamba.losses.normals_l1`."""
        self.check(logits, target)
        return losses.normals_l1(logits, target)

    def metric(self) -> Metric:
        """:class:`mtmamba.metrics.NormalsMetric`."""
        return metrics.NormalsMetric(self.name)

    def constant(self, targets: Iterable[Tensor]) -> Tensor:
        """The direction of the mean normal."""
        pixels = (F.normalize(_valid_pixels(target), dim=1) for target in targets)
        return F.normalize(mean_of_valid(self.name, pixels), dim=0)

    def decode(self, logits: Tensor) -> Tensor:
        """Unit vectors, (B, 3, H, W)."""
        return F.normalize(logits.float(), dim=1)

    def colorize(self, decoded: Tensor | np.ndarray, *, limits: Limits | None = None) -> Tensor:
        """(n + 1) / 2 as red, green and blue; black where ignored or of zero length."""
        planes = as_planes(self.name, decoded, 3)
        valid = is_valid(planes).all(axis=0) & (planes != 0).any(axis=0)
        rgb = (np.where(valid, planes, -1) + 1) / 2 * 255
        return torch.from_numpy(rgb.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0).copy())

    def legend(self, present: Collection[int] | None = None, limits: Limits | None = None) -> list[tuple[str, RGB]]:
        """The colours of the axes."""
        axes = np.concatenate((np.eye(3), -np.eye(3))).astype(np.float32)
        rgb = self.colorize(axes.T[:, None])[0]
        names = (f"{sign}{axis}" for sign in "+\N{MINUS SIGN}" for axis in "xyz")
        return [(name, colors.to_rgb(color)) for name, color in zip(names, rgb.numpy())]

    def save(self, decoded: Tensor | np.ndarray, stem: Path) -> list[Path]:
        """``stem``.png as coloured, and ``stem``.npy in float32, (3, H, W)."""
        planes = as_planes(self.name, decoded, 3)
        return [files.write_png(self.colorize(planes).numpy(), stem), files.write_npy(planes, stem)]


@dataclass(frozen=True)
class Regression(Task):
    """Any continuous map: albedo, shading, heat. Targets are float (B, C, H, W), 255 ignored; so are maps.

    Attributes:
        display: values at the ends of the colour scale.
        gamma: of the display: 2.2 shows linear light as people see it, 1 shows values in proportion.
    """

    name: str
    channels: int = 1
    _: KW_ONLY
    primary: str = "rmse"
    higher_is_better: bool = False
    display: tuple[float, float] = (0.0, 1.0)
    gamma: float = 1.0

    color_map: ClassVar[str] = "cividis"

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.display
        if not low < high:
            raise ValueError(f"{self.name}: display goes from {low} to {high}")
        if not self.gamma > 0:
            raise ValueError(f"{self.name}: gamma is {self.gamma}; it has to be above 0")

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """:func:`mtmamba.losses.regression_l1`."""
        self.check(logits, target)
        return losses.regression_l1(logits, target)

    def metric(self) -> Metric:
        """:class:`mtmamba.metrics.RegressionMetric`."""
        return metrics.RegressionMetric(self.channels, self.name)

    def constant(self, targets: Iterable[Tensor]) -> Tensor:
        """The mean of each channel."""
        return mean_of_valid(self.name, (_valid_pixels(target) for target in targets))

    def decode(self, logits: Tensor) -> Tensor:
        """The values themselves, (B, C, H, W) in float32."""
        return logits.float()

    def target_to_map(self, target: Tensor) -> Tensor:
        """The target itself, (C, H, W)."""
        return target

    def limits(self, decoded: Tensor | np.ndarray) -> Limits:
        """``display``, whatever the map."""
        return self.display

    def colorize(self, decoded: Tensor | np.ndarray, *, limits: Limits | None = None) -> Tensor:
        """Three channels as red, green and blue; else the channels' mean by colour. Black where ignored."""
        planes = as_planes(self.name, decoded, self.channels)
        valid = np.all(is_valid(planes), axis=0)
        low, high = limits or self.display
        share = (((np.where(valid, planes, low) - low) / (high - low)).clip(0, 1)) ** (1 / self.gamma)
        if self.channels != 3:
            return torch.from_numpy(colors.paint(share.mean(axis=0), valid, (0.0, 1.0), self.color_map))
        rgb = np.where(valid, share, 0) * 255
        return torch.from_numpy(rgb.round().astype(np.uint8).transpose(1, 2, 0).copy())

    def legend(self, present: Collection[int] | None = None, limits: Limits | None = None) -> list[tuple[str, RGB]]:
        """Five values between the limits; none for three channels, whose colours are their values."""
        if self.channels == 3:
            return []
        values = np.linspace(*(limits or self.display), 5, dtype=np.float32)
        rgb = self.colorize(np.tile(values, (self.channels, 1, 1)), limits=limits)[0]
        return [(f"{v:.3g} {self.unit}".strip(), colors.to_rgb(color)) for v, color in zip(values, rgb.numpy())]


def _valid_pixels(target: Tensor) -> Tensor:
    """(..., C, H, W) -> (valid pixels, C)."""
    pixels = target.movedim(-3, -1)
    return pixels[(pixels != IGNORE).all(dim=-1)]

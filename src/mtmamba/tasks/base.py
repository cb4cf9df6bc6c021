"""The contract of a task, and the registry of its kinds.

B batch, C channels, H x W pixels. Target: the truth, as a batch brings it. Map: what people
read, as `decode` makes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from mtmamba.losses import IGNORE
from mtmamba.metrics import check_shapes
from mtmamba.tasks import files
from mtmamba.tasks.colors import RGB

Limits = tuple[float, float]

_KINDS: dict[str, type[Task]] = {}


@dataclass(frozen=True)
class Task(ABC):
    """One dense prediction: what it is, how it trains, how it is judged and how it looks.

    Instances are immutable, comparable, hashable and picklable. To add a kind of task, subclass (as a frozen
    dataclass if it has options of its own), and write the abstract methods; the rest has defaults. The new
    kind is known to :meth:`from_config` by its class name from then on.

    Attributes:
        name: key of the task in batches, predictions and results.
        channels: of the logits.
        unit: of the map's values, as text for people.
        fill: pads a target in augmentation, before :meth:`prepare`.
        primary: the key of :meth:`metric`'s result that papers report.
        higher_is_better: of that number.
        labels: (of the class) whether targets are integer classes (B, H, W), or floating (B, channels, H, W).
    """

    name: str
    channels: int
    _: KW_ONLY
    unit: str = ""
    fill: float = IGNORE
    primary: str
    higher_is_better: bool

    labels: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        known = _KINDS.get(cls.__name__)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{known.__module__} has a task called {cls.__name__}; choose another class name")
        if not cls.__name__.startswith("_"):
            _KINDS[cls.__name__] = cls

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a task's name is letters, digits and underscores, not {self.name!r}")
        if self.channels < 1:
            raise ValueError(f"{self.name}: {self.channels} channels")

    # Targets

    def rescale(self, target: Tensor, factor: float) -> Tensor:
        """Correct the values of a target enlarged, with its image, by ``factor``. Default: as they are."""
        return target

    def hflip(self, target: Tensor) -> Tensor:
        """Correct the values of a target whose pixels were mirrored, left for right. Default: as they are."""
        return target

    def prepare(self, target: Tensor) -> Tensor:
        """Mark pixels that do not count by 255, before the loss; with batch or without. Default: none."""
        return target

    # Learning

    def check(self, logits: Tensor, target: Tensor) -> None:
        """Raise a ValueError unless logits are (B, channels, H, W) and the target as :attr:`labels` says."""
        check_shapes(self.name, self.channels, logits, target, labels=self.labels)

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (B, channels, H, W) and prepared target -> scalar, 0 where no pixel counts.

        Raises:
            ValueError: for other shapes; see :meth:`check`.
        """

    @abstractmethod
    def metric(self) -> Metric:
        """A new metric: ``update(logits, prepared target)`` and ``compute() -> {key: 0-d tensor}``."""

    def evaluation_metric(self) -> Metric | None:
        """A further metric, as :meth:`metric`, that is too slow for validation during training. Default: none."""
        return None

    @property
    def reported(self) -> str:
        """The figure of an evaluation that papers print. Default: ``primary``."""
        return self.primary

    @abstractmethod
    def constant(self, targets: Iterable[Tensor]) -> Tensor:
        """The best answer that ignores the image, given prepared targets of any batch: logits (channels,).

        Raises:
            ValueError: if no pixel of the targets counts.
        """

    # Answers

    @abstractmethod
    def decode(self, logits: Tensor) -> Tensor:
        """Logits (B, channels, H, W) -> maps (B, H, W), or (B, C, H, W) where a pixel has several values."""

    def target_to_map(self, target: Tensor) -> Tensor:
        """A target without batch -> map as :meth:`decode` has it, (H, W) or (C, H, W), in which 255 stays."""
        return target[0] if target.ndim == 3 and target.shape[0] == 1 else target

    def limits(self, decoded: Tensor | np.ndarray) -> Limits | None:
        """The values at the ends of the colour scale that suit this map; None where colours have no scale."""
        return None

    @abstractmethod
    def colorize(self, decoded: Tensor | np.ndarray, *, limits: Limits | None = None) -> Tensor:
        """Colours of one map.

        Args:
            decoded: (H, W) or (C, H, W), decoded or from :meth:`target_to_map`. Ignored pixels become black.
            limits: ends of the colour scale, to share it between maps; those of the map itself by default.

        Returns:
            (H, W, 3) uint8 RGB, on the CPU.
        """

    def legend(self, present: Collection[int] | None = None, limits: Limits | None = None) -> list[tuple[str, RGB]]:
        """What colours mean: classes, or sampled values with their unit.

        Args:
            present: classes to list; all by default. Of no effect where there are none.
            limits: ends of the colour scale.
        """
        return []

    def save(self, decoded: Tensor | np.ndarray, stem: Path) -> list[Path]:
        """Write one map to ``stem`` and an extension. Default: .npy in float32, and its colours as .png.

        Returns:
            The files written. Folders are made where needed.

        Raises:
            OSError: naming the file that could not be written, and why.
        """
        return [
            files.write_npy(as_array(decoded).astype(np.float32), stem),
            files.write_png(self.colorize(decoded).numpy(), stem),
        ]

    # Configuration

    def to_config(self) -> dict[str, Any]:
        """A dict of JSON's types from which :meth:`from_config` makes an equal task."""
        values = {field.name: _listed(getattr(self, field.name)) for field in fields(self)}
        return {"kind": type(self).__name__} | values

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Task:
        """The task that :meth:`to_config` described.

        Raises:
            ValueError: for a kind that is not known, or options that the kind does not have.
        """
        options = {key: _tupled(value) for key, value in config.items() if key != "kind"}
        kind = _KINDS.get(config.get("kind", ""))
        if kind is None:
            raise ValueError(
                f"unknown kind of task {config.get('kind')!r}; known: {sorted(_KINDS)}. "
                "A kind of your own is known once the module that defines it is imported."
            )
        try:
            return kind(**options)
        except TypeError as error:
            raise ValueError(f"options of {kind.__name__} {sorted(options)}: {error}") from error


def as_array(decoded: Tensor | np.ndarray) -> np.ndarray:
    """A map as a NumPy array on the CPU; half precision becomes float32."""
    if isinstance(decoded, Tensor):
        decoded = decoded.detach().cpu()
        return (decoded.float() if decoded.is_floating_point() else decoded).numpy()
    return np.asarray(decoded)


def is_valid(values: np.ndarray) -> np.ndarray:
    """Where values are finite and not 255."""
    return np.isfinite(values) & (values != IGNORE)


def as_plane(name: str, decoded: Tensor | np.ndarray) -> np.ndarray:
    """A map of one value per pixel as an array (H, W), also from (1, H, W). ValueError for other shapes."""
    array = as_array(decoded)
    plane = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
    if plane.ndim != 2:
        raise ValueError(f"{name}: map of shape {array.shape}; expected (H, W)")
    return plane


def as_planes(name: str, decoded: Tensor | np.ndarray, channels: int) -> np.ndarray:
    """A map of several values per pixel as a float32 array (C, H, W). ValueError for other shapes."""
    array = as_array(decoded)
    if array.ndim != 3 or array.shape[0] != channels:
        raise ValueError(f"{name}: map of shape {array.shape}; expected ({channels}, H, W)")
    return array.astype(np.float32)


def mean_of_valid(name: str, batches: Iterable[Tensor]) -> Tensor:
    """The mean (C,) over tensors (pixels, C) of valid pixels. ValueError if there is none."""
    total: Tensor | None = None
    count = 0
    for values in batches:
        summed = values.double().sum(dim=0)
        total = summed if total is None else total + summed
        count += values.shape[0]
    if total is None or count == 0:
        raise ValueError(f"{name}: none of the targets has a pixel that counts")
    return (total / count).to(torch.float32)


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value

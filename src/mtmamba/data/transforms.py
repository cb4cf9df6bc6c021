"""From a dataset's sample to what a model takes: augmentation, normalisation, the tasks' ignore rules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import interpolate, pad
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from mtmamba.data.sample import Sample, Transform
from mtmamba.models.encoder import IMAGE_MEAN, IMAGE_STD
from mtmamba.tasks import IGNORE, Task

Size = tuple[int, int]


class RandomScale:
    """Enlarge or shrink image and targets by one factor: the image bilinearly, targets to the nearest pixel.

    Each task corrects its values (depth is divided by the factor).

    Args:
        tasks: whose targets the sample may have.
        limits: the factor is drawn evenly from between them.
    """

    def __init__(self, tasks: Sequence[Task], limits: tuple[float, float] = (0.5, 2.0)) -> None:
        if not 0 < limits[0] <= limits[1]:
            raise ValueError(f"limits of a scale are positive and in order, not {tuple(limits)}")
        self.tasks, self.limits = tasks, limits

    def __call__(self, sample: Sample) -> Sample:
        low, high = self.limits
        factor = low + (high - low) * float(torch.rand(()))
        size = [max(1, int(side * factor)) for side in sample["image"].shape[-2:]]
        scaled = {**sample, "image": _bilinear(sample["image"], size)}
        for task in self.tasks:
            if task.name in sample:
                # not v2's own resize of masks: float targets must not be cast
                target = _nearest(sample[task.name], size)
                scaled[task.name] = tv_tensors.wrap(task.rescale(target, factor), like=sample[task.name])
        return scaled


class RandomCrop:
    """Cut out ``size`` (of a side that is smaller, all), drawn anew while one class covers too much of it.

    Args:
        tasks: whose targets the sample may have.
        size: (H, W).
        of: name of the task whose classes are looked at; without it, or its target, the first draw is taken.
        share: of the crop's labelled pixels that one class may cover.
        draws: at most.
    """

    def __init__(
        self, tasks: Sequence[Task], size: Size, of: str | None = "semseg", share: float = 0.75, draws: int = 10
    ) -> None:
        self.tasks, self.size, self.of, self.share, self.draws = tasks, size, of, share, draws

    def __call__(self, sample: Sample) -> Sample:
        H, W = sample["image"].shape[-2:]
        height, width = min(self.size[0], H), min(self.size[1], W)
        labels = sample.get(self.of) if self.of else None
        for _ in range(self.draws):
            top = int(torch.randint(H - height + 1, ()))
            left = int(torch.randint(W - width + 1, ()))
            if labels is None or self._is_mixed(labels[..., top : top + height, left : left + width]):
                break
        box = (top, left, height, width)
        cropped = {**sample, "image": F.crop(sample["image"], *box)}
        for task in self.tasks:
            if task.name in sample:
                cropped[task.name] = F.crop(sample[task.name], *box)
        return cropped

    def _is_mixed(self, labels: torch.Tensor) -> bool:
        _, counts = torch.unique(labels[labels != IGNORE], return_counts=True)
        return len(counts) > 1 and bool(counts.max() <= self.share * counts.sum())


class HorizontalFlip:
    """Mirror image and targets; each task corrects its values (the x of normals changes sign).

    Args:
        tasks: whose targets the sample may have.
        p: probability, drawn from torch's global generator.
    """

    def __init__(self, tasks: Sequence[Task], p: float = 0.5) -> None:
        self.tasks, self.p = tasks, p

    def __call__(self, sample: Sample) -> Sample:
        if torch.rand(()) >= self.p:
            return sample
        flipped = {**sample, "image": F.horizontal_flip(sample["image"])}
        for task in self.tasks:
            if task.name in sample:
                flipped[task.name] = task.hflip(F.horizontal_flip(sample[task.name]))
        return flipped


class PhotometricDistortion:
    """Brightness +-32 / 255, contrast and saturation 0.5-1.5, hue +-18 of 180, each with probability 0.5."""

    def __init__(self) -> None:
        self.distort = v2.RandomPhotometricDistort(brightness=(1 - 32 / 255, 1 + 32 / 255), hue=(-0.1, 0.1))

    def __call__(self, sample: Sample) -> Sample:
        return {**sample, "image": self.distort(sample["image"])}


class ResizeImage:
    """The image alone to ``size``, bilinear; targets keep their resolution (Cityscapes' published recipe)."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, sample: Sample) -> Sample:
        return {**sample, "image": _bilinear(sample["image"], list(self.size))}


class ToModel:
    """Image to float and normalised by ImageNet's statistics; targets with the ignore rules applied.

    Args:
        tasks: whose targets the sample may have.
        size: (H, W) that smaller samples are padded to before the ignore rules, the image with 0 after normalising,
            targets with each task's ``fill``; half on either side, the odd pixel right and below. None: as they are.
    """

    def __init__(self, tasks: Sequence[Task], size: Size | None = None) -> None:
        self.tasks, self.size = tasks, size

    def __call__(self, sample: Sample) -> Sample:
        borders = self._borders(sample["image"].shape[-2:])
        ready = {
            **sample,
            "image": pad(normalize(sample["image"]), borders, value=0.0),
            "padding": torch.tensor(borders),
        }
        for task in self.tasks:
            if task.name in sample:
                target = sample[task.name].as_subclass(torch.Tensor)
                ready[task.name] = task.prepare(pad(target, borders, value=task.fill))
        return ready

    def _borders(self, shape: Sequence[int]) -> list[int]:
        """Left, right, top, bottom."""
        if self.size is None:
            return [0] * 4
        vertical, horizontal = (max(0, wanted - side) for wanted, side in zip(self.size, shape, strict=True))
        return [horizontal // 2, -(-horizontal // 2), vertical // 2, -(-vertical // 2)]


def normalize(image: torch.Tensor) -> torch.Tensor:
    """(..., 3, H, W) uint8, or float in [0, 1] -> float32, ImageNet's mean 0 and standard deviation 1."""
    scaled = F.to_dtype(image, torch.float32, scale=True).as_subclass(torch.Tensor)
    return F.normalize(scaled, list(IMAGE_MEAN), list(IMAGE_STD))


def train_transform(
    tasks: Sequence[Task],
    augment: bool = True,
    size: Size | None = None,
    scale: tuple[float, float] | None = None,
    resize: bool = False,
) -> Transform:
    """What a training sample goes through; without ``augment`` the same as :func:`eval_transform`.

    With ``scale``, samples are scaled and cropped to ``size`` before they are mirrored.
    """
    steps: list[Transform] = []
    if augment:
        if scale is not None:
            if size is None:
                raise ValueError("random scaling needs a size to crop to")
            steps += [RandomScale(tasks, scale), RandomCrop(tasks, size)]
        steps += [HorizontalFlip(tasks), PhotometricDistortion()]
    return compose([*steps, eval_transform(tasks, size, resize)])


def eval_transform(tasks: Sequence[Task], size: Size | None = None, resize: bool = False) -> Transform:
    """What a sample goes through in evaluation: nothing random.

    Samples smaller than ``size`` are padded to it; with ``resize`` the image alone is resized to it instead.
    """
    if resize:
        if size is None:
            raise ValueError("there is no size to resize images to")
        return compose([ResizeImage(size), ToModel(tasks)])
    return ToModel(tasks, size)


def _bilinear(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(3, H, W) uint8 at another size, through float32: torch's way for uint8 fails for sides of one pixel."""
    resized = interpolate(image[None].float(), size=list(size), mode="bilinear", align_corners=False)[0]
    return tv_tensors.Image(resized.round().to(torch.uint8))


def _nearest(target: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(..., H, W) of any type at another size, every pixel one of the old ones."""
    H, W = target.shape[-2:]
    rows = torch.arange(size[0]) * H // size[0]
    columns = torch.arange(size[1]) * W // size[1]
    return target.as_subclass(torch.Tensor)[..., rows[:, None], columns]


def compose(steps: Sequence[Transform]) -> Transform:
    """One transform out of several, applied in order."""
    return _Composed(list(steps))


class _Composed:
    def __init__(self, steps: list[Transform]) -> None:
        self.steps = steps

    def __call__(self, sample: Sample) -> Sample:
        for step in self.steps:
            sample = step(sample)
        return sample

"""From a dataset's sample to what a model takes: augmentation, normalisation, the tasks' ignore rules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from mtmamba.data.sample import Sample, Transform
from mtmamba.models.encoder import IMAGE_MEAN, IMAGE_STD
from mtmamba.tasks import Task


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


class ToModel:
    """Image to float and normalised by ImageNet's statistics; targets with the ignore rules applied."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks

    def __call__(self, sample: Sample) -> Sample:
        ready = {**sample, "image": normalize(sample["image"])}
        for task in self.tasks:
            if task.name in sample:
                ready[task.name] = task.prepare(sample[task.name].as_subclass(torch.Tensor))
        return ready


def normalize(image: torch.Tensor) -> torch.Tensor:
    """(..., 3, H, W) uint8, or float in [0, 1] -> float32, ImageNet's mean 0 and standard deviation 1."""
    scaled = F.to_dtype(image, torch.float32, scale=True).as_subclass(torch.Tensor)
    return F.normalize(scaled, list(IMAGE_MEAN), list(IMAGE_STD))


def train_transform(tasks: Sequence[Task], augment: bool = True) -> Transform:
    """What a training sample goes through; without ``augment`` the same as :func:`eval_transform`."""
    steps: list[Transform] = [HorizontalFlip(tasks), PhotometricDistortion()] if augment else []
    return compose([*steps, ToModel(tasks)])


def eval_transform(tasks: Sequence[Task]) -> Transform:
    """What a sample goes through in evaluation: nothing random."""
    return ToModel(tasks)


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

"""Test-time augmentation: the mean of a model's answers to several views of an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mtmamba.models.mtmamba import MTMamba


@dataclass(frozen=True)
class Views:
    """Which views of an image a model sees: it at every scale, and mirrored too with ``flip``.

    The mean is taken of logits, at the size of the unscaled answer. Each task corrects what a view changes: the x of
    normals changes sign in a mirror, and what is enlarged seems nearer.

    Attributes:
        flip: each view mirrored, too.
        scales: of the image's sides; (1.0,) is the image itself.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.scales or any(scale <= 0 for scale in self.scales):
            raise ValueError(f"scales of views are positive, not {self.scales}")

    def __call__(self, model: MTMamba, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) -> {task: logits (B, channels, H_out, W_out)}, as the model's own."""
        if not self.flip and self.scales == (1.0,):
            answers: dict[str, Tensor] = model(images)
            return answers
        total: dict[str, Tensor] = {}
        size = model.output_size or tuple(side * model.output_scale for side in images.shape[-2:])
        for scale in self.scales:
            seen = images
            if scale != 1:
                sides = [max(1, round(side * scale)) for side in images.shape[-2:]]
                seen = F.interpolate(images, size=sides, mode="bilinear", align_corners=False, antialias=True)
            for mirrored in (False, True) if self.flip else (False,):
                logits = model(seen.flip(-1) if mirrored else seen)
                for task in model.tasks:
                    answer = logits[task.name].float()
                    if mirrored:
                        answer = task.hflip(answer.flip(-1))
                    if scale != 1:
                        answer = task.rescale(answer, 1 / scale)
                    if answer.shape[-2:] != torch.Size(size):
                        answer = F.interpolate(answer, size=size, mode="bilinear", align_corners=False)
                    total[task.name] = total[task.name] + answer if task.name in total else answer
        count = len(self.scales) * (2 if self.flip else 1)
        return {name: answer / count for name, answer in total.items()}

"""ADE20K as the Scene Parsing Challenge distributes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from mtmamba.data.files import FilesDataset, Target, read_labels, unused, visible
from mtmamba.data.nyudv2 import from_one
from mtmamba.metrics.edge_matching import true_edges
from mtmamba.tasks import Task, benchmark

FOLDERS = {"train": "training", "val": "validation"}


class ADE20K(FilesDataset):
    """20,210 images to train on and 2,000 to evaluate; semseg of 150 classes, and edge, which follows from it.

    ``images/{training,validation}/ID.jpg``, ``annotations/{training,validation}/ID.png`` (class + 1, and 0 where
    ignored). Arguments and errors as :class:`mtmamba.data.files.FilesDataset`. Zhou et al., Scene parsing through
    ADE20K dataset, CVPR 2017.
    """

    folders = ("ADEChallengeData2016",)
    landmarks = ("images", "annotations")
    formats: ClassVar[Mapping[str, str]] = {
        "semseg": "annotations/*/ID.png holds the class + 1, and 0 where ignored",
        "edge": "follows from annotations/*/ID.png",
    }

    def available_tasks(self) -> list[Task]:
        return benchmark("ade20k")

    def splits(self) -> list[str]:
        return [split for split, folder in FOLDERS.items() if (self.root / "images" / folder).is_dir()]

    def list_path(self, split: str) -> Path:
        return self.root / "images" / FOLDERS[split]

    def list_names(self, split: str) -> list[str]:
        return [path.stem for path in visible(self.list_path(split), "*.jpg")]

    def image_path(self, name: str) -> Path:
        return self.list_path(self.split) / f"{name}.jpg"

    def read_target(self, task: Task, name: str) -> Target:
        path = self.root / "annotations" / FOLDERS[self.split] / f"{name}.png"
        labels = read_labels(path)
        return Target(from_one(labels) if task.name == "semseg" else true_edges(labels).astype(np.float32), path)

    def unlisted(self) -> list[Path]:
        """Annotations without an image."""
        return [
            path
            for split in self.splits()
            for path in unused(self.root / "annotations" / FOLDERS[split], "*.png", set(self.list_names(split)))
        ]

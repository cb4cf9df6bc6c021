"""NYU Depth v2 in the layout that multi-task work shares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from mtmamba.data.files import (
    FilesDataset,
    Target,
    listed_splits,
    read_colors,
    read_edges,
    read_labels,
    read_list,
    read_npy,
    unused,
)
from mtmamba.tasks import IGNORE, Task, benchmark


class NYUDv2(FilesDataset):
    """795 images to train on and 654 to evaluate; semseg of 40 classes, depth in metres, normals, edge.

    ``gt_sets/SPLIT.txt``, ``images/ID.png``, and per task a folder; see ``formats``. Depths of 0 are missing. Arguments
    and errors as :class:`mtmamba.data.files.FilesDataset`. Silberman et al., Indoor segmentation and support inference
    from RGBD images, ECCV 2012.
    """

    folders = ("NYUDv2",)
    landmarks = ("gt_sets", "images")
    formats: ClassVar[Mapping[str, str]] = {
        "semseg": "segmentation/ID.png holds the class + 1, and 0 where ignored",
        "depth": "depth/ID.npy holds metres, and 0 where missing",
        "normals": "normals/ID.png holds (n + 1) / 2 * 255",
        "edge": "edge/ID.png holds 255 * edge",
    }

    def available_tasks(self) -> list[Task]:
        return benchmark("nyudv2")

    def splits(self) -> list[str]:
        return listed_splits(self.root / "gt_sets")

    def list_path(self, split: str) -> Path:
        return self.root / "gt_sets" / f"{split}.txt"

    def list_names(self, split: str) -> list[str]:
        return read_list(self.list_path(split))

    def image_path(self, name: str) -> Path:
        return self.root / "images" / f"{name}.png"

    def read_target(self, task: Task, name: str) -> Target:
        if task.name == "semseg":
            path = self.root / "segmentation" / f"{name}.png"
            return Target(from_one(read_labels(path)), path)
        if task.name == "depth":
            path = self.root / "depth" / f"{name}.npy"
            return Target(read_npy(path), path)
        path = self.root / task.name / f"{name}.png"
        return Target(signed(read_colors(path)) if task.name == "normals" else read_edges(path), path)

    def unlisted(self) -> list[Path]:
        listed = {name for split in self.splits() for name in self.list_names(split)}
        return unused(self.root / "images", "*.png", listed)


def from_one(labels: np.ndarray) -> np.ndarray:
    """Classes counted from 1, with 0 (and 255) ignored -> int64 from 0, with 255 ignored."""
    return np.where((labels == 0) | (labels == IGNORE), IGNORE, labels.astype(np.int64) - 1)


def signed(pixels: np.ndarray) -> np.ndarray:
    """8 bits -> float32 in [-1, 1]: 2 v / 255 - 1."""
    return 2 * pixels.astype(np.float32) / 255 - 1

"""Cityscapes as it is distributed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from mtmamba.data.files import DataError, FilesDataset, Target, layout_tables, read_labels, visible
from mtmamba.tasks import IGNORE, Task, benchmark

LABEL_IDS = 34  # 0 to 33; -1, the licence plate, is written as 255
SKY = 10  # of the 19


class Cityscapes(FilesDataset):
    """Streets: semseg of 19 classes, depth as disparity in pixels. 2,975 train and 500 val; splits are folders.

    ``leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png``, ``gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png``,
    ``disparity/SPLIT/CITY/NAME_disparity.png``: (v - 1) / 256 with -1 where v is 0 (missing), and 0 in the sky, whose
    pixels are those of the label ids. Arguments and errors as :class:`mtmamba.data.files.FilesDataset`. Cordts et al.,
    The Cityscapes dataset, CVPR 2016.
    """

    folders = ("cityscapes", "Cityscapes")
    landmarks = ("leftImg8bit",)
    formats: ClassVar[Mapping[str, str]] = {
        "semseg": "gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png holds label ids",
        "depth": "disparity/SPLIT/CITY/NAME_disparity.png holds 256 * disparity + 1 in 16 bits, and 0 where missing",
    }

    def available_tasks(self) -> list[Task]:
        return benchmark("cityscapes")

    def splits(self) -> list[str]:
        return sorted(path.name for path in (self.root / "leftImg8bit").iterdir() if path.is_dir())

    def list_path(self, split: str) -> Path:
        return self.root / "leftImg8bit" / split

    def list_names(self, split: str) -> list[str]:
        return [_name(path) for path in visible(self.list_path(split), "*/*_leftImg8bit.png")]

    def image_path(self, name: str) -> Path:
        return self._path("leftImg8bit", name, "leftImg8bit")

    def read_target(self, task: Task, name: str) -> Target:
        label_path = self._path("gtFine", name, "gtFine_labelIds")
        classes = self._train_ids(label_path)
        if task.name == "semseg":
            return Target(classes, label_path)
        path = self._path("disparity", name, "disparity")
        raw = read_labels(path)
        if raw.dtype == np.uint8:
            raise DataError(f"{path}: of 8 bits; disparities are written in 16 ({self.formats['depth']})")
        if raw.shape != classes.shape:
            raise DataError(
                f"{path}: {raw.shape[0]}x{raw.shape[1]} pixels, but {label_path} has "
                f"{classes.shape[0]}x{classes.shape[1]}; write both in the image's size"
            )
        disparity = np.where(raw == 0, np.float32(-1), (raw.astype(np.float32) - 1) / 256)
        disparity[classes == SKY] = 0
        return Target(disparity, path)

    def unlisted(self) -> list[Path]:
        """Labels and disparities without an image."""
        listed = {(split, name) for split in self.splits() for name in self.list_names(split)}
        found = []
        for folder, suffix in (("gtFine", "gtFine_labelIds"), ("disparity", "disparity")):
            for path in visible(self.root / folder, f"*/*/*_{suffix}.png"):
                if (path.parts[-3], path.name.removesuffix(f"_{suffix}.png")) not in listed:
                    found.append(path)
        return found

    @cached_property
    def _cities(self) -> dict[str, str]:
        return {_name(path): path.parent.name for path in visible(self.list_path(self.split), "*/*_leftImg8bit.png")}

    def _path(self, folder: str, name: str, suffix: str) -> Path:
        return self.root / folder / self.split / self._cities[name] / f"{name}_{suffix}.png"

    def _train_ids(self, path: Path) -> np.ndarray:
        labels = read_labels(path)
        wrong = (labels >= LABEL_IDS) & (labels != IGNORE)
        if wrong.any():
            raise DataError(
                f"{path}: label id {labels[wrong][0]}; they go from 0 to {LABEL_IDS - 1}: take the dataset's own file"
            )
        table = np.full(256, IGNORE, np.uint8)
        for train_id, label_id in enumerate(layout_tables()["cityscapes"]["label_ids"]):
            table[label_id] = train_id
        return table[labels]


def _name(path: Path) -> str:
    return path.name.removesuffix("_leftImg8bit.png")

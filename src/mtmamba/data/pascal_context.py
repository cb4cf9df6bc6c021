"""PASCAL-Context in the layout that multi-task work shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage
from skimage.morphology import thin

from mtmamba.data.files import (
    DataError,
    FilesDataset,
    Target,
    layout_tables,
    listed_splits,
    read_colors,
    read_labels,
    read_levels,
    read_list,
    read_mat,
    unused,
)
from mtmamba.data.nyudv2 import signed
from mtmamba.tasks import Task, benchmark

PERSON = 15
CONTEXT_CLASSES = 459


class PASCALContext(FilesDataset):
    """4,998 images to train on and 5,105 to evaluate; semseg (21 classes), human_parts, saliency, normals, edge.

    ``ImageSets/Context/SPLIT.txt``, ``JPEGImages/ID.jpg``, and:

    - semseg: ``semseg/VOC12/ID.png``, or where that is missing ``semseg/pascal-context/ID.png``.
    - human_parts: the objects of class 15 in ``human_parts/ID.mat``, 24 parts merged into six, background 0; an image
      without persons is ignored.
    - saliency: ``sal_distill/ID.png`` above half of 255.
    - normals: ``normals_distill/ID.png``, 2 v / 255 - 1, and 0 (missing) outside of the classes of indoor scenes in the
      LabelMap (459 classes) of ``pascal-context/trainval/ID.mat``.
    - edge: boundaries of the LabelMap, where its Laplacian is not 0, thinned.

    Arguments and errors as :class:`mtmamba.data.files.FilesDataset`. Mottaghi et al., The role of context, CVPR 2014;
    parts: Chen et al., Detect what you can, CVPR 2014; normals and saliency: Maninis et al., Attentive
    single-tasking, CVPR 2019.
    """

    folders = ("PASCALContext",)
    landmarks = ("ImageSets/Context", "JPEGImages")
    formats: ClassVar[Mapping[str, str]] = {
        "semseg": "semseg/*/ID.png holds VOC's 21 classes, and 255 where ignored",
        "human_parts": "human_parts/ID.mat holds anno, with class_ind, mask and parts of each object",
        "saliency": "sal_distill/ID.png holds 255 * saliency",
        "normals": "normals_distill/ID.png holds (n + 1) / 2 * 255",
        "edge": "pascal-context/trainval/ID.mat holds LabelMap, 459 classes",
    }

    _last: tuple[Path, np.ndarray] | None = None  # two tasks read the same LabelMap, one after the other

    def available_tasks(self) -> list[Task]:
        return benchmark("pascal_context")

    def splits(self) -> list[str]:
        return listed_splits(self.root / "ImageSets" / "Context")

    def list_path(self, split: str) -> Path:
        return self.root / "ImageSets" / "Context" / f"{split}.txt"

    def list_names(self, split: str) -> list[str]:
        return read_list(self.list_path(split))

    def image_path(self, name: str) -> Path:
        return self.root / "JPEGImages" / f"{name}.jpg"

    def read_target(self, task: Task, name: str) -> Target | None:
        readers: dict[str, Callable[[str], Target | None]] = {
            "semseg": self._semseg,
            "human_parts": self._human_parts,
            "saliency": self._saliency,
            "normals": self._normals,
            "edge": self._edge,
        }
        return readers[task.name](name)

    def unlisted(self) -> list[Path]:
        listed = {name for split in self.splits() for name in self.list_names(split)}
        return unused(self.root / "JPEGImages", "*.jpg", listed)

    def _semseg(self, name: str) -> Target:
        places = [self.root / "semseg" / folder / f"{name}.png" for folder in ("VOC12", "pascal-context")]
        path = next((place for place in places if place.exists()), None)
        if path is None:
            raise DataError(f"{places[0]}: missing, and so is {places[1]}; put one there, or take it out of the split")
        return Target(read_labels(path), path)

    def _human_parts(self, name: str) -> Target | None:
        path = self.root / "human_parts" / f"{name}.mat"
        merged = _merged_parts(path, read_mat(path, "anno"))
        return None if merged is None else Target(merged, path)

    def _saliency(self, name: str) -> Target:
        path = self.root / "sal_distill" / f"{name}.png"
        return Target((read_levels(path) > 0.5).astype(np.uint8), path)

    def _normals(self, name: str) -> Target:
        path = self.root / "normals_distill" / f"{name}.png"
        normals = signed(read_colors(path))
        label_map, label_path = self._label_map(name)
        if label_map.shape != normals.shape[:2]:
            raise DataError(
                f"{path}: {normals.shape[0]}x{normals.shape[1]} pixels, but {label_path} has "
                f"{label_map.shape[0]}x{label_map.shape[1]}; write both in the image's size"
            )
        counted = np.zeros(CONTEXT_CLASSES + 1, bool)
        counted[list(layout_tables()["pascal_context"]["normals_classes"].values())] = True
        return Target(normals * counted[label_map][..., None], path)

    def _edge(self, name: str) -> Target:
        label_map, path = self._label_map(name)
        laplacian = ndimage.laplace(label_map.astype(np.int32), mode="mirror")  # of four neighbours
        return Target(thin(laplacian != 0).astype(np.float32), path)

    def _label_map(self, name: str) -> Target:
        path = self.root / "pascal-context" / "trainval" / f"{name}.mat"
        if self._last is None or self._last[0] != path:
            label_map = read_mat(path, "LabelMap")
            if label_map.ndim != 2 or label_map.dtype.kind not in "fiu":
                raise DataError(f"{path}: LabelMap is not a plane of numbers; fetch the file again")
            if not ((label_map >= 0) & (label_map <= CONTEXT_CLASSES)).all():
                raise DataError(f"{path}: LabelMap has classes outside of 0 to {CONTEXT_CLASSES}; fetch the file again")
            self._last = path, label_map.astype(np.int64)
        return Target(self._last[1], path)


def _merged_parts(path: Path, annotation: np.ndarray) -> np.ndarray | None:
    """PASCAL-Part's struct -> uint8 (H, W), 0 background and 1 to 6; None where nobody is."""
    numbers = layout_tables()["human_parts"]["parts"]
    try:
        objects = _rows(annotation["objects"][0, 0])
        people = [thing for thing in objects if int(np.asarray(thing["class_ind"]).flat[0]) == PERSON]
        if not people:
            return None
        merged = np.zeros(np.shape(people[0]["mask"]), np.uint8)
        for part in (part for person in people for part in _rows(person["parts"])):
            kind = str(np.asarray(part["part_name"]).flat[0])
            if kind not in numbers:
                raise DataError(f"{path}: a person has a part {kind!r}; known: {', '.join(numbers)}")
            merged[np.asarray(part["mask"]).astype(bool)] = numbers[kind]
    except (ValueError, LookupError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: anno is not PASCAL-Part's struct ({error}); fetch the file again") from error
    return merged


def _rows(table: Any) -> list[Any]:
    """Elements of a MATLAB struct array; an empty matrix has none."""
    table = np.asarray(table)
    return list(table.flat) if table.dtype.names else []

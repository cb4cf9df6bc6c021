"""Your own data: a folder of images, one per task, and tasks.yaml, which says what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mtmamba.data.files import (
    DataError,
    FilesDataset,
    Target,
    listed_splits,
    read_edges,
    read_image,
    read_labels,
    read_levels,
    read_list,
    read_npy,
    visible,
)
from mtmamba.tasks import IGNORE, Edge, Task

ENCODINGS = {
    "label": "the class itself, or any number that is ignored",
    "unit": "[0, 1] as 0 to 255, or to 65535 in 16 bits",
    "signed": "[-1, 1] as 0 to 255, or to 65535 in 16 bits",
    "millimetres": "metres * 1000 in 16 bits",
    "float": "the values themselves, .npy",
}
"""How a task's files are written."""

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Entry:
    """What tasks.yaml says of one task. ``ignore`` is the value, as decoded, of pixels that do not count."""

    task: Task
    encoding: str
    extension: str
    ignore: float | None


class FolderDataset(FilesDataset):
    """Any images with any targets::

        images/NAME.jpg                   or .png, .bmp, .tif, .webp; NAME may have folders: tour/0001
        TASK/NAME.png                     or .npy; images without a target are ignored in its loss and metric
        splits/train.txt, splits/val.txt  NAMEs, one per line; without splits/, all images are the split "all"
        tasks.yaml:
          tasks:
            rust: {kind: Segmentation, channels: 2, class_names: [sound, rust], encoding: label, ignore: 255}
            depth: {kind: Depth, encoding: millimetres}

    Of a task, tasks.yaml gives its ``kind`` and options (:meth:`mtmamba.tasks.Task.from_config`); ``encoding``, a key
    of :data:`ENCODINGS`; ``extension``, by default ".npy" for "float" and else ".png"; and ``ignore``, by default 255.
    Depth 0 and normals of length 0 are missing.

    Arguments and errors as :class:`mtmamba.data.files.FilesDataset`; also refused is a task without any file.
    """

    landmarks = ("images", "tasks.yaml")

    def __init__(self, root: str | Path, split: str, tasks: Sequence[Task], *, verify: bool = True) -> None:
        super().__init__(root, split, tasks, verify=verify)
        for task in self.tasks if verify else ():
            extension = self._entries[task.name].extension
            if not any((self.root / task.name / f"{name}{extension}").exists() for name in self._images):
                raise DataError(
                    f"{self.root / task.name}: no image has a *{extension} there; put the targets there under the "
                    f"images' names, or correct the extension in {self.root / 'tasks.yaml'}"
                )

    def available_tasks(self) -> list[Task]:
        return [entry.task for entry in self._entries.values()]

    def splits(self) -> list[str]:
        return listed_splits(self.root / "splits") if (self.root / "splits").is_dir() else ["all"]

    def list_path(self, split: str) -> Path:
        return self.root / "splits" / f"{split}.txt" if (self.root / "splits").is_dir() else self.root / "images"

    def list_names(self, split: str) -> list[str]:
        path = self.list_path(split)
        return list(self._images) if path.is_dir() else read_list(path)

    def image_path(self, name: str) -> Path:
        return self._images.get(name, self.root / "images" / f"{name}.png")

    def read_image(self, name: str) -> np.ndarray:
        return read_image(self.image_path(name), upright=True)

    def read_target(self, task: Task, name: str) -> Target | None:
        entry = self._entries[task.name]
        path = self.root / task.name / f"{name}{entry.extension}"
        if not path.exists():
            return None
        values = _decoded(entry, path)
        if entry.ignore is not None and entry.ignore != IGNORE:
            ignored = np.isnan(values) if np.isnan(entry.ignore) else values == values.dtype.type(entry.ignore)
            values = np.where(ignored, values.dtype.type(IGNORE), values)
        return Target(values, path)

    def unlisted(self) -> list[Path]:
        """Images in no split, and targets without an image."""
        listed = {name for split in self.splits() for name in self.list_names(split)}
        found = [path for name, path in self._images.items() if name not in listed]
        for name, entry in self._entries.items():
            folder = self.root / name
            found += [
                path
                for path in visible(folder, f"**/*{entry.extension}")
                if path.relative_to(folder).as_posix().removesuffix(entry.extension) not in self._images
            ]
        return found

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        return _declared(self.root)

    @cached_property
    def _images(self) -> dict[str, Path]:
        folder = self.root / "images"
        found: dict[str, Path] = {}
        for path in visible(folder, "**/*"):
            if path.suffix.lower() not in IMAGES:
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise DataError(f"{path}: has the same name as {found[name]}; rename one, or take it away")
            found[name] = path
        return found


def folder_tasks(root: str | Path) -> list[Task]:
    """The tasks that a directory's tasks.yaml declares, in its order.

    Raises:
        DataError: no such file, or one that cannot be understood; it names the entry.
    """
    return [entry.task for entry in _declared(Path(root).expanduser()).values()]


def _declared(root: Path) -> dict[str, Entry]:
    path = root / "tasks.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: missing; write it, with an entry for each task") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())}); correct it") from error
    tasks = content.get("tasks") if isinstance(content, dict) else None
    if not isinstance(tasks, dict) or not tasks or not all(isinstance(entry, dict) for entry in tasks.values()):
        raise DataError(f"{path}: 'tasks' has to map each task's name to its kind, encoding and options")
    return {str(name): _entry(path, str(name), entry) for name, entry in tasks.items()}


def _entry(path: Path, name: str, options: dict[str, Any]) -> Entry:
    options = {"name": name, **options}
    encoding, ignore = options.pop("encoding", None), options.pop("ignore", IGNORE)
    extension = options.pop("extension", ".npy" if encoding == "float" else ".png")
    if encoding not in ENCODINGS:
        raise DataError(f"{path}: {name}: encoding is {encoding!r}; it is one of {', '.join(ENCODINGS)}")
    if ignore is not None and not (isinstance(ignore, int | float) and not isinstance(ignore, bool)):
        raise DataError(f"{path}: {name}: ignore is {ignore!r}; it is a number, or null")
    if options["name"] != name:
        raise DataError(f"{path}: {name}: has another name, {options['name']!r}; leave that line out")
    try:
        task = Task.from_config(options)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {name}: {error}") from error
    if task.labels != (encoding == "label"):
        raise DataError(
            f"{path}: {name}: a {type(task).__name__} is {'' if task.labels else 'not '}of encoding 'label', but its "
            f"encoding is {encoding!r}"
        )
    if encoding != "float" and task.channels not in (1, 3) and not task.labels:
        raise DataError(f"{path}: {name}: {task.channels} channels do not fit a picture; give encoding float, and .npy")
    return Entry(task, encoding, str(extension), ignore)


def _decoded(entry: Entry, path: Path) -> np.ndarray:
    """What a file holds: integers (H, W) of labels, else float32 (H, W) or (H, W, C)."""
    task = entry.task
    if entry.encoding == "label":
        return read_labels(path).astype(np.int64)
    if entry.encoding == "float":
        values = read_npy(path)
        first = values.ndim == 3 and values.shape[0] == task.channels != values.shape[2]
        return values.transpose(1, 2, 0) if first else values
    if entry.encoding == "millimetres":
        return read_labels(path).astype(np.float32) / 1000
    levels = read_edges(path) if isinstance(task, Edge) else read_levels(path, task.channels)
    return 2 * levels - 1 if entry.encoding == "signed" else levels

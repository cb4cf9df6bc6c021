"""Datasets on disk: what all readers share, and how a file is read or refused."""

from __future__ import annotations

import errno
import json
import struct
import tokenize
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torch.utils.data import Dataset
from torchvision import tv_tensors

from mtmamba.data.sample import Sample
from mtmamba.tasks import IGNORE, Depth, Task

Size = tuple[int, int]


class DataError(ValueError):
    """Something on disk is not as its layout says. The text names the file, what is wrong, and the remedy."""


class Target(NamedTuple):
    """What a reader found: values (H, W), or (H, W, C); and the file they are from."""

    values: np.ndarray
    path: Path


class FilesDataset(Dataset[Sample], ABC):
    """One split of a dataset on disk. A reader is a subclass that says where things lie and how they are coded.

    An item is a dict: "image", an Image uint8 (3, H, W); per task a Mask of the image's size: classes int64 (H, W),
    255 ignored, or values float32 (channels, H, W), as :meth:`mtmamba.tasks.Task.prepare` takes them; and "id", the
    name. Only files of the tasks asked for are opened.

    Args:
        root: the dataset's directory, or the one that holds it under its usual name.
        split: see :meth:`splits`.
        tasks: whose targets to read, some of :meth:`available_tasks` by their names.
        verify: read the first and the last sample, and refuse a list with faults, at once.

    Attributes:
        root, split, tasks: as above, the root found.
        names: of the samples, in order.

    Raises:
        DataError: a root, split or task that is not there; an empty list of names, or one with a name twice; from
            here and from items, files that are missing, damaged or not as the layout says.
        IndexError: from an item that is not there.
    """

    folders: ClassVar[tuple[str, ...]] = ()
    """Usual names of the root."""
    landmarks: ClassVar[tuple[str, ...]]
    """What every root holds, relative to it."""
    formats: ClassVar[Mapping[str, str]] = {}
    """By task, how its files are written; for messages."""

    def __init__(self, root: str | Path, split: str, tasks: Sequence[Task], *, verify: bool = True) -> None:
        self.root = self._locate(Path(root).expanduser())
        self.split, self.tasks = split, tuple(tasks)
        self._check_tasks()
        splits = self.splits()
        if split not in splits:
            raise DataError(f"{self.root}: no split {split!r}; there are: {', '.join(splits) or 'none'}")
        self.names = self.list_names(split)
        if verify:
            for fault in self.list_faults():
                raise DataError(fault)
            for index in sorted({0, len(self) - 1}):
                self[index]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        pixels = self.read_image(name)
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        sample: Sample = {"image": tv_tensors.Image(image)}
        for task in self.tasks:
            sample[task.name] = tv_tensors.Mask(self.target(task, name, pixels.shape[:2]))
        sample["id"] = name
        return sample

    # What a reader says

    @abstractmethod
    def available_tasks(self) -> list[Task]:
        """The tasks that the dataset has truth for."""

    @abstractmethod
    def splits(self) -> list[str]:
        """The splits that are on disk."""

    @abstractmethod
    def list_path(self, split: str) -> Path:
        """The file or directory that says what is in a split."""

    @abstractmethod
    def list_names(self, split: str) -> list[str]:
        """The names in a split, as they stand there."""

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """The image of a name."""

    @abstractmethod
    def read_target(self, task: Task, name: str) -> Target | None:
        """The truth as the task has it, not yet checked; None: there is none for this image, which may be."""

    @abstractmethod
    def unlisted(self) -> list[Path]:
        """Files on disk that no split uses."""

    # What follows from it

    def read_image(self, name: str) -> np.ndarray:
        """(H, W, 3) uint8. DataError as :func:`read_image`."""
        return read_image(self.image_path(name))

    def target(self, task: Task, name: str, size: Size | None) -> torch.Tensor:
        """One target, checked: int64 (H, W) or float32 (channels, H, W).

        Args:
            size: (H, W) that it must have; None: any.
        """
        found = self.read_target(task, name)
        if found is None:
            shape = size or (1, 1)
            return torch.full(shape, IGNORE) if task.labels else torch.full((task.channels, *shape), float(IGNORE))
        values, path = found
        try:
            return _classes(task, values, size) if task.labels else _measures(task, values, size)
        except DataError as error:
            how = f" ({self.formats[task.name]})" if task.name in self.formats else ""
            raise DataError(f"{path}: {error}{how}") from None

    def faults(self, index: int) -> list[str]:
        """All that is wrong with one sample, a line each; where one file spoils several tasks, once."""
        name, found = self.names[index], []
        size: Size | None = None
        try:
            height, width, _ = self.read_image(name).shape
            size = (height, width)
        except DataError as error:
            found.append(str(error))
        for task in self.tasks:
            try:
                self.target(task, name, size)
            except DataError as error:
                found.append(str(error))
        return list(dict.fromkeys(found))

    def list_faults(self) -> list[str]:
        """What is wrong with the list of names itself, a line each."""
        path = self.list_path(self.split)
        if not self.names:
            return [f"{path}: no images for split {self.split!r}; put them there"]
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        return [f"{path}: {name} is listed more than once; keep one line of it" for name in twice]

    def _locate(self, root: Path) -> Path:
        if not root.is_dir():
            raise DataError(
                f"{root}: {'not a directory' if root.exists() else 'missing'}; give the dataset's directory"
            )
        for place in (root, *(root / folder for folder in self.folders)):
            if all((place / landmark).exists() for landmark in self.landmarks):
                return place
        lacking = [landmark for landmark in self.landmarks if not (root / landmark).exists()]
        inside = f" or {' or '.join(f'{folder}/' for folder in self.folders)}" if self.folders else ""
        raise DataError(
            f"{root}: does not look like {type(self).__name__}: there is no {', no '.join(lacking)}; give the "
            f"directory that holds {' and '.join(self.landmarks)}{inside}"
        )

    def _check_tasks(self) -> None:
        known = {task.name: task for task in self.available_tasks()}
        for task in self.tasks:
            if task.name not in known:
                raise DataError(f"{self.root}: no task {task.name!r}; there are: {', '.join(known)}")
            ours = known[task.name]
            if task.labels != ours.labels or (not task.labels and task.channels != ours.channels):
                raise DataError(
                    f"{self.root}: {task.name} is {_described(ours)} here, but the task asks for {_described(task)}; "
                    f"make it a {type(ours).__name__}"
                )


def _described(task: Task) -> str:
    return f"{type(task).__name__} ({'classes' if task.labels else f'{task.channels} values'} per pixel)"


def _check_size(found: Sequence[int], size: Size | None) -> None:
    if size is not None and tuple(found) != tuple(size):
        raise DataError(
            f"{found[0]}x{found[1]} pixels, but its image has {size[0]}x{size[1]}; write it in the image's size"
        )


def _classes(task: Task, values: np.ndarray, size: Size | None) -> torch.Tensor:
    _check_size(values.shape, size)
    wrong = (values != IGNORE) & ((values < 0) | (values >= task.channels))
    if wrong.any():
        raise DataError(
            f"class {values[wrong][0]}, but {task.name} has 0 to {task.channels - 1}, and 255 for ignored; correct the "
            "file or the task's channels"
        )
    return torch.from_numpy(values.astype(np.int64))


def _measures(task: Task, values: np.ndarray, size: Size | None) -> torch.Tensor:
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[-1] != task.channels:
        raise DataError(
            f"{values.shape[-1]} channels, but {task.name} has {task.channels}; correct the file or the task"
        )
    _check_size(values.shape[:2], size)
    if not np.isfinite(values).all():
        raise DataError("NaN or infinite values; mark what was not measured as the layout says")
    if isinstance(task, Depth) and not task.disparity and (values < 0).any():
        raise DataError(f"a depth of {values.min():.4g}; depths are positive, 0 where not measured")
    return torch.from_numpy(values.transpose(2, 0, 1).astype(np.float32))


# Lists


def read_list(path: Path) -> list[str]:
    """Names in a text file, one per line; blank lines do not count."""
    with _reading(path):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def listed_splits(folder: Path) -> list[str]:
    """Splits that have a list: the names of a directory's .txt files."""
    return [path.stem for path in visible(folder, "*.txt")]


def visible(folder: Path, pattern: str) -> list[Path]:
    """Files that match, in order, without hidden ones (as macOS leaves behind)."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def unused(folder: Path, pattern: str, used: set[str]) -> list[Path]:
    """Files that match, whose names without extension are not used."""
    return [path for path in visible(folder, pattern) if path.stem not in used]


@cache
def layout_tables() -> dict[str, Any]:
    """``classes.json``: besides names, how the published files number classes and parts."""
    tables: dict[str, Any] = json.loads(resources.files("mtmamba").joinpath("classes.json").read_text(encoding="utf-8"))
    return tables


# Files


def read_image(path: Path, *, upright: bool = False) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB; grey becomes RGB.

    Args:
        upright: refuse a picture that its EXIF data says to turn, as its targets may or may not be turned.

    Raises:
        DataError: missing or damaged; transparent, or of other colours than RGB and grey.
    """
    with _reading(path), Image.open(path) as picture:
        if picture.mode not in ("RGB", "L"):
            raise DataError(f"{path}: of mode {picture.mode}; save it as 8-bit RGB")
        if upright and picture.getexif().get(274, 1) != 1:
            raise DataError(f"{path}: its EXIF data says to turn it; save it turned, without that entry")
        return np.array(picture.convert("RGB"))


def read_colors(path: Path) -> np.ndarray:
    """Three values per pixel, (H, W, 3) uint8.

    Raises:
        DataError: missing, damaged, or not 8-bit RGB.
    """
    with _reading(path), Image.open(path) as picture:
        if picture.mode != "RGB":
            raise DataError(f"{path}: of mode {picture.mode}; three values per pixel are saved as 8-bit RGB")
        return np.array(picture)


def read_labels(path: Path) -> np.ndarray:
    """One number per pixel, (H, W): uint8, uint16 or int32. Of a palette image the indices.

    Raises:
        DataError: missing, damaged, with several channels, or JPEG.
    """
    with _reading(path), Image.open(path) as picture:
        if picture.format == "JPEG":
            raise DataError(f"{path}: JPEG, which changes numbers; save it as PNG, from the original")
        if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
            raise DataError(f"{path}: of mode {picture.mode}; save one number per pixel, as 8- or 16-bit grey PNG")
        pixels = np.array(picture)
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels.astype(pixels.dtype.newbyteorder("="))


def read_levels(path: Path, channels: int = 1) -> np.ndarray:
    """An 8- or 16-bit picture as float32 in [0, 1], (H, W) or, for three channels in 8 bits, (H, W, 3).

    Raises:
        DataError: as :func:`read_labels` and :func:`read_colors`.
    """
    pixels = read_colors(path) if channels == 3 else read_labels(path)
    if pixels.dtype.itemsize > 2:
        raise DataError(f"{path}: 32 bits per pixel; save it as 8- or 16-bit PNG")
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def read_edges(path: Path) -> np.ndarray:
    """:func:`read_levels` of one channel, but refuses a file whose edges are 1 of 255."""
    levels = read_levels(path)
    if 0 < levels.max(initial=0) <= np.float32(1 / 255):
        raise DataError(f"{path}: nothing above 1; edges are 255 and the rest 0, so multiply it by 255")
    return levels


def read_npy(path: Path) -> np.ndarray:
    """Numbers as float32, (H, W) or (H, W, C); axes of length 1 around a plane are taken off.

    Raises:
        DataError: missing, damaged, not numbers, or of another number of axes.
    """
    with _reading(path):
        values = np.load(path, allow_pickle=False)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise DataError(f"{path}: not an array of real numbers; save one with numpy.save")
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim not in (2, 3) or values.size == 0:
        raise DataError(f"{path}: of shape {values.shape}; save (H, W) or (H, W, C)")
    with np.errstate(over="ignore"):  # too large a number becomes infinite, which is refused with the target
        return values.astype(np.float32)


def read_mat(path: Path, key: str) -> np.ndarray:
    """One variable of a MATLAB file of version 7 or older.

    Raises:
        DataError: missing, damaged, of a newer version, or without that variable.
    """
    with _reading(path):
        content = loadmat(path, variable_names=[key])
    if key not in content:
        raise DataError(f"{path}: holds no {key}; take the file of that name from the dataset's archive")
    return np.asarray(content[key])


# What Pillow, NumPy and SciPy raise on damaged files.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, NotImplementedError, OverflowError,
    struct.error, zlib.error, tokenize.TokenError, Image.DecompressionBombError, MatReadError,
)  # fmt: skip


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Failures to read a file as DataErrors."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: missing; put it there, or take it out of the split") from None
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # SciPy seeks where it is told
            raise DataError(f"{path}: cannot be read: {error.strerror}; see to its permissions and disk") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: damaged ({reason}); fetch or write it again") from error

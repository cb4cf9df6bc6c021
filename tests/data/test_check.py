"""Faults planted in a dataset, each of which the check has to find and name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtmamba.data.check import NOTE, check, check_splits
from mtmamba.data.datasets import open_dataset
from mtmamba.data.files import DataError, FilesDataset
from mtmamba.data.rooms import write_rooms
from mtmamba.tasks import benchmark

SIZE = (32, 48)
TASKS = {"nyudv2": "nyudv2", "pascal_context": "pascal_context", "cityscapes": "cityscapes", "folder": "rooms_extended"}


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean")
    for layout in TASKS:
        write_rooms(root / layout, layout, {"train": 4, "val": 2}, SIZE, seed=7, progress=False)
    return root


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Callable[[str], Path]:
    def make(layout: str) -> Path:
        return Path(shutil.copytree(clean / layout, tmp_path / layout))

    return make


def read(layout: str, root: Path, split: str = "train") -> FilesDataset:
    return open_dataset(layout, root, split, benchmark(TASKS[layout]), verify=False)


def lines(layout: str, root: Path, split: str = "train", workers: int = 0) -> list[str]:
    return check(read(layout, root, split), workers=workers, progress=False)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:6] = b"\x00" * 6
    path.write_bytes(content)


def _nan(path: Path) -> None:
    depth = np.load(path)
    depth[5, 5] = np.nan
    np.save(path, depth)


def _out_of_range(path: Path) -> None:
    labels = np.array(Image.open(path))
    labels[3, 3] = 77
    Image.fromarray(labels).save(path)


def _shrink(path: Path) -> None:
    Image.open(path).resize((24, 16)).save(path)


FAULTS: list[tuple[str, str, Callable[[Path], Any], str]] = [
    ("nyudv2", "images/train_000001.png", Path.unlink, "missing"),
    ("nyudv2", "segmentation/train_000001.png", Path.unlink, "missing"),
    ("nyudv2", "normals/train_000002.png", _truncate, "damaged"),
    ("nyudv2", "images/train_000001.png", _truncate, "damaged"),
    ("nyudv2", "depth/train_000001.npy", _corrupt, "damaged"),
    ("nyudv2", "depth/train_000003.npy", _nan, "NaN"),
    ("nyudv2", "edge/train_000001.png", _shrink, "16x24 pixels, but its image has 32x48"),
    ("nyudv2", "segmentation/train_000002.png", _out_of_range, "class 76, but semseg has 0 to 39"),
    ("pascal_context", "pascal-context/trainval/train_000001.mat", _truncate, "damaged"),
    ("pascal_context", "human_parts/train_000000.mat", _corrupt, "damaged"),
    ("cityscapes", "disparity/train/rooms/rooms_000000_000001_disparity.png", _shrink, "16x24 pixels"),
    ("folder", "shading/train_000002.npy", _nan, "NaN"),
]


@pytest.mark.parametrize("layout", TASKS)
def test_nothing_to_say_of_a_clean_dataset(clean: Path, layout: str) -> None:
    datasets = [read(layout, clean / layout, split) for split in ("train", "val")]
    assert [line for dataset in datasets for line in check(dataset, workers=0, progress=False)] == []
    assert check_splits(datasets) == []


@pytest.mark.parametrize(("layout", "file", "plant", "what"), FAULTS, ids=[f"{f[1]}-{f[3][:9]}" for f in FAULTS])
def test_a_planted_fault(
    copy: Callable[[str], Path], layout: str, file: str, plant: Callable[[Path], Any], what: str
) -> None:
    root = copy(layout)
    plant(root / file)
    (line,) = lines(layout, root)
    assert line.startswith(f"{root / file}: ")
    assert what in line
    assert lines(layout, root, "val") == []


def test_all_faults_are_found_in_order_by_workers(copy: Callable[[str], Path]) -> None:
    root = copy("nyudv2")
    (root / "images" / "train_000000.png").unlink()
    _nan(root / "depth" / "train_000000.npy")
    (root / "segmentation" / "train_000003.png").unlink()
    with pytest.raises(DataError):
        open_dataset("nyudv2", root, "train", benchmark("nyudv2"))
    found = lines("nyudv2", root, workers=2)
    assert [line.split(": ")[0] for line in found] == [
        str(root / file)
        for file in ("images/train_000000.png", "depth/train_000000.npy", "segmentation/train_000003.png")
    ]
    assert found == lines("nyudv2", root)


def test_a_name_whose_files_are_not_there(copy: Callable[[str], Path]) -> None:
    root = copy("folder")
    with (root / "splits" / "train.txt").open("a") as file:
        file.write("elsewhere\n")
    (line,) = lines("folder", root)
    assert line.startswith(f"{root / 'images' / 'elsewhere.png'}: missing")


def test_a_name_listed_twice(copy: Callable[[str], Path]) -> None:
    root = copy("nyudv2")
    with (root / "gt_sets" / "train.txt").open("a") as file:
        file.write("train_000001\n")
    assert lines("nyudv2", root) == [
        f"{root / 'gt_sets' / 'train.txt'}: train_000001 is listed more than once; keep one line of it"
    ]


def test_an_empty_list(copy: Callable[[str], Path]) -> None:
    root = copy("nyudv2")
    (root / "gt_sets" / "val.txt").write_text("\n")
    found = lines("nyudv2", root, "val")
    assert found[0].startswith(f"{root / 'gt_sets' / 'val.txt'}: no images")
    assert [line for line in found[1:] if not line.startswith(NOTE)] == []


def test_an_image_in_two_splits(copy: Callable[[str], Path]) -> None:
    root = copy("nyudv2")
    with (root / "gt_sets" / "val.txt").open("a") as file:
        file.write("train_000002\n")
    assert check_splits([read("nyudv2", root, split) for split in ("train", "val")]) == [
        f"{root / 'images' / 'train_000002.png'}: in train and val; take it out of all but one"
    ]


@pytest.mark.parametrize("layout", ["folder", "cityscapes"])
def test_the_same_picture_under_another_name(copy: Callable[[str], Path], layout: str) -> None:
    root = copy(layout)
    train, val = (read(layout, root, split) for split in ("train", "val"))
    first, second = train.image_path(train.names[1]), val.image_path(val.names[0])
    shutil.copy(first, second)
    shutil.copy(first, train.image_path(train.names[2]))  # twice in the same split is the split's own affair
    (line,) = check_splits([train, val])
    assert line == f"{second}: the same picture as {first}, of train, but in val; take one out"


def test_a_file_that_spoils_two_tasks_is_named_once(copy: Callable[[str], Path]) -> None:
    root = copy("pascal_context")
    (root / "pascal-context" / "trainval" / "train_000000.mat").unlink()  # normals and edge
    assert len(lines("pascal_context", root)) == len(read("pascal_context", root).faults(0)) == 1


@pytest.mark.parametrize(
    ("layout", "files"),
    [
        ("nyudv2", ["images/extra.png"]),
        ("pascal_context", [f"JPEGImages/extra{k}.jpg" for k in range(5)]),
        ("cityscapes", ["gtFine/train/rooms/extra_gtFine_labelIds.png"]),
        ("folder", ["images/extra.png", "depth/other.npy"]),
    ],
)
def test_files_that_no_split_uses_are_noted(copy: Callable[[str], Path], layout: str, files: list[str]) -> None:
    root = copy(layout)
    for file in files:
        (root / file).touch()
    (root / files[0]).with_name("._hidden.png").touch()
    found = lines(layout, root)
    folders = dict.fromkeys((root / file).parent for file in files)
    assert len(found) == len(folders)
    for line, folder in zip(found, folders, strict=True):
        names = [Path(file).name for file in files if (root / file).parent == folder]
        tail = ", ..." if len(names) > 3 else ""
        assert line == f"{NOTE}{folder}: {len(names)} files that no split uses: {', '.join(names[:3])}{tail}"

"""Readers against the rooms' own truth, and against files made by hand."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import savemat
from torchvision import tv_tensors

from mtmamba.data import files, pascal_context
from mtmamba.data.datasets import DATASETS, open_dataset
from mtmamba.data.files import DataError, FilesDataset, layout_tables
from mtmamba.data.folder import folder_tasks
from mtmamba.data.rooms import render_room, write_rooms
from mtmamba.data.rooms.dataset import target as room_target
from mtmamba.data.rooms.layouts import BASELINE, CITYSCAPES, CONTEXT, NYU, VOC
from mtmamba.metrics.edge_matching import true_edges
from mtmamba.tasks import CLASS_NAMES, Depth, Regression, Segmentation, Task, benchmark

SIZE = (32, 48)
SPLITS = {"train": 5, "val": 2}
SEED = 4
ROOMS = CLASS_NAMES["rooms"]
LAYOUTS = ("nyudv2", "pascal_context", "cityscapes", "folder")
TASKS = {layout: layout if layout != "folder" else "rooms_extended" for layout in LAYOUTS} | {"ade20k": "ade20k"}
Room = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    for layout in LAYOUTS:
        write_rooms(root / layout, layout, SPLITS, SIZE, seed=SEED, progress=False)
    _write_ade20k(root / "ade20k")
    return root


@pytest.fixture(scope="session")
def rooms() -> dict[str, list[Room]]:
    return {split: [render_room(SEED, k, SIZE, split) for k in range(count)] for split, count in SPLITS.items()}


def _write_ade20k(root: Path) -> None:
    for split, folder in (("train", "training"), ("val", "validation")):
        for kind in ("images", "annotations"):
            (root / kind / folder).mkdir(parents=True)
        for k in range(2):
            room = render_room(SEED, k, SIZE, split)
            name = f"ADE_{split}_{k:08d}"
            Image.fromarray(room["image"]).save(root / "images" / folder / f"{name}.jpg", quality=95)
            png(root / "annotations" / folder / f"{name}.png", room["semseg"] * np.uint8(8))


def png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def load(written: Path, name: str, split: str = "val", only: list[str] | None = None, **options: Any) -> FilesDataset:
    return open_dataset(name, written / name, split, benchmark(TASKS[name], only), **options)


def same(found: torch.Tensor, expected: np.ndarray, atol: float = 0.0) -> None:
    np.testing.assert_allclose(found.numpy(), expected, atol=atol, rtol=0)


@pytest.mark.parametrize("name", DATASETS)
def test_contract(written: Path, name: str) -> None:
    tasks = benchmark(TASKS[name])
    for split in ("train", "val"):
        dataset = load(written, name, split)
        assert len(dataset) == len(dataset.names) == len(set(dataset.names)) > 1
        for index in range(len(dataset)):
            sample = dataset[index]
            assert list(sample) == ["image", *(task.name for task in tasks), "id"]
            assert sample["id"] == dataset.names[index]
            assert isinstance(sample["image"], tv_tensors.Image)
            assert sample["image"].shape == (3, *SIZE)
            assert sample["image"].dtype == torch.uint8
            for task in tasks:
                found = sample[task.name]
                assert isinstance(found, tv_tensors.Mask)
                assert found.shape == (SIZE if task.labels else (task.channels, *SIZE))
                assert found.dtype == (torch.int64 if task.labels else torch.float32)
                task.check(torch.zeros(1, task.channels, *SIZE), task.prepare(found.as_subclass(torch.Tensor))[None])
    assert dataset[-1]["id"] == dataset.names[-1]
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    assert pickle.loads(pickle.dumps(dataset)).names == dataset.names


def test_nyudv2(written: Path, rooms: dict[str, list[Room]]) -> None:
    dataset = load(written, "nyudv2", "train")
    assert dataset.names == [f"train_{k:06d}" for k in range(5)]
    classes = np.array([CLASS_NAMES["nyudv2"].index(name) for name in NYU])
    for sample, room in zip(dataset, rooms["train"], strict=False):
        same(sample["image"], room["image"].transpose(2, 0, 1))
        same(sample["semseg"], classes[room["semseg"]])
        same(sample["depth"], room["depth"][None])
        same(sample["normals"], room["normals"].transpose(2, 0, 1), atol=1 / 255 + 1e-6)
        same(sample["edge"], room["edge"][None])


def test_nyudv2_ignores_class_0_and_depth_0(written: Path, tmp_path: Path) -> None:
    root = tmp_path / "NYUDv2"
    shutil.copytree(written / "nyudv2", root)
    labels, depth = np.full(SIZE, 40, np.uint8), np.full(SIZE, 2.5)
    labels[:3], labels[3], labels[4], depth[:, :3] = 0, 255, 1, 0
    png(root / "segmentation" / "val_000000.png", labels)
    np.save(root / "depth" / "val_000000.npy", depth[..., None])
    semseg, metres = benchmark("nyudv2", ["semseg", "depth"])
    sample = open_dataset("nyudv2", tmp_path, "val", [semseg, metres])[0]  # the folder that holds NYUDv2
    assert (sample["semseg"][:4] == 255).all()
    assert (sample["semseg"][4] == 0).all()
    assert (sample["semseg"][5:] == 39).all()
    assert (sample["depth"][..., :3] == 0).all()
    assert (sample["depth"][..., 3:] == 2.5).all()
    assert (metres.prepare(sample["depth"])[..., :3] == 255).all()


def test_pascal_context(written: Path, rooms: dict[str, list[Room]]) -> None:
    dataset = load(written, "pascal_context", "train")
    assert not (written / "pascal_context/semseg/VOC12/train_000003.png").exists()  # the other folder is used as well
    voc = np.array([CLASS_NAMES["pascal_context"].index(VOC.get(label, "background")) for label in ROOMS])
    people = 0
    for sample, room in zip(dataset, rooms["train"], strict=False):
        assert (sample["image"].numpy().astype(int) - room["image"].transpose(2, 0, 1)).__abs__().mean() < 8
        same(sample["semseg"], voc[room["semseg"]])
        same(sample["saliency"], room["saliency"])
        same(sample["normals"], room["normals"].transpose(2, 0, 1), atol=1 / 255 + 1e-6)
        anyone = (room["human_parts"] > 0).any()
        people += anyone
        same(sample["human_parts"], room["human_parts"] if anyone else np.full(SIZE, 255))
    assert 0 < people < len(dataset)


def test_pascal_context_edges_lie_on_boundaries(written: Path, rooms: dict[str, list[Room]]) -> None:
    dataset = load(written, "pascal_context", "train", ["edge"])
    for sample, room in zip(dataset, rooms["train"], strict=False):
        padded = np.pad(np.array(CONTEXT)[room["semseg"]], 1, mode="reflect")
        centre = padded[1:-1, 1:-1]
        laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * centre
        edge = sample["edge"][0].numpy()
        assert set(np.unique(edge)) == {0, 1}
        assert (laplacian[edge == 1] != 0).all()
        assert 0.3 * (laplacian != 0).sum() < edge.sum() < (laplacian != 0).sum()  # thinned, from two pixels wide


def pascal_files(root: Path) -> Path:
    """One image of two halves: LabelMap wall (440) and sky (360, not of indoor scenes); nobody in it."""
    (root / "ImageSets" / "Context").mkdir(parents=True)
    (root / "ImageSets" / "Context" / "val.txt").write_text("one\n\n")
    label_map = np.full((6, 10), 440, np.uint16)
    label_map[:, 5:] = 360
    for folder in ("JPEGImages", "pascal-context/trainval", "human_parts"):
        (root / folder).mkdir(parents=True)
    Image.new("L", (10, 6), 77).save(root / "JPEGImages" / "one.jpg")
    savemat(root / "pascal-context" / "trainval" / "one.mat", {"LabelMap": label_map})
    savemat(root / "human_parts" / "one.mat", {"anno": {"imname": "one", "objects": np.zeros((0, 0))}})
    png(root / "normals_distill" / "one.png", np.full((6, 10, 3), (255, 0, 255), np.uint8))
    png(root / "sal_distill" / "one.png", np.repeat(np.arange(123, 133, dtype=np.uint8)[None], 6, axis=0))
    png(root / "semseg" / "VOC12" / "one.png", np.repeat(np.array([[0, 20, 255, 1, 2] * 2], np.uint8), 6, axis=0))
    return root


def person(**parts: np.ndarray) -> dict[str, Any]:
    table = np.empty((1, len(parts)), dtype=[("part_name", object), ("mask", object)])
    for k, part in enumerate(parts.items()):
        table[0, k] = part
    thing = np.empty((1, 1), dtype=[(field, object) for field in ("class", "class_ind", "mask", "parts")])
    thing[0, 0] = ("person", 15.0, np.ones((6, 10), np.uint8), table)
    return {"imname": "one", "objects": thing}


def test_pascal_context_values(tmp_path: Path) -> None:
    root = pascal_files(tmp_path / "PASCALContext")
    tasks = {task.name: task for task in benchmark("pascal_context")}
    sample = open_dataset("pascal_context", root, "val", list(tasks.values()))[0]
    assert (sample["image"] == 77).all()
    assert sample["semseg"][0].tolist() == [0, 20, 255, 1, 2] * 2
    assert sample["saliency"][0].tolist() == [0] * 5 + [1] * 5  # 128 of 255 and more
    assert (sample["human_parts"] == 255).all()
    assert sample["normals"][:, 0, 0].tolist() == [1, -1, 1]
    assert (sample["normals"][:, :, 5:] == 0).all()
    prepared = tasks["normals"].prepare(sample["normals"])
    assert (prepared[..., 5:] == 255).all()
    assert (prepared[..., :5] != 255).all()
    assert sample["edge"][0].sum(dim=1).tolist()[1:] == [1] * 5  # one pixel of each row; thinning eats line ends
    assert (sample["edge"][0, :, :4] == 0).all()
    assert (sample["edge"][0, :, 6:] == 0).all()


def test_all_human_parts_are_merged(tmp_path: Path) -> None:
    root = pascal_files(tmp_path)
    parts = layout_tables()["human_parts"]["parts"]
    assert len(parts) == 24
    assert sorted(set(parts.values())) == [1, 2, 3, 4, 5, 6]
    masks = {name: np.arange(60).reshape(6, 10) == k for k, name in enumerate(parts)}
    savemat(root / "human_parts" / "one.mat", {"anno": person(**{k: v.astype(np.uint8) for k, v in masks.items()})})
    dataset = open_dataset("pascal_context", root, "val", benchmark("pascal_context", ["human_parts"]))
    assert dataset[0]["human_parts"].flatten().tolist() == [*parts.values(), *[0] * 36]
    assert [parts[part] for part in ("head", "neck", "luarm", "rhand", "ruleg", "lfoot")] == [1, 2, 3, 4, 5, 6]
    savemat(root / "human_parts" / "one.mat", {"anno": person(tail=np.ones((6, 10), np.uint8))})
    with pytest.raises(DataError, match=r"human_parts/one\.mat: a person has a part 'tail'; known: hair, head"):
        dataset[0]


def test_label_map_is_read_once_for_two_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = benchmark("pascal_context", ["normals", "edge"])
    dataset = open_dataset("pascal_context", pascal_files(tmp_path), "val", tasks, verify=False)
    read: list[Path] = []
    original = pascal_context.read_mat
    monkeypatch.setattr(pascal_context, "read_mat", lambda path, key: (read.append(path), original(path, key))[1])
    dataset[0]
    assert len(read) == 1


def test_cityscapes(written: Path, rooms: dict[str, list[Room]]) -> None:
    dataset = load(written, "cityscapes", "train")
    assert dataset.names[1] == "rooms_000000_000001"
    train_ids = np.array([CLASS_NAMES["cityscapes"].index(name) for name in CITYSCAPES_NAMES])
    for sample, room in zip(dataset, rooms["train"], strict=False):
        same(sample["image"], room["image"].transpose(2, 0, 1))
        same(sample["semseg"], train_ids[room["semseg"]])
        disparity = BASELINE * room["intrinsics"][0] / room["depth"]
        disparity[train_ids[room["semseg"]] == 10] = 0
        same(sample["depth"], disparity[None], atol=0.5 / 256 + 1e-4)


# CITYSCAPES' label ids, by the names that the dataset's site lists
CITYSCAPES_NAMES = [
    {
        7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
        20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car",
        27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
    }[label_id]
    for label_id in CITYSCAPES
]  # fmt: skip


def test_cityscapes_values(tmp_path: Path) -> None:
    root, name = tmp_path / "cityscapes", "ulm_000001_000019"
    labels = np.array([[7, 23, 23, 10, 255, 31, 0, 33]] * 8, np.uint8)
    raw = np.array([[0, 0, 257, 257, 1, 65535, 2561, 129]] * 8, np.uint16)
    png(root / "leftImg8bit" / "val" / "ulm" / f"{name}_leftImg8bit.png", np.zeros((8, 8, 3), np.uint8))
    png(root / "gtFine" / "val" / "ulm" / f"{name}_gtFine_labelIds.png", labels)
    png(root / "disparity" / "val" / "ulm" / f"{name}_disparity.png", raw)
    sample = open_dataset("cityscapes", tmp_path, "val", benchmark("cityscapes"))[0]
    assert sample["semseg"][0].tolist() == [0, 10, 10, 255, 255, 16, 255, 18]
    assert sample["depth"][0, 0].tolist() == [-1, 0, 0, 1, 0, 65534 / 256, 10, 0.5]


def test_ade20k(written: Path) -> None:
    dataset = load(written, "ade20k", "train")
    assert dataset.names == ["ADE_train_00000000", "ADE_train_00000001"]
    for k, sample in enumerate(dataset[k] for k in range(2)):
        raw = render_room(SEED, k, SIZE, "train")["semseg"].astype(int) * 8
        same(sample["semseg"], np.where(raw == 0, 255, raw - 1))
        same(sample["edge"], true_edges(raw)[None].astype(np.float32))


def test_edges_of_labels() -> None:
    labels = np.zeros((7, 9), int)
    labels[:, 4:] = 3
    edges = true_edges(labels)
    assert edges.dtype == bool
    assert edges.sum() == 7
    assert (edges[:, 3] == 1).all()
    assert true_edges(np.ones((5, 5), int)).sum() == 0
    dot = np.zeros((5, 5), int)
    dot[2, 2] = 1
    assert np.argwhere(true_edges(dot)).tolist() == [[2, 1]]  # of a 2x2 block, as the lower right neighbour counts


def test_folder(written: Path, rooms: dict[str, list[Room]]) -> None:
    tasks = folder_tasks(written / "folder")
    assert [task.name for task in tasks] == [task.name for task in benchmark("rooms_extended")]
    dataset = open_dataset("folder", written / "folder", "train", tasks)
    coarse = {"normals": 1 / 255 + 1e-6, "albedo": 0.5 / 255 + 1e-6}
    for sample, room in zip(dataset, rooms["train"], strict=False):
        same(sample["image"], room["image"].transpose(2, 0, 1))
        for task in tasks:
            same(sample[task.name], room_target(task.name, room[task.name]).numpy(), coarse.get(task.name, 0))


ENTRIES: dict[str, dict[str, Any]] = {
    "rust": {"kind": "Segmentation", "channels": 3, "class_names": ["a", "b", "c"], "encoding": "label", "ignore": 9},
    "far": {"kind": "Depth", "encoding": "millimetres"},
    "heat": {"kind": "Regression", "channels": 1, "unit": "K", "encoding": "float", "ignore": -1},
    "flow": {"kind": "Regression", "channels": 2, "encoding": "float", "ignore": float("nan")},
    "wet": {"kind": "Regression", "channels": 1, "encoding": "unit"},
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of one's own: two images, one in a subfolder; no splits; the second has no targets but rust."""
    png(tmp_path / "images" / "a.b.png", np.zeros((4, 6, 3), np.uint8))
    png(tmp_path / "images" / "tour" / "two.png", np.zeros((5, 7), np.uint8))
    png(tmp_path / "rust" / "a.b.png", np.array([[0, 1, 2, 9, 255, 0]] * 4, np.uint16))
    png(tmp_path / "rust" / "tour" / "two.png", np.full((5, 7), 2, np.uint8))
    png(tmp_path / "far" / "a.b.png", np.array([[0, 1, 1000, 65535, 2500, 7]] * 4, np.uint16))
    png(tmp_path / "wet" / "a.b.png", np.array([[0, 65535, 13107, 0, 0, 0]] * 4, np.uint16))
    (tmp_path / "heat").mkdir()
    np.save(tmp_path / "heat" / "a.b.npy", np.array([[-1, 300, 280.5, 0, 255, 1]] * 4))
    (tmp_path / "flow").mkdir()
    np.save(tmp_path / "flow" / "a.b.npy", np.stack([np.full((4, 6), np.nan), np.full((4, 6), 3.0)]))
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump({"tasks": ENTRIES}, sort_keys=False))
    return tmp_path


def test_folder_encodings(own: Path) -> None:
    tasks = folder_tasks(own)
    assert [type(task) for task in tasks] == [Segmentation, Depth, Regression, Regression, Regression]
    dataset = open_dataset("folder", own, "all", tasks)
    assert dataset.names == ["a.b", "tour/two"]
    sample = dataset[0]
    assert sample["rust"][0].tolist() == [0, 1, 2, 255, 255, 0]
    same(sample["far"][0, 0], np.array([0, 0.001, 1, 65.535, 2.5, 0.007]), atol=1e-5)
    assert sample["heat"][0, 0].tolist() == [255, 300, 280.5, 0, 255, 1]
    assert (sample["flow"][0] == 255).all()
    assert (sample["flow"][1] == 3).all()
    same(sample["wet"][0, 0, :3], np.array([0, 1, 0.2]), atol=1e-6)


def test_folder_targets_may_be_missing(own: Path) -> None:
    sample = open_dataset("folder", own, "all", folder_tasks(own))[1]
    assert sample["image"].shape == (3, 5, 7)
    assert (sample["rust"] == 2).all()
    for name, channels in (("far", 1), ("heat", 1), ("flow", 2), ("wet", 1)):
        assert sample[name].shape == (channels, 5, 7)
        assert (sample[name] == 255).all()
        assert sample[name].dtype == torch.float32
    for path in (own / "heat").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DataError, match=r"heat: no image has a \*\.npy there"):
        open_dataset("folder", own, "all", folder_tasks(own))


def test_folder_splits(own: Path) -> None:
    with pytest.raises(DataError, match="no split 'train'; there are: all"):
        open_dataset("folder", own, "train", [])
    (own / "splits").mkdir()
    (own / "splits" / "val.txt").write_text("\ufefftour/two\r\n")
    assert open_dataset("folder", own, "val", []).names == ["tour/two"]
    with pytest.raises(DataError, match="no split 'all'; there are: val"):
        open_dataset("folder", own, "all", [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoding": "rgb"}, "wet: encoding is 'rgb'; it is one of label, unit"),
        ({"encoding": "label"}, "wet: a Regression is not of encoding 'label'"),
        ({"kind": "Wetness"}, "wet: unknown kind of task 'Wetness'"),
        ({"ignore": "none"}, "wet: ignore is 'none'; it is a number"),
        ({"name": "dry"}, "wet: has another name, 'dry'"),
        ({"channels": 2}, "wet: 2 channels do not fit a picture"),
        ({"colour": 1}, "wet: options of Regression"),
    ],
)
def test_tasks_yaml_exceptions(own: Path, change: dict[str, Any], message: str) -> None:
    text = yaml.safe_dump({"tasks": ENTRIES | {"wet": ENTRIES["wet"] | change}})
    (own / "tasks.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"tasks\.yaml: {message}"):
        folder_tasks(own)


def test_tasks_yaml_damaged(own: Path) -> None:
    for text in ("tasks: [", "rust", "tasks: {}", "tasks: [rust]", ""):
        (own / "tasks.yaml").write_text(text)
        with pytest.raises(DataError, match=r"tasks\.yaml: "):
            folder_tasks(own)
    (own / "tasks.yaml").unlink()
    with pytest.raises(DataError, match=r"tasks\.yaml: missing"):
        folder_tasks(own)


def test_only_files_of_the_tasks_asked_for_are_opened(written: Path, tmp_path: Path) -> None:
    for name, kept in (("nyudv2", "depth"), ("pascal_context", "human_parts"), ("folder", "shading")):
        root = tmp_path / name
        shutil.copytree(written / name, root)
        for folder in root.iterdir():
            if folder.name not in (kept, "images", "JPEGImages", "ImageSets", "gt_sets", "splits", "tasks.yaml"):
                shutil.rmtree(folder)
        only = [task for task in benchmark(TASKS[name]) if task.name == kept]
        assert list(open_dataset(name, root, "val", only)[0]) == ["image", kept, "id"]


# What is refused


def test_exceptions(written: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no dataset 'kitti'; there are: nyudv2, pascal_context, cityscapes, ade20k, fol"
    ):
        open_dataset("kitti", written, "train", [])
    with pytest.raises(DataError, match="no split 'test'; there are: train, val"):
        load(written, "nyudv2", "test")
    with pytest.raises(DataError, match="no task 'saliency'; there are: semseg, depth, normals, edge"):
        open_dataset("nyudv2", written / "nyudv2", "val", benchmark("rooms", ["saliency"]))
    with pytest.raises(DataError, match=r"depth is Depth .* but the task asks for Segmentation"):
        open_dataset("nyudv2", written / "nyudv2", "val", [Segmentation("depth", 4)])
    with pytest.raises(DataError, match=r"normals is Normals \(3 values per pixel\)"):
        open_dataset("nyudv2", written / "nyudv2", "val", [Regression("normals", 1)])
    with pytest.raises(DataError, match="nowhere: missing"):
        open_dataset("nyudv2", tmp_path / "nowhere", "val", [])
    with pytest.raises(
        DataError, match="does not look like NYUDv2: there is no gt_sets, no images; give the directory"
    ):
        open_dataset("nyudv2", tmp_path, "val", [])


@pytest.mark.parametrize(
    ("text", "message"), [("", "no images"), ("val_000000\n\nval_000000\n", "val_000000 is listed")]
)
def test_lists_with_faults(written: Path, tmp_path: Path, text: str, message: str) -> None:
    root = tmp_path / "NYUDv2"
    shutil.copytree(written / "nyudv2", root)
    (root / "gt_sets" / "val.txt").write_text(text)
    with pytest.raises(DataError, match=rf"gt_sets/val\.txt: {message}"):
        open_dataset("nyudv2", root, "val", [])


def test_the_last_sample_is_looked_at(written: Path, tmp_path: Path) -> None:
    root = tmp_path / "NYUDv2"
    shutil.copytree(written / "nyudv2", root)
    (root / "depth" / "train_000004.npy").unlink()
    tasks = benchmark("nyudv2")
    with pytest.raises(DataError, match=r"depth/train_000004\.npy: missing"):
        open_dataset("nyudv2", root, "train", tasks)
    assert len(open_dataset("nyudv2", root, "train", tasks, verify=False)) == 5
    assert len(open_dataset("nyudv2", root, "train", tasks[:1])) == 5


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _edit(change: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        values = np.array(Image.open(path)) if path.suffix == ".png" else np.load(path)
        changed = change(values)
        values = values if changed is None else np.asarray(changed)
        png(path, values) if path.suffix == ".png" else np.save(path, values)

    return edit


def _set(value: float) -> Callable[[Path], None]:
    return _edit(lambda values: values.__setitem__((1, 2), value))


FAULTS: list[tuple[str, str, Callable[[Path], Any], str]] = [
    ("nyudv2", "images/val_000000.png", Path.unlink, "missing; put it there"),
    ("nyudv2", "images/val_000000.png", _truncate, r"damaged \(.*\); fetch"),
    ("nyudv2", "images/val_000000.png", lambda p: p.write_bytes(b""), r"damaged \(.*\); fetch"),
    ("nyudv2", "images/val_000000.png", lambda p: Image.new("RGBA", SIZE[::-1]).save(p), "of mode RGBA; save"),
    ("nyudv2", "segmentation/val_000000.png", _set(41), "class 40, but semseg has 0 to 39.*class \\+ 1"),
    ("nyudv2", "segmentation/val_000000.png", lambda p: Image.new("RGB", (48, 32)).save(p), "of mode RGB; save one"),
    (
        "nyudv2",
        "segmentation/val_000000.png",
        lambda p: Image.new("L", (48, 32)).save(p, "JPEG"),
        "JPEG, which changes",
    ),
    ("nyudv2", "segmentation/val_000000.png", _edit(lambda v: v[1:]), "31x48 pixels, but its image has 32x48"),
    ("nyudv2", "depth/val_000000.npy", _set(np.nan), "NaN or infinite"),
    ("nyudv2", "depth/val_000000.npy", _edit(lambda v: v.astype(float) * 1e300), "NaN or infinite"),
    ("nyudv2", "depth/val_000000.npy", _set(-1), "a depth of -1; depths are positive"),
    ("nyudv2", "depth/val_000000.npy", _truncate, r"damaged \("),
    ("nyudv2", "depth/val_000000.npy", lambda p: p.write_bytes(b""), r"damaged \("),
    ("nyudv2", "depth/val_000000.npy", lambda p: p.write_bytes(b"\x93NUMPY\1\0\2\0{("), r"damaged \("),
    ("nyudv2", "depth/val_000000.npy", lambda p: np.save(p, np.array([{}])), r"damaged \("),
    ("nyudv2", "depth/val_000000.npy", lambda p: np.save(p, np.zeros(4)), r"of shape \(4,\)"),
    ("nyudv2", "depth/val_000000.npy", lambda p: np.save(p, np.array([["a"]])), "not an array of real numbers"),
    ("nyudv2", "depth/val_000000.npy", lambda p: np.save(p, np.zeros((32, 48, 3))), "3 channels, but depth has 1"),
    ("nyudv2", "depth/val_000000.npy", lambda p: np.save(p, np.zeros((48, 32))), "48x32 pixels, but its image"),
    ("nyudv2", "normals/val_000000.png", lambda p: Image.new("L", (48, 32)).save(p), "of mode L; three values"),
    ("nyudv2", "edge/val_000000.png", _edit(lambda v: v // 255), "nothing above 1; edges are 255"),
    ("pascal_context", "pascal-context/trainval/val_000000.mat", _truncate, r"damaged \("),
    ("pascal_context", "pascal-context/trainval/val_000000.mat", lambda p: p.write_bytes(b"x" * 300), r"damaged \("),
    ("pascal_context", "pascal-context/trainval/val_000000.mat", lambda p: savemat(p, {"x": 1}), "holds no LabelMap"),
    (
        "pascal_context",
        "pascal-context/trainval/val_000000.mat",
        lambda p: savemat(p, {"LabelMap": np.full(SIZE, 460)}),
        "classes outside of 0 to 459",
    ),
    ("pascal_context", "human_parts/val_000000.mat", lambda p: savemat(p, {"anno": 1}), "not PASCAL-Part's struct"),
    ("pascal_context", "semseg/VOC12/val_000000.png", Path.unlink, "missing, and so is .*semseg/pascal-context/val_0"),
    ("pascal_context", "semseg/VOC12/val_000000.png", _set(21), "class 21, but semseg has 0 to 20"),
    ("pascal_context", "normals_distill/val_000000.png", _edit(lambda v: v[:, 1:]), "32x47 pixels, but .*32x48"),
    ("cityscapes", "gtFine/val/rooms/rooms_000000_000000_gtFine_labelIds.png", _set(34), "label id 34; they go"),
    (
        "cityscapes",
        "disparity/val/rooms/rooms_000000_000000_disparity.png",
        _edit(lambda v: (v // 256).astype(np.uint8)),
        "of 8 bits; disparities are written in 16",
    ),
    ("cityscapes", "disparity/val/rooms/rooms_000000_000000_disparity.png", Path.unlink, "missing"),
    ("folder", "albedo/val_000000.png", _edit(lambda v: v[..., 0]), "of mode L; three values"),
    ("folder", "saliency/val_000000.png", _set(2), "class 2, but saliency has 0 to 1"),
    ("ade20k", "annotations/validation/ADE_val_00000000.png", _set(151), "class 150, but semseg has 0 to 149"),
]


@pytest.mark.parametrize(("name", "file", "plant", "message"), FAULTS, ids=[f"{f[1]}-{f[3][:20]}" for f in FAULTS])
def test_a_fault_is_named_with_its_file(
    written: Path, tmp_path: Path, name: str, file: str, plant: Callable[[Path], Any], message: str
) -> None:
    root = tmp_path / name
    shutil.copytree(written / name, root)
    plant(root / file)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(name, root, "val", benchmark(TASKS[name]))
    assert str(caught.value).startswith(f"{root / file}: ")
    assert "\n" not in str(caught.value)


def test_pictures_that_are_to_be_turned(own: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (6, 4)).save(own / "images" / "a.b.png", exif=exif)
    with pytest.raises(DataError, match=r"images/a\.b\.png: its EXIF data says to turn it"):
        open_dataset("folder", own, "all", [])
    assert files.read_image(own / "images" / "a.b.png").shape == (4, 6, 3)


def test_two_images_of_one_name(own: Path) -> None:
    Image.new("RGB", (6, 4)).save(own / "images" / "a.b.jpg")
    with pytest.raises(DataError, match=r"a\.b\.png: has the same name as .*a\.b\.jpg"):
        open_dataset("folder", own, "all", [])


def test_a_sample_of_no_tasks(written: Path) -> None:
    assert list(load(written, "nyudv2", only=[])[0]) == ["image", "id"]


def test_tables() -> None:
    tables = layout_tables()
    assert tables["cityscapes"]["label_ids"][10] == 23  # the sky
    valid = tables["pascal_context"]["normals_classes"]
    assert valid["wall"] == 440
    assert "sky" not in valid
    assert all(0 < number <= 459 for number in valid.values())
    assert set(CONTEXT) <= set(valid.values())


def test_every_benchmark_on_disk_has_a_reader() -> None:
    tasks: list[Task] = benchmark("nyudv2")
    assert set(DATASETS) == {"nyudv2", "pascal_context", "cityscapes", "ade20k", "folder"}
    assert set(DATASETS["nyudv2"].formats) == {task.name for task in tasks}

"""Rooms on disk, read back as the published readers would."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.io import loadmat

from mtmamba.data.rooms import layouts, render_room, write_rooms
from mtmamba.data.rooms.layouts import BASELINE, CITYSCAPES, CONTEXT, NYU, VOC
from mtmamba.tasks import CLASS_NAMES, Segmentation, Task, benchmark

SIZE = (40, 56)
SPLITS = {"train": 5, "val": 2}
SEED = 4
ROOMS = CLASS_NAMES["rooms"]
PARTS = {
    "head": 1, "torso": 2, "luarm": 3, "ruarm": 3, "llarm": 4, "rlarm": 4,
    "luleg": 5, "ruleg": 5, "llleg": 6, "rlleg": 6,
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rooms")
    for layout in ("nyudv2", "pascal_context", "cityscapes", "folder"):
        write_rooms(root / layout, layout, SPLITS, SIZE, seed=SEED, progress=False)
    return root


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def rooms() -> list[tuple[str, str, dict[str, np.ndarray]]]:
    return [
        (split, f"{split}_{index:06d}", render_room(SEED, index, SIZE, split))
        for split, count in SPLITS.items()
        for index in range(count)
    ]


def listed(path: Path) -> list[str]:
    return path.read_text().split()


def test_lists(written: Path) -> None:
    for folder in ("nyudv2/gt_sets", "pascal_context/ImageSets/Context", "folder/splits"):
        for split, count in SPLITS.items():
            assert listed(written / folder / f"{split}.txt") == [f"{split}_{k:06d}" for k in range(count)]


def test_nyudv2(written: Path) -> None:
    root = written / "nyudv2"
    for _, name, room in rooms():
        np.testing.assert_array_equal(pixels(root / "images" / f"{name}.png"), room["image"])
        labels = pixels(root / "segmentation" / f"{name}.png")
        expected = [CLASS_NAMES["nyudv2"].index(NYU[k]) + 1 for k in range(len(ROOMS))]
        np.testing.assert_array_equal(labels, np.array(expected)[room["semseg"]])
        np.testing.assert_array_equal(np.load(root / "depth" / f"{name}.npy"), room["depth"])
        normals = pixels(root / "normals" / f"{name}.png") / 255 * 2 - 1
        np.testing.assert_allclose(normals, room["normals"], atol=1 / 255 + 1e-6)
        np.testing.assert_array_equal(pixels(root / "edge" / f"{name}.png") / 255, room["edge"])


def test_same_names_stay_the_same_classes() -> None:
    for name, nyu in zip(ROOMS, NYU):
        if name in CLASS_NAMES["nyudv2"]:
            assert nyu == name
    assert set(VOC.values()) <= set(CLASS_NAMES["pascal_context"])
    assert len(set(CONTEXT)) == len(set(CITYSCAPES)) == len(CONTEXT) == len(CITYSCAPES) == len(ROOMS)


def test_pascal_context(written: Path) -> None:
    root = written / "pascal_context"
    folders = {"VOC12": 0, "pascal-context": 0}
    for _, name, room in rooms():
        jpeg = pixels(root / "JPEGImages" / f"{name}.jpg").astype(int)
        assert jpeg.shape == room["image"].shape
        assert abs(jpeg - room["image"]).mean() < 8
        places = [folder for folder in folders if (root / "semseg" / folder / f"{name}.png").exists()]
        assert len(places) == 1
        folders[places[0]] += 1
        labels = pixels(root / "semseg" / places[0] / f"{name}.png")
        names = np.array([VOC.get(label, "background") for label in ROOMS])[room["semseg"]]
        np.testing.assert_array_equal(np.array(CLASS_NAMES["pascal_context"])[labels], names)
        label_map = loadmat(root / "pascal-context" / "trainval" / f"{name}.mat")["LabelMap"]
        np.testing.assert_array_equal(label_map, np.array(CONTEXT)[room["semseg"]])
        normals = pixels(root / "normals_distill" / f"{name}.png") / 255 * 2 - 1
        np.testing.assert_allclose(normals, room["normals"], atol=1 / 255 + 1e-6)
        np.testing.assert_array_equal(pixels(root / "sal_distill" / f"{name}.png") / 255 > 0.5, room["saliency"])
    assert min(folders.values()) > 0


def test_human_parts_as_the_published_reader_merges_them(written: Path) -> None:
    people = 0
    for _, name, room in rooms():
        annotation = loadmat(written / "pascal_context" / "human_parts" / f"{name}.mat")["anno"]
        assert annotation["imname"][0, 0][0] == name
        merged = np.zeros(SIZE, dtype=np.uint8)
        objects = annotation[0][0][1]
        for thing in objects[0] if objects.size else ():
            kind, number, mask, parts = (thing[k] for k in range(4))
            if number[0][0] != 15:
                assert kind[0] != "person"
                assert parts.size == 0
                continue
            assert kind[0] == "person"
            people += 1
            for part in parts[0]:
                assert not (part[1].astype(bool) & ~mask.astype(bool)).any()
                merged[part[1].astype(bool)] = PARTS[str(part[0][0])]
        np.testing.assert_array_equal(merged, room["human_parts"])
    assert people > 0


def test_cityscapes(written: Path) -> None:
    root = written / "cityscapes"
    for split, name, room in rooms():
        stem = f"rooms_000000_{name[-6:]}"

        def path(folder: str, what: str, split: str = split, stem: str = stem) -> Path:
            return root / folder / split / "rooms" / f"{stem}_{what}"

        np.testing.assert_array_equal(pixels(path("leftImg8bit", "leftImg8bit.png")), room["image"])
        labels = pixels(path("gtFine", "gtFine_labelIds.png"))
        np.testing.assert_array_equal(labels, np.array(CITYSCAPES)[room["semseg"]])
        raw = pixels(path("disparity", "disparity.png"))
        assert raw.dtype == np.uint16
        assert (raw > 0).all()
        camera = json.loads(path("camera", "camera.json").read_text())
        assert camera["extrinsic"]["baseline"] == BASELINE
        disparity = (raw.astype(np.float64) - 1) / 256
        expected = BASELINE * camera["intrinsic"]["fx"] / room["depth"]
        np.testing.assert_allclose(disparity, expected, atol=0.5 / 256 + 1e-6)


def test_cityscapes_leaves_out_what_is_too_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = render_room(SEED, 0, SIZE, "val")
    room["depth"] /= 40  # centimetres away
    monkeypatch.setattr(layouts, "render_room", lambda *_: room)
    write_rooms(tmp_path, "cityscapes", {"val": 1}, SIZE, progress=False)
    raw = pixels(tmp_path / "disparity" / "val" / "rooms" / "rooms_000000_000000_disparity.png")
    disparity = BASELINE * room["intrinsics"][0] / room["depth"].astype(np.float64)
    np.testing.assert_array_equal(raw == 0, disparity > 255)
    assert 0 < (raw == 0).mean() < 1


def test_folder(written: Path) -> None:
    root = written / "folder"
    declared = yaml.safe_load((root / "tasks.yaml").read_text())["tasks"]
    assert list(declared) == [task.name for task in benchmark("rooms_extended")]
    assert declared["semseg"]["class_names"] == ROOMS
    assert declared["depth"]["unit"] == "m"
    for _, name, room in rooms():
        np.testing.assert_array_equal(pixels(root / "images" / f"{name}.png"), room["image"])
        for task, entry in declared.items():
            path = root / task / f"{name}{entry['extension']}"
            read = {
                "label": lambda path: pixels(path),
                "unit": lambda path: pixels(path) / 255,
                "signed": lambda path: pixels(path) / 255 * 2 - 1,
                "float": np.load,
            }[entry["encoding"]]
            tolerance = {"label": 0, "float": 0, "unit": 0.5 / 255 + 1e-6, "signed": 1 / 255 + 1e-6}[entry["encoding"]]
            np.testing.assert_allclose(read(path), room[task], atol=tolerance, err_msg=task)


def test_folder_declares_tasks_that_can_be_made(written: Path) -> None:
    declared = yaml.safe_load((written / "folder" / "tasks.yaml").read_text())["tasks"]
    for task in benchmark("rooms_extended"):
        entry = {
            key: value for key, value in declared[task.name].items() if key not in ("extension", "encoding", "ignore")
        }
        made = Task.from_config({"name": task.name, **entry})
        assert type(made) is type(task)
        assert made.channels == task.channels
        if isinstance(task, Segmentation) and isinstance(made, Segmentation):
            assert made.class_names == task.class_names


def test_exceptions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown layout 'coco'; known: nyudv2, pascal_context, cityscapes, folder"):
        write_rooms(tmp_path / "a", "coco", SPLITS, SIZE)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        write_rooms(tmp_path / "a", "folder", {"dev": 1}, SIZE)
    with pytest.raises(ValueError, match="got -1 for val"):
        write_rooms(tmp_path / "a", "folder", {"val": -1}, SIZE)
    with pytest.raises(ValueError, match="at least 8x8"):
        write_rooms(tmp_path / "a", "folder", SPLITS, (4, 40))
    assert not (tmp_path / "a").exists()  # nothing is made before all is checked
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(FileExistsError, match="not an empty directory"):
            write_rooms(tmp_path / name, "folder", SPLITS, SIZE)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]

"""Rooms on disk, in the layouts of the published datasets and in the project's own."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from rich.progress import Progress
from scipy.io import savemat

from mtmamba.tasks import CLASS_NAMES, Segmentation, Task, benchmark

from .classes import HEAD, LOWER_ARM, LOWER_LEG, PERSON, ROOM_CLASSES, TORSO, UPPER_ARM, UPPER_LEG
from .dice import seed_sequence
from .render import render_room

Room = dict[str, np.ndarray]

# Each of ROOM_CLASSES as a class of the other sets. NYU's 40, by name; what it does not know is "otherprop".
NYU = (
    "wall", "floor", "ceiling", "window", "door", "table", "chair", "sofa", "bed", "bookshelf", "lamp",
    "picture", "otherprop", "otherprop", "box", "floor mat", "person",
)  # fmt: skip
VOC = {"table": "diningtable", "chair": "chair", "sofa": "sofa", "plant": "pottedplant", "person": "person"}
# Numbers of PASCAL-Context's 459 classes: wall, floor, ..., shelves, light, ..., rug, person.
CONTEXT = (440, 158, 68, 454, 115, 397, 72, 368, 18, 349, 232, 287, 293, 10, 37, 330, 284)
# Cityscapes' label ids, one of its 19 evaluated classes each: a wall is a wall, the floor a road, the sofa a
# car.
CITYSCAPES = (12, 7, 11, 23, 13, 27, 32, 26, 28, 31, 19, 20, 21, 33, 17, 8, 24)
BASELINE = 0.22  # metres between the two cameras that the disparity pretends
PARTS = {
    HEAD: ("head", "head"), TORSO: ("torso", "torso"), UPPER_ARM: ("ruarm", "luarm"), LOWER_ARM: ("rlarm",
    "llarm"),
    UPPER_LEG: ("ruleg", "luleg"), LOWER_LEG: ("rlleg", "llleg"),
}  # fmt: skip


def write_rooms(
    directory: str | Path,
    layout: str,
    splits: Mapping[str, int],
    size: tuple[int, int],
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Render rooms into a directory that takes the place of the dataset's own root folder.

    - "nyudv2": gt_sets, images, segmentation (NYU's 40 classes + 1), depth, normals, edge.
    - "pascal_context": ImageSets/Context, JPEGImages, semseg/VOC12 (every fourth image in
      semseg/pascal-context instead), pascal-context/trainval (LabelMap), human_parts (anno), normals_distill,
      sal_distill. Limbs left of a person's middle count as right ones.
    - "cityscapes": leftImg8bit, gtFine (labelIds), disparity (BASELINE * fx / depth; beyond 255 pixels
      invalid), camera.
    - "folder": images, one folder per task, splits, and tasks.yaml, which says what the files hold:
      `encoding` is "label" (the pixel is the class), "unit" (pixel / 255), "signed" (2 * pixel / 255 - 1) or
      "float" (the array itself, .npy).

    Args:
        splits: how many rooms of each split, for example {"train": 100, "val": 20}.
        size: (H, W).
        progress: show a bar.

    Raises:
        ValueError: an unknown layout or split, a negative number or too small a size.
        FileExistsError: the directory is not empty, or is a file.
    """
    if layout not in _LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; known: {', '.join(_LAYOUTS)}")
    for split, count in splits.items():
        seed_sequence(split, seed, 0)
        if count < 0:
            raise ValueError(f"the number of rooms must not be negative, got {count} for {split}")
    if min(size) < 8:
        raise ValueError(f"size must be at least 8x8, got {size[0]}x{size[1]}")
    root = Path(directory)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} is not an empty directory; rooms are written into new ones only")
    root.mkdir(parents=True, exist_ok=True)
    write, finish = _LAYOUTS[layout]
    with Progress(transient=True, disable=not progress) as bar:
        job = bar.add_task(f"rooms ({layout})", total=sum(splits.values()))
        for split, count in splits.items():
            for index in range(count):
                write(root, split, index, render_room(seed, index, size, split))
                bar.advance(job)
    finish(root, {split: [_name(split, index) for index in range(count)] for split, count in splits.items()})


def _name(split: str, index: int) -> str:
    return f"{split}_{index:06d}"


def _png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _npy(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def _mat(path: Path, values: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, values, do_compression=True)


def _signed(values: np.ndarray) -> np.ndarray:
    """[-1, 1] as 8 bits."""
    return np.round((values + 1) * 127.5).astype(np.uint8)


def _lists(folder: str) -> Callable[[Path, dict[str, list[str]]], None]:
    """A writer of one list of names per split."""

    def finish(root: Path, names: dict[str, list[str]]) -> None:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for split, of_split in names.items():
            (root / folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in of_split))

    return finish


def _nyudv2(root: Path, split: str, index: int, room: Room) -> None:
    name = _name(split, index)
    classes = np.array([CLASS_NAMES["nyudv2"].index(name) + 1 for name in NYU], dtype=np.uint8)
    _png(root / "images" / f"{name}.png", room["image"])
    _png(root / "segmentation" / f"{name}.png", classes[room["semseg"]])
    _npy(root / "depth" / f"{name}.npy", room["depth"])
    _png(root / "normals" / f"{name}.png", _signed(room["normals"]))
    _png(root / "edge" / f"{name}.png", room["edge"] * np.uint8(255))


def _pascal_context(root: Path, split: str, index: int, room: Room) -> None:
    name = _name(split, index)
    voc = [CLASS_NAMES["pascal_context"].index(VOC.get(label, "background")) for label in ROOM_CLASSES]
    folder = "pascal-context" if index % 4 == 3 else "VOC12"
    jpeg = root / "JPEGImages" / f"{name}.jpg"
    jpeg.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(room["image"]).save(jpeg, quality=95)
    _png(root / "semseg" / folder / f"{name}.png", np.array(voc, dtype=np.uint8)[room["semseg"]])
    label_map = np.array(CONTEXT, dtype=np.uint16)[room["semseg"]]
    _mat(root / "pascal-context" / "trainval" / f"{name}.mat", {"LabelMap": label_map})
    _mat(root / "human_parts" / f"{name}.mat", {"anno": _annotation(name, voc, room)})
    _png(root / "normals_distill" / f"{name}.png", _signed(room["normals"]))
    _png(root / "sal_distill" / f"{name}.png", room["saliency"] * np.uint8(255))


def _annotation(name: str, voc: list[int], room: Room) -> np.ndarray:
    """PASCAL-Part's struct: imname and objects, each with class, class_ind, mask and parts (part_name,
    mask)."""
    objects = []
    for instance in np.unique(room["instance"]):
        mask = room["instance"] == instance
        label = int(room["semseg"][mask][0])
        if voc[label] == 0:
            continue
        parts = []
        if label == PERSON:
            left = np.arange(mask.shape[1])[None, :] < np.nonzero(mask)[1].mean()
            for part, sides in PARTS.items():
                of_part = mask & (room["human_parts"] == part)
                pieces = (
                    [(sides[0], of_part)]
                    if sides[0] == sides[1]
                    else [(sides[0], of_part & left), (sides[1], of_part & ~left)]
                )
                parts += [(side, piece.astype(np.uint8)) for side, piece in pieces if piece.any()]
        table = _struct(["part_name", "mask"], parts)
        kind = "table" if voc[label] == 11 else CLASS_NAMES["pascal_context"][voc[label]]
        objects.append((kind, float(voc[label]), mask.astype(np.uint8), table))
    return _struct(["imname", "objects"], [(name, _struct(["class", "class_ind", "mask", "parts"], objects))])


def _struct(fields: Sequence[str], rows: Sequence[tuple[object, ...]]) -> np.ndarray:
    """A MATLAB struct array of one row; without elements an empty matrix."""
    if not rows:
        return np.zeros((0, 0))
    table = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for k, row in enumerate(rows):
        table[0, k] = row
    return table


def _cityscapes(root: Path, split: str, index: int, room: Room) -> None:
    name = f"rooms_{index // 1000:06d}_{index % 1000:06d}"

    def path(folder: str, what: str) -> Path:
        return root / folder / split / "rooms" / f"{name}_{what}"

    _png(path("leftImg8bit", "leftImg8bit.png"), room["image"])
    _png(path("gtFine", "gtFine_labelIds.png"), np.array(CITYSCAPES, dtype=np.uint8)[room["semseg"]])
    fx, fy, cx, cy = (float(value) for value in room["intrinsics"])
    disparity = BASELINE * fx / room["depth"].astype(np.float64)
    raw = np.where(disparity <= 255.0, np.round(disparity * 256.0) + 1.0, 0.0).astype(np.uint16)
    _png(path("disparity", "disparity.png"), raw)
    camera = {"extrinsic": {"baseline": BASELINE}, "intrinsic": {"fx": fx, "fy": fy, "u0": cx, "v0": cy}}
    path("camera", "camera.json").parent.mkdir(parents=True, exist_ok=True)
    path("camera", "camera.json").write_text(json.dumps(camera, indent=2) + "\n")


def _no_lists(root: Path, names: dict[str, list[str]]) -> None:
    """Cityscapes' folders are its splits."""


ENCODINGS = {
    "semseg": "label", "human_parts": "label", "saliency": "label", "depth": "float", "normals": "signed",
    "edge": "unit", "albedo": "unit", "shading": "float", "instance_edge": "unit",
}  # fmt: skip


def _folder(root: Path, split: str, index: int, room: Room) -> None:
    name = _name(split, index)
    _png(root / "images" / f"{name}.png", room["image"])
    for task, encoding in ENCODINGS.items():
        values = room[task]
        if encoding == "float":
            _npy(root / task / f"{name}.npy", values)
        elif encoding == "label":
            _png(root / task / f"{name}.png", values)
        elif encoding == "signed":
            _png(root / task / f"{name}.png", _signed(values))
        else:
            _png(root / task / f"{name}.png", np.round(values * 255.0).astype(np.uint8))


def _finish_folder(root: Path, names: dict[str, list[str]]) -> None:
    _lists("splits")(root, names)
    text = yaml.safe_dump(
        {"tasks": {task.name: _declaration(task) for task in benchmark("rooms_extended")}}, sort_keys=False
    )
    (root / "tasks.yaml").write_text(text)


def _declaration(task: Task) -> dict[str, object]:
    """What tasks.yaml says of a task: its kind in mtmamba.tasks, and how to read its files."""
    encoding = ENCODINGS[task.name]
    entry: dict[str, object] = {"kind": type(task).__name__, "channels": task.channels}
    if isinstance(task, Segmentation):
        entry["class_names"] = list(task.class_names)
    else:
        entry["unit"] = task.unit
    return entry | {
        "extension": ".npy" if encoding == "float" else ".png",
        "encoding": encoding,
        "ignore": 255,
    }


_Write = Callable[[Path, str, int, Room], None]
_Finish = Callable[[Path, dict[str, list[str]]], None]
_LAYOUTS: dict[str, tuple[_Write, _Finish]] = {
    "nyudv2": (_nyudv2, _lists("gt_sets")),
    "pascal_context": (_pascal_context, _lists("ImageSets/Context")),
    "cityscapes": (_cityscapes, _no_lists),
    "folder": (_folder, _finish_folder),
}

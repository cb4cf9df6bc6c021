"""The tasks of the published benchmarks and of the built-in rooms, with their classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources

from mtmamba.losses import IGNORE
from mtmamba.metrics import MAX_DISTANCE
from mtmamba.tasks.base import Task
from mtmamba.tasks.colors import voc_colormap
from mtmamba.tasks.continuous import Depth, Normals, Regression
from mtmamba.tasks.labels import Edge, Saliency, Segmentation


def benchmark(name: str, only: Sequence[str] | None = None) -> list[Task]:
    """The tasks of a benchmark, in the order on which published weights depend.

    Args:
        name: "nyudv2", "pascal_context", "cityscapes", "ade20k", "rooms" or "rooms_extended".
        only: names of the tasks to keep; the order stays that of the benchmark.

    Raises:
        ValueError: for a benchmark or a task that is not known; it lists those that are.
    """
    if name not in _BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}; known: {', '.join(_BENCHMARKS)}")
    tasks = _BENCHMARKS[name]()
    if only is None:
        return tasks
    known = [task.name for task in tasks]
    if unknown := [task for task in only if task not in known]:
        raise ValueError(f"{name} has no task {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
    return [task for task in tasks if task.name in only]


class _ClassNames(Mapping[str, list[str]]):
    """Class names by benchmark, read from ``classes.json`` when first asked for."""

    def __getitem__(self, key: str) -> list[str]:
        return list(_classes()[key]["names"])

    def __iter__(self) -> Iterator[str]:
        return iter(_classes())

    def __len__(self) -> int:
        return len(_classes())


CLASS_NAMES: Mapping[str, list[str]] = _ClassNames()
"""Class names in the order of classes, by set: the benchmarks' and ``human_parts``."""


@cache
def _classes() -> dict[str, dict[str, list[str]]]:
    text = resources.files("mtmamba").joinpath("classes.json").read_text(encoding="utf-8")
    classes: dict[str, dict[str, list[str]]] = json.loads(text)
    return classes


def _segmentation(classes: str, name: str = "semseg", *, empty_is_ignored: bool = False) -> Segmentation:
    entry = _classes()[classes]
    names = entry["names"]
    # VOC's own background is its black entry; the other sets have no background, and start at the next
    tints = entry.get("colors") or voc_colormap(len(names), start=0 if names[0] == "background" else 1)
    return Segmentation(
        name,
        len(names),
        class_names=tuple(names),
        colors=tuple(tints),
        empty_is_ignored=empty_is_ignored,
    )


def _human_parts() -> Segmentation:
    return _segmentation("human_parts", "human_parts", empty_is_ignored=True)


def _nyudv2() -> list[Task]:
    return [_segmentation("nyudv2"), Depth(), Normals(), Edge(max_distance=MAX_DISTANCE["nyudv2"], truth="labels")]


def _pascal_context() -> list[Task]:
    return [
        _segmentation("pascal_context"),
        _human_parts(),
        Saliency(),
        Normals(),
        Edge(max_distance=MAX_DISTANCE["pascal_context"]),
    ]


def _cityscapes() -> list[Task]:
    disparity = Depth(unit="px of disparity", fill=float(IGNORE), disparity=True, max_value=80.0)
    return [_segmentation("cityscapes"), disparity]


def _ade20k() -> list[Task]:
    return [_segmentation("ade20k"), Edge(max_distance=MAX_DISTANCE["pascal_context"])]


def _rooms() -> list[Task]:
    return [_segmentation("rooms"), _human_parts(), Saliency(), Depth(), Normals(), Edge()]


def _rooms_extended() -> list[Task]:
    return [
        *_rooms(),
        Regression("albedo", 3, unit="reflectance", gamma=2.2),
        Regression("shading", 1, unit="irradiance", display=(0.0, 3.0)),
        Edge("instance_edge"),
    ]


_BENCHMARKS: dict[str, Callable[[], list[Task]]] = {
    "nyudv2": _nyudv2,
    "pascal_context": _pascal_context,
    "cityscapes": _cityscapes,
    "ade20k": _ade20k,
    "rooms": _rooms,
    "rooms_extended": _rooms_extended,
}

"""A sheet of rooms to look at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mtmamba.tasks import Task, benchmark

from .dataset import target
from .render import render_room


def contact_sheet(
    seed: int,
    count: int,
    size: tuple[int, int],
    split: str = "train",
    tasks: Sequence[Task] | None = None,
) -> Image.Image:
    """One row per room: the image, then every task's target in the task's own colours.

    Args:
        seed: as in `render_room`.
        count: rooms 0 to count - 1.
        size: (H, W) of one picture.
        split: "train", "val" or "test".
        tasks: which targets; those of the benchmark "rooms_extended" by default.

    Raises:
        ValueError: a count below 1, or what `render_room` raises.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    chosen = benchmark("rooms_extended") if tasks is None else list(tasks)
    rows = []
    for index in range(count):
        room = render_room(seed, index, size, split)
        pictures = [room["image"]] + [_picture(task, room[task.name]) for task in chosen]
        rows.append(np.concatenate(pictures, axis=1))
    return Image.fromarray(np.concatenate(rows, axis=0))


def _picture(task: Task, values: np.ndarray) -> np.ndarray:
    return np.asarray(task.colorize(task.target_to_map(target(task.name, values))), dtype=np.uint8)

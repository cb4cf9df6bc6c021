"""The rooms as a torch dataset."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from .dice import seed_sequence
from .render import render_room

LABELS = ("semseg", "human_parts", "saliency")
MAPS = ("depth", "normals", "edge", "albedo", "shading", "instance_edge")
TASKS = LABELS + MAPS


class Named(Protocol):
    """What the dataset asks of a task."""

    @property
    def name(self) -> str:
        """One of `TASKS`."""
        ...


class RoomsDataset(Dataset[dict[str, Any]]):
    """`length` rooms of one split, each rendered when it is asked for.

    An item is a dict: "image", an Image uint8 (3, H, W); per task a Mask: semseg, human_parts and saliency
    int64 (H, W); depth, edge, shading and instance_edge float32 (1, H, W); normals and albedo float32 (3, H,
    W), with the meaning that `render_room` states; and "id".

    Args:
        split: "train", "val" or "test".
        length: number of images.
        size: (H, W).
        tasks: whose targets to return, by their names.
        seed: another seed gives other rooms.
        transform: applied to the item last.

    Raises:
        ValueError: an unknown split or task, a length below 0, a size below 8x8.
        IndexError: from an item that is not there.
    """

    def __init__(
        self,
        split: str,
        length: int,
        size: tuple[int, int],
        tasks: Sequence[Named],
        seed: int = 0,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        seed_sequence(split, seed, 0)
        if length < 0:
            raise ValueError(f"length must not be negative, got {length}")
        if len(size) != 2 or min(size) < 8:
            raise ValueError(f"size must be (height, width), each at least 8, got {tuple(size)}")
        self.names = [task.name for task in tasks]
        for name in self.names:
            if name not in TASKS:
                raise ValueError(f"the rooms have no task {name!r}; known: {', '.join(TASKS)}")
        self.split, self.length, self.seed, self.transform = split, length, seed, transform
        self.size = (int(size[0]), int(size[1]))
        _compile()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -self.length <= index < self.length:
            raise IndexError(f"index {index} is out of range for {self.length} rooms")
        index %= self.length
        room = render_room(self.seed, index, self.size, self.split)
        image = torch.from_numpy(room["image"]).permute(2, 0, 1).contiguous()
        sample: dict[str, Any] = {"image": tv_tensors.Image(image)}
        for name in self.names:
            sample[name] = tv_tensors.Mask(target(name, room[name]))
        sample["id"] = f"{self.split}_{self.seed}_{index:06d}"
        return sample if self.transform is None else self.transform(sample)


@cache
def _compile() -> None:
    """Have the kernels ready before worker processes are forked, or each of them would compile its own."""
    render_room(0, 0, (8, 8))


def target(name: str, values: np.ndarray) -> torch.Tensor:
    """An array of `render_room` in the shape and type of a training target."""
    if name in LABELS:
        return torch.from_numpy(values.astype(np.int64))
    if values.ndim == 3:
        return torch.from_numpy(values).permute(2, 0, 1).contiguous()
    return torch.from_numpy(values.astype(np.float32))[None]

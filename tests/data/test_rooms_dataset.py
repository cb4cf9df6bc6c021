"""The torch dataset and the contact sheet."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from mtmamba.data.rooms import RoomsDataset, contact_sheet, render_room
from mtmamba.tasks import Edge, benchmark

SIZE = (24, 32)
TASKS = benchmark("rooms_extended")


def test_cardinality() -> None:
    dataset = RoomsDataset("val", 3, SIZE, TASKS, seed=5)
    assert len(dataset) == 3
    sample = dataset[2]
    assert set(sample) == {"image", "id", *(task.name for task in TASKS)}
    assert isinstance(sample["image"], tv_tensors.Image)
    assert sample["image"].shape == (3, *SIZE)
    assert sample["image"].dtype == torch.uint8
    room = render_room(5, 2, SIZE, "val")
    for name in ("semseg", "human_parts", "saliency"):
        assert isinstance(sample[name], tv_tensors.Mask)
        assert sample[name].dtype == torch.int64
        np.testing.assert_array_equal(sample[name], room[name])
    for name in ("depth", "edge", "shading", "instance_edge"):
        assert sample[name].dtype == torch.float32
        assert sample[name].shape == (1, *SIZE)
        np.testing.assert_array_equal(sample[name][0], room[name])
    for name in ("normals", "albedo"):
        assert sample[name].dtype == torch.float32
        np.testing.assert_array_equal(sample[name].permute(1, 2, 0), room[name])
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), room["image"])


def test_only_what_was_asked_for() -> None:
    assert set(RoomsDataset("train", 1, SIZE, [Edge()])[0]) == {"image", "edge", "id"}


def test_the_tasks_accept_their_targets() -> None:
    sample = RoomsDataset("train", 1, SIZE, TASKS)[0]
    for task in TASKS:
        logits = torch.zeros(1, task.channels, *SIZE)
        logits[:, -1] = 1.0
        assert torch.isfinite(task.loss(logits, sample[task.name][None])), task.name


def test_transform_comes_last() -> None:
    def transform(sample: dict[str, Any]) -> dict[str, Any]:
        return {"shape": tuple(sample["image"].shape), "keys": sorted(sample)}

    item = RoomsDataset("train", 1, SIZE, [Edge()], transform=transform)[0]
    assert item == {"shape": (3, *SIZE), "keys": ["edge", "id", "image"]}


def test_batches_from_workers_are_the_same() -> None:
    dataset = RoomsDataset("train", 4, SIZE, [Edge()], seed=2)
    here = next(iter(DataLoader(dataset, batch_size=4)))
    there = next(iter(DataLoader(dataset, batch_size=4, num_workers=1)))
    assert here["id"] == there["id"]
    torch.testing.assert_close(here["image"], there["image"], rtol=0, atol=0)


def test_ids_are_unique() -> None:
    ids = {
        RoomsDataset(split, 2, (8, 8), [], seed=seed)[index]["id"]
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for index in (0, 1)
    }
    assert len(ids) == 12


def test_exceptions() -> None:
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        RoomsDataset("dev", 1, SIZE, [])
    with pytest.raises(ValueError, match="length must not be negative"):
        RoomsDataset("train", -1, SIZE, [])
    with pytest.raises(ValueError, match="each at least 8"):
        RoomsDataset("train", 1, (4, 32), [])
    with pytest.raises(ValueError, match="each at least 8"):
        RoomsDataset("train", 1, (32,), [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no task 'heat'; known: semseg, human_parts, saliency, depth"):
        RoomsDataset("train", 1, SIZE, [Edge("heat")])
    dataset = RoomsDataset("train", 2, SIZE, [])
    assert dataset[-1]["id"] == dataset[1]["id"]
    for index in (2, -3):
        with pytest.raises(IndexError, match="out of range for 2 rooms"):
            dataset[index]


def test_contact_sheet() -> None:
    sheet = np.asarray(contact_sheet(3, 2, SIZE, split="val"))
    assert sheet.shape == (2 * SIZE[0], (1 + len(TASKS)) * SIZE[1], 3)
    for index in range(2):
        rows = np.s_[index * SIZE[0] : (index + 1) * SIZE[0]]
        np.testing.assert_array_equal(sheet[rows, : SIZE[1]], render_room(3, index, SIZE, "val")["image"])
    columns = np.split(sheet, 1 + len(TASKS), axis=1)
    assert all(column.std() > 0 for column in columns)
    narrow = contact_sheet(3, 1, SIZE, tasks=[Edge()])
    assert narrow.size == (2 * SIZE[1], SIZE[0])
    with pytest.raises(ValueError, match="count must be at least 1"):
        contact_sheet(0, 0, SIZE)

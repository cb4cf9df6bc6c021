"""Loaders: draws that can be resumed, evaluation without duplicates, transforms that keep targets aligned."""

from __future__ import annotations

from itertools import chain, islice

import pytest
import torch
from torchvision import tv_tensors

from mtmamba.data.module import RoomsDataModule, resolve_tasks
from mtmamba.data.sampling import DrawnDataset, EndlessSampler, ShardSampler
from mtmamba.data.transforms import HorizontalFlip, ToModel, normalize, train_transform
from mtmamba.models.encoder import IMAGE_MEAN, IMAGE_STD
from mtmamba.tasks import benchmark


def small_rooms(**options: object) -> RoomsDataModule:
    return RoomsDataModule(**{"size": (24, 32), "val_length": 5, "batch_size": 2, "num_workers": 0, **options})  # type: ignore[arg-type]


def test_draws_come_back_from_any_start():
    draws = list(islice(EndlessSampler(7, seed=3), 30))
    assert list(islice(EndlessSampler(7, seed=3, start=11), 19)) == draws[11:]
    assert [draw for draw, _ in draws] == list(range(30))


def test_every_sample_once_per_visit_in_new_orders():
    draws = [index for _, index in islice(EndlessSampler(50, seed=1), 150)]
    visits = [draws[i : i + 50] for i in (0, 50, 100)]
    assert all(sorted(visit) == list(range(50)) for visit in visits)
    assert visits[0] != visits[1] != visits[2]
    assert [index for _, index in islice(EndlessSampler(50, seed=2), 50)] != visits[0]


def test_processes_share_the_draws():
    whole = list(islice(EndlessSampler(10, seed=0), 12))
    parts = [list(islice(EndlessSampler(10, seed=0, rank=rank, world_size=3), 4)) for rank in range(3)]
    assert sorted(chain(*parts)) == whole


def test_evaluation_takes_each_sample_once():
    parts = [list(ShardSampler(10, rank, 4)) for rank in range(4)]
    assert sorted(chain(*parts)) == list(range(10))
    assert [len(ShardSampler(10, rank, 4)) for rank in range(4)] == [3, 3, 2, 2]


def test_nothing_to_train_on():
    with pytest.raises(ValueError, match="no samples"):
        EndlessSampler(0)


def test_augmentation_depends_on_the_draw_alone():
    class Noise:
        def __call__(self, sample):
            return {"x": torch.rand(3), **sample}

    data = DrawnDataset([{"id": "a"}, {"id": "b"}], Noise(), seed=5)  # type: ignore[arg-type]
    torch.manual_seed(1)
    first = data[(8, 0)]["x"]
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)  # the global generator was left alone
    assert torch.equal(data[(8, 0)]["x"], first)
    assert not torch.equal(data[(9, 0)]["x"], first)


def test_flip_moves_pixels_and_turns_normals():
    tasks = benchmark("rooms")
    sample = {"image": tv_tensors.Image(torch.arange(12, dtype=torch.uint8).reshape(3, 1, 4))}
    sample["semseg"] = tv_tensors.Mask(torch.tensor([[0, 1, 2, 3]]))
    sample["normals"] = tv_tensors.Mask(torch.tensor([[[0.6, 0, 0, 0]], [[0.0, 0, 0, 0]], [[0.8, 1, 1, 1]]]))
    flipped = HorizontalFlip(tasks, p=1.0)(sample)
    assert flipped["image"][0].tolist() == [[3, 2, 1, 0]]
    assert flipped["semseg"].tolist() == [[3, 2, 1, 0]]
    torch.testing.assert_close(flipped["normals"][:, 0, 3].as_subclass(torch.Tensor), torch.tensor([-0.6, 0.0, 0.8]))
    again = HorizontalFlip(tasks, p=1.0)(flipped)
    for key, value in sample.items():
        assert torch.equal(again[key], value)
    assert HorizontalFlip(tasks, p=0.0)(sample) is sample


def test_normalize_to_imagenets_statistics():
    grey = torch.full((3, 2, 2), 255, dtype=torch.uint8)
    want = (1 - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)
    torch.testing.assert_close(normalize(grey)[:, 0, 0], want)
    torch.testing.assert_close(normalize(torch.ones(3, 2, 2)), normalize(grey))


def test_ignore_rules_are_applied():
    sample = {"image": tv_tensors.Image(torch.zeros(3, 1, 2, dtype=torch.uint8))}
    sample["depth"] = tv_tensors.Mask(torch.tensor([[[0.0, 2.0]]]))
    ready = ToModel(benchmark("nyudv2"))(sample)
    assert ready["depth"].tolist() == [[[255.0, 2.0]]]
    assert type(ready["depth"]) is torch.Tensor


def test_batches_have_what_the_model_and_the_losses_want():
    data = small_rooms()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 24, 32)
    assert batch["image"].dtype == torch.float32
    for task in data.tasks:
        logits = torch.zeros(2, task.channels, 24, 32)
        task.check(logits, batch[task.name])
    assert len(batch["id"]) == 2


def test_validation_is_whole_and_the_same_every_time():
    data = small_rooms()
    first, second = ([batch["id"] for batch in data.val_dataloader()] for _ in range(2))
    assert first == second
    assert sum(map(len, first)) == 5


def test_workers_change_nothing():
    alone = next(iter(small_rooms().train_dataloader()))
    with_workers = next(iter(small_rooms(num_workers=1).train_dataloader()))
    assert torch.equal(alone["image"], with_workers["image"])


def test_only_some_tasks():
    data = small_rooms(only=["depth"])
    assert set(next(iter(data.val_dataloader()))) == {"image", "depth", "id", "padding"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch sizes must be positive"),
        ({"size": (2, 2)}, "at least 8"),
        ({"tasks": "kitti"}, "rooms"),
        ({"only": ["flow"]}, "flow"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        small_rooms(**options)


def test_unknown_split():
    with pytest.raises(ValueError, match="train, val, test"):
        small_rooms().dataset("dev")


def test_tasks_by_configuration():
    tasks = benchmark("rooms")
    configured = [task.to_config() for task in tasks]
    assert resolve_tasks(configured) == tasks
    assert [task.name for task in resolve_tasks(configured, ["edge", "depth"])] == ["depth", "edge"]
    with pytest.raises(ValueError, match="there are: semseg"):
        resolve_tasks(configured, ["flow"])


def test_transform_survives_tasks_without_target():
    """A sample without some task's target goes through; the task is simply absent."""
    sample = {"image": tv_tensors.Image(torch.zeros(3, 8, 8, dtype=torch.uint8))}
    assert set(train_transform(benchmark("rooms"))(sample)) == {"image", "padding"}

"""Data as Lightning takes it: one data module per dataset, all with the same loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from mtmamba.data.rooms import RoomsDataset
from mtmamba.data.sample import Sample
from mtmamba.data.sampling import DrawnDataset, EndlessSampler, ShardSampler
from mtmamba.data.transforms import eval_transform, train_transform
from mtmamba.tasks import Task, benchmark


class SceneDataModule(L.LightningDataModule, ABC):
    """Loaders over the splits of a dataset. Training draws without end; evaluation takes each sample once.

    Args:
        tasks: a benchmark's name, or a list of tasks' configurations (:meth:`mtmamba.tasks.Task.to_config`).
        only: names of the benchmark's tasks to keep; None: all.
        batch_size: images per process and step.
        eval_batch_size: of evaluation; None: ``batch_size``.
        num_workers: processes that load; 0: the main one.
        augment: mirror and distort colours in training.
        seed: of orders and augmentation.
    """

    def __init__(
        self,
        tasks: str | list[dict[str, Any]],
        only: list[str] | None = None,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0 or (eval_batch_size is not None and eval_batch_size < 1):
            raise ValueError(
                f"batch sizes must be positive and num_workers not negative; got {batch_size}, {eval_batch_size} "
                f"and {num_workers}"
            )
        self.tasks = resolve_tasks(tasks, only)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.num_workers, self.augment, self.seed = num_workers, augment, seed

    @abstractmethod
    def dataset(self, split: str) -> Dataset[Sample]:
        """The samples of "train", "val" or "test", without transform; it must have a length."""

    def train_dataloader(self) -> DataLoader[Sample]:
        dataset = self.dataset("train")
        start, rank, world_size = 0, 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            draws_per_step = self.batch_size * world_size * self.trainer.accumulate_grad_batches
            start = self.trainer.global_step * draws_per_step  # a resumed run goes on where it was
        sampler = EndlessSampler(len(dataset), self.seed, start, rank, world_size)  # type: ignore[arg-type]
        drawn = DrawnDataset(dataset, train_transform(self.tasks, self.augment), self.seed)
        return self._loader(drawn, sampler, self.batch_size)

    def val_dataloader(self) -> DataLoader[Sample]:
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        return self.eval_dataloader("test")

    def eval_dataloader(self, split: str) -> DataLoader[Sample]:
        """Each sample of ``split`` once, over all processes; nothing random."""
        dataset = self.dataset(split)
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = ShardSampler(len(dataset), rank, world_size)  # type: ignore[arg-type]
        return self._loader(_Transformed(dataset, eval_transform(self.tasks)), sampler, self.eval_batch_size)

    def _loader(self, dataset: Dataset[Sample], sampler: Any, batch_size: int) -> DataLoader[Sample]:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),  # or a loader would draw from the model's generator
        )


class RoomsDataModule(SceneDataModule):
    """The built-in synthetic rooms, rendered on the fly.

    Args:
        size: (H, W) of the images.
        train_length, val_length, test_length: rooms per split; ``seed`` says which.
        others: as :class:`SceneDataModule`.
    """

    def __init__(
        self,
        tasks: str | list[dict[str, Any]] = "rooms",
        only: list[str] | None = None,
        size: tuple[int, int] = (128, 160),
        train_length: int = 1_000_000,
        val_length: int = 200,
        test_length: int = 200,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, only, batch_size, eval_batch_size, num_workers, augment, seed)
        self.save_hyperparameters()
        self.size = size
        self.lengths = {"train": train_length, "val": val_length, "test": test_length}
        self.dataset("val")  # an unknown task or a wrong size shows now

    def dataset(self, split: str) -> Dataset[Sample]:
        if split not in self.lengths:
            raise ValueError(f"no split {split!r}; there are: {', '.join(self.lengths)}")
        return RoomsDataset(split, self.lengths[split], self.size, self.tasks, self.seed)


class _Transformed(Dataset[Sample]):
    def __init__(self, dataset: Dataset[Sample], transform: Any) -> None:
        self.dataset, self.transform = dataset, transform

    def __getitem__(self, index: int) -> Sample:
        return self.transform(self.dataset[index])

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]


def resolve_tasks(tasks: str | Sequence[dict[str, Any]], only: Sequence[str] | None = None) -> list[Task]:
    """Tasks out of a configuration: a benchmark's name or a list of tasks' configurations; ``only`` keeps some.

    Raises:
        ValueError: a benchmark or task that does not exist, with those that do.
    """
    if isinstance(tasks, str):
        return benchmark(tasks, only)
    made = [Task.from_config(config) for config in tasks]
    unknown = sorted(set(only or []) - {task.name for task in made})
    if unknown:
        raise ValueError(f"no task {', '.join(unknown)}; there are: {', '.join(task.name for task in made)}")
    return [task for task in made if only is None or task.name in only]

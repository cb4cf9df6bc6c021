"""Data as Lightning takes it: one data module per dataset, all with the same loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

from mtmamba.data.datasets import open_dataset
from mtmamba.data.folder import folder_tasks
from mtmamba.data.rooms import RoomsDataset
from mtmamba.data.sample import Sample
from mtmamba.data.sampling import DrawnDataset, EndlessSampler, ShardSampler
from mtmamba.data.transforms import Size, eval_transform, train_transform
from mtmamba.tasks import Task, benchmark


class SceneDataModule(L.LightningDataModule, ABC):
    """Loaders over the splits of a dataset. Training draws without end; evaluation takes each sample once.

    Args:
        tasks: a benchmark's name, or a list of tasks' configurations (:meth:`mtmamba.tasks.Task.to_config`).
        only: names of the benchmark's tasks to keep; None: all.
        batch_size: images per process and step.
        eval_batch_size: of evaluation; None: ``batch_size``.
        num_workers: processes that load; 0: the main one.
        augment: mirror and distort colours in training, and whatever else the dataset's recipe draws.
        seed: of orders and augmentation.
    """

    # What transforms are told; see :func:`mtmamba.data.transforms.train_transform`.
    input_size: Size | None = None
    scale: tuple[float, float] | None = None
    resize: bool = False

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
        transform = train_transform(self.tasks, self.augment, self.input_size, self.scale, self.resize)
        drawn = DrawnDataset(dataset, transform, self.seed)
        return self._loader(drawn, sampler, self.batch_size)

    def val_dataloader(self) -> DataLoader[Sample]:
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        return self.eval_dataloader("test")

    def eval_dataloader(self, split: str) -> DataLoader[Sample]:
        """Each sample of ``split`` once, over all processes; nothing random."""
        dataset = self.dataset(split)
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        else:  # evaluation without a trainer, by as many processes as were launched
            rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        sampler = ShardSampler(len(dataset), rank, world_size)  # type: ignore[arg-type]
        transform = eval_transform(self.tasks, self.input_size, self.resize)
        return self._loader(_Transformed(dataset, transform), sampler, self.eval_batch_size)

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


class FilesDataModule(SceneDataModule):
    """A dataset on disk: a benchmark in its own layout, or a folder of your own.

    Args:
        dataset: a key of :data:`mtmamba.data.datasets.DATASETS`: "nyudv2", "pascal_context", "cityscapes", "ade20k"
            or "folder".
        root: its directory.
        tasks: as :class:`SceneDataModule`; or the path of a tasks.yaml, as "folder" has it.
        size: (H, W) of the network's input. Smaller images are padded to it, half on either side.
        scale: limits of the random scale in training, followed by a crop to ``size``; None: neither.
        resize: in place of padding, resize the image alone to ``size``; targets keep their resolution.
        train_split, val_split, test_split: the dataset's own names.
        others: as :class:`SceneDataModule`.

    Raises:
        mtmamba.data.files.DataError: files that are missing, or not as the layout says.
    """

    def __init__(
        self,
        dataset: str,
        root: str | Path,
        tasks: str | list[dict[str, Any]],
        only: list[str] | None = None,
        size: tuple[int, int] | None = None,
        scale: tuple[float, float] | None = None,
        resize: bool = False,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        batch_size: int = 1,
        eval_batch_size: int | None = None,
        num_workers: int = 4,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, only, batch_size, eval_batch_size, num_workers, augment, seed)
        self.save_hyperparameters()
        self.layout, self.root = dataset, Path(root)
        self.input_size, self.scale, self.resize = size, scale, resize
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        train_transform(self.tasks, augment, size, scale, resize)  # what does not go together shows now

    def dataset(self, split: str) -> Dataset[Sample]:
        return open_dataset(self.layout, self.root, self.splits.get(split, split), self.tasks)

    def setup(self, stage: str) -> None:
        """What is wrong with either split shows before any work is done."""
        for split in ("train", "val") if stage == "fit" else ("val",):
            self.dataset(split)


class _Transformed(Dataset[Sample]):
    def __init__(self, dataset: Dataset[Sample], transform: Any) -> None:
        self.dataset, self.transform = dataset, transform

    def __getitem__(self, index: int) -> Sample:
        return self.transform(self.dataset[index])

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]


def resolve_tasks(tasks: str | Sequence[dict[str, Any]], only: Sequence[str] | None = None) -> list[Task]:
    """Tasks out of a configuration; ``only`` keeps some.

    Args:
        tasks: a benchmark's name, the path of a tasks.yaml, or a list of tasks' configurations.
        only: names.

    Raises:
        ValueError: a benchmark or task that does not exist, with those that do.
    """
    if isinstance(tasks, str) and not tasks.endswith((".yaml", ".yml")):
        return benchmark(tasks, only)
    made = folder_tasks(Path(tasks).parent) if isinstance(tasks, str) else [Task.from_config(c) for c in tasks]
    unknown = sorted(set(only or []) - {task.name for task in made})
    if unknown:
        raise ValueError(f"no task {', '.join(unknown)}; there are: {', '.join(task.name for task in made)}")
    return [task for task in made if only is None or task.name in only]

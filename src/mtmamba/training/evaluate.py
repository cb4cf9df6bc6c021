"""Every metric of every task over a split, and what an answer that never looks at the image gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.progress import track
from torch import Tensor

from mtmamba.data.module import SceneDataModule
from mtmamba.models.mtmamba import MTMamba
from mtmamba.models.views import Views
from mtmamba.tasks import Task

#: {task: {metric: value}}
Results = dict[str, dict[str, float]]


@torch.no_grad()
def evaluate(
    model: MTMamba,
    batches: Iterable[dict[str, Any]],
    device: str | torch.device,
    progress: bool,
    views: Views | None = None,
    save: Path | None = None,
) -> Results:
    """Metrics of ``model``, pooled over all pixels of the set, and over all processes where several were launched.

    Args:
        model: any mode; evaluated in eval mode.
        batches: as :meth:`mtmamba.data.module.SceneDataModule.eval_dataloader` gives them.
        device: where to compute.
        progress: show a bar.
        views: flips and scales of each image to average over; None: the image itself.
        save: directory for every answer as its task stores it, SAVE/TASK/ID.png or .npy, without padding.

    Raises:
        ValueError: there are no batches, or a batch lacks a task of the model's.
    """
    model = model.to(device).eval()
    metrics = {task.name: task.metric().to(device) for task in model.tasks}
    views = views or Views()
    slow = {task.name: metric.to(device) for task in model.tasks if (metric := task.evaluation_metric())}
    seen = 0
    for batch in _shown(batches, "evaluating", progress):
        seen += len(batch["image"])
        answers = views(model, batch["image"].to(device))
        for name, logits in answers.items():
            if name not in batch:
                raise ValueError(
                    f"the data has no {name}; it has {', '.join(sorted(set(batch) - {'image', 'id', 'padding'}))}"
                )
            target = batch[name].to(device)
            metrics[name].update(logits, target)
            if name in slow:
                slow[name].update(logits, target)
        if save is not None:
            _save(answers, model.tasks, batch, save)
    if not seen and not dist.is_initialized():  # of several processes, some may have no share
        raise ValueError("there are no images to evaluate on")
    results = {name: _floats(metric.compute()) for name, metric in metrics.items()}
    for name, metric in slow.items():
        results[name] |= _floats(metric.compute())
    return results


@torch.no_grad()
def evaluate_constant(
    tasks: Sequence[Task],
    train_batches: Iterable[dict[str, Any]],
    batches: Iterable[dict[str, Any]],
    progress: bool,
    train_limit: int = 50,
) -> Results:
    """Metrics of the best constant answer: majority class, mean depth, mean normal, prior probability.

    Args:
        tasks: whose answers.
        train_batches: that the answer is fitted on; at most ``train_limit`` of them are taken.
        batches: that it is judged on.
        progress: show a bar.
    """
    seen = list(_shown(islice(train_batches, train_limit), "fitting constant answers", progress, train_limit))
    answers = {task.name: task.constant([batch[task.name] for batch in seen]) for task in tasks}
    metrics = {task.name: task.metric() for task in tasks}
    for batch in _shown(batches, "judging constant answers", progress):
        B, _, H, W = batch["image"].shape
        for name, metric in metrics.items():
            H, W = batch[name].shape[-2:]
            metric.update(answers[name].view(1, -1, 1, 1).expand(B, -1, H, W).contiguous(), batch[name])
    return {name: _floats(metric.compute()) for name, metric in metrics.items()}


def make_data(spec: dict[str, Any], overrides: dict[str, Any] | None = None) -> SceneDataModule:
    """A data module out of ``class_path`` and ``init_args``.

    Raises:
        ValueError: no such data module, or arguments that it does not take.
    """
    module, _, name = spec["class_path"].rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"no data module {spec['class_path']!r}: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, SceneDataModule)):
        raise ValueError(f"{spec['class_path']!r} is no data module of scenes")
    arguments = {**spec.get("init_args", {}), **(overrides or {})}
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def _save(answers: dict[str, Tensor], tasks: Sequence[Task], batch: dict[str, Any], folder: Path) -> None:
    for task in tasks:
        for answer, name, borders in zip(answers[task.name], batch["id"], batch["padding"].tolist(), strict=True):
            left, right, top, bottom = borders
            H, W = answer.shape[-2:]
            inside = answer[None, :, top : H - bottom, left : W - right]
            task.save(task.decode(inside)[0], folder / task.name / name)


def _shown(batches: Iterable[Any], text: str, progress: bool, total: int | None = None) -> Iterable[Any]:
    if total is None and isinstance(batches, Sized):
        total = len(batches)
    return track(batches, text, total=total, transient=True, disable=not progress)


def _floats(values: dict[str, Tensor]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items()}

"""What happens beside the training loop: progress where there is no terminal, pictures, and random states."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torchvision.utils import make_grid

from mtmamba.models.encoder import IMAGE_MEAN, IMAGE_STD
from mtmamba.training.module import MultiTaskModule


class LineProgress(Callback):
    """A line every ``seconds``, for logs: step, rate, time left and every task's loss."""

    def __init__(self, seconds: float = 15.0) -> None:
        self.seconds = seconds
        self._started = self._last = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._last = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        now = time.monotonic()
        if now - self._last < self.seconds and trainer.global_step != trainer.max_steps:
            return
        self._last = now
        if trainer.is_global_zero:
            done = trainer.global_step - self._first_step
            rate = done / max(now - self._started, 1e-9)
            left = (trainer.max_steps - trainer.global_step) / max(rate, 1e-9) if trainer.max_steps > 0 else 0.0
            losses = " ".join(
                f"{key.removeprefix('train/')} {float(value):.3g}"
                for key, value in trainer.progress_bar_metrics.items()
                if key.startswith("train/")
            )
            print(
                f"step {trainer.global_step}/{trainer.max_steps}  {rate:.2f} steps/s  {left / 60:.1f} min left  "
                f"{losses}",
                flush=True,
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking and isinstance(pl_module, MultiTaskModule):
            found = [f"{task.name} {task.primary} " + _shown(trainer, task) for task in pl_module.tasks]
            print(f"validation at step {trainer.global_step}: " + ", ".join(found), flush=True)


def _shown(trainer: L.Trainer, task: Any) -> str:
    value = trainer.callback_metrics.get(f"val/{task.name}/{task.primary}")
    return "-" if value is None else f"{float(value):.4f}"


def progress_callback() -> Callback:
    """A live bar in a terminal, lines elsewhere."""
    return RichProgressBar() if sys.stdout.isatty() else LineProgress()


class PictureLogger(Callback):
    """After each validation, the first images of the set with every task's answer and truth, to TensorBoard.

    Args:
        count: number of images.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self._rows: list[torch.Tensor] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        missing = self.count - len(self._rows) // 2
        if missing <= 0 or trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, MultiTaskModule)
        images = batch["image"][:missing]
        logits = pl_module.model(images)
        decoded = {task.name: task.decode(logits[task.name]) for task in pl_module.tasks}
        mean, std = (torch.tensor(x, device=images.device)[:, None, None] for x in (IMAGE_MEAN, IMAGE_STD))
        for i, image in enumerate(images):
            photo = (image * std + mean).clamp(0, 1).cpu()
            answers, truths = [photo], [photo]
            for task in pl_module.tasks:
                truth = task.target_to_map(batch[task.name][i])
                limits = task.limits(truth)
                for row, shown in ((answers, decoded[task.name][i]), (truths, truth)):
                    row.append(task.colorize(shown, limits=limits).permute(2, 0, 1) / 255)
            self._rows += [_row(answers), _row(truths)]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and self._rows:
                names = ", ".join(task.name for task in pl_module.tasks)  # type: ignore[union-attr]
                size = self._rows[0].shape[-2:]  # images may differ in theirs
                rows = [torch.nn.functional.interpolate(row[None], size=size)[0] for row in self._rows]
                picture = make_grid(rows, nrow=1, padding=2)
                logger.experiment.add_image(f"answer above truth: {names}", picture, trainer.global_step)


def _row(maps: list[torch.Tensor]) -> torch.Tensor:
    size = maps[0].shape[-2:]
    same = [torch.nn.functional.interpolate(m[None], size=size)[0] for m in maps]
    return make_grid(same, nrow=len(same), padding=2)


class RandomStates(Callback):
    """Keeps the random generators' states in checkpoints, so that a resumed run draws what it would have drawn."""

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - libraries draw from NumPy's global generator
        return {
            "python": random.getstate(),
            "numpy": [kind, torch.as_tensor(np.asarray(keys, dtype=np.int64)), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        state, self._restored = self._restored, None
        if state is None:
            return
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, *rest = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(state["torch"].cpu())
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])

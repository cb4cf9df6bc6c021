"""How a model learns: the LightningModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mtmamba.data.module import resolve_tasks
from mtmamba.losses import MultiTaskLoss
from mtmamba.models.hub import config_from_json, config_to_json
from mtmamba.models.mtmamba import BENCHMARK_SIZES, OUTPUT_SCALES, PUBLISHED_ENCODER, MTMamba, create_model

#: Where a checkpoint of ours keeps what it takes to make the model and its data again.
CHECKPOINT_KEY = "mtmamba"


class NonFiniteLossError(RuntimeError):
    """A loss is NaN or infinite: going on would only spoil the weights."""


class MultiTaskModule(L.LightningModule):
    """An MTMamba, its losses, metrics, optimiser and schedule.

    AdamW with one parameter group, polynomial decay of the rate per step (reference: the published recipes).

    Args:
        name: "mtmamba" or "mtmamba_plus".
        tasks: a benchmark's name, or a list of tasks' configurations.
        only: names of the benchmark's tasks to keep; None: all.
        encoder: timm's name.
        pretrained: load the encoder's weights, from timm's hub or from a file.
        image_size: (H, W) that the model is made for.
        output_size: (H, W) of the answers; None: the input's (twice it for cityscapes).
        encoder_kwargs: passed on to timm.
        decoder: ``head`` and the arguments of :class:`mtmamba.models.decoder.Decoder`.
        loss: "log" (sum of w * log(loss + 1e-8)) or "sum" (of w * loss).
        loss_weights: w per task; 1 where a task is not named.
        learning_rate: at the start of the decay.
        encoder_rate: the encoder's rate is this times as high.
        weight_decay: AdamW's.
        warmup_steps: steps over which the rate rises linearly.
        decay_power: of the polynomial decay.
        compile: run the model through torch.compile; on one GPU, with CUDA graphs.
        grad_checkpointing: keep only what each block starts from, and run it again in backward: slower, less memory.
    """

    def __init__(
        self,
        name: str = "mtmamba",
        tasks: str | list[dict[str, Any]] = "rooms",
        only: list[str] | None = None,
        encoder: str = PUBLISHED_ENCODER,
        pretrained: bool | str = False,
        image_size: tuple[int, int] | None = None,
        output_size: tuple[int, int] | None = None,
        encoder_kwargs: dict[str, Any] | None = None,
        decoder: dict[str, Any] | None = None,
        loss: str = "log",
        loss_weights: dict[str, float] | None = None,
        learning_rate: float = 1e-4,
        encoder_rate: float = 1.0,
        weight_decay: float = 1e-5,
        warmup_steps: int = 0,
        decay_power: float = 0.9,
        compile: bool = False,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        task_list = resolve_tasks(tasks, only)
        dataset = tasks if isinstance(tasks, str) else ""
        self.model: MTMamba = create_model(
            name,
            task_list,
            encoder=encoder,
            pretrained=pretrained,
            image_size=image_size or BENCHMARK_SIZES.get(dataset),
            output_size=output_size,
            output_scale=OUTPUT_SCALES.get(dataset),
            encoder_kwargs=encoder_kwargs,
            **(decoder or {}),
        )
        if grad_checkpointing:
            self.model.set_grad_checkpointing()
        self.tasks = task_list
        self.total_loss = MultiTaskLoss([task.name for task in task_list], loss_weights, loss)
        self.metrics: Any = nn.ModuleDict({task.name: task.metric() for task in task_list})
        self.learning_rate, self.encoder_rate, self.weight_decay = learning_rate, encoder_rate, weight_decay
        self.warmup_steps, self.decay_power = warmup_steps, decay_power
        self.compile_model = compile

    def setup(self, stage: str) -> None:
        if self.compile_model:
            alone = self.trainer.world_size == 1 and self.trainer.strategy.root_device.type == "cuda"
            self.model.compile(mode="reduce-overhead" if alone else None)

    def on_fit_start(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        batch, processes, times = (
            getattr(data, "batch_size", 1),
            self.trainer.world_size,
            self.trainer.accumulate_grad_batches,
        )
        self.print(
            f"{batch * processes * times} images per step ({batch} x {processes} processes x {times} accumulated), "
            f"{self.trainer.max_steps} steps, learning rate {self.learning_rate:g}"
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.model(images)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        losses = self.losses(self.model(batch["image"]), batch)
        total = self.total_loss(losses)
        finite = torch.isfinite(torch.stack([*losses.values(), total]))
        if not finite.all():
            bad = [f"{name} = {loss.item()}" for name, loss in losses.items() if not torch.isfinite(loss)]
            raise NonFiniteLossError(
                f"step {self.global_step}: the loss is not finite ({', '.join(bad) or f'total = {total.item()}'}). "
                f"The checkpoints written so far are untouched. A lower learning_rate, gradient_clip_val, or float32 "
                f"instead of bf16 usually helps; see also whether the targets of {batch['id'][:4]} are sound"
            )
        self.log("train/loss", total, prog_bar=True)
        for name, loss in losses.items():
            self.log(f"train/{name}", loss, prog_bar=True)
        return total

    def losses(self, logits: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Each task's loss, scalar."""
        return {task.name: task.loss(logits[task.name], batch[task.name]) for task in self.tasks}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        logits = self.model(batch["image"])
        losses = self.losses(logits, batch)
        size = len(batch["image"])
        for name, loss in losses.items():
            self.log(f"val_loss/{name}", loss, batch_size=size, sync_dist=True)
            self.metrics[name].update(logits[name], batch[name])
        self.log("val/loss", self.total_loss(losses), batch_size=size, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        for name, metric in self.metrics.items():
            for key, value in metric.compute().items():
                if not key.startswith("iou/"):
                    self.log(f"val/{name}/{key}", value.float())
            metric.reset()

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [{"params": list(self.model.parameters())}]
        if self.encoder_rate != 1:
            encoder = list(self.model.encoder.parameters())
            others = [*self.model.decoder.parameters(), *self.model.head.parameters()]
            groups = [{"params": encoder, "lr": self.learning_rate * self.encoder_rate}, {"params": others}]
        optimizer = torch.optim.AdamW(
            groups,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            betas=(0.9, 0.999),
            eps=1e-8,
            fused=self.device.type == "cuda",
        )
        steps = int(self.trainer.estimated_stepping_batches)

        def rate(step: int) -> float:
            if step < self.warmup_steps:
                return (step + 1) / (self.warmup_steps + 1)
            done = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
            return (1 - min(done, 1.0)) ** self.decay_power

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, rate), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = getattr(self.trainer, "datamodule", None)
        kept: dict[str, Any] = {"model": config_to_json(self.model.config)}
        if data is not None:
            where = f"{type(data).__module__}.{type(data).__qualname__}"
            arguments = {key: value for key, value in data.hparams.items() if not key.startswith("_")}  # LightningCLI's
            kept["data"] = {"class_path": where, "init_args": _plain(arguments)}
        checkpoint[CHECKPOINT_KEY] = _plain(kept)


def load_training_checkpoint(path: str | Path) -> tuple[MTMamba, dict[str, Any] | None]:
    """The model of a training checkpoint, in eval mode, and its data module's ``class_path`` and ``init_args``.

    Where training averaged weights (EMA), the averaged ones are loaded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is corrupt, or no training checkpoint of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no readable checkpoint (truncated?): {reason}") from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise ValueError(
            f"{path} is no training checkpoint of mtmamba; a published .pth.tar must be converted first: "
            f"mtmamba convert {path.name} DIR"
        )
    kept = checkpoint[CHECKPOINT_KEY]
    model = create_model(**config_from_json(kept["model"]))
    prefix = "model."
    weights = {key[len(prefix) :]: w for key, w in checkpoint["state_dict"].items() if key.startswith(prefix)}
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the configuration beside them: {error}") from error
    return model.eval(), kept.get("data")


def _plain(value: Any) -> Any:
    """In types that a weights-only load accepts."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)

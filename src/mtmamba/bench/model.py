"""The whole model: inference and training step, by encoder and resolution, beside the same model with four copies."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mtmamba.bench import breakdown, four_copies, machine
from mtmamba.bench.measure import Call, Contender, Effort, take_turns
from mtmamba.bench.replace import with_scans_replaced
from mtmamba.bench.report import Report, print_heading, print_rows, progress
from mtmamba.losses import MultiTaskLoss
from mtmamba.models.mtmamba import MTMamba, create_model

OURS = "mtmamba"
COMPILED = f"{OURS}, compiled"


@dataclass
class Setup:
    """What contenders work on: a model, its copy with four copies inside, and a batch.

    Both models have the same weights, and share their optimiser.
    """

    model: MTMamba
    operator: four_copies.Operator
    images: Tensor
    dtype: torch.dtype

    @cached_property
    def baseline(self) -> MTMamba:
        return with_scans_replaced(self.model, lambda scan: four_copies.FourCopiesScan(scan, self.operator))

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        with torch.no_grad():
            size = next(iter(self.model(self.images[:1]).values())).shape[-2:]
        shape = (len(self.images), *size)
        device = self.images.device
        targets = {}
        for task in self.model.tasks:
            if task.labels:
                targets[task.name] = torch.randint(task.channels, shape, device=device)
            else:
                targets[task.name] = torch.rand(shape[0], task.channels, *size, device=device).round()
        return targets

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=self.images.is_cuda)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.images.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def inference(self, model: Callable[[Tensor], Any]) -> Call:
        """``model`` on the images, without gradients."""

        def call() -> object:
            with torch.no_grad(), self.autocast():
                return model(self.images)

        return call

    def prediction(self) -> Call:
        """As :class:`mtmamba.Predictor` runs the model: weights cast once, compiled, on a GPU with CUDA graphs."""
        model = copy.deepcopy(self.model.eval())
        if self.dtype != torch.float32:
            model.cast_weights(self.dtype)
        compiled = _compiled(model, "reduce-overhead" if self.images.is_cuda else None)

        def call() -> object:
            with torch.no_grad():
                return compiled(self.images)

        return call

    def training_step(self, model: Callable[[Tensor], Any]) -> Call:
        """Forward, the sum of all losses, backward, AdamW."""
        tasks, targets, optimizer = self.model.tasks, self.targets, self.optimizer
        total = MultiTaskLoss([task.name for task in tasks], reduction="sum")

        def call() -> None:
            with self.autocast():
                logits = model(self.images)
            total({task.name: task.loss(logits[task.name], targets[task.name]) for task in tasks}).backward()
            optimizer.step()
            optimizer.zero_grad()  # last, so that gradients count as memory of the step

        return call


def inference_contenders(setup: Setup, baseline: str, compiled: bool) -> list[Contender]:
    """Whoever takes part in inference; a further way to run the model is a further entry."""
    model, plain = setup.model, setup.operator is four_copies.plain_scan
    contenders = [
        Contender(OURS, lambda: setup.inference(model.eval())),
        Contender(baseline, lambda: setup.inference(setup.baseline.eval()), warm_up=not plain, skip=_too_slow(setup)),
        Contender("encoder alone", lambda: setup.inference(model.eval().encoder), compared=False),
    ]
    if compiled:
        contenders.insert(1, Contender(COMPILED, setup.prediction, holds_memory=setup.images.is_cuda))
    return contenders


def training_contenders(setup: Setup, baseline: str, compiled: bool) -> list[Contender]:
    """Whoever takes part in training."""
    model, plain, cuda = setup.model, setup.operator is four_copies.plain_scan, setup.images.is_cuda

    def recompute() -> Call:
        step = setup.training_step(model.train())

        def call() -> None:
            model.set_grad_checkpointing(True)
            step()
            model.set_grad_checkpointing(False)

        return call

    contenders = [
        Contender(OURS, lambda: setup.training_step(model.train())),
        Contender(f"{OURS}, grad_checkpointing", recompute),
        Contender(
            baseline,
            lambda: setup.training_step(setup.baseline.train()),
            warm_up=not plain,
            skip=_too_slow(setup),
        ),
    ]
    if compiled:
        mode = "reduce-overhead" if cuda else None
        step = Contender(COMPILED, lambda: setup.training_step(_compiled(model.train(), mode)), holds_memory=cuda)
        contenders.insert(1, step)
    return contenders


def _too_slow(setup: Setup) -> str:
    """Why the baseline is not run: a loop over single steps is some 100,000 small launches per scan of a GPU."""
    plain = setup.operator is four_copies.plain_scan and setup.images.is_cuda
    return "skipped (mamba-ssm is not installed)" if plain else ""


PHASES = {"inference": inference_contenders, "training step": training_contenders}


def run(
    device: torch.device,
    effort: Effort,
    command: str,
    name: str,
    tasks: str,
    encoders: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    dtype: torch.dtype = torch.float32,
    phases: Sequence[str] = tuple(PHASES),
    compiled: bool = False,
    **options: Any,
) -> Report:
    """Measure every encoder at every size and batch; print tables on the way.

    Args:
        device: where.
        effort: how long.
        command: to be named in the report.
        name: "mtmamba" or "mtmamba_plus".
        tasks: a benchmark's name.
        encoders: timm's names.
        sizes: (H, W) of the images.
        batches: numbers of images.
        dtype: float32, or what autocast computes in.
        phases: keys of :data:`PHASES`.
        compiled: run the model through torch.compile too.
        options: of :func:`mtmamba.create_model`.
    """
    inside, operator = four_copies.operator(device)
    baseline = f"four copies ({inside})"
    report = Report("model", command, machine.describe(device), baseline)
    report.extra = {"model": name, "tasks": tasks, "dtype": str(dtype).removeprefix("torch.")}
    print_heading(report)
    for encoder, size, batch in itertools.product(encoders, sizes, batches):
        torch.manual_seed(0)
        with device:
            model = create_model(name, tasks, encoder=encoder, image_size=size, **options).eval()
        setup = Setup(model, operator, torch.randn(batch, 3, *size, device=device), dtype)
        case = f"{name}, {tasks}, {encoder}, {size[0]}x{size[1]}, batch {batch}"
        rows = []
        for phase in phases:
            contenders = PHASES[phase](setup, baseline, compiled)
            contenders += [machine.fma_loop()] if device.type == "cpu" else []
            with progress(f"{case}, {phase}") as say:
                results = take_turns(contenders, device, effort, say)
                parts = {}
                if phase == "inference" and device.type == "cpu":
                    say("shares of the forward pass")
                    parts = breakdown.shares(setup.inference(model.eval()), effort)
            rows += report.add(case, phase, contenders, results, _figures(batch, parts))
        print_rows(rows, baseline)
    return report


def _compiled(model: nn.Module, mode: str | None = None) -> Callable[[Tensor], Any]:
    compiled: Callable[[Tensor], Any] = torch.compile(model, mode=mode, dynamic=False)
    return compiled


def _figures(batch: int, parts: dict[str, float]) -> Callable[[str, float], dict[str, float]]:
    def figures(contender: str, seconds: float) -> dict[str, float]:
        if contender == machine.FMA_NAME:
            return machine.fma_rate(seconds)
        return {"images/s": batch / seconds, **(parts if contender == OURS else {})}

    return figures

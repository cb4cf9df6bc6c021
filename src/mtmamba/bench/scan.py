"""The scan alone: every backend, against four copies, the sequential loop, and a calibration of the machine.

What is timed is :func:`mtmamba.ops.selective_scan_2d`, with its projection given. The four copies get the projection
in route order, as a projection of the copies would leave it, so that putting it there is not counted against them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mtmamba.bench import four_copies, machine
from mtmamba.bench.measure import Call, Contender, Effort, Measured, take_turns
from mtmamba.bench.report import Report, print_heading, print_rows, progress
from mtmamba.ops import NUM_ROUTES, available_backends, selective_scan_2d

Function = Callable[..., Tensor | list[Tensor]]
Figures = Callable[[str, float], dict[str, float]]

#: State updates up to which a loop over single steps is run without being asked for.
QUICK_LOOP = 10**8


@dataclass(frozen=True)
class Stage:
    """Of a decoder: a map of height x width, D channels, N states, rank R of dt."""

    height: int
    width: int
    channels: int
    states: int
    rank: int

    def updates(self, tasks: int, batch: int) -> int:
        """State updates of one call: 4 D L N per image and task."""
        return tasks * batch * NUM_ROUTES * self.height * self.width * self.channels * self.states


#: The published models' on NYUDv2 (448x576), coarse to fine; the demo's finest; one for a smoke test.
STAGES = {
    "1/16": Stage(28, 36, 1536, 16, 48),
    "1/8": Stage(56, 72, 768, 16, 24),
    "1/4": Stage(112, 144, 384, 16, 12),
    "demo": Stage(24, 32, 32, 2, 2),
    "tiny": Stage(3, 5, 8, 2, 1),
}


def run(
    device: torch.device,
    effort: Effort,
    command: str,
    stages: Sequence[str],
    tasks: Sequence[int],
    batches: Sequence[int],
    dtype: torch.dtype = torch.float32,
    slow: bool = False,
) -> Report:
    """Measure every stage with every number of tasks and images; print tables on the way.

    Args:
        device: where.
        effort: how long.
        command: to be named in the report.
        stages: keys of :data:`STAGES`.
        tasks: numbers of groups of weights.
        batches: numbers of images.
        dtype: of maps and projections; weights and states are float32.
        slow: run the sequential loop on large maps too.
    """
    inside, operator = four_copies.operator(device)
    baseline = f"four copies ({inside})"
    report = Report("scan", command, machine.describe(device), baseline)
    report.extra = {"dtype": str(dtype).removeprefix("torch.")}
    print_heading(report)
    for name, groups, batch in itertools.product(stages, tasks, batches):
        stage = STAGES[name]
        updates = stage.updates(groups, batch)
        size = f"{stage.height}x{stage.width}, D {stage.channels}, N {stage.states}"
        case = f"{name} ({size}), tasks {groups}, batch {batch}"
        inputs = make_inputs(stage, groups, batch, device, dtype)
        rows = []
        for phase in ("forward", "forward + backward"):
            backward = phase != "forward"
            taking_part = contenders(inputs, baseline, operator, backward, slow or updates <= QUICK_LOOP)
            with progress(f"{case}, {phase}") as say:
                results = take_turns(taking_part, device, effort, say)
            rows += report.add(case, phase, taking_part, results, _figures(updates, backward, device, results))
        print_rows(rows, baseline)
    return report


def make_inputs(stage: Stage, groups: int, batch: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Inputs of :func:`mtmamba.ops.selective_scan_2d`, distributed as in a model at its start."""
    G, B, H, W, D, N, R = groups, batch, stage.height, stage.width, stage.channels, stage.states, stage.rank
    generator = torch.Generator().manual_seed(0)
    u, proj, dt_weight = (
        torch.randn(*shape, generator=generator)
        for shape in ((G, B, H, W, D), (G, B, H, W, NUM_ROUTES, R + 2 * N), (G, NUM_ROUTES, D, R))
    )
    dt_bias = torch.full((G, NUM_ROUTES, D), -3.0)
    A_log = torch.arange(1.0, N + 1).log().expand(G, NUM_ROUTES, D, N).contiguous()
    maps = [tensor.to(device, dtype) for tensor in (u, proj)]
    weights = [tensor.to(device) for tensor in (dt_weight * R**-0.5, dt_bias, A_log, torch.ones(G, NUM_ROUTES, D))]
    return [tensor.requires_grad_() for tensor in (*maps, *weights)]


def in_route_order(proj: Tensor) -> Tensor:
    """The projection (G, B, H, W, 4, C) as four copies have it: (G, B, 4, C, L)."""
    routes = [four_copies.route_copies(proj[..., k, :].flatten(0, 1))[:, k] for k in range(NUM_ROUTES)]
    return torch.stack(routes, dim=1).unflatten(0, proj.shape[:2])  # contiguous


def contenders(
    inputs: list[Tensor], baseline: str, operator: four_copies.Operator, backward: bool, slow: bool
) -> list[Contender]:
    """Whoever takes part, on inputs of the operator; ``slow``: the sequential loop too."""
    u, proj, *weights = inputs
    copies = [u, in_route_order(proj.detach()).requires_grad_(), *weights]

    def contender(name: str, function: Function, arguments: list[Tensor], **options: Any) -> Contender:
        call = _with_gradients(function, arguments) if backward else torch.no_grad()(partial(function, *arguments))
        return Contender(name, lambda: call, **options)

    loop_alone = partial(selective_scan_2d, backend="reference")
    left_out = {"reference"} if u.is_cuda else {"reference", "triton"}  # the loop is last; Triton would be interpreted
    backends = [name for name in available_backends(u.device, u.dtype) if name not in left_out]
    found = [contender(f"mtmamba, {name}", partial(selective_scan_2d, backend=name), inputs) for name in backends]
    baseline_options = {"warm_up": operator is not four_copies.plain_scan}
    found.append(contender(baseline, partial(four_copies.selective_scan, operator), copies, **baseline_options))
    if operator is not four_copies.plain_scan:
        found.append(contender("mamba-ssm alone, copies given", partial(_each, operator), _ready(copies)))
    skip = "" if slow else "skipped (--slow measures it)"
    found.append(contender("sequential loop", loop_alone, inputs, warm_up=False, skip=skip))
    return found + ([machine.fma_loop()] if u.device.type == "cpu" else [])


def _with_gradients(function: Function, inputs: list[Tensor]) -> Call:
    """The answer, and the gradients of all inputs; every answer here is shaped as the first input."""
    grad = torch.randn_like(inputs[0])

    def call() -> object:
        answer = function(*inputs)
        return torch.autograd.grad(answer, inputs, grad if isinstance(answer, Tensor) else grad.unbind())

    return call


def _each(operator: four_copies.Operator, *inputs: Tensor) -> list[Tensor]:
    return [operator(*one) for one in zip(*inputs, strict=True)]


def _ready(copies: list[Tensor]) -> list[Tensor]:
    """What the operator inside four copies gets, for every task: all that surrounds it is done already."""
    u, proj, dt_weight, dt_bias, A_log, D_skip = (tensor.detach().float() for tensor in copies)
    R, N = dt_weight.shape[-1], A_log.shape[-1]
    dt_low, B, C = proj.split([R, N, N], dim=3)
    flat = torch.stack([four_copies.route_copies(x).flatten(1, 2) for x in u])
    dt = torch.einsum("gbkrl,gkdr->gbkdl", dt_low, dt_weight).flatten(2, 3)
    weights = (-torch.exp(A_log.flatten(1, 2)), B, C, D_skip.flatten(1), dt_bias.flatten(1))
    return [tensor.contiguous().requires_grad_() for tensor in (flat, dt, *weights)]


def _figures(updates: int, backward: bool, device: torch.device, results: dict[str, Measured]) -> Figures:
    fma_seconds = results[machine.FMA_NAME].median if machine.FMA_NAME in results else None
    floor = None
    if device.type == "cuda":
        gpu = machine.Gpu.of(device)
        floor = gpu.forward_floor(updates) + (gpu.backward_floor(updates) if backward else 0)

    def figures(contender: str, seconds: float) -> dict[str, float]:
        if contender == machine.FMA_NAME:
            return machine.fma_rate(seconds)
        found = {"G updates/s": updates / seconds / 1e9}
        if fma_seconds is not None:  # what the machine could have computed meanwhile, in the same minute
            found["FMAs per update"] = seconds / updates * machine.fma_count() / fma_seconds
        if floor is not None:
            found |= {"floor (us)": floor * 1e6, "times the floor": seconds / floor}
        return found

    return figures

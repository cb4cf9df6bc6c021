"""How a decoder's time and memory grow with pixels and with tasks, beside four copies and beside attention.

The decoder is measured alone, on random pyramids: exponents are its own, not the encoder's. All three decoders have
the same stages; only what stands in the place of the scan differs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich.table import Table

from mtmamba.bench import four_copies, machine
from mtmamba.bench.attention import GlobalAttention
from mtmamba.bench.measure import Call, Contender, Effort, take_turns
from mtmamba.bench.replace import with_scans_replaced
from mtmamba.bench.report import Report, Row, console, duration, print_heading, print_rows, progress
from mtmamba.models.decoder import Decoder

OURS, ATTENTION = "mtmamba", "attention"
STRIDES = (4, 8, 16, 32)
NOISE = {"seconds": 0.0, "peak_bytes": 2.0**20}  # what is not above it does not count in a fit


@dataclass(frozen=True)
class Case:
    """Side of the square image, and number of tasks."""

    side: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.side}x{self.side}, tasks {self.tasks}"


@dataclass(frozen=True)
class Width:
    """Of a decoder: channels of the finest map (they double at each coarser one), kind of its cross-task block."""

    channels: int
    cross_task: str = "f_ctm"


@dataclass(frozen=True)
class Fit:
    """Of ``quantity ~ against ** exponent``.

    Attributes:
        contender: whose.
        quantity: "seconds" or "peak_bytes".
        against: "pixels" or "tasks".
        exponent: of the straight line through all points, on logarithmic axes, by least squares.
        last: the slope from the last point but one to the last.
        points: how many.
    """

    contender: str
    quantity: str
    against: str
    exponent: float
    last: float
    points: int


def run(
    device: torch.device,
    effort: Effort,
    command: str,
    sides: Sequence[int],
    tasks: Sequence[int],
    at_side: int,
    at_tasks: int,
    width: Width,
    dtype: torch.dtype = torch.float32,
    backward: bool = False,
    budget: float = 8.0,
) -> Report:
    """Measure every side with ``at_tasks`` tasks, and every number of tasks at ``at_side``; print tables on the way.

    Args:
        device: where.
        effort: how long.
        command: to be named in the report.
        sides: of the square image, ascending multiples of 32.
        tasks: numbers of tasks, ascending.
        at_side: side while the number of tasks varies.
        at_tasks: number of tasks while the side varies.
        width: of the decoder.
        dtype: float32, or what autocast computes in.
        backward: forward and backward, not only forward.
        budget: seconds that a call may take; a contender that took longer is not run on more pixels or tasks.
    """
    if wrong := [side for side in (*sides, at_side) if side % STRIDES[-1] or side < 1]:
        raise ValueError(f"sides must be multiples of {STRIDES[-1]}; got {', '.join(map(str, wrong))}")
    inside, operator = four_copies.operator(device)
    baseline = f"four copies ({inside})"
    report = Report("scaling", command, machine.describe(device), baseline)
    print_heading(report)
    if device.type == "cpu":
        loop = [machine.fma_loop()]
        results = take_turns(loop, device, effort)
        print_rows(report.add("calibration", "", loop, results, lambda _, seconds: machine.fma_rate(seconds)), baseline)
    sweeps = {
        "pixels": [Case(side, at_tasks) for side in sorted(set(sides))],
        "tasks": [Case(at_side, count) for count in sorted(set(tasks))],
    }
    rows: dict[Case, list[Row]] = {}
    for cases in sweeps.values():
        over: dict[str, str] = {}  # why a contender runs no further
        for case in cases:
            if case not in rows:
                decoders = _decoders(case, width, device, baseline, operator)
                contenders = [
                    Contender(
                        name,
                        _caller(decoder, case, width, device, dtype, backward),
                        name == OURS,
                        skip=over.get(name, ""),
                    )
                    for name, decoder in decoders.items()
                ]
                with progress(str(case)) as say:
                    results = take_turns(contenders, device, effort, say)
                phase = "forward + backward" if backward else "forward"
                rows[case] = report.add(str(case), phase, contenders, results, _figures(case))
                print_rows(rows[case], baseline)
            for row in rows[case]:
                if row.seconds is not None and row.seconds > budget:
                    over[row.contender] = f"skipped: {duration(row.seconds)} at {row.case} (--budget {budget:g})"
                elif row.note == "out of memory":
                    over[row.contender] = f"skipped: out of memory at {row.case}"
    report.extra = {
        "decoder": asdict(width),
        "dtype": str(dtype).removeprefix("torch."),
        "sweeps": {
            against: [asdict(case) | {"case": str(case)} for case in cases] for against, cases in sweeps.items()
        },
        "fits": [asdict(fit) for against, cases in sweeps.items() for fit in fits(against, cases, rows)],
    }
    return report


def fits(against: str, cases: Sequence[Case], rows: Mapping[Case, Sequence[Row]]) -> list[Fit]:
    """Exponents of every contender's time and memory against "pixels" or "tasks"."""
    found = []
    contenders = dict.fromkeys(row.contender for case in cases for row in rows[case])
    for contender, quantity in itertools.product(contenders, ("seconds", "peak_bytes")):
        points = [
            (case.side**2 if against == "pixels" else case.tasks, getattr(row, quantity))
            for case in cases
            for row in rows[case]
            if row.contender == contender and (getattr(row, quantity) or 0) > NOISE[quantity]
        ]
        if len(points) >= 2:
            x, y = np.log(np.array(points, dtype=np.float64)).T
            exponent, last = np.polyfit(x, y, 1)[0], (y[-1] - y[-2]) / (x[-1] - x[-2])
            found.append(Fit(contender, quantity, against, float(exponent), float(last), len(points)))
    return found


def print_fits(report: Report) -> None:
    """Print the exponents of :func:`run`'s answer."""
    table = Table("quantity", "against", "contender", "exponent", "of the last step", "points", title="exponents")
    for fit in report.extra["fits"]:
        quantity = {"seconds": "time", "peak_bytes": "peak memory"}[fit["quantity"]]
        numbers = (f"{fit['exponent']:.2f}", f"{fit['last']:.2f}", str(fit["points"]))
        table.add_row(quantity, fit["against"], fit["contender"], *numbers)
    console().print(table)


def _decoders(
    case: Case, width: Width, device: torch.device, baseline: str, operator: four_copies.Operator
) -> dict[str, Decoder]:
    torch.manual_seed(0)
    with device:
        ours = Decoder(case.tasks, _channels(width), STRIDES, cross_task=width.cross_task).eval()
        copies = with_scans_replaced(ours, lambda scan: four_copies.FourCopiesScan(scan, operator))
        return {OURS: ours, baseline: copies, ATTENTION: with_scans_replaced(ours, GlobalAttention)}


def _channels(width: Width) -> list[int]:
    return [width.channels * 2**i for i in range(len(STRIDES))]


def _caller(
    decoder: Decoder, case: Case, width: Width, device: torch.device, dtype: torch.dtype, backward: bool
) -> Callable[[], Call]:
    """What makes the call to be timed: one random pyramid of one image through the decoder."""

    def make() -> Call:
        sizes = ((case.side // stride, channels) for stride, channels in zip(STRIDES, _channels(width), strict=True))
        pyramid = [torch.randn(1, side, side, channels, device=device) for side, channels in sizes]
        inputs = [tensor.requires_grad_(backward) for tensor in (*pyramid, *decoder.parameters())]

        def call() -> object:
            with torch.set_grad_enabled(backward), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                answer = decoder(pyramid)
            return torch.autograd.grad(answer, inputs, torch.ones_like(answer)) if backward else answer

        return call

    return make


def _figures(case: Case) -> Callable[[str, float], dict[str, float]]:
    return lambda contender, seconds: {"us per pixel and task": seconds * 1e6 / (case.side**2 * case.tasks)}

"""The commands under ``mtmamba bench``: their options, without torch, so that --help answers at once."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from mtmamba.bench.measure import Effort
    from mtmamba.bench.report import Report

STAGES = ("1/16", "1/8", "1/4", "demo", "tiny")

#: (subparsers, name, what to run, summary, examples) -> parser
AddCommand = Callable[[Any, str, Any, str, str], argparse.ArgumentParser]


def add_commands(commands: Any, add: AddCommand, size: Callable[[str], tuple[int, int]]) -> None:
    """Declare bench, and bench scan, model and scaling.

    Args:
        commands: the sub-parsers of ``mtmamba``.
        add: how the command line makes a command.
        size: how it reads HEIGHTxWIDTH.
    """
    bench = add(
        commands, "bench", _all, "speed and memory on this machine", "mtmamba bench     (all three, in minutes)"
    )
    kinds = bench.add_subparsers(dest="kind", metavar="scan|model|scaling")
    bench.set_defaults(kinds=kinds.choices)
    scan = add(
        kinds,
        "scan",
        _scan,
        "the selective scan: every backend, four copies, the sequential loop",
        "mtmamba bench scan\n"
        "mtmamba bench scan --stages 1/4 --tasks 4 --batch 1 8 --json scan.json\n"
        "mtmamba bench scan --stages 1/16 --slow --seconds 30     (the sequential loop too, with spread)",
    )
    scan.add_argument("--stages", nargs="+", default=["1/16", "1/8", "1/4"], choices=STAGES, help="sizes of maps")
    scan.add_argument("--tasks", nargs="+", type=int, default=[1], metavar="T", help="groups of weights (1)")
    scan.add_argument("--batch", nargs="+", type=int, default=[1], metavar="B", help="images (1)")
    scan.add_argument("--slow", action="store_true", help="run the sequential loop at every size: minutes")
    model = add(
        kinds,
        "model",
        _model,
        "the whole model: inference and training step",
        "mtmamba bench model\n"
        "mtmamba bench model --encoder swin_large_patch4_window12_384 --size 448x576 --mode inference\n"
        "mtmamba bench model --model mtmamba_plus --encoder resnet50 convnext_tiny --dtype bfloat16 --compile",
    )
    model.add_argument("--model", default="mtmamba", choices=("mtmamba", "mtmamba_plus"), help="which (mtmamba)")
    model.add_argument("--tasks", default="nyudv2", help="a benchmark's set of tasks (nyudv2)")
    model.add_argument("--encoder", nargs="+", help="timm's names (convnext_tiny; on a GPU the published Swin-Large)")
    model.add_argument("--size", nargs="+", type=size, metavar="HxW", help="of images (128x160; on a GPU 448x576)")
    model.add_argument("--batch", nargs="+", type=int, default=[1], metavar="B", help="images (1)")
    model.add_argument("--mode", default="both", choices=("inference", "train", "both"), help="what to run (both)")
    model.add_argument("--compile", action="store_true", help="beside it, the model through torch.compile")
    scaling = add(
        kinds,
        "scaling",
        _scaling,
        "time and memory of the decoder against pixels and tasks, beside attention",
        "mtmamba bench scaling --plot scaling.png\n"
        "mtmamba bench scaling --sides 224 448 896 --at-tasks 4 --channels 48 --backward --budget 60",
    )
    sides = [224, 320, 448, 640, 896, 1280, 1792, 2048]
    scaling.add_argument("--sides", nargs="+", type=int, default=sides, metavar="S", help="of the image (224 to 2048)")
    scaling.add_argument("--tasks", nargs="+", type=int, default=[1, 2, 4, 8], metavar="T", help="numbers (1 to 8)")
    scaling.add_argument("--at-side", type=int, default=224, help="side while tasks vary (224)")
    scaling.add_argument("--at-tasks", type=int, default=2, help="tasks while the side varies (2)")
    scaling.add_argument("--channels", type=int, default=16, help="of the finest map; coarser ones double (16)")
    scaling.add_argument("--cross-task", default="f_ctm", choices=("f_ctm", "s_ctm", "none"), help="(f_ctm)")
    scaling.add_argument("--backward", action="store_true", help="forward and backward, not only forward")
    scaling.add_argument("--budget", type=float, default=8.0, help="seconds a call may take before larger ones (8)")
    scaling.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves there")
    for command in (scan, model, scaling):
        _add_common(command)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of maps (float32)")
    command.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    command.add_argument("--repeats", type=int, default=10, help="samples per contender, at most (10)")
    command.add_argument("--seconds", type=float, default=3.0, help="of samples per contender, at most (3)")
    command.add_argument(
        "--tune", action="store_true", help="on a GPU, first choose the scan's constants, and keep them"
    )
    command.add_argument("--quick", action="store_true", help="tiny sizes, one sample: does everything run?")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    command.set_defaults(parser=command)


def _all(options: argparse.Namespace) -> None:
    for kind, parser in options.kinds.items():
        defaults = parser.parse_args([])
        defaults.kind = kind
        defaults.run(defaults)


def _scan(options: argparse.Namespace) -> None:
    from mtmamba.bench import scan

    stages = ["tiny"] if options.quick else options.stages
    _save(scan.run(*_common(options), stages, options.tasks, options.batch, _dtype(options), options.slow), options)


def _model(options: argparse.Namespace) -> None:
    from mtmamba.bench import model
    from mtmamba.models.mtmamba import PUBLISHED_ENCODER

    device, effort, command = _common(options)
    large = device.type == "cuda"
    encoders = options.encoder or [PUBLISHED_ENCODER if large else "convnext_tiny"]
    sizes = options.size or [(448, 576) if large else (128, 160)]
    extra: dict[str, Any] = {}
    if options.quick:
        encoders, sizes = ["convnext_atto"], [(32, 32)]
        extra = {"states": 2, "expansion": 1.0, "stm_blocks": 1}
    phases = {"inference": ["inference"], "train": ["training step"], "both": list(model.PHASES)}[options.mode]
    sorts = (options.model, options.tasks, encoders, sizes, options.batch)
    report = model.run(device, effort, command, *sorts, _dtype(options), phases, options.compile, **extra)
    _save(report, options)


def _scaling(options: argparse.Namespace) -> None:
    from mtmamba.bench import scaling
    from mtmamba.bench.scaling_plot import draw

    sides, tasks, at_side, at_tasks = options.sides, options.tasks, options.at_side, options.at_tasks
    width = scaling.Width(options.channels, options.cross_task)
    if options.quick:
        sides, tasks, at_side, at_tasks, width = [32, 64], [1, 2], 32, 1, scaling.Width(2, options.cross_task)
    common, dtype = _common(options), _dtype(options)
    report = scaling.run(*common, sides, tasks, at_side, at_tasks, width, dtype, options.backward, options.budget)
    scaling.print_fits(report)
    if options.plot:
        draw(report, options.plot)
        print(f"written: {options.plot}")
    _save(report, options)


def _common(options: argparse.Namespace) -> tuple[torch.device, Effort, str]:
    """Device, effort, and the command line as someone else would repeat it."""
    import torch

    from mtmamba.bench.measure import Effort

    if options.repeats < 1 or options.seconds <= 0:
        raise ValueError(f"--repeats and --seconds must be positive, not {options.repeats} and {options.seconds}")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise ValueError(
            f"--device {options.device}: what can be measured here is cpu, or cuda where torch finds a GPU"
        )
    if device.index is not None:
        torch.cuda.set_device(device)  # events are recorded there
    if options.tune:
        os.environ["MTMAMBA_AUTOTUNE"] = "1"
    effort = Effort(1, 0.01) if options.quick else Effort(options.repeats, options.seconds)
    return device, effort, _command_line(options)


def _dtype(options: argparse.Namespace) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, options.dtype)
    return dtype


def _command_line(options: argparse.Namespace) -> str:
    """The options that differ from their defaults, but not the files that are written."""
    words = ["mtmamba", "bench", options.kind]
    beside = ("command", "kind", "kinds", "run", "parser", "traceback", "overrides", "json", "plot")
    for name, value in vars(options).items():
        if name in beside or value == options.parser.get_default(name):
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words += [_text(item) for item in (value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _text(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _save(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        report.save(options.json)
        print(f"written: {options.json}")

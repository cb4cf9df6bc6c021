"""The command line: mtmamba train | eval | eval-edges | predict | info | convert | data | rooms | bench."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mtmamba
from mtmamba.bench.commands import add_commands as add_bench_commands

if TYPE_CHECKING:
    from mtmamba.training.evaluate import Results

# torch is imported by the commands, not here: --help answers at once.

BENCHMARKS = ("nyudv2", "pascal_context", "cityscapes", "ade20k", "rooms", "rooms_extended")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 where training failed, 2 for bad input."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if rest and options.run is not _train:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.overrides = rest
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("mtmamba: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        code = _exit_code(error)
        if code is None or options.traceback:
            raise
        print(f"mtmamba {options.command}: error: {_reason(error)}", file=sys.stderr)
        return code
    return 0


def _reason(error: Exception) -> str:
    """One line. Where jsonargparse lists why each type of a union did not fit, the reason that one of ours gave."""
    reasons: list[str] = []
    for line in map(str.strip, str(error).splitlines()):
        if line.startswith("- "):
            reasons.append(line.removeprefix("- "))
        elif reasons and not line.startswith("Given value"):
            reasons[-1] += f" {line}"
    ours = [reason for reason in reasons if not reason.startswith("Expected a")]
    return " ".join((ours[0] if ours else str(error)).split())


def _exit_code(error: Exception) -> int | None:
    """2 for what a user can mend, 1 for a run that failed, None for a fault of ours."""
    if isinstance(error, ValueError | OSError):
        return 2
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ArgumentError" in names:
        return 2
    return 1 if "NonFiniteLossError" in names else None


def _train(options: argparse.Namespace) -> None:
    from mtmamba.training.run import train

    out = train(options.recipe, options.overrides, options.out)
    print(f"run: {out}\ncheckpoints: {out / 'checkpoints'}\ncurves: tensorboard --logdir {out}")


def _eval(options: argparse.Namespace) -> None:
    from mtmamba.inference.predictor import find_checkpoint, load_any
    from mtmamba.models.views import Views
    from mtmamba.training.evaluate import evaluate, evaluate_constant, make_data
    from mtmamba.training.module import load_training_checkpoint
    from mtmamba.training.processes import launched
    from mtmamba.training.run import find_recipe

    path = find_checkpoint(options.checkpoint)
    spec = None
    if path.suffix == ".ckpt":
        model, spec = load_training_checkpoint(path)
    else:
        model = load_any(path)
    if options.data:
        import yaml

        recipe = yaml.safe_load(find_recipe(options.data).read_text(encoding="utf-8"))
        if not isinstance(recipe, dict) or "data" not in recipe:
            raise ValueError(f"{options.data} has no section 'data'")
        spec = recipe["data"]
        spec.setdefault("init_args", {})["tasks"] = [task.to_config() for task in model.tasks]
    if spec is None:
        raise ValueError(f"{path} does not say on what data to evaluate: give --data RECIPE_OR_YAML")
    data = make_data(spec, _assignments(options.set))
    views = Views(options.flip, tuple(options.scales))
    if options.odsf:
        model.tasks = _with_tolerance(model.tasks, options.odsf)
    with launched(_device(options.device)) as (rank, _, device):
        progress = sys.stderr.isatty() and rank == 0
        results = evaluate(model, data.eval_dataloader(options.split), device, progress, views, options.save)
        constant = None
        if options.constant:
            loaders = data.eval_dataloader("train"), data.eval_dataloader(options.split)
            constant = evaluate_constant(model.tasks, *loaders, progress)
        if rank == 0:
            _report(options, path, model.tasks, results, constant)


def _with_tolerance(tasks: Sequence[Any], max_distance: float) -> list[Any]:
    """Tasks whose edges are matched within ``max_distance`` of the diagonal."""
    from dataclasses import replace

    from mtmamba.tasks import Edge

    if not any(isinstance(task, Edge) for task in tasks):
        raise ValueError("--odsf: the model predicts no edges")
    return [replace(task, max_distance=max_distance) if isinstance(task, Edge) else task for task in tasks]


def _report(
    options: argparse.Namespace, path: Path, tasks: Sequence[Any], results: Results, constant: Results | None
) -> None:
    from mtmamba.training import report

    _console().print(report.screen(results, tasks, constant))
    if options.baseline:
        print(f"Delta_m against {options.baseline}: {report.delta_m_against(results, options.baseline, tasks):+.2f} %")
    for file, text in ((options.markdown, report.markdown), (options.latex, report.latex)):
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text(results, tasks), encoding="utf-8")
            print(f"written: {file}")
    if options.json:
        content = {"checkpoint": str(path), "split": options.split, "metrics": results}
        if constant is not None:
            content["constant_answer"] = constant
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"written: {options.json}")


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100)


def _predict(options: argparse.Namespace) -> None:
    from rich.progress import track

    from mtmamba.inference.predictor import Predictor, list_images, read_image
    from mtmamba.training.processes import launched

    images = list_images(options.images)
    broken = []
    for image in images:  # before any work is done
        try:
            read_image(image)
        except ValueError as error:
            broken.append(str(error))
    if broken:
        raise ValueError("; ".join(broken))
    stems = [image.stem for image in images]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise ValueError(f"several images are called {', '.join(twice)}: their predictions would overwrite each other")
    with launched(_device(options.device)) as (rank, processes, device):
        own = images[rank::processes]
        if options.skip_existing:  # the panel is what is written last
            own = [image for image in own if not (options.out / f"{image.stem}_panel.png").is_file()]
        predictor = Predictor(
            options.checkpoint, device, options.size, options.tasks, options.precision, options.compile
        )
        for image in track(own, "predicting", disable=not sys.stderr.isatty()):
            written = predictor(image).save(options.out)
            print(f"{image}: {', '.join(path.name for path in written)}")
    print(f"written to {options.out}")


def _info(options: argparse.Namespace) -> None:
    import torch
    from rich.table import Table

    from mtmamba.inference.predictor import load_any
    from mtmamba.models.cost import model_cost
    from mtmamba.models.mtmamba import PRESETS, create_model

    if options.model in PRESETS:
        extra = {"encoder": options.encoder} if options.encoder else {}
        with torch.device("meta"):
            model = create_model(options.model, options.tasks, image_size=options.size, **extra)
    else:
        model = load_any(options.model).to("meta")
    size = options.size or model.config["image_size"]
    rows = model_cost(model, size)
    names = ", ".join(f"{task.name} ({task.channels})" for task in model.tasks)
    print(f"{model.config['name']}, encoder {model.config['encoder']}, image {size[0]}x{size[1]}")
    print(f"tasks: {names}")
    table = Table("part", "parameters", "multiply-adds", "scan", "cost")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        if row.part == "all":
            table.add_section()
        cost = (f"{n / 1e9:.2f} G" for n in (row.multiply_adds, row.scan, row.total))
        table.add_row(row.part, f"{row.parameters:,}", *cost)
    _console().print(table)
    print("multiply-adds of matmuls and convolutions; scan: 9 L (4D) N + L (4D) per SS2D; cost: both, as papers count")


def _convert(options: argparse.Namespace) -> None:
    from mtmamba.models.official import model_from_official

    model = model_from_official(options.checkpoint)
    model.save_pretrained(options.out)
    names = ", ".join(task.name for task in model.tasks)
    print(f"{model.config['name']} ({names}) written to {options.out}; use it with mtmamba.load_model({options.out!r})")


def _data_check(options: argparse.Namespace) -> None:
    from mtmamba.data.check import NOTE, check, check_splits
    from mtmamba.data.datasets import open_dataset
    from mtmamba.data.module import resolve_tasks

    layout = options.directory / "tasks.yaml" if options.dataset == "folder" else options.dataset
    tasks = resolve_tasks(str(layout), options.tasks)
    faults, opened = [], []
    for split in options.splits:
        try:
            dataset = open_dataset(options.dataset, options.directory, split, tasks, verify=False)
        except (ValueError, OSError) as error:
            faults.append(f"{split}: {error}")
            continue
        opened.append(dataset)
        faults += [f"{split}: {fault}" for fault in check(dataset, options.workers, sys.stderr.isatty())]
        print(f"{split}: {len(dataset)} images, {', '.join(task.name for task in tasks)}")
    faults += check_splits(opened)
    for fault in faults:
        print(fault)
    serious = [fault for fault in faults if NOTE not in fault]
    if serious:
        raise ValueError(f"{len(serious)} faults in {options.directory}, listed above")
    print("no faults")


def _eval_edges(options: argparse.Namespace) -> None:
    from mtmamba.data.files import read_list
    from mtmamba.metrics import MAX_DISTANCE, evaluate_folders

    distance = options.max_distance or MAX_DISTANCE[options.dataset]
    results = evaluate_folders(
        options.predictions,
        options.truth,
        distance,
        targets="boundaries" if options.boundaries else "labels",
        stems=read_list(options.list) if options.list else None,
        progress=sys.stderr.isatty(),
        workers=options.workers,
    )
    for key, value in results.items():
        print(f"{key} {100 * value:.2f} %")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"max_distance": distance, **results}, indent=2) + "\n", encoding="utf-8")
        print(f"written: {options.json}")


def _rooms_preview(options: argparse.Namespace) -> None:
    from mtmamba.data.rooms import contact_sheet

    options.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(options.seed, options.count, options.size, options.split).save(options.out)
    print(f"written: {options.out}")


def _rooms_write(options: argparse.Namespace) -> None:
    from mtmamba.data.rooms import write_rooms

    splits = {"train": options.train, "val": options.val}
    write_rooms(options.directory, options.layout, splits, options.size, options.seed, sys.stderr.isatty())
    print(f"{options.train} + {options.val} rooms written to {options.directory}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mtmamba",
        description="Multi-task dense scene understanding with Mamba decoders.",
        epilog="Each command explains itself: mtmamba COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"mtmamba {mtmamba.__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = _command(
        commands,
        "train",
        _train,
        "train a model by a recipe",
        "mtmamba train demo --out runs/first\n"
        "mtmamba train demo --trainer.max_steps 2000 --model.learning_rate 2e-4\n"
        "mtmamba train demo --out runs/first --ckpt_path last     (go on with an interrupted run)\n"
        "mtmamba train demo --print_config                        (every option and its value)\n\n"
        "Options beyond these are the recipe's: --model.*, --data.*, --trainer.* (Lightning's), --seed_everything.",
    )
    train.add_argument("recipe", help=f"a YAML file, or a built-in recipe: {', '.join(_recipe_names())}")
    train.add_argument("--out", type=Path, help="directory of the run (default: runs/RECIPE)")

    evaluate = _command(
        commands,
        "eval",
        _eval,
        "every metric of a trained model",
        "mtmamba eval runs/first --constant\n"
        "mtmamba eval runs/first --baseline single_task.json\n"
        "mtmamba eval runs/first/checkpoints/last.ckpt --split test --set test_length=500 --json results.json\n"
        "mtmamba eval saved_model --data demo --flip --latex row.tex\n"
        "mtmamba eval runs/demo --odsf 0.011\n"
        "torchrun --nproc_per_node 4 -m mtmamba.cli eval runs/first     (each image once, by four processes)",
    )
    evaluate.add_argument("checkpoint", help="a .ckpt, a run's directory (its best checkpoint), or a saved model")
    evaluate.add_argument("--data", help="recipe or YAML file whose data to use (default: what it was trained on)")
    evaluate.add_argument("--split", default="val", choices=("train", "val", "test"))
    evaluate.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change an option of the data"
    )
    evaluate.add_argument("--constant", action="store_true", help="beside it, what the best constant answer gets")
    evaluate.add_argument("--baseline", type=Path, help="a file that --json wrote: print Delta_m against it")
    evaluate.add_argument("--json", type=Path, help="write the figures there too")
    evaluate.add_argument("--save", type=Path, metavar="DIR", help="write every answer there, DIR/TASK/IMAGE")
    evaluate.add_argument("--markdown", type=Path, help="write a Markdown table there too")
    evaluate.add_argument("--latex", type=Path, help="write a paper's row there too")
    evaluate.add_argument("--flip", action="store_true", help="average each answer with that of the mirrored image")
    evaluate.add_argument("--scales", nargs="+", type=float, default=[1.0], help="average over scales of the image")
    evaluate.add_argument(
        "--odsf",
        type=float,
        metavar="D",
        help="match edges within D of the diagonal for odsF, oisF and AP (0.011 NYUDv2, 0.0075 PASCAL-Context)",
    )
    evaluate.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")

    predict = _command(
        commands,
        "predict",
        _predict,
        "predict photographs",
        "mtmamba predict runs/first photo.jpg --out predictions\n"
        "mtmamba predict saved_model photos/ --out predictions --tasks semseg depth",
    )
    predict.add_argument("checkpoint", help="a .ckpt, a run's directory, a saved model, or a published .pth.tar")
    predict.add_argument("images", nargs="+", help="image files, or folders of them")
    predict.add_argument("--out", required=True, type=Path, help="directory for the maps and panels")
    predict.add_argument("--tasks", nargs="+", help="only these")
    predict.add_argument("--skip-existing", action="store_true", help="go on where an earlier call was stopped")
    predict.add_argument("--size", type=_size, metavar="HxW", help="work at this many pixels (default: the model's)")
    predict.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    predict.add_argument("--compile", action="store_true", help="torch.compile the model: pays with many photographs")
    predict.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")

    info = _command(
        commands,
        "info",
        _info,
        "parameters and cost of a model, part by part",
        "mtmamba info mtmamba --tasks nyudv2\n"
        "mtmamba info mtmamba_plus --tasks rooms --encoder convnext_tiny --size 480x640",
    )
    info.add_argument("model", help="mtmamba, mtmamba_plus, or a model as for predict")
    info.add_argument("--tasks", default="nyudv2", choices=BENCHMARKS)
    info.add_argument("--encoder", help="timm's name (default: the published Swin-Large)")
    info.add_argument("--size", type=_size, metavar="HxW", help="of the image (default: what the model is made for)")

    convert = _command(
        commands,
        "convert",
        _convert,
        "published checkpoint to safetensors and config",
        "mtmamba convert mtmamba_nyudv2.pth.tar models/mtmamba_nyudv2",
    )
    convert.add_argument("checkpoint", help="the published .pth.tar or .pth")
    convert.add_argument("out", help="directory to write")

    edges = _command(
        commands,
        "eval-edges",
        _eval_edges,
        "odsF, oisF and AP of edges on disk",
        "mtmamba eval-edges predictions/edges NYUDv2/edge --dataset nyudv2\n"
        "mtmamba eval-edges predictions/edges truth --max-distance 0.01 --json edges.json",
    )
    edges.add_argument("predictions", type=Path, help="folder of 8-bit PNGs, 255 = surely an edge")
    edges.add_argument("truth", type=Path, help="folder of label maps or edge maps with the same names (.png, .mat)")
    distance = edges.add_mutually_exclusive_group(required=True)
    distance.add_argument("--dataset", choices=("nyudv2", "pascal_context"), help="whose tolerance to take")
    distance.add_argument("--max-distance", type=float, metavar="D", help="tolerance as a share of the diagonal")
    edges.add_argument("--list", type=Path, metavar="FILE", help="only these images: names, one per line")
    edges.add_argument("--boundaries", action="store_true", help="truth is lines of 255 on 0, not labels of regions")
    edges.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    edges.add_argument("--json", type=Path, help="write the figures there too")

    data = commands.add_parser("data", help="datasets on disk", description="Datasets on disk.")
    data_kinds = data.add_subparsers(dest="kind", required=True, metavar="check")
    check = _command(
        data_kinds,
        "check",
        _data_check,
        "every file of a dataset: is it there, readable, and what it should be?",
        "mtmamba data check /data/NYUDv2 --dataset nyudv2\n"
        "mtmamba data check my_data --dataset folder --splits train val --tasks semseg depth",
    )
    check.add_argument("directory", type=Path, help="of the dataset")
    check.add_argument("--dataset", required=True, choices=(*BENCHMARKS[:4], "folder"), help="whose layout it has")
    check.add_argument("--splits", nargs="+", default=["train", "val"], help="(train val)")
    check.add_argument("--tasks", nargs="+", help="only these")
    check.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one per core)")

    rooms = commands.add_parser("rooms", help="the built-in synthetic data", description="The built-in synthetic data.")
    kinds = rooms.add_subparsers(dest="kind", required=True, metavar="preview|write")
    preview = _command(
        kinds,
        "preview",
        _rooms_preview,
        "a contact sheet of rooms and their truth",
        "mtmamba rooms preview --count 8 --out rooms.png",
    )
    preview.add_argument("--count", type=int, default=6, help="number of rooms (6)")
    preview.add_argument("--split", default="train", choices=("train", "val", "test"))
    preview.add_argument("--out", type=Path, default=Path("rooms.png"), help="picture to write (rooms.png)")
    write = _command(
        kinds,
        "write",
        _rooms_write,
        "rooms on disk, in the layout of a dataset",
        "mtmamba rooms write data/NYUDv2 --layout nyudv2 --train 100 --val 20",
    )
    write.add_argument("directory", type=Path, help="new or empty directory")
    write.add_argument("--layout", required=True, help="nyudv2, pascal_context, cityscapes or folder")
    write.add_argument("--train", type=int, default=100, help="rooms to train on (100)")
    write.add_argument("--val", type=int, default=20, help="rooms to evaluate on (20)")
    for command in (preview, write):
        command.add_argument("--size", type=_size, default=(240, 320), metavar="HxW", help="of the images (240x320)")
        command.add_argument("--seed", type=int, default=0, help="another seed gives other rooms (0)")

    add_bench_commands(commands, _command, _size)
    return parser


def _command(commands: Any, name: str, run: Any, summary: str, examples: str) -> argparse.ArgumentParser:
    indented = "\n".join(f"  {line}" if line else "" for line in examples.splitlines())
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{indented}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _recipe_names() -> list[str]:
    return sorted(path.stem for path in (Path(__file__).parent / "recipes").glob("*.yaml"))


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, as 448x576") from None
    if height < 1 or width < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: both sides must be positive")
    return height, width


def _assignments(pairs: Sequence[str]) -> dict[str, Any]:
    import yaml

    split = [pair.partition("=") for pair in pairs]
    if bad := [key for key, equals, _ in split if not equals]:
        raise ValueError(f"--set takes KEY=VALUE; got {', '.join(bad)}")
    return {key: yaml.safe_load(value) for key, _, value in split}


def _device(name: str | None) -> str:
    import torch

    return name or ("cuda" if torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    sys.exit(main())

"""The command line: mtmamba train | eval | predict | info | convert | rooms | bench."""

from __future__ import annotations

import argparse
import json
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
    reasons = [line.strip().removeprefix("- ") for line in str(error).splitlines() if line.strip().startswith("- ")]
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
    from mtmamba.training.evaluate import evaluate, evaluate_constant, make_data
    from mtmamba.training.module import load_training_checkpoint
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
    device = _device(options.device)
    progress = sys.stderr.isatty()
    results = evaluate(model, data.eval_dataloader(options.split), device, progress)
    constant = None
    if options.constant:
        loaders = data.eval_dataloader("train"), data.eval_dataloader(options.split)
        constant = evaluate_constant(model.tasks, *loaders, progress)
    _print_results(results, constant, model.tasks)
    if options.baseline:
        print(f"Delta_m against {options.baseline}: {_delta_m(results, options.baseline, model.tasks):+.2f} %")
    if options.json:
        content = {"checkpoint": str(path), "split": options.split, "metrics": results}
        if constant is not None:
            content["constant_answer"] = constant
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"written: {options.json}")


def _delta_m(results: Results, baseline: Path, tasks: Sequence[Any]) -> float:
    """Mean relative change of every task's number against those in a file that ``--json`` wrote, in percent."""
    from mtmamba.metrics import delta_m

    try:
        before = json.loads(baseline.read_text(encoding="utf-8"))["metrics"]
        numbers = {task.name: before[task.name][task.primary] for task in tasks}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{baseline} has not every task's metric, as `mtmamba eval --json` writes it: {error}"
        ) from error
    own = {task.name: results[task.name][task.primary] for task in tasks}
    return delta_m(own, numbers, {task.name: task.higher_is_better for task in tasks})


def _print_results(results: Results, constant: Results | None, tasks: Sequence[Any]) -> None:
    from rich.table import Table

    table = Table("task", "metric", "value")
    if constant is not None:
        table.add_column("constant answer")
        table.add_column("ratio")
    for column in table.columns[2:]:
        column.justify = "right"
    for task in tasks:
        for key, value in results[task.name].items():
            row = [task.name, f"[bold]{key}[/]" if key == task.primary else key, f"{value:.4f}"]
            if constant is not None:
                base = constant[task.name][key]
                row += [f"{base:.4f}", f"{value / base:.2f}x" if base else "-"]
            table.add_row(*row)
        table.add_section()
    _console().print(table)


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100)


def _predict(options: argparse.Namespace) -> None:
    from rich.progress import track

    from mtmamba.inference.predictor import Predictor, list_images, read_image

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
    predictor = Predictor(
        options.checkpoint, options.device, options.size, options.tasks, options.precision, options.compile
    )
    for image in track(images, "predicting", disable=not sys.stderr.isatty()):
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
        "mtmamba eval saved_model --data demo",
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

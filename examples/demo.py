"""`make demo`: six tasks from scratch on a CPU, then a table, curves, and pictures; everything goes to demo/."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from PIL import Image
from skimage import data as skimage_data
from sklearn.datasets import load_sample_images
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtmamba.cli import main as mtmamba
from mtmamba.data.rooms import RoomsDataset
from mtmamba.inference.predictor import Predictor, find_checkpoint
from mtmamba.inference.visualize import panel
from mtmamba.tasks import Task

# What learning must bring over the best constant answer: task -> (metric, bound on the ratio, more is better)
GOALS = {
    "semseg": ("mIoU", 4.0, True),
    "human_parts": ("mIoU", 2.0, True),
    "saliency": ("maxF", 1.5, True),
    "depth": ("rmse", 0.6, False),
    "normals": ("mean", 0.65, False),
    "edge": ("pixelF", 1.5, True),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python examples/demo.py --out demo")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="directory to write; emptied first (demo)")
    parser.add_argument("--recipe", default="demo", help="recipe to train by (demo)")
    parser.add_argument("--scenes", type=int, default=4, help="validation rooms to draw (4)")
    options, overrides = parser.parse_known_args()
    out: Path = options.out
    started = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)

    print("1. Training on synthetic rooms, all tasks at once", flush=True)
    run("train", options.recipe, "--out", out / "run", *overrides)
    trained = time.monotonic()
    draw_curves(out / "run", out / "curves.png")

    print("\n2. Evaluation on rooms it never saw, beside the best answer that ignores the image", flush=True)
    run("eval", out / "run", "--constant", "--json", out / "metrics.json")

    print("\n3. Pictures", flush=True)
    predictor = Predictor(find_checkpoint(out / "run"))
    height, width = predictor.model.config["image_size"]
    draw_scenes(predictor, (height, width), options.scenes, out)
    save_photographs(out / "photographs")
    run("predict", out / "run", out / "photographs", "--out", out / "predictions")

    print("\n4. Summary")
    reached = report(json.loads((out / "metrics.json").read_text()))
    minutes = (time.monotonic() - started) / 60
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(f"{minutes:.1f} minutes, of which training {(trained - started) / 60:.1f}; {memory:.1f} GiB at the peak")
    print(f"table                      {out / 'metrics.json'}")
    print(f"curves                     {out / 'curves.png'}")
    print(f"rooms, with their truth    {out}/room_*.png")
    print(f"photographs                {out}/predictions/*_panel.png")
    print(f"the model                  {find_checkpoint(out / 'run')}")
    return 0 if reached else 1


def run(*arguments: object) -> None:
    """A command of mtmamba's; ends the demo where it fails."""
    code = mtmamba([str(argument) for argument in arguments])
    if code:
        sys.exit(code)


def draw_curves(directory: Path, path: Path) -> None:
    """Every task's training loss, and its metric in validation, against the step."""
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    names = [tag.removeprefix("train/") for tag in tags if tag.startswith("train/") and tag != "train/loss"]
    figure, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained")
    for axis, name in zip(axes.flat, names, strict=False):
        points = [(event.step, event.value) for event in events.Scalars(f"train/{name}")]
        steps, values = zip(*points, strict=True)
        smooth = [values[0]]
        for value in values[1:]:
            smooth.append(0.9 * smooth[-1] + 0.1 * value)
        axis.plot(steps, values, color="#9ecae1", linewidth=0.8)
        axis.plot(steps, smooth, color="#08519c", label="training loss")
        if f"val_loss/{name}" in tags:
            checks = [(event.step, event.value) for event in events.Scalars(f"val_loss/{name}")]
            axis.plot(*zip(*checks, strict=True), "o", color="#d95f02", label="validation loss")
        axis.set(title=name, xlabel="step", yscale="log")
        axis.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_scenes(predictor: Predictor, size: tuple[int, int], count: int, out: Path) -> None:
    """Validation rooms with every task's answer, and the truth below."""
    tasks = predictor.tasks
    rooms = RoomsDataset("val", count, size, tasks)
    for i in range(count):
        sample = rooms[i]
        prediction = predictor(sample["image"].as_subclass(torch.Tensor))
        maps: dict[Task, object] = {task: prediction[task.name] for task in tasks}
        truth = {task: task.prepare(sample[task.name].as_subclass(torch.Tensor)) for task in tasks}
        panel(prediction.image, maps, truth, columns=len(tasks) + 1).save(out / f"room_{i}.png")  # type: ignore[arg-type]


def save_photographs(directory: Path) -> None:
    """The photographs that scikit-image and scikit-learn bring along."""
    directory.mkdir(parents=True, exist_ok=True)
    china, flower = load_sample_images().images
    photographs = {
        "coffee": skimage_data.coffee(),
        "astronaut": skimage_data.astronaut(),
        "motorcycle": skimage_data.stereo_motorcycle()[0],
        "cat": skimage_data.chelsea(),
        "temple": china,
        "flower": flower,
    }
    for name, pixels in photographs.items():
        Image.fromarray(pixels).save(directory / f"{name}.jpg", quality=92)


def report(content: dict[str, dict[str, dict[str, float]]]) -> bool:
    """Print each task's number against its goal; whether all are reached."""
    reached = True
    for task, (metric, bound, more) in GOALS.items():
        if task not in content["metrics"]:
            continue
        value, constant = content["metrics"][task][metric], content["constant_answer"][task][metric]
        ratio = value / constant
        good = ratio >= bound if more else ratio <= bound
        reached &= good
        sign = ">=" if more else "<="
        print(
            f"{task:12} {metric:7} {value:8.4f}   constant {constant:8.4f}   {ratio:5.2f}x, goal {sign} {bound}x   "
            f"{'reached' if good else 'NOT reached'}"
        )
    return reached


if __name__ == "__main__":
    sys.exit(main())

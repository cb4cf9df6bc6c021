"""Recipes for data on disk, each in its true layout: they hold the published numbers, train, and evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mtmamba.cli import main
from mtmamba.data.rooms import write_rooms
from mtmamba.models.mtmamba import BENCHMARK_SIZES
from mtmamba.training.run import recipes, train

PUBLISHED = {  # reference: protocol, the six published runs; steps, rate, weight decay
    "nyudv2_mtmamba": (50_000, 1e-4, 1e-5),
    "pascal_context_mtmamba": (50_000, 1e-4, 1e-5),
    "cityscapes_mtmamba": (40_000, 1e-4, 1e-6),
    "nyudv2_mtmamba_plus": (40_000, 2e-5, 1e-6),
    "pascal_context_mtmamba_plus": (40_000, 8e-5, 1e-6),
    "cityscapes_mtmamba_plus": (40_000, 1e-4, 1e-6),
}
MODERN = ("nyudv2_modern", "pascal_context_modern", "cityscapes_modern")
#: A model that trains in a second, on images of a few pixels.
REDUCED = {
    "model.encoder": "convnext_atto",
    "model.pretrained": "false",
    "model.decoder": "{states: 2, expansion: 1.0, stm_blocks: 1}",
    "data.num_workers": 0,
    "data.batch_size": 1,
    "trainer.max_steps": 2,
    "trainer.val_check_interval": 2,
    "trainer.accelerator": "cpu",
    "trainer.log_every_n_steps": 1,
}


def benchmark_of(recipe: str) -> str:
    return next(name for name in BENCHMARK_SIZES if recipe.startswith(name))


def options(**changes: object) -> list[str]:
    return [f"--{key}={value}" for key, value in {**REDUCED, **changes}.items()]


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> Path:
    """Small data sets in the layouts of all readers."""
    root = tmp_path_factory.mktemp("disk")
    for layout in ("nyudv2", "pascal_context", "cityscapes", "folder"):
        write_rooms(root / layout, layout, {"train": 2, "val": 2}, (40, 56), progress=False)
    shapes = root / "pascal_context" / "pascal-context"
    if not (shapes / "labels.txt").exists():
        names = {440: "wall", 158: "floor", 68: "ceiling", 454: "window", 115: "door", 397: "table", 72: "chair"}
        text = "".join(f"{number}: {names.get(number, f'class{number}')}\n" for number in range(1, 460))
        (shapes / "labels.txt").write_text(text)
    write_ade20k(root / "ade20k")
    return root


def write_ade20k(root: Path) -> None:
    random = np.random.default_rng(0)
    for split in ("training", "validation"):
        for index in range(2):
            name = f"ADE_{split[:5]}_{index:08d}"
            image, labels = root / "images" / split, root / "annotations" / split
            image.mkdir(parents=True, exist_ok=True)
            labels.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (40, 56, 3), np.uint8)).save(image / f"{name}.jpg")
            Image.fromarray(np.kron(random.integers(0, 151, (5, 7)), np.ones((8, 8))).astype(np.uint8)).save(
                labels / f"{name}.png"
            )


def test_no_recipe_is_left_untested():
    assert set(recipes()) == {*PUBLISHED, *MODERN, "folder", "demo", "debug"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name):
    content = yaml.safe_load(recipes()[name].read_text())
    model, data, trainer = content["model"], content["data"]["init_args"], content["trainer"]
    assert (trainer["max_steps"], model["learning_rate"], model["weight_decay"]) == PUBLISHED[name]
    assert model["encoder"] == "swin_large_patch4_window12_384.ms_in22k"
    size = list(BENCHMARK_SIZES[benchmark_of(name)])
    assert model["image_size"] == data["size"] == size
    assert data["dataset"] == model["tasks"] == benchmark_of(name)
    assert data["batch_size"] == (4 if name.endswith("plus") else 1)
    assert (model.get("loss", "log") == "sum") == (name == "nyudv2_mtmamba_plus")
    if name == "nyudv2_mtmamba_plus":
        assert model["loss_weights"] == {"semseg": 1, "depth": 1, "normals": 10, "edge": 50}
    if name.startswith("cityscapes"):
        assert data["resize"]
        assert not data["augment"]
    else:
        assert data["scale"] == [0.5, 2.0]
    assert {"precision", "gradient_clip_val"}.isdisjoint(trainer)  # no AMP, no clipping


@pytest.mark.parametrize("name", [*PUBLISHED, *MODERN])
def test_recipe_trains_at_reduced_size(name, disk, tmp_path):
    benchmark = benchmark_of(name)
    small = {"data.root": disk / benchmark, "data.size": "[32, 64]", "model.image_size": "[32, 64]"}
    if name in MODERN:
        small |= {"model.compile": "false"}  # takes minutes
    if benchmark == "cityscapes":  # labels have twice the input's resolution
        small |= {"data.size": "[20, 28]", "model.image_size": "[20, 28]"}
    out = train(name, options(**small), tmp_path / "out")
    assert (out / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("name", ["nyudv2", "pascal_context", "cityscapes"])
def test_evaluation_of_what_was_trained(name, disk, tmp_path):
    small = {"data.root": disk / name, "data.size": "[40, 56]", "model.image_size": "[40, 56]"}
    if name == "cityscapes":
        small |= {"data.size": "[20, 28]", "model.image_size": "[20, 28]"}
    train(f"{name}_mtmamba_plus", options(**small), tmp_path / "out")
    files = ["--json", tmp_path / "r.json", "--markdown", tmp_path / "r.md", "--latex", tmp_path / "r.tex"]
    views = ["--flip", "--scales", "1", "1.5", "--save", str(tmp_path / "maps")]
    assert main(["eval", str(tmp_path / "out"), "--device", "cpu", *map(str, files), *views]) == 0
    metrics = json.loads((tmp_path / "r.json").read_text())["metrics"]
    assert np.isfinite([value for values in metrics.values() for value in values.values()]).all()
    assert ("odsF" in metrics.get("edge", {})) == (name != "cityscapes")
    for task in metrics:
        assert len({path.stem for path in (tmp_path / "maps" / task).rglob("*.png")}) == 2
        assert f"| {task} |" in (tmp_path / "r.md").read_text()
        assert task.replace("_", r"\_") in (tmp_path / "r.tex").read_text()


def test_saved_edges_get_the_figures_of_the_evaluation(disk, tmp_path):
    """The same odsF from the model's answers, padded and cropped again, as from the files on disk."""
    small = {"data.root": disk / "nyudv2", "data.size": "[48, 61]", "model.image_size": "[48, 64]"}
    train("nyudv2_mtmamba", options(**small), tmp_path / "out")
    files = ["--json", str(tmp_path / "r.json"), "--save", str(tmp_path / "maps")]
    assert main(["eval", str(tmp_path / "out"), "--device", "cpu", *files]) == 0
    truth = tmp_path / "truth"
    truth.mkdir()
    for name in (disk / "nyudv2" / "gt_sets" / "val.txt").read_text().split():
        (truth / f"{name}.png").write_bytes((disk / "nyudv2" / "edge" / f"{name}.png").read_bytes())
    folders = [str(tmp_path / "maps" / "edge"), str(truth)]
    wide = ["--max-distance", "0.011", "--workers", "1", "--json", str(tmp_path / "e.json")]
    assert main(["eval-edges", *folders, *wide]) == 0
    want = json.loads((tmp_path / "r.json").read_text())["metrics"]["edge"]
    got = json.loads((tmp_path / "e.json").read_text())
    for key in ("odsF", "oisF", "AP"):
        assert got[key] == pytest.approx(want[key], abs=1e-9), key


def test_own_data(disk, tmp_path):
    root = disk / "folder"
    (root / "depth" / "train_000001.npy").unlink()  # a target that is missing for one image is allowed
    for path in root.glob("*/val_000001.*"):  # images may differ in size
        if path.suffix == ".npy":
            np.save(path, np.load(path)[:32, :40])
        else:
            Image.fromarray(np.array(Image.open(path))[:32, :40]).save(path)
    own = {
        "model.tasks": root / "tasks.yaml",
        "data.root": root,
        "data.size": "[32, 32]",
        "model.image_size": "[32, 32]",
    }
    out = train("folder", options(**own), tmp_path / "out")
    assert main(["eval", str(out), "--device", "cpu"]) == 0


def test_ade20k(disk, tmp_path):
    path = tmp_path / "ade20k.yaml"
    content = yaml.safe_load(recipes()["nyudv2_mtmamba"].read_text())
    content["model"]["tasks"] = content["data"]["init_args"]["dataset"] = "ade20k"
    path.write_text(yaml.safe_dump(content))
    own = {"data.root": disk / "ade20k", "data.size": "[32, 32]", "model.image_size": "[32, 32]"}
    train(str(path), options(**own), tmp_path / "out")
    assert main(["eval", str(tmp_path / "out"), "--device", "cpu"]) == 0


@pytest.mark.parametrize("name", ["nyudv2", "cityscapes", "folder"])
def test_check_finds_no_fault(name, disk, capsys):
    assert main(["data", "check", str(disk / name), "--dataset", name, "--workers", "0"]) == 0
    assert "no faults" in capsys.readouterr().out


def test_check_names_the_file(disk, tmp_path, capsys):
    write_rooms(tmp_path / "d", "nyudv2", {"train": 2, "val": 1}, (16, 16), progress=False)
    broken = tmp_path / "d" / "edge" / "train_000001.png"
    broken.write_bytes(broken.read_bytes()[:30])
    assert main(["data", "check", str(tmp_path / "d"), "--dataset", "nyudv2", "--workers", "0"]) == 2
    assert str(broken) in capsys.readouterr().out


def test_a_root_that_was_not_given_is_named(tmp_path, capsys):
    assert main(["train", "nyudv2_mtmamba", "--out", str(tmp_path / "o")]) == 2
    assert "required: root" in capsys.readouterr().err


def test_a_dataset_that_is_not_there_shows_before_an_encoder_is_fetched(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("timm.create_model", lambda *a, **k: pytest.fail("the model was made first"))
    assert main(["train", "nyudv2_mtmamba", "--out", str(tmp_path / "o"), "--data.root", str(tmp_path / "no")]) == 2
    assert f"{tmp_path / 'no'}: missing" in capsys.readouterr().err
    assert not (tmp_path / "o" / "checkpoints").exists()


def test_an_encoder_that_cannot_be_fetched_names_the_way_out(disk, tmp_path, capsys, monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no connection")

    monkeypatch.setattr("timm.create_model", offline)
    root = str(disk / "nyudv2")
    assert main(["train", "nyudv2_mtmamba", "--out", str(tmp_path / "o"), "--data.root", root]) == 2
    assert "--model.pretrained FILE" in capsys.readouterr().err


def test_edges_on_disk_get_the_figures_of_the_metric(tmp_path, capsys):
    random = np.random.default_rng(0)
    labels = np.kron(random.integers(0, 5, (4, 6)), np.ones((10, 10), int)).astype(np.uint8)
    for folder, pixels in (
        ("found", (np.abs(np.diff(labels.astype(int), axis=1, prepend=0)) > 0) * np.uint8(255)),
        ("true", labels),
    ):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / "a.png")
    paths = [str(tmp_path / name) for name in ("found", "true")]
    assert (
        main(["eval-edges", *paths, "--max-distance", "0.03", "--workers", "1", "--json", str(tmp_path / "e.json")])
        == 0
    )
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["max_distance"] == 0.03
    assert 0.3 < result["odsF"] < 1  # vertical boundaries only
    assert f"odsF {100 * result['odsF']:.2f} %" in capsys.readouterr().out
    (tmp_path / "found" / "a.png").unlink()
    assert main(["eval-edges", *paths, "--dataset", "nyudv2", "--workers", "1"]) == 2
    assert "files missing" in capsys.readouterr().err

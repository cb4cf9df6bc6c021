"""The command line as a user meets it: every command once, and one clear line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

from mtmamba.cli import main
from tests.models.test_official import published_state, write

COMMANDS = (
    *(["train"], ["eval"], ["predict"], ["info"], ["convert"], ["rooms", "preview"], ["rooms", "write"], ["bench"]),
    *(["eval-edges"], ["data", "check"]),
    *(["bench", "scan"], ["bench", "model"], ["bench", "scaling"]),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The debug recipe, trained by its command."""
    out = tmp_path_factory.mktemp("cli") / "run"
    options = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.accelerator", "cpu"]
    assert main(["train", "debug", "--out", str(out), *options]) == 0
    return out


def refused(capsys, *arguments: object) -> str:
    """The one line that a mistake gets, with exit code 2."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse ends by itself
        code = stop.code
    assert code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert f"  mtmamba {' '.join(command)} " in capsys.readouterr().out.split("examples:")[1]


def test_benchmarks_of_the_command_line_are_those_of_the_tasks():
    """They are written twice, so that --help need not import torch."""
    from mtmamba.cli import BENCHMARKS
    from mtmamba.tasks import benchmark

    with pytest.raises(ValueError, match=f"known: {', '.join(BENCHMARKS)}$"):
        benchmark("none of them")


def test_help_does_not_wait_for_torch():
    code = "import sys, mtmamba.cli; mtmamba.cli._parser(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_train_eval_predict(run, tmp_path, capsys):
    assert main(["eval", str(run), "--constant", "--json", str(tmp_path / "m.json"), "--set", "val_length=2"]) == 0
    table = capsys.readouterr().out
    assert "mIoU" in table
    assert "constant" in table
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["metrics"].keys() == content["constant_answer"].keys()
    own = ["eval", str(run), "--set", "val_length=2", "--baseline", str(tmp_path / "m.json")]
    assert main(own) == 0
    assert "Delta_m" in capsys.readouterr().out
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "photo.jpg")
    assert main(["predict", str(run), str(tmp_path / "photo.jpg"), "--out", str(tmp_path / "maps")]) == 0
    assert (tmp_path / "maps" / "photo_panel.png").is_file()
    assert (tmp_path / "maps" / "photo_depth.npy").is_file()


def test_a_saved_model_is_evaluated_on_a_recipes_data(run, tmp_path, capsys):
    from mtmamba.inference.predictor import load_any

    load_any(run).save_pretrained(tmp_path / "saved")
    assert "give --data" in refused(capsys, "eval", tmp_path / "saved")
    assert main(["eval", str(tmp_path / "saved"), "--data", "debug"]) == 0


def test_info_counts_as_the_paper(capsys):
    assert main(["info", "mtmamba", "--tasks", "nyudv2"]) == 0
    last = next(line for line in capsys.readouterr().out.splitlines() if " all " in line)
    assert "307,999,137" in last
    assert "456.50 G" in last
    assert "81.72 G" in last


def test_info_of_a_trained_model(run, capsys):
    assert main(["info", str(run)]) == 0
    assert "convnext_atto" in capsys.readouterr().out


def test_convert(tmp_path, capsys):
    source = write(tmp_path / "published.pth.tar", published_state("mtmamba_plus_cityscapes_window7"))
    assert main(["convert", str(source), str(tmp_path / "converted")]) == 0
    assert "mtmamba_plus (semseg, depth)" in capsys.readouterr().out
    assert (tmp_path / "converted" / "model.safetensors").is_file()


def test_rooms(tmp_path):
    assert main(["rooms", "preview", "--count", "2", "--size", "24x32", "--out", str(tmp_path / "sheet.png")]) == 0
    assert Image.open(tmp_path / "sheet.png").size[0] > 32
    options = ["--layout", "nyudv2", "--train", "2", "--val", "1", "--size", "24x32"]
    assert main(["rooms", "write", str(tmp_path / "data"), *options]) == 0
    assert len((tmp_path / "data" / "gt_sets" / "train.txt").read_text().split()) == 2


def test_no_such_recipe(capsys):
    assert "debug, demo" in refused(capsys, "train", "nope")


def test_unknown_task(capsys, tmp_path):
    assert "kitti" in refused(capsys, "train", "debug", "--out", tmp_path / "o", "--model.tasks", "kitti")


def test_images_too_small(capsys, tmp_path):
    line = refused(capsys, "train", "debug", "--out", tmp_path / "o", "--data.size", "[3,3]")
    assert line.endswith("error: size must be (height, width), each at least 8, got (3, 3)")


def test_unknown_option(capsys, tmp_path):
    assert "learning_speed" in refused(capsys, "train", "debug", "--out", tmp_path / "o", "--model.learning_speed", "1")


def test_run_exists(capsys, run):
    assert "--ckpt_path last" in refused(capsys, "train", "debug", "--out", run)


def test_corrupt_image(capsys, run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no")
    assert "broken.jpg is no readable image" in refused(
        capsys, "predict", run, tmp_path / "broken.jpg", "--out", tmp_path / "o"
    )
    assert not (tmp_path / "o").exists()


def test_empty_folder(capsys, run, tmp_path):
    assert "holds no images" in refused(capsys, "predict", run, tmp_path, "--out", tmp_path / "o")


def test_images_of_one_name(capsys, run, tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    assert "overwrite" in refused(capsys, "predict", run, tmp_path, "--out", tmp_path / "o")


def test_checkpoint_of_another_model(capsys, tmp_path):
    torch.save({"model": {"fc.weight": torch.zeros(2)}}, tmp_path / "x.pth.tar")
    assert "no published checkpoint" in refused(capsys, "convert", tmp_path / "x.pth.tar", tmp_path / "o")


def test_truncated_checkpoint(capsys, run, tmp_path):
    whole = (run / "checkpoints" / "last.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    assert "no readable checkpoint" in refused(capsys, "eval", tmp_path / "cut.ckpt")


def test_unwritable_output(capsys, run, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert "a.png" in refused(capsys, "predict", run, tmp_path / "a.png", "--out", tmp_path / "a.png")


@pytest.mark.parametrize("size", ["0x4", "big", "4"])
def test_wrong_size(capsys, size):
    assert "--size" in refused(capsys, "info", "mtmamba", "--size", size)


def test_wrong_assignment(capsys, run):
    assert "KEY=VALUE" in refused(capsys, "eval", run, "--set", "val_length")
    assert "frames" in refused(capsys, "eval", run, "--set", "frames=3")


def test_baseline_without_the_tasks(capsys, run, tmp_path):
    (tmp_path / "b.json").write_text('{"metrics": {"flow": {}}}')
    assert "b.json has not every task" in refused(
        capsys, "eval", run, "--set", "val_length=1", "--baseline", tmp_path / "b.json"
    )


def test_unknown_model(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "no such directory" in refused(capsys, "info", "mtmambo")


def test_fault_of_ours_is_not_hidden(monkeypatch):
    import mtmamba.cli as cli

    def broken(options):
        raise KeyError("a bug")

    monkeypatch.setattr(cli, "_convert", broken)
    with pytest.raises(KeyError):
        main(["convert", "a", "b"])

"""Two processes that train or evaluate together, and runs that are killed: the same figures as one that was not."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mtmamba.training.checkpoints import AtomicCheckpointIO, newest

RECIPE = {
    "seed_everything": 1,
    "model": {
        "name": "mtmamba",
        "tasks": "rooms",
        "only": ["semseg", "depth"],
        "encoder": "convnext_atto",
        "image_size": [32, 32],
        "decoder": {"states": 2, "expansion": 1.0, "stm_blocks": 1, "head": "dense", "drop_path_rate": 0.0},
        "learning_rate": 1e-3,
    },
    "data": {
        "class_path": "mtmamba.data.module.RoomsDataModule",
        "init_args": {"size": [32, 32], "batch_size": 1, "val_length": 5, "train_length": 7, "num_workers": 0},
    },
    "trainer": {"max_steps": 4, "val_check_interval": 2, "accelerator": "cpu", "log_every_n_steps": 1},
}


def command(*arguments: object, processes: int = 1) -> list[str]:
    own = [sys.executable, "-m", "mtmamba.cli", *map(str, arguments)]
    if processes == 1:
        return own
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", str(port)]
    return [sys.executable, *start, *own[1:]]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # sums depend on the threads


def call(*arguments: object, processes: int = 1) -> str:
    done = subprocess.run(
        command(*arguments, processes=processes), capture_output=True, text=True, timeout=300, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def state(folder: Path, name: str = "last.ckpt") -> dict:
    return torch.load(folder / "checkpoints" / name, weights_only=True)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


@pytest.fixture(scope="module")
def both(recipe, tmp_path_factory) -> dict[str, tuple[Path, str]]:
    """The same training by two processes, and by one that accumulates two batches."""
    folder = tmp_path_factory.mktemp("runs")
    two = ["--trainer.devices", 2, "--trainer.strategy", "ddp"]
    one = ["--trainer.devices", 1, "--trainer.accumulate_grad_batches", 2, "--trainer.val_check_interval", 4]
    return {
        "two": (folder / "two", call("train", recipe, "--out", folder / "two", *two, processes=2)),
        "one": (folder / "one", call("train", recipe, "--out", folder / "one", *one)),
    }


def test_two_processes_learn_what_one_learns_from_the_same_images(both):
    two, one = (state(both[name][0])["state_dict"] for name in ("two", "one"))
    assert two.keys() == one.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], atol=1e-5, rtol=1e-4, msg=key)


def test_the_log_states_how_many_images_a_step_takes(both):
    assert "2 images per step (1 x 2 processes x 1 accumulated)" in both["two"][1]
    assert "2 images per step (1 x 1 processes x 2 accumulated)" in both["one"][1]


def test_validation_by_two_processes_counts_each_image_once(both):
    lines = [re.findall(r"validation at step 4: (.*)", both[name][1]) for name in ("two", "one")]
    assert lines[0] == lines[1] != []


def test_evaluation_by_two_processes_gives_the_figures_of_one(both, tmp_path):
    run, _ = both["one"]
    call("eval", run, "--json", tmp_path / "one.json")
    call("eval", run, "--json", tmp_path / "two.json", processes=2)
    one, two = (json.loads((tmp_path / f"{name}.json").read_text())["metrics"] for name in ("one", "two"))
    assert one["semseg"] == two["semseg"]  # counts
    assert two["depth"] == pytest.approx(one["depth"], rel=1e-12)  # float64 sums, in another order


def test_killed_and_resumed_equals_uninterrupted(recipe, tmp_path):
    options = ["--trainer.max_steps", 40, "--trainer.val_check_interval", 2, "--trainer.limit_val_batches", 1]
    call("train", recipe, "--out", tmp_path / "whole", *options)
    out = tmp_path / "killed"
    victim = subprocess.Popen(
        command("train", recipe, "--out", out, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "before_last.ckpt").exists() and victim.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert newest(out / "checkpoints").is_file()
    assert torch.load(newest(out / "checkpoints"), weights_only=True)["global_step"] < 40  # it did die on the way
    call("train", recipe, "--out", out, *options, "--ckpt_path", "last")
    whole, resumed = state(tmp_path / "whole"), state(out)
    assert whole["global_step"] == resumed["global_step"] == 40
    for key, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, resumed["state_dict"][key]), key
    assert whole["lr_schedulers"] == resumed["lr_schedulers"]
    for index, moments in whole["optimizer_states"][0]["state"].items():
        for key, tensor in moments.items():
            assert torch.equal(tensor, resumed["optimizer_states"][0]["state"][index][key]), (index, key)


def saved(folder: Path, *steps: int) -> Path:
    for step in steps:
        AtomicCheckpointIO().save_checkpoint({"step": step, "x": torch.arange(1000)}, folder / "last.ckpt")
    return folder


def test_the_last_two_are_kept(tmp_path):
    saved(tmp_path, 1, 2, 3)
    kept = {path.name: torch.load(path, weights_only=True)["step"] for path in tmp_path.iterdir()}
    assert kept == {"last.ckpt": 3, "before_last.ckpt": 2}
    assert newest(tmp_path).name == "last.ckpt"


def test_a_truncated_checkpoint_is_passed_over_loudly(tmp_path, capsys):
    saved(tmp_path, 1, 2)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-200])
    assert newest(tmp_path).name == "before_last.ckpt"
    said = capsys.readouterr().err
    assert "WARNING" in said
    assert str(last) in said


def test_killed_between_two_names(tmp_path, capsys):
    saved(tmp_path, 1, 2)
    (tmp_path / "last.ckpt").unlink()
    assert newest(tmp_path).name == "before_last.ckpt"
    assert "WARNING" in capsys.readouterr().err


def test_nothing_readable_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        newest(tmp_path)
    saved(tmp_path, 1)
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        newest(tmp_path)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    saved(tmp_path, 1)

    def full(self, checkpoint, path, storage_options=None):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mtmamba.training.checkpoints.TorchCheckpointIO.save_checkpoint", full)
    with pytest.raises(OSError, match=r"last\.ckpt.*disk full"):
        saved(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["step"] == 1


def test_two_processes_predict_each_photograph_once_and_go_on_later(both, tmp_path):
    run, _ = both["one"]
    photos, maps = tmp_path / "photos", tmp_path / "maps"
    photos.mkdir()
    for index in range(3):
        Image.fromarray(np.full((32, 40, 3), 60 * index, np.uint8)).save(photos / f"p{index}.png")
    said = call("predict", run, photos, "--out", maps, "--device", "cpu", processes=2)
    assert sorted(re.findall(r"(p\d)\.png:", said)) == ["p0", "p1", "p2"]
    assert {path.name for path in maps.glob("*_panel.png")} == {f"p{index}_panel.png" for index in range(3)}
    (maps / "p1_panel.png").unlink()  # as if stopped there
    said = call("predict", run, photos, "--out", maps, "--device", "cpu", "--skip-existing")
    assert re.findall(r"(p\d)\.png:", said) == ["p1"]

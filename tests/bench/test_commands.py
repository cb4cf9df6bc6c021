"""Every benchmark as a user starts it, at sizes that take no time."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mtmamba.bench import commands, scaling
from mtmamba.bench.machine import FMA_NAME
from mtmamba.bench.report import Row
from mtmamba.bench.scan import STAGES
from mtmamba.cli import main


def run(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """What ``mtmamba bench`` writes with --quick, after the checks that hold for all kinds."""
    path = tmp_path / "results" / "bench.json"
    assert main(["bench", *arguments, "--quick", "--device", "cpu", "--json", str(path)]) == 0
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["benchmark"] == arguments[0]
    assert report["machine"]["cpu"]
    assert report["machine"]["threads"] == torch.get_num_threads()
    assert report["baseline"] == "four copies (plain loop)"
    assert report["command"] == " ".join(["mtmamba", "bench", *arguments, "--device", "cpu", "--quick"])
    baseline = {(r["case"], r["phase"]): r["seconds"] for r in report["rows"] if r["contender"] == report["baseline"]}
    for row in report["rows"]:
        assert (row["seconds"] is None) == bool(row["note"])
        assert row["seconds"] is None or (row["seconds"] > 0 and row["samples"] >= 1)
        if row["speedup"] is not None:
            assert row["speedup"] == pytest.approx(baseline[row["case"], row["phase"]] / row["seconds"])
    return report


def contenders(report: dict[str, Any], phase: str) -> list[str]:
    return [row["contender"] for row in report["rows"] if row["phase"] == phase]


@pytest.mark.parametrize("options", [[], ["--tasks", "1", "2", "--batch", "2", "--dtype", "bfloat16"]], ids=" ".join)
def test_scan(options, tmp_path, capsys):
    report = run(tmp_path, "scan", *options)
    for phase in ("forward", "forward + backward"):
        assert {"mtmamba, cpu", "mtmamba, parallel", "sequential loop", FMA_NAME} < set(contenders(report, phase))
    tiny, (row, *_) = STAGES["tiny"], report["rows"]
    count = int(row["case"].split("tasks ")[1].split(",")[0]), int(row["case"].split("batch ")[1])
    assert row["figures"]["G updates/s"] == pytest.approx(tiny.updates(*count) / row["seconds"] / 1e9)
    assert "speed-up" in capsys.readouterr().out
    tables = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "tables.py"))["markdown"](report)
    assert tables.count("| forward | mtmamba, cpu |") == tables.count("\n**") > 0


@pytest.mark.parametrize("name", ["mtmamba", "mtmamba_plus"])
def test_model(name, tmp_path):
    report = run(tmp_path, "model", *([] if name == "mtmamba" else ["--model", name]))
    assert contenders(report, "inference") == ["mtmamba", report["baseline"], "encoder alone", FMA_NAME]
    assert contenders(report, "training step") == [
        "mtmamba",
        "mtmamba, grad_checkpointing",
        report["baseline"],
        FMA_NAME,
    ]
    ours, _, encoder, *_ = report["rows"]
    assert 0 < ours["figures"]["scan share"] < 1
    assert ours["figures"]["times its dense part"] > 1
    assert ours["figures"]["images/s"] == pytest.approx(1 / ours["seconds"])
    assert encoder["speedup"] is None  # a part of the work is not compared with all of it


def test_model_in_one_mode_and_precision(tmp_path):
    report = run(tmp_path, "model", "--mode", "train", "--dtype", "bfloat16")
    assert {row["phase"] for row in report["rows"]} == {"training step"}


@pytest.mark.parametrize("options", [[], ["--cross-task", "s_ctm", "--backward"]], ids=" ".join)
def test_scaling(options, tmp_path):
    plot = tmp_path / "plots" / "scaling.png"
    path = tmp_path / "scaling.json"
    command = ["bench", "scaling", *options, "--quick", "--device", "cpu", "--json", str(path), "--plot", str(plot)]
    assert main(command) == 0
    report = json.loads(path.read_text())
    assert str(plot) not in report["command"]  # nor any other file's name
    assert {row["contender"] for row in report["rows"]} == {"mtmamba", "attention", report["baseline"], FMA_NAME}
    assert {fit["against"] for fit in report["extra"]["fits"]} == {"pixels", "tasks"}
    assert len(report["rows"]) == 1 + 3 * 3  # calibration; 32 and 64 with 1 task; 1 (the same) and 2 tasks at 32
    assert Image.open(plot).size[0] > 500


def test_scaling_stops_at_the_budget(tmp_path):
    report = run(tmp_path, "scaling", "--budget", "1e-09")
    first, later = report["rows"][1:4], report["rows"][4:7]
    assert all(row["seconds"] for row in first)
    assert all("(--budget 1e-09)" in row["note"] for row in later)


def test_exponents_are_those_of_the_rows():
    cases = [scaling.Case(side, 2) for side in (32, 64, 128)]
    rows = {
        case: [Row("", "forward", "square", 1e-9 * case.side**4, None, 1, 2**22 * case.side**2),
               Row("", "forward", "gone", None, None, 0, None)]
        for case in cases
    }  # fmt: skip
    time, memory = scaling.fits("pixels", cases, rows)
    assert (time.contender, time.quantity, memory.quantity) == ("square", "seconds", "peak_bytes")
    assert (time.exponent, time.last, memory.exponent) == pytest.approx((2, 2, 1))
    assert time.points == memory.points == 3


def test_attention_takes_the_place_of_a_scan():
    """It is attention over all pixels: permuting them permutes the answer, and every pixel sees every other."""
    from mtmamba.bench.attention import GlobalAttention
    from mtmamba.nn.ss2d import SelectiveScan2d

    attention = GlobalAttention(SelectiveScan2d(groups=2, channels=8, rank=1, states=2), head_channels=4)
    x = torch.randn(2, 3, 4, 5, 8)
    y = attention(x)
    assert y.shape == x.shape
    torch.testing.assert_close(attention(x.flip(2, 3)), y.flip(2, 3))
    x[:, :, 3, 4] += 1
    assert (attention(x) - y)[:, :, 0, 0].abs().max() > 1e-6


def test_without_a_kind_all_run_with_their_defaults(monkeypatch):
    ran: list[tuple[str, str]] = []
    for kind in ("scan", "model", "scaling"):
        monkeypatch.setattr(
            commands, f"_{kind}", lambda options: ran.append((options.kind, commands._command_line(options)))
        )
    assert main(["bench"]) == 0
    assert ran == [(kind, f"mtmamba bench {kind}") for kind in ("scan", "model", "scaling")]


def test_stages_of_the_command_line_are_those_of_the_scan():
    assert tuple(STAGES) == commands.STAGES  # written twice, so that --help need not import torch


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["scaling", "--sides", "100"], "multiples of 32; got 100"),
        (["scan", "--repeats", "0"], "must be positive, not 0"),
        (["scan", "--device", "meta"], "--device meta"),
        (["model", "--encoder", "no_such_net"], "no_such_net"),
        (["model", "--tasks", "kitti"], "kitti"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistakes_get_a_line(arguments, reason, capsys):
    assert main(["bench", arguments[0], "--device", "cpu", *arguments[1:]]) == 2
    assert reason in capsys.readouterr().err

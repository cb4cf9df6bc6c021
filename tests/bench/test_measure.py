"""The measuring itself. No test asks how fast anything is."""

from __future__ import annotations

import pytest
import torch

from mtmamba.bench.breakdown import DENSE, OTHER, SCAN, OperatorTimer
from mtmamba.bench.machine import Gpu
from mtmamba.bench.measure import Contender, Effort, take_turns
from mtmamba.bench.report import duration, memory

CPU = torch.device("cpu")


def test_contenders_take_turns():
    calls: list[str] = []

    def contender(name: str) -> Contender:
        def call() -> None:
            calls.append(name)
            torch.randn(1000, 1000).sort()  # longer than MIN_SAMPLE: one call per sample

        return Contender(name, lambda: call)

    results = take_turns([contender("a"), contender("b")], CPU, Effort(repeats=3, seconds=60))
    assert "".join(calls) == "aabb" + "ababab"  # warm-up and a first look at each, then rounds
    for measured in results.values():
        assert len(measured.samples) == 3
        low, high = measured.quartiles
        assert 0 < low <= measured.median <= high


def test_a_slow_loop_is_called_no_more_than_needed():
    calls: list[int] = []
    slow = Contender("slow", lambda: lambda: calls.append(1), warm_up=False)
    results = take_turns([slow], CPU, Effort(repeats=5, seconds=1e-9))
    assert len(calls) == 2  # for the memory, for the time
    assert len(results["slow"].samples) == 1
    assert results["slow"].quartiles is None


def test_what_is_skipped_or_does_not_fit_says_so():
    def too_large() -> None:
        torch.empty(2**60)

    contenders = [
        Contender("left out", lambda: too_large, skip="skipped (--slow measures it)"),
        Contender("too large", lambda: too_large),
        Contender("fits", lambda: lambda: None),
    ]
    results = take_turns(contenders, CPU, Effort(1, 0.01))
    assert results["left out"].note == "skipped (--slow measures it)"
    assert results["too large"].note == "out of memory"
    assert results["too large"].median is None
    assert len(results["fits"].samples) == 1


def test_errors_other_than_memory_are_not_hidden():
    def wrong() -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        take_turns([Contender("wrong", lambda: wrong)], CPU, Effort(1, 0.01))


def test_peak_memory_is_what_a_call_holds_at_once():
    size = 64 * 2**20
    contender = Contender("allocates", lambda: lambda: [torch.ones(size // 4).sum() for _ in range(3)])
    for _ in range(2):  # what an earlier measurement left in the heap must not matter
        peak = take_turns([contender], CPU, Effort(3, 0.01))["allocates"].peak_bytes
        if peak is None:
            pytest.skip("this system does not count the peak of a process' memory")
        assert size * 0.9 < peak < size * 1.3


def test_floors_of_a_gpu():
    """An H200's 132 multiprocessors at 1.98 GHz, one image at the published models' coarsest stage."""
    updates = 4 * 1536 * 28 * 36 * 16
    gpu = Gpu(sms=132, clock=1.98e9)
    assert gpu.forward_floor(updates) == pytest.approx(updates / 4.18e12, rel=1e-3)
    assert gpu.backward_floor(updates) == pytest.approx(59e-6, rel=0.01)
    assert gpu.forward_floor(4 * updates) == pytest.approx(4 * gpu.forward_floor(updates))


def test_operators_are_told_apart(tiny_model):
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), OperatorTimer() as timer:
        torch.randn(8, 8) @ torch.randn(8, 8)
    assert timer.seconds[DENSE] > 0
    assert timer.seconds[SCAN] == 0
    with torch.no_grad(), OperatorTimer() as timer:
        tiny_model(images)
    assert min(timer.seconds[kind] for kind in (SCAN, DENSE, OTHER)) > 0


def test_texts():
    assert [duration(s) for s in (1.2345, 0.01234, 1.234e-5, 1234.5)] == ["1.23 s", "12.3 ms", "12.3 us", "1234 s"]
    assert [memory(b) for b in (2**20, 1500 * 2**20)] == ["1 MiB", "1.46 GiB"]

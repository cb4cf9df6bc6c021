"""Time and peak memory of contenders that take turns."""

from __future__ import annotations

import ctypes
import math
import re
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch

Call = Callable[[], object]
Say = Callable[[str], None]

MIN_SAMPLE = 0.02  # seconds; a call that is shorter is repeated within a sample
_PROCESS = Path("/proc/self")
# Of glibc's mallopt: what is larger than the one is mapped by itself, and given back at once when it is free; more
# than the other, free at the end of the heap, is given back. The large values are those that a process which works
# with tensors comes to by itself (the thresholds grow with use), the small one makes resident memory what is in use.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGEST_THRESHOLD, _SMALL_THRESHOLD = 2**25, 2**14


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: in tables.
        make: gives what is called again and again. What has to be compiled or captured first belongs in here.
        warm_up: whether the first call does more than those that follow, as compilers do. It is not looked at then.
        holds_memory: whether it keeps what it needs from call to call, as CUDA graphs do; its first call is then the
            one whose memory is watched.
        compared: whether a ratio to the baseline means anything; not for a part of the work, or a calibration.
        skip: why it is not run.
    """

    name: str
    make: Callable[[], Call]
    warm_up: bool = True
    holds_memory: bool = False
    compared: bool = True
    skip: str = ""


@dataclass(frozen=True)
class Effort:
    """How long to measure: at most ``repeats`` samples per contender, none begun after ``seconds`` of samples."""

    repeats: int = 10
    seconds: float = 3.0


@dataclass
class Measured:
    """Of one contender.

    Attributes:
        samples: seconds per call.
        peak_bytes: memory at the peak of a call beyond what was held before it; None where it cannot be known.
        note: why there are no samples.
    """

    samples: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    note: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None

    @property
    def quartiles(self) -> tuple[float, float] | None:
        if len(self.samples) < 2:
            return None
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high


def take_turns(
    contenders: Sequence[Contender], device: torch.device, effort: Effort, say: Say = lambda text: None
) -> dict[str, Measured]:
    """Measure every contender, one sample of each after the other, round after round.

    A contender that runs out of memory keeps the others from nothing: its note says so.
    """
    results = {contender.name: Measured() for contender in contenders}
    running: dict[str, tuple[Call, int]] = {}  # what is called, and how often per sample
    for contender in contenders:
        result = results[contender.name]
        if contender.skip:
            result.note = contender.skip
            continue
        say(contender.name)
        try:
            call = contender.make()
            first = _watched(call, device)[0] if contender.warm_up else None
            result.peak_bytes, took = _watched(call, device)
            if contender.holds_memory:
                result.peak_bytes = first
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            result.note = "out of memory"
            continue
        running[contender.name] = call, max(1, math.ceil(min(MIN_SAMPLE, effort.seconds / 2) / took))
    while running:
        for name, (call, count) in list(running.items()):
            samples = results[name].samples
            say(f"{name} ({len(samples) + 1})")
            samples.append(seconds(call, device, count))
            if len(samples) >= effort.repeats or sum(samples) * count >= effort.seconds:
                del running[name]
    return results


def seconds(call: Call, device: torch.device, count: int = 1) -> float:
    """Seconds of one call, the mean of ``count`` calls in a row; by the GPU's own clock where there is one."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        for _ in range(count):
            call()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1e3 / count
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def _watched(call: Call, device: torch.device) -> tuple[int | None, float]:
    """Memory at the peak of one call beyond what was held before, and its seconds; it is no sample.

    On a GPU, what torch's allocator held at most. On a CPU, the growth of the process' resident memory at its peak,
    which Linux counts: memory that is not torch's own is in it too. None on other systems.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        took = seconds(call, device)
        return torch.cuda.max_memory_allocated(device) - before, took
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _SMALL_THRESHOLD)
        libc.malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5")  # the peak starts anew
    except (OSError, AttributeError, TypeError):  # not Linux, not glibc, or not allowed
        return None, seconds(call, device)
    try:
        before = _resident("VmRSS")
        with ThreadPoolExecutor(1) as thread:  # a new one has a heap of its own, without holes that others left
            took = thread.submit(seconds, call, device).result()
        return max(0, _resident("VmHWM") - before), took
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)


def _resident(what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB", (_PROCESS / "status").read_text(), re.MULTILINE)
    assert found is not None, "Linux names it in every process' status"
    return int(found[1]) * 1024


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)

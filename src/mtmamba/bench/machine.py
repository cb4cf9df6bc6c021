"""What a figure was measured on: the machine by name, what its cores can do, and the floors of its GPU."""

from __future__ import annotations

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit

import mtmamba
from mtmamba.bench.measure import Contender

FMA_NAME = "FMA loop (calibration)"
_FMA_FLOATS, _FMA_ROUNDS, _FMA_CHAIN = 2048, 8192, 16


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, cores, threads and versions; the GPU and its clock where ``device`` is one."""
    machine: dict[str, Any] = {
        "cpu": _cpu_name(),
        "logical_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mtmamba": mtmamba.__version__,
    }
    if device.type == "cuda":
        gpu = Gpu.of(device)
        machine |= {"gpu": torch.cuda.get_device_name(device), "sms": gpu.sms, "clock_ghz": gpu.clock / 1e9}
        machine |= {"cuda": torch.version.cuda}
    return machine


def name(machine: dict[str, Any]) -> str:
    """One line of :func:`describe`'s answer."""
    where = f"{machine['gpu']}, {machine['cpu']}" if "gpu" in machine else str(machine["cpu"])
    return f"{where}, {machine['logical_cores']} logical cores, {machine['threads']} threads, torch {machine['torch']}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Gpu:
    """What bounds a scan on a GPU: how many multiprocessors at which clock (Hz)."""

    sms: int
    clock: float

    @classmethod
    def of(cls, device: torch.device) -> Gpu:
        properties = torch.cuda.get_device_properties(device)
        return cls(properties.multi_processor_count, properties.clock_rate * 1e3)

    def forward_floor(self, updates: float) -> float:
        """Seconds that the exponentials alone take: one per state update, 16 per clock and multiprocessor."""
        return updates / (self.sms * 16 * self.clock)

    def backward_floor(self, updates: float) -> float:
        """Seconds to issue the float32 instructions: about 20 per update, 128 per clock and multiprocessor."""
        return updates * 20 / (self.sms * 128 * self.clock)


def fma_loop() -> Contender:
    """Nothing but fused multiply-adds on numbers in the first-level cache, on as many threads as torch uses."""

    def make() -> Any:
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads)
        buffers = [np.zeros(_FMA_FLOATS, np.float32) for _ in range(threads)]
        return lambda: list(pool.map(_fma, buffers))

    return Contender(FMA_NAME, make, compared=False)


def fma_count() -> int:
    """Of one call of :func:`fma_loop`."""
    return torch.get_num_threads() * _FMA_FLOATS * _FMA_ROUNDS * _FMA_CHAIN


def fma_rate(seconds: float) -> dict[str, float]:
    """What a table says of one call of :func:`fma_loop`."""
    return {"G FMA/s": fma_count() / seconds / 1e9}


@njit(nogil=True, fastmath={"contract"})
def _fma(values: np.ndarray) -> None:
    scale, shift = np.float32(0.75), np.float32(0.25)
    for _ in range(_FMA_ROUNDS):
        for i in range(_FMA_FLOATS):
            x = values[i]
            for _ in range(_FMA_CHAIN):
                x = x * scale + shift
            values[i] = x

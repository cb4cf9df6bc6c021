"""Where the time of a forward pass on a CPU goes: scans, matmuls and convolutions, everything else."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mtmamba.bench.measure import Effort

SCAN, DENSE, OTHER = "scans", "matmuls and convolutions", "other"


class OperatorTimer(TorchDispatchMode):
    """Adds up the seconds spent in torch operators; on a CPU, where an operator has ended when it returns.

    Dense is whatever torch counts the floating-point operations of: matmuls, convolutions and fused attention. What a
    scan does inside, its small matmul for dt too, is the scan's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = dict.fromkeys((SCAN, DENSE, OTHER), 0.0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "mtmamba" and "scan" in func.name():
            kind = SCAN
        else:
            kind = DENSE if func.overloadpacket in flop_registry else OTHER
        start = time.perf_counter()
        answer = func(*args, **(kwargs or {}))
        self.seconds[kind] += time.perf_counter() - start
        return answer


def shares(call: Callable[[], object], effort: Effort) -> dict[str, float]:
    """Of a forward pass on a CPU, medians over passes in each of which all parts were timed together.

    Returns:
        "scan share": seconds in scans / seconds of the pass; "times its dense part": seconds of the pass / seconds in
        matmuls and convolutions. Timing operators costs some microseconds each, which count as part of the pass.
    """
    scan: list[float] = []
    dense: list[float] = []
    spent = 0.0
    while not scan or (len(scan) < effort.repeats and spent < effort.seconds):
        with torch.no_grad(), OperatorTimer() as timer:
            start = time.perf_counter()
            call()
            whole = time.perf_counter() - start
        spent += whole
        scan.append(timer.seconds[SCAN] / whole)
        dense.append(whole / timer.seconds[DENSE])
    return {"scan share": statistics.median(scan), "times its dense part": statistics.median(dense)}

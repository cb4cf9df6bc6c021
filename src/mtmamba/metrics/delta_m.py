"""One number for a multi-task model against single-task baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping


def delta_m(results: Mapping[str, float], baseline: Mapping[str, float], higher_is_better: Mapping[str, bool]) -> float:
    """The mean over tasks of the change relative to the baseline, in percent, signed so that more is better.

    Delta_m = 100/T sum_t s_t (M_t - B_t) / B_t, with s_t = 1 where a higher number is better, else -1
    (Maninis et al., "Attentive Single-Tasking of Multiple Tasks", CVPR 2019).

    Args:
        results: the model's number per task.
        baseline: the single-task number per task, in the same unit. Other tasks in it are left out.
        higher_is_better: per task.

    Raises:
        ValueError: without a task, or where a task of ``results`` has no baseline, a baseline of 0 or one
            that is not finite, or no direction.

    Example:
        >>> single = {"semseg": 50.0, "depth": 0.5}
        >>> delta_m({"semseg": 55.0, "depth": 0.45}, single, {"semseg": True, "depth": False})
        10.0
    """
    if not results:
        raise ValueError("delta_m of no task")
    for name in results:
        if name not in baseline:
            raise ValueError(f"{name} has no baseline; there are {sorted(baseline)}")
        if name not in higher_is_better:
            raise ValueError(f"{name}: say in higher_is_better which way is better")
        if baseline[name] == 0 or not math.isfinite(baseline[name]):
            raise ValueError(f"{name} has a baseline of {baseline[name]}: there is no relative change to that")
    changes = [
        (1 if higher_is_better[name] else -1) * (value - baseline[name]) / baseline[name]
        for name, value in results.items()
    ]
    return 100 * math.fsum(changes) / len(changes)

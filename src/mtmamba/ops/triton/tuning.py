"""Which constants a kernel runs with: found by timing a small space once, and kept on disk.

By default a kernel takes what was kept for this device and these sizes, else constants tuned on an H200. Where
``MTMAMBA_AUTOTUNE=1`` is set (``mtmamba bench scan --tune`` does), sizes met for the first time are timed: each takes
some seconds to a minute, as every constant is a kernel to compile. Other constants may round otherwise in the last bit,
so nothing is timed unasked, and what was kept is kept: runs on one machine stay equal to the bit.

The file is ``scan-DEVICE.json`` in ``$MTMAMBA_CACHE``, else in ``~/.cache/mtmamba``; delete it to start over. A cache
that cannot be read or written is done without, with a warning.
"""

from __future__ import annotations

import functools
import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
import triton

Constants = TypeVar("Constants", bound=tuple[int, ...])


def choose(
    kernel: str,
    sizes: str,
    space: Sequence[Constants],
    default: Constants,
    run: Callable[[Constants], object],
    measure: Callable[[Callable[[], object]], float] | None = None,
) -> Constants:
    """The constants to run with.

    Args:
        kernel, sizes: what they are kept under.
        space: what may be chosen.
        default: what is taken when nothing was kept and nothing is to be timed.
        run: runs the kernel with some constants; may be called any number of times.
        measure: milliseconds that a call takes; by default Triton's own.
    """
    kept = _table()
    key = f"{kernel} {sizes}"
    found = next((constants for constants in space if list(constants) == kept.get(key)), None)
    if found is not None:
        return found
    if os.environ.get("MTMAMBA_AUTOTUNE") != "1" or (
        torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    ):
        return default
    measure = measure or functools.partial(triton.testing.do_bench, warmup=10, rep=60, return_mode="median")
    times = {constants: measure(functools.partial(run, constants)) for constants in space}
    best = min(times, key=times.__getitem__)
    kept[key] = list(best)
    _keep(kept)
    return best


def cache_file() -> Path:
    """Where this device's constants are kept."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    plain = re.sub(r"\W+", "-", f"{name}-triton-{triton.__version__}")
    return Path(os.environ.get("MTMAMBA_CACHE", Path.home() / ".cache" / "mtmamba")) / f"scan-{plain}.json"


@functools.cache
def _table() -> dict[str, list[int]]:
    """What was kept; one per process, which then adds to it."""
    try:
        table: dict[str, list[int]] = json.loads(cache_file().read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ValueError(f"{cache_file()} holds no table")
    except FileNotFoundError:
        return {}
    except (OSError, RuntimeError, ValueError) as error:
        warnings.warn(f"the scan's kept constants cannot be read, and are done without: {error}", stacklevel=2)
        return {}
    return table


def _keep(table: dict[str, list[int]]) -> None:
    try:
        file = cache_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(file)
    except (OSError, RuntimeError) as error:
        warnings.warn(f"the scan's constants cannot be kept for the next process: {error}", stacklevel=2)

"""Numba's compiler as the rooms use it."""

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call: no fast-math (answers must not depend on the run), no GIL.

    The machine code is kept on disk where some cache directory can be written; otherwise it is compiled anew
    in every process, which costs seconds but no error. Numba notices a change of the function's own file only: whoever
    changes a kernel that others call deletes the cached files (`__pycache__/*.nb?`).
    """
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # Numba found no writable place ("no locator available")
        return njit(nogil=True, error_model="numpy")(function)

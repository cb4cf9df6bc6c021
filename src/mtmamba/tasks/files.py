"""Writing maps to disk, with errors that name the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image


def write_npy(array: np.ndarray, stem: Path) -> Path:
    """Write ``stem``.npy. Returns the path; OSError that names it if that fails."""
    return _write(stem, ".npy", lambda file: np.save(file, array, allow_pickle=False))


def write_png(array: np.ndarray, stem: Path, palette: Sequence[int] | None = None) -> Path:
    """Write ``stem``.png from uint8 (H, W), uint16 (H, W) or uint8 (H, W, 3).

    With a palette (r, g, b, r, g, b, ...) the numbers of uint8 (H, W) are indices into it.

    Returns the path; OSError that names it if that fails.
    """
    image = Image.fromarray(np.ascontiguousarray(array))
    if palette is not None:
        image.putpalette(palette)
    return _write(stem, ".png", lambda file: image.save(file, "PNG"))


def _write(stem: Path, suffix: str, write: Callable[[IO[bytes]], None]) -> Path:
    stem = Path(stem)
    path = stem.with_name(stem.name + suffix)  # not with_suffix, which would cut a name at its last dot
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write(file)
    except OSError as error:
        raise OSError(error.errno, f"cannot write the prediction ({error.strerror or error})", str(path)) from error
    return path

"""Checkpoints that survive a kill: written whole or not at all, the last two kept, the newer readable one found."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

LAST, BEFORE_LAST = "last.ckpt", "before_last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames; the last checkpoint so far becomes ``before_last.ckpt``.

    Raises:
        OSError: naming the file that could not be written; those written before are untouched.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        part = target.with_name(f"{target.name}.part")
        try:
            super().save_checkpoint(checkpoint, part, storage_options)
            with part.open("rb") as file:
                os.fsync(file.fileno())  # or a power cut could leave the new name with nothing behind it
        except (OSError, RuntimeError) as error:  # torch raises RuntimeErrors when the disk is full
            part.unlink(missing_ok=True)
            raise OSError(
                f"cannot write the checkpoint {target} ({error}): is the disk full? Earlier checkpoints are untouched"
            ) from error
        if target.name == LAST and target.exists():
            target.replace(target.with_name(BEFORE_LAST))
        part.replace(target)


def newest(folder: Path) -> Path:
    """The last checkpoint in ``folder``; if that is damaged or missing the one before, said on standard error.

    Raises:
        FileNotFoundError: there is none.
        ValueError: all are damaged.
    """
    damaged = []
    for name in (LAST, BEFORE_LAST):
        path = folder / name
        if not path.is_file():
            continue
        try:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, OSError, EOFError, ValueError, KeyError, UnpicklingError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            damaged.append(f"{path} ({reason})")
            continue
        if damaged or name == BEFORE_LAST:
            print(
                f"WARNING: {' and '.join(damaged) or folder / LAST} cannot be read; going on from {path}, "
                f"the checkpoint before it",
                file=sys.stderr,
            )
        return path
    if damaged:
        raise ValueError(f"nothing to resume: damaged checkpoints {' and '.join(damaged)}")
    raise FileNotFoundError(f"nothing to resume: no {folder / LAST}")

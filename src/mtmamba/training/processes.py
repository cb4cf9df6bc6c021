"""Several processes that share one job outside of a trainer: evaluation and prediction under torchrun or SLURM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def launched(device: str) -> Iterator[tuple[int, int, str]]:
    """Join the processes that ``torchrun`` launched, if it did: gives rank, number of processes, and own device.

    Args:
        device: "cuda" becomes the GPU of this process on its machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "MASTER_ADDR" not in os.environ:
        yield 0, 1, device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield dist.get_rank(), size, device
        dist.barrier()
    finally:
        dist.destroy_process_group()

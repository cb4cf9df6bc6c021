"""The selective scan on a CPU, by Numba: the work is cut into jobs, which a pool of threads takes one by one.

The kernels and how they go about it: ``walk``, ``walk_back``, ``tiles`` and ``simd`` beside this file. Everything
inside is float32.
Extra memory: no copies of the inputs (but for those that are not contiguous float32), the states that forward keeps
for backward, one float per channel, state and ``STEPS`` pixels of every route, and partial gradients of ``proj``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtmamba.ops.cpu.simd import LANES, LOG2E
from mtmamba.ops.cpu.tiles import STEPS, Sizes
from mtmamba.ops.cpu.walk import forward_kernel
from mtmamba.ops.cpu.walk_back import backward_kernel
from mtmamba.ops.routes import NUM_ROUTES

MOST_VECTORS = 8  # of a tile: its scratch should stay in the second-level cache
ENOUGH_JOBS = 16  # of backward; more would cost memory (chains of one image) or fill no machine
UPDATES_OF_A_THREAD = 2**17  # fewer are done sooner than another thread has started


def forward(
    u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor]:
    """2-D selective scan; shapes as in :func:`mtmamba.ops.selective_scan_2d`, float32 inside."""
    inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
    G, B, H, W, D = u.shape
    N, R = A_log.shape[-1], dt_weight.shape[-1]
    vectors = -(-D // LANES)
    # Channels do not meet here: narrower tiles for more threads change no result.
    tile = max(1, min(MOST_VECTORS, G * B * vectors // (4 * torch.get_num_threads())))
    sizes = Sizes(G * B, B, H, W, D, N, R, tile, -(-vectors // tile))
    y = torch.empty(u.shape)
    states = torch.empty(states_shape(G, B, H * W, D, N) if keep else (0,))
    _run(forward_kernel, sizes, *_arrays(inputs), _flat(y), _flat(states), keep)
    return y.unsqueeze(0).to(u.dtype), states


def backward(
    grad_y: Tensor,
    states: Tensor,
    u: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D_skip: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of the six inputs, each in its input's dtype."""
    inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
    G, B, H, W, D = u.shape
    N, R = A_log.shape[-1], dt_weight.shape[-1]
    chains = _chains(G * B, D, N, R)
    sizes = Sizes(G * B, B, H, W, D, N, R, min(MOST_VECTORS, -(-D // LANES // chains)), chains)
    du, dproj, others = torch.empty(u.shape), torch.empty(proj.shape), torch.empty((chains - 1) // 4, *proj.shape)
    of_images = [torch.empty(G, B, *tensor.shape[1:]) for tensor in inputs[2:5]]
    dD_skip = torch.empty(G, B, D)
    arrays = [_flat(grad_y), _flat(states), *_arrays(inputs)]
    arrays += [_flat(grad) for grad in (du, dproj, others, *of_images, dD_skip)]
    for phases in [(0, 4)] if chains == 1 else [(phase, phase + 1) for phase in range(4)]:
        _run(backward_kernel, sizes, *arrays, phases)
    for other in others:
        dproj += other
    to_skip = dD_skip.sum(1, keepdim=True).repeat(1, NUM_ROUTES, 1)
    grads = (du, dproj, *(grad.squeeze(1) if B == 1 else grad.sum(1) for grad in of_images), to_skip)
    return tuple(grad.to(tensor.dtype) for grad, tensor in zip(grads, inputs, strict=True))


def states_shape(G: int, B: int, L: int, D: int, N: int) -> tuple[int, ...]:
    """Of what forward keeps: h before every segment of every route, in vectors of channels."""
    return G, B, NUM_ROUTES, -(-L // STEPS), -(-D // LANES), N, LANES


def _chains(images: int, D: int, N: int, R: int) -> int:
    """Jobs of an image in a phase of backward: one or a multiple of four, by the shapes alone.

    Every four chains after the first four need a partial gradient of ``proj``; all of them take less than ``u`` does.
    """
    vectors = -(-D // LANES)
    if images >= ENOUGH_JOBS or vectors < NUM_ROUTES:
        return 1
    wanted = -(-ENOUGH_JOBS // (NUM_ROUTES * images))
    return NUM_ROUTES * max(1, min(wanted, vectors // NUM_ROUTES, D // (NUM_ROUTES * (R + 2 * N))))


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy().reshape(-1)


def _arrays(inputs: Sequence[Tensor]) -> list[np.ndarray]:
    """The six inputs as the kernels want them: A times log2(e) in place of A_log."""
    *others, A_log, D_skip = inputs
    A = torch.exp(A_log.detach().float()).mul_(-LOG2E)
    return [_flat(tensor) for tensor in (*others, A, D_skip)]


def _run(kernel: Any, sizes: Sizes, *arguments: Any) -> None:
    """All jobs of a kernel, on as many threads as torch would take."""
    jobs = sizes.images * sizes.chains
    updates = NUM_ROUTES * sizes.images * sizes.height * sizes.width * sizes.channels * sizes.states
    helpers = min(torch.get_num_threads(), jobs, 1 + updates // UPDATES_OF_A_THREAD) - 1
    arguments = (*arguments, tuple(sizes), np.zeros(1, np.int64))  # the last: jobs that have been taken
    waiting = [_pool().submit(kernel, *arguments) for _ in range(helpers)]
    kernel(*arguments)
    for future in waiting:
        if not future.cancel():  # one that has not begun would find nothing left
            future.result()


_threads: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mtmamba-scan")
    return _threads


def _forget_pool() -> None:
    global _threads
    _threads = None  # its threads do not exist in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)

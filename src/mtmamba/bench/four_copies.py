"""The four-copies formulation of SS2D: the baseline of every run.

The usual way to give a map to a one-dimensional scan: permute it to rows and to columns, flip both, and put the four
copies side by side as 4D channels of one sequence, (B, 4D, L); scan; flip and permute back; add. Projections are made
from the copies, and tasks are scanned one after the other.

The scan inside is mamba-ssm's CUDA operator where it is installed, otherwise a plain loop over the steps, for all
4D channels at once. Like that operator, the loop keeps no states for backward: it computes them again.

Written from the description in the papers and from the meaning of :func:`mtmamba.ops.selective_scan_2d`.
Shape letters: T tasks, B images, L = H x W pixels, D channels, K = 4 routes, N states, R rank of dt.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtmamba.nn.ss2d import SelectiveScan2d
from mtmamba.ops import NUM_ROUTES

#: u, dt before bias and softplus (B, KD, L), A (KD, N), B and C (B, K, N, L), D_skip and dt_bias (KD) -> y (B, KD, L)
Operator = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

SEGMENT = 64  # steps whose states the plain loop keeps at once in backward


def operator(device: torch.device) -> tuple[str, Operator]:
    """What scans the copies on this device, and its name."""
    if device.type == "cuda":
        try:
            interface = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
        except ImportError:
            return "plain loop", plain_scan

        def mamba_ssm(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D_skip: Tensor, bias: Tensor) -> Tensor:
            inputs = (tensor.contiguous() for tensor in (u, dt, A, B, C, D_skip))
            y: Tensor = interface.selective_scan_fn(*inputs, delta_bias=bias, delta_softplus=True)
            return y

        return "mamba-ssm", mamba_ssm
    return "plain loop", plain_scan


def plain_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D_skip: Tensor, dt_bias: Tensor) -> Tensor:
    """The recurrence in torch, step by step; shapes as in :data:`Operator`."""
    batch, KD, L = u.shape
    K, N = B.shape[1:3]
    D = KD // K
    dt = F.softplus(dt + dt_bias[:, None])
    steps = [x.unflatten(1, (K, D)).permute(3, 0, 1, 2).contiguous() for x in (dt, dt * u)]  # (L, batch, K, D)
    steps += [x.permute(3, 0, 1, 2).contiguous() for x in (B, C)]  # (L, batch, K, N)
    A = A.view(K, D, N).transpose(1, 2).contiguous()  # channels innermost: there are many more of them than states
    h = u.new_zeros(batch, K, N, D)
    parts = []
    for segment in zip(*(x.split(SEGMENT) for x in steps), strict=True):
        arguments = (h, A, *segment)
        if torch.is_grad_enabled():
            h, y = checkpoint(_walk, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            h, y = _walk(*arguments)
        parts.append(y)
    return torch.cat(parts).permute(1, 2, 3, 0).reshape(batch, KD, L) + D_skip[:, None] * u


def _walk(h: Tensor, A: Tensor, dt: Tensor, drive: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    answers = []
    for dt_l, drive_l, B_l, C_l in zip(*(x.unbind() for x in (dt, drive, B, C)), strict=True):
        decay = torch.exp(dt_l.unsqueeze(-2) * A)
        h = torch.addcmul(drive_l.unsqueeze(-2) * B_l.unsqueeze(-1), decay, h)
        answers.append(torch.matmul(C_l.unsqueeze(-2), h).squeeze(-2))
    return h, torch.stack(answers)


def route_copies(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, 4, C, L): the map in the order of each route."""
    rows = x.permute(0, 3, 1, 2)
    there = torch.stack([rows.flatten(2), rows.transpose(2, 3).flatten(2)], dim=1)
    return torch.cat([there, there.flip(-1)], dim=1)


def merge_copies(y: Tensor, height: int, width: int) -> Tensor:
    """(B, 4, D, L) -> (B, H, W, D): back to the order of the map, and the sum of the routes."""
    there = y[:, :2] + y[:, 2:].flip(-1)
    rows = there[:, 0].unflatten(-1, (height, width))
    columns = there[:, 1].unflatten(-1, (width, height)).transpose(2, 3)
    return (rows + columns).permute(0, 2, 3, 1)


def scan_task(
    scan: Operator, x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor
) -> Tensor:
    """One task: x (B, 4, D, L) and proj (B, 4, R + 2N, L) in route order -> y of the same shape as x, in float32.

    The weights are one group's of :func:`mtmamba.ops.selective_scan_2d`. float64 stays float64.
    """
    R, N = dt_weight.shape[-1], A_log.shape[-1]
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    with torch.autocast(x.device.type, enabled=False):
        dt_low, B, C = proj.to(dtype).split([R, N, N], dim=2)
        dt = torch.einsum("bkrl,kdr->bkdl", dt_low, dt_weight)
        A = -torch.exp(A_log.flatten(0, 1))
        flat = x.to(dtype).flatten(1, 2)
        y = scan(flat, dt.flatten(1, 2), A, B, C, D_skip.flatten(), dt_bias.flatten())
    return y.unflatten(1, (NUM_ROUTES, -1))


def selective_scan(
    scan: Operator, u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor
) -> list[Tensor]:
    """:func:`mtmamba.ops.selective_scan_2d` by four copies of every task's map.

    ``proj`` is (T, B, 4, R + 2N, L), already in route order: so a projection of the copies leaves it.

    Returns:
        (B, H, W, D) of each task.
    """
    H, W = u.shape[2:4]
    tasks = zip(u, proj, dt_weight, dt_bias, A_log, D_skip, strict=True)
    return [merge_copies(scan_task(scan, route_copies(x), *rest), H, W).to(u.dtype) for x, *rest in tasks]


class FourCopiesScan(nn.Module):
    """What takes the place of a :class:`SelectiveScan2d`, and has its weights: (T, B, H, W, D) -> the same shape."""

    def __init__(self, replaced: SelectiveScan2d, scan: Operator) -> None:
        super().__init__()
        self.x_proj = replaced.x_proj
        self.dt_weight, self.dt_bias = replaced.dt_weight, replaced.dt_bias
        self.A_log, self.D_skip = replaced.A_log, replaced.D_skip
        self.scan = scan

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        H, W = x.shape[2:4]
        weights = zip(self.x_proj.weight, self.dt_weight, self.dt_bias, self.A_log, self.D_skip, strict=True)
        answers = []
        for task, (x_weight, *scan_weights) in enumerate(weights):
            copies = route_copies(x[task])
            sources = copies if source is None else route_copies(source[task])
            proj = torch.einsum("bkdl,kcd->bkcl", sources, x_weight.unflatten(0, (NUM_ROUTES, -1)))
            answers.append(merge_copies(scan_task(self.scan, copies, proj, *scan_weights), H, W).to(x.dtype))
        return torch.stack(answers)

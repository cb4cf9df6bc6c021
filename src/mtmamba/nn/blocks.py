"""The decoder's blocks: self-task Mamba (STM) and the two cross-task Mamba blocks (F-CTM, S-CTM).

All map (T, B, H, W, C) to the same shape and are residual; DropPath is drawn per sample and per task.
"""

from __future__ import annotations

import torch
from timm.layers.drop import drop_path
from torch import Tensor, nn

from mtmamba.nn.grouped import GroupedLayerNorm, GroupedLinear
from mtmamba.nn.ss2d import SS2D, ScanBranch, dt_rank, inner_channels


class TaskDropPath(nn.Module):
    """Stochastic depth on (T, B, ...): each task of each sample is dropped by itself."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return drop_path(x.flatten(0, 1), self.rate, self.training).view_as(x)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3g}"


class STM(nn.Module):
    """Self-task Mamba block: x + DropPath(SS2D(LayerNorm(x))) (MTMamba, section 3.3)."""

    def __init__(
        self,
        groups: int,
        channels: int,
        states: int = 16,
        expansion: float = 2.0,
        drop_rate: float = 0.0,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.norm = GroupedLayerNorm(groups, channels)
        self.ss2d = SS2D(groups, channels, states, expansion, backend=backend)
        self.drop_path = TaskDropPath(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.ss2d(self.norm(x)))


class FCTM(nn.Module):
    """Feature-level cross-task block of MTMamba (section 3.4).

    All tasks' maps together give one shared branch; each task has its own; an input-dependent gate mixes the two::

        g = sigmoid(gate(norm(x)));  x + DropPath(out_proj(g * shared + (1 - g) * own))

    The T + 1 branches are one group, and one scan.
    """

    def __init__(
        self,
        groups: int,
        channels: int,
        states: int = 16,
        expansion: float = 2.0,
        drop_rate: float = 0.0,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        inner = inner_channels(channels, expansion)
        self.shared_norm = nn.LayerNorm(groups * channels)
        self.shared_proj = nn.Linear(groups * channels, inner, bias=False)
        self.norm = GroupedLayerNorm(groups, channels)
        self.own_proj = GroupedLinear(groups, channels, inner, bias=False)
        self.gate = GroupedLinear(groups, channels, inner, bias=False)
        self.branches = ScanBranch(groups + 1, inner, dt_rank(channels), states, backend)  # the shared one is last
        self.out_proj = GroupedLinear(groups, inner, channels, bias=False)
        self.drop_path = TaskDropPath(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(x)
        shared = self.shared_proj(self.shared_norm(join_tasks(x)))
        branches = self.branches(torch.cat([self.own_proj(z), shared.unsqueeze(0)]))
        own, shared = branches[:-1], branches[-1:]
        gate = torch.sigmoid(self.gate(z))
        return x + self.drop_path(self.out_proj(own + gate * (shared - own)))


class SCTM(nn.Module):
    """State-space-level cross-task block of MTMamba++ (arXiv 2408.15101, section 3.5).

    All tasks' maps together give one shared map, and each task's scan takes its dt, B and C from it::

        x + DropPath(CSS2D(norm(x), shared))
    """

    def __init__(
        self,
        groups: int,
        channels: int,
        states: int = 16,
        expansion: float = 2.0,
        drop_rate: float = 0.0,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.shared_norm = nn.LayerNorm(groups * channels)
        self.shared_proj = nn.Linear(groups * channels, channels)
        self.shared_conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.norm = GroupedLayerNorm(groups, channels)
        self.css2d = SS2D(groups, channels, states, expansion, cross=True, backend=backend)
        self.drop_path = TaskDropPath(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.shared_proj(self.shared_norm(join_tasks(x)))
        shared = self.shared_conv(shared.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.drop_path(self.css2d(self.norm(x), shared))


def join_tasks(x: Tensor) -> Tensor:
    """(T, B, H, W, C) -> (B, H, W, T * C), task slow, channel fast."""
    return x.permute(1, 2, 3, 0, 4).flatten(3)


#: What ``cross_task`` may be: a block, or no exchange between the tasks.
CROSS_TASK_BLOCKS: dict[str, type[FCTM] | type[SCTM] | None] = {"f_ctm": FCTM, "s_ctm": SCTM, "none": None}

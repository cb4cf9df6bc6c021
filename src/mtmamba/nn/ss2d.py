"""SS2D, the paper's Mamba-based feature extractor ("MFE"; MTMamba, section 3.3), for all tasks at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtmamba.nn.grouped import GroupedConv2d, GroupedLayerNorm, GroupedLinear
from mtmamba.ops import NUM_ROUTES, selective_scan_2d


class SelectiveScan2d(nn.Module):
    """The four-route selective scan with its weights: (T, B, H, W, D) -> (T, B, H, W, D).

    Args:
        groups: T.
        channels: D.
        rank: R, rank of dt.
        states: N.
        backend: of :func:`mtmamba.ops.selective_scan_2d`; None takes the best for the device.
    """

    def __init__(self, groups: int, channels: int, rank: int, states: int, backend: str | None = None) -> None:
        super().__init__()
        self.rank, self.backend = rank, backend
        self.x_proj = GroupedLinear(groups, channels, NUM_ROUTES * (rank + 2 * states), bias=False)
        self.dt_weight = nn.Parameter(torch.empty(groups, NUM_ROUTES, channels, rank))
        self.dt_bias = nn.Parameter(torch.empty(groups, NUM_ROUTES, channels))
        self.A_log = nn.Parameter(torch.empty(groups, NUM_ROUTES, channels, states))
        self.D_skip = nn.Parameter(torch.empty(groups, NUM_ROUTES, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Mamba's start: A_n = -n, dt log-uniform in [0.001, 0.1] (arXiv 2312.00752, section 3.6)."""
        nn.init.uniform_(self.dt_weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            log_dt = torch.empty_like(self.dt_bias).uniform_(math.log(0.001), math.log(0.1))
            dt = log_dt.exp().clamp(min=1e-4)
            self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
            states = self.A_log.shape[-1]
            self.A_log.copy_(torch.arange(1, states + 1, dtype=torch.float32).log().expand_as(self.A_log))
            self.D_skip.fill_(1.0)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """``source`` (T, B, H, W, D) gives dt, B and C; None: ``x`` does."""
        proj = self.x_proj(x if source is None else source).unflatten(-1, (NUM_ROUTES, -1))
        weights = (self.dt_weight, self.dt_bias, self.A_log, self.D_skip)
        return selective_scan_2d(x.contiguous(), proj, *weights, backend=self.backend)


class ScanBranch(nn.Module):
    """LayerNorm(scan(SiLU(depthwise 3x3(x)))): what SS2D and both cross-task blocks have in common."""

    def __init__(self, groups: int, channels: int, rank: int, states: int, backend: str | None = None) -> None:
        super().__init__()
        self.conv = GroupedConv2d(groups, channels, channels, depthwise=True)
        self.scan = SelectiveScan2d(groups, channels, rank, states, backend)
        self.norm = GroupedLayerNorm(groups, channels)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        return self.norm(self.scan(F.silu(self.conv(x)), source))


class SS2D(nn.Module):
    """Gated selective scan, (T, B, H, W, C) -> (T, B, H, W, C).

    With ``cross`` it is MTMamba++'s CSS2D: dt, B and C come from another map, the shared representation.

    Args:
        groups: T.
        channels: C.
        states: N.
        expansion: D / C.
        cross: whether ``forward`` takes the shared map.
        backend: of the scan.
    """

    def __init__(
        self,
        groups: int,
        channels: int,
        states: int = 16,
        expansion: float = 2.0,
        cross: bool = False,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        inner = inner_channels(channels, expansion)
        self.in_proj = GroupedLinear(groups, channels, 2 * inner, bias=False)
        self.cross_proj = GroupedLinear(groups, channels, inner, bias=False) if cross else None
        self.branch = ScanBranch(groups, inner, dt_rank(channels), states, backend)
        self.out_proj = GroupedLinear(groups, inner, channels, bias=False)

    def forward(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        """``shared`` (B, H, W, C) is wanted if and only if the module was made with ``cross``."""
        x, z = self.in_proj(x).chunk(2, dim=-1)
        source = None
        if self.cross_proj is not None:
            assert shared is not None, "a cross-task SS2D takes its dt, B and C from a shared map"
            source = self.cross_proj.shared(shared)
        return self.out_proj(self.branch(x, source) * F.silu(z))


def dt_rank(channels: int) -> int:
    """R = ceil(C / 16)."""
    return math.ceil(channels / 16)


def inner_channels(channels: int, expansion: float) -> int:
    """D, with a clear error where it would not be a positive whole number."""
    inner = channels * expansion
    if inner < 1 or inner != int(inner):
        raise ValueError(f"expansion {expansion} of {channels} channels gives {inner} inner channels")
    return int(inner)

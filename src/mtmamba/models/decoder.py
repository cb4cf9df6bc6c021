"""The decoder: from the encoder's pyramid to one map per task, coarse to fine (MTMamba, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtmamba.nn.blocks import CROSS_TASK_BLOCKS, STM
from mtmamba.nn.grouped import GroupedLinear
from mtmamba.nn.heads import PatchExpand


class DecoderStage(nn.Module):
    """PatchExpand, fusion with the encoder's map, STM blocks per task, one cross-task block over all tasks.

    Args:
        tasks: T.
        in_channels: of the coarser map.
        channels: of the encoder's map of this stage, and of the answer.
        factor: how many times finer this stage is than the one before.
        drop_rates: DropPath of each STM block, then of the cross-task block.
        cross_task: a key of ``CROSS_TASK_BLOCKS``.
        states, expansion, backend: of the blocks' scans.
    """

    def __init__(
        self,
        tasks: int,
        in_channels: int,
        channels: int,
        factor: int,
        drop_rates: Sequence[float],
        cross_task: str,
        states: int,
        expansion: float,
        backend: str | None,
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.expand = PatchExpand(tasks, in_channels, channels, factor)
        # A linear layer on [expanded | skip], in two halves: the skip half is the same map for every task.
        self.fuse_expanded = GroupedLinear(tasks, channels, channels, fan_in=2 * channels)
        self.fuse_skip = GroupedLinear(tasks, channels, channels, bias=False, fan_in=2 * channels)
        *stm_rates, ctm_rate = drop_rates
        self.stm = nn.Sequential(*(STM(tasks, channels, states, expansion, rate, backend) for rate in stm_rates))
        block = CROSS_TASK_BLOCKS[cross_task]
        self.ctm = nn.Identity() if block is None else block(tasks, channels, states, expansion, ctm_rate, backend)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """``coarse`` (T, B, h, w, C_in), or (B, h, w, C_in) shared by all tasks; ``skip`` (B, H, W, C)."""
        expanded = self.expand(coarse) if coarse.ndim == 5 else self.expand.shared(coarse)
        x = self.fuse_expanded(expanded) + self.fuse_skip.shared(skip)
        for block in (*self.stm, self.ctm):
            recompute = self.grad_checkpointing and torch.is_grad_enabled()
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        return x


class Decoder(nn.Module):
    """As many stages as the pyramid has maps but one; stage 0 starts every task from the coarsest map.

    Args:
        tasks: T.
        channels: of the encoder's maps, finest first.
        strides: of the encoder's maps, finest first.
        cross_task: "f_ctm" (MTMamba), "s_ctm" (MTMamba++) or "none".
        stm_blocks: STM blocks per stage.
        states: N of every scan.
        expansion: D / C of every scan.
        drop_path_rate: rate of the first block; falls evenly to 0 at the last.
        backend: of the scans; None takes the best for the device.
    """

    def __init__(
        self,
        tasks: int,
        channels: Sequence[int],
        strides: Sequence[int],
        cross_task: str = "f_ctm",
        stm_blocks: int = 2,
        states: int = 16,
        expansion: float = 2.0,
        drop_path_rate: float = 0.2,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        if cross_task not in CROSS_TASK_BLOCKS:
            raise ValueError(f"unknown cross_task {cross_task!r}; there are: {', '.join(CROSS_TASK_BLOCKS)}")
        if stm_blocks < 0 or states < 1 or not 0 <= drop_path_rate < 1:
            raise ValueError(
                f"stm_blocks must be >= 0, states >= 1 and drop_path_rate in [0, 1); "
                f"got {stm_blocks}, {states} and {drop_path_rate}"
            )
        stages = len(channels) - 1
        blocks = stm_blocks + 1
        last = max(stages * blocks - 1, 1)
        rates = [drop_path_rate * (1 - i / last) for i in range(stages * blocks)]
        self.stages = nn.ModuleList(
            DecoderStage(
                tasks,
                in_channels=channels[-1 - i],
                channels=channels[-2 - i],
                factor=strides[-1 - i] // strides[-2 - i],
                drop_rates=rates[i * blocks : (i + 1) * blocks],
                cross_task=cross_task,
                states=states,
                expansion=expansion,
                backend=backend,
            )
            for i in range(stages)
        )

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """``pyramid``: (B, H_i, W_i, C_i), finest first -> (T, B, H_0, W_0, C_0)."""
        *skips, x = pyramid
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            x = stage(x, skip)
        return x

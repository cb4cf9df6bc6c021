"""From a task's last map to its logits: the dense head of MTMamba and the light one of MTMamba++."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtmamba.nn.grouped import GroupedConv2d, GroupedLayerNorm, GroupedLinear, channels_last

# The dense head's maps at the image's resolution are the model's largest tensors. A band of rows is made at a time:
BAND_ELEMENTS = 2**27  # of a band: 256 MiB of bfloat16
BAND_ELEMENTS_IN_CACHE = 2**20  # on a CPU: 4 MiB of float32


class PatchExpand(nn.Module):
    """Upsampling by a linear layer: every pixel becomes a block of ``factor`` x ``factor`` pixels, then LayerNorm.

    (T, B, H, W, C_in) -> (T, B, factor H, factor W, C_out). The linear layer's outputs are ordered (row, column,
    channel) of the block (MTMamba, section 3.1, after Swin-Unet).
    """

    def __init__(self, groups: int, in_channels: int, out_channels: int, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.expand = GroupedLinear(groups, in_channels, factor**2 * out_channels, bias=False)
        self.norm = GroupedLayerNorm(groups, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self._shuffle(self.expand(x))

    def shared(self, x: Tensor) -> Tensor:
        """From one map (B, H, W, C_in) for every task."""
        return self._shuffle(self.expand.shared(x))

    def _shuffle(self, x: Tensor) -> Tensor:
        T, B, H, W, _ = x.shape
        p = self.factor
        blocks = x.reshape(T, B, H, W, p, p, -1).transpose(3, 4)  # (T, B, H, p1, W, p2, c)
        return self.norm(blocks.reshape(T, B, H * p, W * p, -1))


class DenseHead(nn.Module):
    """MTMamba's head: PatchExpand to the image's resolution, then a 1x1 convolution per task; in bands of rows.

    Args:
        channels: C of the last decoder map.
        out_channels: channels of each task's logits, in task order.
        stride: pixels of the image per pixel of the map.
    """

    def __init__(self, channels: int, out_channels: Sequence[int], stride: int) -> None:
        super().__init__()
        self.expand = PatchExpand(len(out_channels), channels, channels, stride)
        self.project = nn.ModuleList(nn.Linear(channels, out) for out in out_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(T, B, H, W, C) -> per task (B, out, stride H, stride W)."""
        recompute = torch.is_grad_enabled() and x.requires_grad
        bands = []
        for band in x.split(self._rows(x), dim=2):
            # Stored for backward is what a band starts from; the maps at the image's resolution are made again.
            bands.append(checkpoint(self._band, band, use_reentrant=False) if recompute else self._band(band))
        return [torch.cat(parts, dim=1).permute(0, 3, 1, 2) for parts in zip(*bands, strict=True)]

    def _band(self, x: Tensor) -> list[Tensor]:
        """Per task (B, stride H, stride W, out).

        Norm and projection are per pixel, so the logits are put into place, not the maps; and the norm's scale and
        offset are part of the projection.
        """
        p, norm = self.expand.factor, self.expand.norm
        maps = self.expand.expand(x).unflatten(-1, (p * p, -1))  # (T, B, H, W, p p, C)
        normed = F.layer_norm(maps, maps.shape[-1:], eps=norm.eps).to(maps.dtype)
        logits = []
        for project, scale, offset, task in zip(self.project, norm.weight, norm.bias, normed, strict=True):
            y = F.linear(task, project.weight * scale, project.bias + project.weight @ offset)
            blocks = y.unflatten(3, (p, p)).transpose(2, 3)  # (B, H, p, W, p, out)
            logits.append(blocks.flatten(1, 2).flatten(2, 3))
        return logits

    def _rows(self, x: Tensor) -> int:
        """Rows of the map that are expanded at once; all in small maps, and where a graph is traced on a CPU."""
        T, B, H, W, C = x.shape
        traced = torch.compiler.is_compiling() or torch.compiler.is_exporting()
        elements = BAND_ELEMENTS if x.is_cuda or traced else BAND_ELEMENTS_IN_CACHE
        return max(1, min(H, elements // (T * B * W * C * self.expand.factor**2)))


class LiteHead(nn.Module):
    """MTMamba++'s head: 3x3 convolution to ``hidden`` channels, BatchNorm, ReLU, 1x1 convolution per task.

    Args and shapes as in :class:`DenseHead`, but the logits stay at the map's resolution.
    """

    def __init__(self, channels: int, out_channels: Sequence[int], stride: int, hidden: int = 96) -> None:
        super().__init__()
        T = len(out_channels)
        self.conv = GroupedConv2d(T, channels, hidden)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        self.norm = nn.BatchNorm2d(T * hidden)  # statistics are per channel, so one norm serves all tasks
        self.project = nn.ModuleList(nn.Linear(hidden, out) for out in out_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(T, B, H, W, C) -> per task (B, out, H, W)."""
        hidden = F.relu(self.norm(self.conv.channels_first(x)))
        maps = channels_last(hidden, len(self.project))
        return [project(task).permute(0, 3, 1, 2) for project, task in zip(self.project, maps, strict=True)]


HEADS: dict[str, type[DenseHead] | type[LiteHead]] = {"dense": DenseHead, "lite": LiteHead}

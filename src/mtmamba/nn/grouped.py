"""Layers that are T layers at once: the same operation with other weights for each task, in one call.

Shape letters: T tasks (groups), B images, H x W map, C channels. Maps are channels-last, (T, B, H, W, C).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGE_MAP = 2**18  # elements of a task's maps from which permuting them costs a CPU more than a call per task


class GroupedLinear(nn.Module):
    """T linear layers: (T, ..., in_features) -> (T, ..., out_features).

    Args:
        groups: T.
        in_features: channels in.
        out_features: channels out.
        bias: whether each has a bias.
        fan_in: what the default initialisation counts as inputs, where this is a part of a wider layer.
    """

    def __init__(
        self, groups: int, in_features: int, out_features: int, bias: bool = True, fan_in: int | None = None
    ) -> None:
        super().__init__()
        self.fan_in = fan_in or in_features
        self.weight = nn.Parameter(torch.empty(groups, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(groups, out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """``nn.Linear``'s default: uniform within 1 / sqrt(fan in)."""
        bound = 1 / math.sqrt(self.fan_in)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(T, ..., in) -> (T, ..., out)."""
        flat = x.flatten(1, -2)
        weight = self.weight.transpose(1, 2)
        if self.bias is None:
            y = torch.bmm(flat, weight)
        else:
            y = torch.baddbmm(self.bias.unsqueeze(1), flat, weight)
        return y.unflatten(1, x.shape[1:-1])

    def shared(self, x: Tensor) -> Tensor:
        """The same map for every task, (..., in) -> (T, ..., out): one matmul with the stacked weights."""
        T, out, _ = self.weight.shape
        y = F.linear(x, self.weight.flatten(0, 1), None if self.bias is None else self.bias.flatten())
        return y.unflatten(-1, (T, out)).movedim(-2, 0)


class GroupedLayerNorm(nn.Module):
    """T layer norms over the last axis, (T, ..., C) -> (T, ..., C); eps 1e-5.

    The answer has the input's dtype, under autocast too, which would store it in float32; statistics are float32.
    """

    def __init__(self, groups: int, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(groups, channels))
        self.bias = nn.Parameter(torch.zeros(groups, channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (self.weight.shape[0], *[1] * (x.ndim - 2), self.weight.shape[1])
        normed = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        bias, normed, weight = (tensor.to(x.dtype) for tensor in (self.bias, normed, self.weight))
        return torch.addcmul(bias.view(shape), normed, weight.view(shape))


class GroupedConv2d(nn.Module):
    """T convolutions with padding that keeps the size: (T, B, H, W, C_in) -> (T, B, H, W, C_out).

    Args:
        groups: T.
        in_channels: channels in, per task.
        out_channels: channels out, per task.
        kernel_size: odd size of the square kernel.
        depthwise: one kernel per channel (then ``in_channels`` = ``out_channels``).
    """

    def __init__(
        self, groups: int, in_channels: int, out_channels: int, kernel_size: int = 3, depthwise: bool = False
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or (depthwise and in_channels != out_channels):
            raise ValueError(
                f"kernel_size must be odd and a depthwise convolution keeps its channels; got kernel_size "
                f"{kernel_size}, {in_channels} -> {out_channels} channels, depthwise={depthwise}"
            )
        self.splits = in_channels if depthwise else 1
        fan_in = in_channels // self.splits
        self.weight = nn.Parameter(torch.empty(groups, out_channels, fan_in, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(groups, out_channels))
        bound = 1 / math.sqrt(fan_in * kernel_size**2)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        if self.splits > 1 and x.is_cuda and torch.compiler.is_compiling():
            return self._by_shifts(x)
        if self.splits > 1 and x.device.type == "cpu" and x[0].numel() >= LARGE_MAP:
            return self._by_task(x)
        return channels_last(self.channels_first(x), self.weight.shape[0])

    def _by_task(self, x: Tensor) -> Tensor:
        """Depthwise, task after task: the maps of one task lie in memory as channels-last ones; nothing is permuted."""
        padding, splits = self.weight.shape[-1] // 2, self.splits
        parts = zip(x, self.weight, self.bias, strict=True)
        maps = [F.conv2d(task.permute(0, 3, 1, 2), w, b, padding=padding, groups=splits) for task, w, b in parts]
        return torch.stack([task.permute(0, 2, 3, 1) for task in maps])

    def _by_shifts(self, x: Tensor) -> Tensor:
        """Depthwise, as a sum of shifted maps: a compiler makes one kernel of it, which needs no permuted copies."""
        _, _, H, W, _ = x.shape
        size = self.weight.shape[-1]
        padded = F.pad(x, (0, 0, *[size // 2] * 4))
        y = self.bias[:, None, None, None]
        for i in range(size):
            for j in range(size):
                weight = self.weight[:, :, 0, i, j]
                y = y + padded[:, :, i : i + H, j : j + W] * weight[:, None, None, None]
        return y.to(x.dtype)

    def channels_first(self, x: Tensor) -> Tensor:
        """(T, B, H, W, C_in) -> (B, T * C_out, H, W), as torch's own 2-D layers want it."""
        T, B, H, W, C = x.shape
        stacked = x.permute(1, 0, 4, 2, 3).reshape(B, T * C, H, W)
        padding = self.weight.shape[-1] // 2
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        return F.conv2d(stacked, weight, bias, padding=padding, groups=T * self.splits)


def channels_last(x: Tensor, groups: int) -> Tensor:
    """(B, T * C, H, W) -> (T, B, H, W, C)."""
    return x.unflatten(1, (groups, -1)).permute(1, 0, 3, 4, 2)

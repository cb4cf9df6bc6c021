"""What a decoder would be with attention in the place of its scans: for comparison only."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mtmamba.nn.grouped import GroupedLinear
from mtmamba.nn.ss2d import SelectiveScan2d


class GlobalAttention(nn.Module):
    """Multi-head self-attention over all pixels of a map, each task for itself: (T, B, H, W, D) -> the same shape.

    It takes the place of a scan: what surrounds that (convolution, norm, gate, output projection) stays. Queries and
    keys come from ``source`` where there is one, as dt, B and C do.

    Args:
        replaced: the scan; T and D are read off it.
        head_channels: per head, at most; a divisor of D.
    """

    def __init__(self, replaced: SelectiveScan2d, head_channels: int = 32) -> None:
        super().__init__()
        T, _, D, _ = replaced.A_log.shape
        self.heads = max(1, D // head_channels)
        self.query_key = GroupedLinear(T, D, 2 * D, bias=False)
        self.value = GroupedLinear(T, D, D, bias=False)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        query, key = self.query_key(x if source is None else source).chunk(2, dim=-1)
        y = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(self.value(x)))
        return y.transpose(1, 2).reshape(x.shape)

    def _split(self, x: Tensor) -> Tensor:
        """(T, B, H, W, D) -> (T B, heads, H W, D / heads)."""
        return x.flatten(0, 1).flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2)

"""The four raster orders in which SS2D visits a map, as index maps (MTMamba, section 3.2; reference: VMamba)."""

from __future__ import annotations

import torch
from torch import Tensor

NUM_ROUTES = 4


def route_indices(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """Pixel visited at every step of every route.

    Route 0 walks the rows (left to right, top to bottom), route 1 the columns (top to bottom, left to right),
    routes 2 and 3 are routes 0 and 1 backwards.

    Returns:
        int64 tensor (4, height * width); entry (k, l) is the row-major index of the l-th pixel of route k.
    """
    rows = torch.arange(height * width, device=device)
    columns = rows.reshape(height, width).t().flatten()
    return torch.stack([rows, columns, rows.flip(0), columns.flip(0)])

"""The same model with something else in the place of its scans."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from mtmamba.nn.ss2d import SelectiveScan2d

Model = TypeVar("Model", bound=nn.Module)


def with_scans_replaced(model: Model, make: Callable[[SelectiveScan2d], nn.Module]) -> Model:
    """A second model with ``make(scan)`` where ``model`` has a scan; weights and buffers are shared, not copied."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    other = copy.deepcopy(model, memo=shared)
    for parent in list(other.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SelectiveScan2d):
                setattr(parent, name, make(child))
    return other

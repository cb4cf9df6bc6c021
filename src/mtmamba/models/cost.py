"""Parameters and cost of a model, part by part, counted as the papers count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mtmamba.models.mtmamba import MTMamba
from mtmamba.nn.ss2d import SelectiveScan2d
from mtmamba.ops import NUM_ROUTES


@dataclass
class Cost:
    """Of one part, for one image.

    Attributes:
        part: name of the module.
        parameters: number of weights.
        multiply_adds: of matmuls and convolutions, dt's projection within the scan included.
        scan: of the selective scans: 9 L (4D) N + L (4D) each.
    """

    part: str
    parameters: int
    multiply_adds: int
    scan: int

    @property
    def total(self) -> int:
        """Multiply-adds and scan together: the papers' "FLOPs"."""
        return self.multiply_adds + self.scan


def model_cost(model: MTMamba, size: tuple[int, int] | None = None) -> list[Cost]:
    """Cost of the encoder, each decoder stage, the head, and at last of all together.

    Nothing is computed: the model may (and should, for its size) be on the meta device.

    Args:
        model: the model; put into eval mode.
        size: (H, W) of the image; None: what the model was made for.
    """
    parts: dict[str, nn.Module] = {"encoder": model.encoder}
    parts |= {f"decoder.stages.{i}": stage for i, stage in enumerate(model.decoder.stages)}
    parts |= {"head": model.head, "all": model}
    names = {module: name for name, module in model.named_modules()}
    dt_macs: dict[str, int] = {}

    def count_dt(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        assert isinstance(module, SelectiveScan2d)
        dt_macs[names[module]] = output.numel() * NUM_ROUTES * module.rank

    scans = [m for m in model.modules() if isinstance(m, SelectiveScan2d)]
    handles = [scan.register_forward_hook(count_dt) for scan in scans]
    device = next(model.parameters()).device
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(torch.zeros(1, 3, *(size or model.config["image_size"]), device=device))
    finally:
        for handle in handles:
            handle.remove()
    counts = counter.get_flop_counts()
    rows = []
    for part, module in parts.items():
        name = type(model).__name__ + (f".{part}" if part != "all" else "")
        flops = counts.get(name, {})
        scan = sum(n for op, n in flops.items() if "selective_scan_2d" in str(op))
        dense = sum(flops.values()) - scan
        dt = sum(n for owner, n in dt_macs.items() if part == "all" or owner.startswith(f"{part}."))
        parameters = sum(p.numel() for p in module.parameters())
        rows.append(Cost(part, parameters, dense // 2 + dt, scan))
    return rows

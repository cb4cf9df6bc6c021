"""Any timm encoder with a feature pyramid, as four normed channels-last maps; Swin with the published padding order."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import load_checkpoint
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor, nn

#: Statistics of ImageNet that images are normalised with, per RGB channel in [0, 1].
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
NUM_MAPS = 4


class Encoder(nn.Module):
    """(B, 3, H, W) -> four maps (B, H / stride, W / stride, channels), finest first, each through its LayerNorm.

    H and W must be multiples of ``strides[-1]``; :class:`mtmamba.models.mtmamba.MTMamba` pads to that.

    Args:
        name: timm's name of the architecture, with or without the name of its weights.
        image_size: (H, W) that size-dependent encoders are built for; other sizes work afterwards too.
        pretrained: load timm's weights; or the path of a file with weights for this architecture.
        kwargs: passed on to timm.

    Raises:
        ValueError: the encoder does not exist, gives no pyramid, or one whose strides do not divide each other.
    """

    def __init__(
        self,
        name: str,
        image_size: tuple[int, int],
        pretrained: bool | str = False,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:8]
            raise ValueError(f"timm knows no encoder {name!r}" + (f"; near ones: {', '.join(near)}" if near else ""))
        options: dict[str, Any] = {}
        if name.startswith("swin_"):
            # Windows and shifts stay as they are on every size: published bias tables fit no others.
            grid = [-(-side // 32) * 32 for side in image_size]
            options = {"img_size": tuple(grid), "strict_img_size": False, "always_partition": True}
        options |= kwargs or {}
        self.net = self._create(name, pretrained is True, options)
        if isinstance(pretrained, str):
            load_weights(self.net, name, Path(pretrained), options)
        info: Any = self.net.feature_info
        self.channels: list[int] = list(info.channels())
        self.strides: list[int] = list(info.reduction())
        self._check_pyramid()
        self.channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        for module in self.net.modules():
            if type(module) is SwinTransformerBlock:
                module.__class__ = PadThenShiftBlock
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in self.channels)

    def _create(self, name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
        indices = tuple(range(-NUM_MAPS, 0))
        try:
            return timm.create_model(name, features_only=True, out_indices=indices, pretrained=pretrained, **options)
        except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
            raise ValueError(f"timm cannot make a feature pyramid of {name!r} with {options}: {error}") from error
        except OSError as error:
            if not pretrained:
                raise
            raise OSError(
                f"cannot fetch the weights of {name!r} from timm's hub ({str(error).splitlines()[0]}); without a "
                f"connection, give a file that has them: --model.pretrained FILE, or pretrained=FILE"
            ) from error

    def _check_pyramid(self) -> None:
        steps = list(zip(self.strides, self.strides[1:], strict=False))
        if len(self.strides) < NUM_MAPS or len(set(self.strides)) < 2 or any(b % a for a, b in steps):
            raise ValueError(
                f"{self.name!r} gives maps at strides {self.strides}: the decoder needs a pyramid of {NUM_MAPS} maps, "
                f"each stride a multiple of the one before (a plain ViT has none; swin, convnext, resnet, pvt_v2, "
                f"hiera, efficientnet and many others have)"
            )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute in backward: every block where timm's stages can do so, else every stage."""
        net: Any = self.net
        stages: list[Any] = [m for m in net.modules() if m is not net and hasattr(m, "grad_checkpointing")]
        if stages:
            for stage in stages:
                stage.grad_checkpointing = enable
        elif hasattr(net, "set_grad_checkpointing"):
            net.set_grad_checkpointing(enable)
        else:
            raise ValueError(f"timm cannot recompute {self.name!r} in backward (grad_checkpointing)")

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.net(images)
        if not self.channels_last:
            maps = [m.permute(0, 2, 3, 1) for m in maps]
        return [norm(m) for norm, m in zip(self.norms, maps, strict=True)]


def load_weights(net: nn.Module, name: str, path: Path, options: Mapping[str, Any]) -> None:
    """Weights of a classifier in timm's or its authors' format, from a file, into timm's feature pyramid of it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is unreadable, or lacks weights of the encoder, or has them in other shapes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no encoder weights at {path}")
    whole = timm.create_model(name, pretrained=False, num_classes=0, **options)
    convert = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    try:
        found: Any = load_checkpoint(whole, str(path), strict=False, filter_fn=convert)
    except Exception as error:
        raise ValueError(f"{path} has no weights for {name!r}: {str(error).splitlines()[0]}") from error
    weights = {key.replace(".", "_"): tensor for key, tensor in whole.state_dict().items()}
    lacking = {key.replace(".", "_") for key in found.missing_keys}
    # A pyramid's modules have the classifier's names, with underscores for dots, and "model." before them in some.
    own = {key: key.removeprefix("model.").replace(".", "_") for key in net.state_dict()}
    missing = [key for key, source in own.items() if source in lacking or source not in weights]
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} of {name!r}'s weights, {', '.join(missing[:5])} among them")
    net.load_state_dict({key: weights[source] for key, source in own.items()})


class PadThenShiftBlock(SwinTransformerBlock):
    """Swin block that pads to whole windows before the cyclic shift, as published; timm shifts first.

    The two differ wherever the map is no multiple of the window: padded tokens (zeros, right and bottom) take part
    in attention, under the shift mask of the padded map.
    """

    def _attn(self, x: Tensor) -> Tensor:
        _, H, W, C = x.shape
        window_h, window_w = self.window_size
        x = F.pad(x, (0, 0, 0, -W % window_w, 0, -H % window_h))
        H_padded, W_padded = x.shape[1:3]
        shifted = any(self.shift_size)
        if shifted:
            x = torch.roll(x, shifts=(-self.shift_size[0], -self.shift_size[1]), dims=(1, 2))
        mask = self.get_attn_mask(x) if self.dynamic_mask else self.attn_mask
        windows = window_partition(x, self.window_size).view(-1, self.window_area, C)
        windows = self.attn(windows, mask=mask).view(-1, window_h, window_w, C)
        x = window_reverse(windows, self.window_size, H_padded, W_padded)
        if shifted:
            x = torch.roll(x, shifts=tuple(self.shift_size), dims=(1, 2))
        return x[:, :H, :W].contiguous()

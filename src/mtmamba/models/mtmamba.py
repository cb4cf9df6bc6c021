"""MTMamba and MTMamba++: encoder, decoder and heads put together, and the names to make them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtmamba.models.decoder import Decoder
from mtmamba.models.encoder import Encoder
from mtmamba.nn.heads import HEADS
from mtmamba.nn.ss2d import SelectiveScan2d
from mtmamba.tasks import Task, benchmark

PUBLISHED_ENCODER = "swin_large_patch4_window12_384"
#: What the published models differ in; everything else is the same.
PRESETS: dict[str, dict[str, Any]] = {
    "mtmamba": {"cross_task": "f_ctm", "head": "dense"},
    "mtmamba_plus": {"cross_task": "s_ctm", "head": "lite"},
}
#: Input sizes (H, W) of the published recipes, and how much larger their answer is.
BENCHMARK_SIZES = {
    "nyudv2": (448, 576),
    "pascal_context": (512, 512),
    "cityscapes": (512, 1024),
    "ade20k": (512, 512),
}
OUTPUT_SCALES = {"cityscapes": 2}


class MTMamba(nn.Module):
    """One image in, logits of every task out. Make it by :func:`create_model`.

    Args:
        config: keyword arguments of :func:`create_model`, with ``tasks`` as a list of tasks; kept to save the model.
        encoder: the pyramid.
        decoder: the stages.
        head: logits of every task.
    """

    def __init__(self, config: Mapping[str, Any], encoder: Encoder, decoder: Decoder, head: nn.Module) -> None:
        super().__init__()
        self.config = dict(config)
        self.tasks: list[Task] = list(config["tasks"])
        self.output_size: tuple[int, int] | None = config["output_size"]
        self.output_scale: int = config["output_scale"]
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised images (B, 3, H, W), any size -> {task name: logits (B, channels, H_out, W_out)}.

        Images are padded with zeros, right and bottom, to what the encoder needs, and the answers cropped.
        The output's size is ``output_size``, or ``output_scale`` times the input's.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (batch, 3, height, width), got {tuple(images.shape)}")
        H, W = images.shape[-2:]
        stride = self.encoder.strides[-1]
        images = images.to(next(self.encoder.parameters()).dtype)
        padded = F.pad(images, (0, -W % stride, 0, -H % stride))
        logits = self.head(self.decoder(self.encoder(padded)))
        size = self.output_size or (H * self.output_scale, W * self.output_scale)
        covered = (padded.shape[-2] / H, padded.shape[-1] / W)
        return {task.name: _resize(x, size, covered) for task, x in zip(self.tasks, logits, strict=True)}

    def cast_weights(self, dtype: torch.dtype) -> MTMamba:
        """Compute in ``dtype`` (bfloat16, float16), for inference: weights are cast once, not in every call.

        What decides about decays stays as it is: the scan's own weights, whose states are float32; and BatchNorm.
        """
        for module in self.modules():
            if isinstance(module, SelectiveScan2d | nn.BatchNorm2d):
                continue
            for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
                if tensor.is_floating_point():
                    tensor.data = tensor.data.to(dtype)
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training keeps only what each block starts from, and runs it again in backward: less memory.

        Named as timm's, which does it in the encoder.

        Raises:
            ValueError: timm cannot do so with this encoder.
        """
        self.encoder.set_grad_checkpointing(enable)
        stages: Any = self.decoder.stages
        for stage in stages:
            stage.grad_checkpointing = enable

    def save_pretrained(self, directory: str) -> None:
        """Write config.json and model.safetensors, which :func:`mtmamba.load_model` reads."""
        from mtmamba.models.hub import save_model

        save_model(self, directory)


def create_model(
    name: str,
    tasks: str | Sequence[Task],
    *,
    encoder: str = PUBLISHED_ENCODER,
    pretrained: bool | str = False,
    image_size: tuple[int, int] | None = None,
    output_size: tuple[int, int] | None = None,
    output_scale: int | None = None,
    encoder_kwargs: Mapping[str, Any] | None = None,
    head: str | None = None,
    **decoder: Any,
) -> MTMamba:
    """Make an MTMamba (arXiv 2407.02228) or MTMamba++ (arXiv 2408.15101).

    Args:
        name: "mtmamba" or "mtmamba_plus".
        tasks: a benchmark's name (see :func:`mtmamba.tasks.benchmark`) or tasks in order; weights depend on the order.
        encoder: timm's name of an encoder with a feature pyramid.
        pretrained: load the encoder's weights from timm's hub; or the path of a file that has them.
        image_size: (H, W) the model is made for; the published size where ``tasks`` names a benchmark. Other
            sizes work too.
        output_size: (H, W) of the logits; None: ``output_scale`` times the input's.
        output_scale: None: 1 (2 for "cityscapes", as published).
        encoder_kwargs: passed on to timm.
        head: "dense" or "lite"; None: the preset's.
        decoder: arguments of :class:`mtmamba.models.decoder.Decoder`: ``cross_task``, ``stm_blocks``, ``states``,
            ``expansion``, ``drop_path_rate``, ``backend``.

    Raises:
        ValueError: an unknown name, task, encoder or option, with what there is.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown model {name!r}; there are: {', '.join(PRESETS)}")
    dataset = tasks if isinstance(tasks, str) else ""
    task_list = benchmark(tasks) if isinstance(tasks, str) else list(tasks)
    names = [task.name for task in task_list]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a model needs one task at least, each with its own name; got {names}")
    preset = PRESETS[name]
    head_name = preset["head"] if head is None else head
    if head_name not in HEADS:
        raise ValueError(f"unknown head {head_name!r}; there are: {', '.join(HEADS)}")
    size = _size(image_size or BENCHMARK_SIZES.get(dataset, (224, 224)), "image_size")
    decoder = {"cross_task": preset["cross_task"], **decoder}
    unknown = set(decoder) - set(Decoder.__init__.__annotations__)
    if unknown:
        known = sorted(set(Decoder.__init__.__annotations__) - {"return", "tasks", "channels", "strides"})
        raise ValueError(f"unknown decoder option {', '.join(sorted(unknown))}; there are: {', '.join(known)}")

    pyramid = Encoder(encoder, size, pretrained, encoder_kwargs)
    stages = Decoder(len(task_list), pyramid.channels, pyramid.strides, **decoder)
    heads = HEADS[head_name](pyramid.channels[0], [task.channels for task in task_list], pyramid.strides[0])
    config = {
        "name": name,
        "tasks": task_list,
        "encoder": encoder,
        "image_size": size,
        "output_size": None if output_size is None else _size(output_size, "output_size"),
        "output_scale": OUTPUT_SCALES.get(dataset, 1) if output_scale is None else output_scale,
        "encoder_kwargs": dict(encoder_kwargs or {}),
        "head": head_name,
        **decoder,
    }
    return MTMamba(config, pyramid, stages, heads)


def _size(value: Sequence[int], what: str) -> tuple[int, int]:
    if len(value) != 2 or any(side < 1 for side in value):
        raise ValueError(f"{what} must be (height, width), both positive; got {tuple(value)}")
    return int(value[0]), int(value[1])


def _resize(logits: Tensor, size: tuple[int, int], covered: tuple[float, float]) -> Tensor:
    """Bilinear to ``size``; ``covered``: how many times the image's sides the logits cover, the rest being padding."""
    padded = [round(side * times) for side, times in zip(size, covered, strict=True)]
    if list(logits.shape[-2:]) != padded:
        logits = F.interpolate(logits.contiguous(), size=padded, mode="bilinear", align_corners=False)
    return logits[..., : size[0], : size[1]].contiguous(memory_format=torch.contiguous_format)

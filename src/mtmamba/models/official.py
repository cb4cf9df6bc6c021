"""Published MTMamba and MTMamba++ checkpoints -> ours: per-task tensors are stacked along the task axis.

A published file is a torch zip with {"model": state dict}, keys prefixed by "module." (saved out of a data-parallel
wrapper). Every tensor of the file and of the model is accounted for, or nothing is loaded.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtmamba.models.decoder import DecoderStage
from mtmamba.models.mtmamba import PUBLISHED_ENCODER, MTMamba, create_model
from mtmamba.nn.blocks import FCTM, SCTM
from mtmamba.nn.heads import DenseHead
from mtmamba.tasks import benchmark

Transform = Callable[[Tensor], Tensor]
# (our key, how the parts are put together, [(published key, what to do with it), ...])
Rule = tuple[str, Callable[[list[Tensor]], Tensor], list[tuple[str, Transform]]]

#: Benchmarks with published weights, by the tasks' names in the checkpoints.
PUBLISHED_BENCHMARKS = ("nyudv2", "pascal_context", "cityscapes")
_PUBLISHED_NAMES = {"saliency": "sal"}
# What PUBLISHED_ENCODER is built with.
_SWIN_LARGE = {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48), "window_size": 12}
# Constants that a file may hold beside weights.
_NOT_WEIGHTS = ("relative_position_index", "attn_mask")


def load_official_checkpoint(model: MTMamba, path: str | Path) -> MTMamba:
    """Load a published ``.pth.tar`` or ``.pth`` into ``model``, in place.

    Args:
        model: an MTMamba or MTMamba++ with a Swin encoder and the benchmark's tasks in their published order.
        path: the file; read with ``weights_only=True``.

    Returns:
        ``model``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no checkpoint, or one of another model: the error lists what is missing, left over or
            misshapen. The model is then as it was.
    """
    published = read_checkpoint(path)
    order = _task_order(published)
    wanted = [_PUBLISHED_NAMES.get(task.name, task.name) for task in model.tasks]
    if order and order != wanted:
        raise ValueError(
            f"{path} has the tasks {', '.join(order)}, in this order; the model has {', '.join(wanted)}. "
            f"Weights that mix tasks depend on the order: make the model with the same tasks, in the same order"
        )
    own = model.state_dict()
    missing: list[str] = []
    misshapen: list[str] = []
    used: set[str] = set()
    loaded: dict[str, Tensor] = {}
    for key, combine, parts in _rules(model):
        absent = [name for name, _ in parts if name not in published]
        used.update(name for name, _ in parts)
        if absent:
            missing += absent
            continue
        try:
            tensor = combine([transform(published[name]) for name, transform in parts])
        except (RuntimeError, IndexError) as error:
            misshapen.append(f"{parts[0][0]} {tuple(published[parts[0][0]].shape)}: {error}")
            continue
        if tensor.shape == own[key].shape:
            loaded[key] = tensor.to(own[key].dtype)
        else:
            shapes = ", ".join(f"{name} {tuple(published[name].shape)}" for name, _ in parts)
            misshapen.append(f"{shapes}: gives {tuple(tensor.shape)}, the model's {key} is {tuple(own[key].shape)}")
    left_over = [name for name in published if name not in used and not name.endswith(_NOT_WEIGHTS)]
    unset = [key for key in own if key not in loaded] if not (missing or misshapen) else []
    problems = {"missing": missing, "left over": left_over, "misshapen": misshapen, "not in the file": unset}
    if any(problems.values()):
        lists = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in problems.items() if keys)
        raise ValueError(f"{path} does not fit this {model.config['name']}, nothing was loaded: {lists}")
    model.load_state_dict(loaded, strict=True)
    return model


def model_from_official(path: str | Path) -> MTMamba:
    """The model that a published checkpoint holds: its kind, tasks and encoder are read off the tensors.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_official_checkpoint`.
    """
    published = read_checkpoint(path)
    order = _task_order(published)
    for dataset in PUBLISHED_BENCHMARKS:
        tasks = benchmark(dataset)
        if order == [_PUBLISHED_NAMES.get(task.name, task.name) for task in tasks]:
            break
    else:
        raise ValueError(
            f"{path} is no published checkpoint: it has the tasks {', '.join(order) or '(none)'}; published are "
            f"those of {', '.join(PUBLISHED_BENCHMARKS)}"
        )
    try:
        encoder_kwargs = _swin_arguments(published)
    except KeyError as error:
        raise ValueError(f"{path} is no published checkpoint: no tensor {error}") from error
    name = "mtmamba_plus" if any(key.startswith("block_ctm.") for key in published) else "mtmamba"
    model = create_model(name, dataset, encoder=PUBLISHED_ENCODER, encoder_kwargs=encoder_kwargs)
    return load_official_checkpoint(model, path)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published file, keys without "module."."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no readable torch checkpoint (truncated download?): {reason}") from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f'{path} holds no state dict: expected {{"model": {{name: tensor}}}} or {{name: tensor}}')
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def _task_order(published: dict[str, Tensor]) -> list[str]:
    """Tasks as the file's own order has them."""
    return list(dict.fromkeys(key.split(".")[1] for key in published if key.startswith("final_project.")))


def _swin_arguments(published: dict[str, Tensor]) -> dict[str, Any]:
    """What must be said of the encoder beyond its name; nothing for the published Swin-Large."""
    depths: list[int] = []
    heads: list[int] = []
    window = 0
    while f"backbone.stages.{len(depths)}.blocks.0.norm1.weight" in published:
        stage = f"backbone.stages.{len(depths)}.blocks"
        depth = 0
        while f"{stage}.{depth}.norm1.weight" in published:
            depth += 1
        table = published[f"{stage}.0.attn.w_msa.relative_position_bias_table"]
        depths.append(depth)
        heads.append(table.shape[1])
        window = (round(table.shape[0] ** 0.5) + 1) // 2
    found = {
        "embed_dim": published["backbone.patch_embed.projection.weight"].shape[0],
        "depths": tuple(depths),
        "num_heads": tuple(heads),
        "window_size": window,
    }
    return {key: value for key, value in found.items() if value != _SWIN_LARGE[key]}


def _rules(model: MTMamba) -> Iterator[Rule]:
    tasks = [_PUBLISHED_NAMES.get(task.name, task.name) for task in model.tasks]
    yield from _encoder_rules(model)
    for s, stage in enumerate(model.decoder.stages):
        assert isinstance(stage, DecoderStage)
        ours = f"decoder.stages.{s}"
        yield from _decoder_stage_rules(model.config["name"], len(stage.stm), tasks, s, ours)
        if isinstance(stage.ctm, FCTM):
            yield from _f_ctm_rules(f"{ours}.ctm", f"block_3.{s}", tasks)
        elif isinstance(stage.ctm, SCTM):
            yield from _s_ctm_rules(f"{ours}.ctm", f"block_ctm.{s}.0", tasks)
    yield from _head_rules(model, tasks)


def _encoder_rules(model: MTMamba) -> Iterator[Rule]:
    renamed = {
        "patch_embed.proj.": "patch_embed.projection.",
        ".attn.": ".attn.w_msa.",
        ".mlp.fc1.": ".ffn.layers.0.0.",
        ".mlp.fc2.": ".ffn.layers.1.",
    }
    for key in model.encoder.state_dict():
        transform = _same
        if key.startswith("norms."):
            name = "norm" + key.removeprefix("norms.")
        else:
            name = key.removeprefix("net.")
            for ours, theirs in renamed.items():
                name = name.replace(ours, theirs)
            if name.startswith("layers_"):
                stage, rest = name.removeprefix("layers_").split(".", 1)
                if rest.startswith(
                    "downsample."
                ):  # ours: at the start of a stage; theirs: at the end of the one before
                    stage, transform = str(int(stage) - 1), _merged_as_timm
                name = f"stages.{stage}.{rest}"
        yield f"encoder.{key}", _only, [(f"backbone.{name}", transform)]


def _decoder_stage_rules(model_name: str, stm_blocks: int, tasks: list[str], s: int, ours: str) -> Iterator[Rule]:
    for name in ("expand.weight", "norm.weight", "norm.bias"):
        yield f"{ours}.expand.{name}", torch.stack, [(f"expand_layers.{t}_{s}.{name}", _same) for t in tasks]
    fused = [f"concat_layers.{t}_{s}" for t in tasks]
    yield f"{ours}.fuse_expanded.weight", torch.stack, [(f"{f}.weight", _first_half) for f in fused]
    yield f"{ours}.fuse_skip.weight", torch.stack, [(f"{f}.weight", _second_half) for f in fused]
    yield f"{ours}.fuse_expanded.bias", torch.stack, [(f"{f}.bias", _same) for f in fused]
    for i in range(stm_blocks):
        if model_name == "mtmamba":
            blocks = [f"block_{i + 1}.{t}_{s}" for t in tasks]
        else:
            blocks = [f"block_stm.{t}_{s}.{i}" for t in tasks]
        yield from _norm_rules(f"{ours}.stm.{i}.norm", [f"{b}.norm" for b in blocks])
        yield from _ss2d_rules(f"{ours}.stm.{i}.ss2d", [f"{b}.op" for b in blocks])


def _norm_rules(ours: str, theirs: list[str]) -> Iterator[Rule]:
    for name in ("weight", "bias"):
        yield f"{ours}.{name}", torch.stack, [(f"{norm}.{name}", _same) for norm in theirs]


def _branch_rules(ours: str, theirs: list[str]) -> Iterator[Rule]:
    names: dict[str, tuple[str, Transform]] = {
        "conv.weight": ("conv2d.weight", _same),
        "conv.bias": ("conv2d.bias", _same),
        "scan.x_proj.weight": ("x_proj_weight", lambda w: w.flatten(0, 1)),
        "scan.dt_weight": ("dt_projs_weight", _same),
        "scan.dt_bias": ("dt_projs_bias", _same),
        "scan.A_log": ("A_logs", lambda w: w.unflatten(0, (4, -1))),
        "scan.D_skip": ("Ds", lambda w: w.unflatten(0, (4, -1))),
    }
    for own, (name, transform) in names.items():
        yield f"{ours}.{own}", torch.stack, [(f"{op}.{name}", transform) for op in theirs]
    yield from _norm_rules(f"{ours}.norm", [f"{op}.out_norm" for op in theirs])


def _ss2d_rules(ours: str, theirs: list[str]) -> Iterator[Rule]:
    yield from _branch_rules(f"{ours}.branch", theirs)
    for name in ("in_proj.weight", "out_proj.weight"):
        yield f"{ours}.{name}", torch.stack, [(f"{op}.{name}", _same) for op in theirs]


def _f_ctm_rules(ours: str, theirs: str, tasks: list[str]) -> Iterator[Rule]:
    yield from _norm_rules(f"{ours}.norm", [f"{theirs}.norm.{t}" for t in tasks])
    for name in ("weight", "bias"):
        yield f"{ours}.shared_norm.{name}", _only, [(f"{theirs}.norm_share.{name}", _same)]
    yield f"{ours}.shared_proj.weight", _only, [(f"{theirs}.op_share.in_proj.weight", _same)]
    yield f"{ours}.own_proj.weight", torch.stack, [(f"{theirs}.op.{t}.in_proj.weight", _same) for t in tasks]
    yield f"{ours}.gate.weight", torch.stack, [(f"{theirs}.in_proj.{t}.weight", _same) for t in tasks]
    yield f"{ours}.out_proj.weight", torch.stack, [(f"{theirs}.out_proj.{t}.weight", _same) for t in tasks]
    yield from _branch_rules(f"{ours}.branches", [f"{theirs}.op.{t}" for t in tasks] + [f"{theirs}.op_share"])


def _s_ctm_rules(ours: str, theirs: str, tasks: list[str]) -> Iterator[Rule]:
    yield from _norm_rules(f"{ours}.norm", [f"{theirs}.norm.{t}" for t in tasks])
    for name in ("weight", "bias"):
        yield f"{ours}.shared_norm.{name}", _only, [(f"{theirs}.norm_share.{name}", _same)]
        yield f"{ours}.shared_proj.{name}", _only, [(f"{theirs}.conv_share.0.{name}", _as_linear)]
        yield f"{ours}.shared_conv.{name}", _only, [(f"{theirs}.conv_share.1.{name}", _same)]
    ops = [f"{theirs}.op.{t}" for t in tasks]
    yield from _ss2d_rules(f"{ours}.css2d", ops)
    yield (
        f"{ours}.css2d.cross_proj.weight",
        torch.stack,
        [(f"{op}.in_proj_cross.weight", _same) for op in ops],
    )


def _head_rules(model: MTMamba, tasks: list[str]) -> Iterator[Rule]:
    if isinstance(model.head, DenseHead):
        for name in ("expand.weight", "norm.weight", "norm.bias"):
            yield f"head.expand.{name}", torch.stack, [(f"final_expand.{t}.{name}", _same) for t in tasks]
    else:
        for name in ("weight", "bias"):
            yield f"head.conv.{name}", torch.stack, [(f"final_expand.{t}.0.{name}", _same) for t in tasks]
        for name in ("weight", "bias", "running_mean", "running_var"):
            yield f"head.norm.{name}", torch.cat, [(f"final_expand.{t}.1.{name}", _same) for t in tasks]
        counters: list[tuple[str, Transform]] = [(f"final_expand.{t}.1.num_batches_tracked", _same) for t in tasks]
        yield "head.norm.num_batches_tracked", lambda parts: torch.stack(parts).max(), counters
    for i, t in enumerate(tasks):
        for name in ("weight", "bias"):
            yield f"head.project.{i}.{name}", _only, [(f"final_project.{t}.{name}", _as_linear)]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _only(parts: list[Tensor]) -> Tensor:
    return parts[0]


def _as_linear(tensor: Tensor) -> Tensor:
    """A 1x1 convolution's weight as a linear layer's."""
    return tensor.flatten(1) if tensor.ndim == 4 else tensor


def _first_half(weight: Tensor) -> Tensor:
    return _as_linear(weight).chunk(2, dim=1)[0]


def _second_half(weight: Tensor) -> Tensor:
    return _as_linear(weight).chunk(2, dim=1)[1]


def _merged_as_timm(tensor: Tensor) -> Tensor:
    """Patch merging's 4C inputs from channel slow, 2x2 position fast (00, 01, 10, 11) to four maps 00, 10, 01, 11."""
    by_position = tensor.unflatten(-1, (tensor.shape[-1] // 4, 4))[..., [0, 2, 1, 3]]
    return by_position.transpose(-1, -2).flatten(-2)


def _some(keys: list[str], most: int = 6) -> str:
    shown = ", ".join(keys[:most])
    return shown if len(keys) <= most else f"{shown}, ... and {len(keys) - most} more"

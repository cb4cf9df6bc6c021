"""What this project exists for: the 2-D selective scan (SS2D's core), as one operator with exchangeable backends."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mtmamba.ops import parallel, reference
from mtmamba.ops.routes import NUM_ROUTES, route_indices

__all__ = ["NUM_ROUTES", "available_backends", "route_indices", "scan_flops", "selective_scan_2d"]


def _nothing(G: int, B: int, L: int, D: int, N: int) -> tuple[int, ...]:
    return (0,)


@dataclass(frozen=True)
class Backend:
    """One implementation of the scan.

    ``forward(*inputs, keep) -> y, states``: y (parts, G, B, H, W, D) sums to the answer over its first axis, and is
    float32 where there are several; states, float32, is what ``backward(grad_y, states, *inputs) -> six gradients``
    wants to find again, empty without ``keep``.
    """

    forward: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, ...]]
    devices: tuple[str, ...] | None = None  # device types it runs on; None: any
    dtypes: tuple[torch.dtype, ...] | None = None  # of u; None: any
    parts: int = 1
    states_shape: Callable[[int, int, int, int, int], tuple[int, ...]] = _nothing  # of G, B, L, D, N

    def runs_on(self, device: torch.device, dtype: torch.dtype) -> bool:
        return (self.devices is None or device.type in self.devices) and (self.dtypes is None or dtype in self.dtypes)


HALF_OR_SINGLE = (torch.float32, torch.bfloat16, torch.float16)
_BACKENDS: dict[str, Backend] = {}  # in order of preference: without a caller's wish, the first that runs is taken
_MISSING: dict[str, str] = {}  # by device type: why the backend made for it is not there
try:
    from mtmamba.ops import cpu
except ImportError as error:  # no Numba, or one that does not go with NumPy
    _MISSING["cpu"] = f"Numba ({error})"
else:
    _BACKENDS["cpu"] = Backend(cpu.forward, cpu.backward, ("cpu",), HALF_OR_SINGLE, states_shape=cpu.states_shape)
try:
    from mtmamba.ops import triton
except ImportError as error:  # torch brings it on Linux only
    _MISSING["cuda"] = f"Triton ({error})"
else:
    _BACKENDS["triton"] = Backend(
        triton.forward, triton.backward, triton.DEVICES, HALF_OR_SINGLE, parts=4, states_shape=triton.states_shape
    )
_BACKENDS["parallel"] = Backend(parallel.forward, parallel.backward)
_BACKENDS["reference"] = Backend(reference.forward, reference.backward)
if "triton" in _BACKENDS and "cpu" in triton.DEVICES:
    _BACKENDS["triton"] = _BACKENDS.pop("triton")  # interpreted, it is the slowest


def available_backends(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[str]:
    """Names of the backends that run on ``device`` for an input of ``dtype``, the preferred one first."""
    return [name for name, backend in _BACKENDS.items() if backend.runs_on(torch.device(device), dtype)]


def selective_scan_2d(
    u: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D_skip: Tensor,
    *,
    backend: str | None = None,
) -> Tensor:
    """Selective scan over the four raster routes of a map, summed (SS2D; MTMamba, arXiv 2407.02228, section 3.2).

    Per route k and step l, at the pixel that the route visits, with [dt_low | B | C] = proj[..., k, :]::

        dt = softplus(dt_weight[k] @ dt_low + dt_bias[k])
        h  = exp(dt * A[k]) * h + dt * u * B        with A = -exp(A_log), h = 0 before the first step
        y  = h @ C + D_skip[k] * u

    Args:
        u: (G, B, H, W, D) input; G groups (tasks) with weights of their own, B images, D channels.
        proj: (G, B, H, W, 4, R + 2N) what dt (rank R), B and C (N states) come from, per route.
        dt_weight: (G, 4, D, R).
        dt_bias: (G, 4, D).
        A_log: (G, 4, D, N).
        D_skip: (G, 4, D).
        backend: "cpu", "triton", "parallel" or "reference"; None takes the best for the device and the dtype of ``u``.

    Returns:
        y (G, B, H, W, D) in ``u``'s dtype. States are float32 (float64 when ``u`` is float64).

    Raises:
        ValueError: shapes that do not fit together, or a backend that does not exist or not on this device.
    """
    _check_shapes(u, proj, dt_weight, dt_bias, A_log, D_skip)
    names = available_backends(u.device, u.dtype)
    name = names[0] if backend is None else backend
    if name not in names:
        raise ValueError(f"no scan backend {name!r} for {u.dtype} on {u.device.type}; there are: {', '.join(names)}")
    inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
    if parallel.exporting():  # other runtimes know torch's operators only
        return parallel.forward(*inputs, keep=False)[0].squeeze(0)
    if backend is None and u.dtype in HALF_OR_SINGLE:
        _mention_missing(u.device.type)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    parts, _ = _scan(*inputs, name, keep)
    return parts.squeeze(0) if len(parts) == 1 else parts.sum(0).to(u.dtype)


def _mention_missing(device: str) -> None:
    """Once, where the missing backend would have been taken."""
    if device in _MISSING and not torch.compiler.is_compiling():
        what = _MISSING.pop(device)
        text = f"without {what} the scan takes the backend 'parallel', which is several times slower"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def scan_flops(groups: int, batch: int, pixels: int, channels: int, states: int) -> int:
    """Cost of one call as the field counts it: 9 B L (4D) N + B L (4D) per group; dt's matmul is not in it."""
    return groups * batch * pixels * NUM_ROUTES * channels * (9 * states + 1)


@torch.library.custom_op("mtmamba::selective_scan_2d", mutates_args=())
def _scan(
    u: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D_skip: Tensor,
    backend: str,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    with torch.autocast(u.device.type, enabled=False):  # inside, everything is float32
        return _BACKENDS[backend].forward(u, proj, dt_weight, dt_bias, A_log, D_skip, keep=keep)


@_scan.register_fake
def _(
    u: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D_skip: Tensor,
    backend: str,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    G, B, H, W, D = u.shape
    chosen = _BACKENDS[backend]
    states = chosen.states_shape(G, B, H * W, D, A_log.shape[-1]) if keep else (0,)
    dtype = u.dtype if chosen.parts == 1 else torch.float32
    return u.new_empty(chosen.parts, *u.shape, dtype=dtype), u.new_empty(states, dtype=torch.float32)


@torch.library.custom_op("mtmamba::selective_scan_2d_backward", mutates_args=())
def _scan_backward(
    grad_y: Tensor,
    states: Tensor,
    u: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D_skip: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    with torch.autocast(u.device.type, enabled=False):
        return _BACKENDS[backend].backward(grad_y, states, u, proj, dt_weight, dt_bias, A_log, D_skip)  # type: ignore[return-value]


@_scan_backward.register_fake
def _(grad_y: Tensor, states: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in inputs[:-1])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.backend, keep = inputs
    assert keep, "the wrapper asks for the states whenever a gradient is wanted"
    ctx.save_for_backward(output[1], *tensors)


def _autograd(ctx: Any, grad_parts: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    # Every part has the same gradient, that of their sum.
    return *_scan_backward(grad_parts[0], *ctx.saved_tensors, ctx.backend), None, None


_scan.register_autograd(_autograd, setup_context=_setup_context)


@register_flop_formula(torch.ops.mtmamba.selective_scan_2d)
def _flops(u: Any, proj: Any, dt_weight: Any, dt_bias: Any, A_log: Any, *others: Any, **kwargs: Any) -> int:
    G, B, H, W, D = u  # shapes take the place of tensors
    return scan_flops(G, B, H * W, D, A_log[-1])


def _check_shapes(u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor) -> None:
    if u.ndim != 5:
        raise ValueError(f"u must be (groups, batch, height, width, channels), got {tuple(u.shape)}")
    if dt_weight.ndim != 4 or A_log.ndim != 4:
        raise ValueError(
            f"dt_weight must be (G, 4, D, R) and A_log (G, 4, D, N), got {tuple(dt_weight.shape)} and "
            f"{tuple(A_log.shape)}"
        )
    G, B, H, W, D = u.shape
    R, N = dt_weight.shape[-1], A_log.shape[-1]
    K = NUM_ROUTES
    wanted = {
        "proj": (proj, (G, B, H, W, K, R + 2 * N)),
        "dt_weight": (dt_weight, (G, K, D, R)),
        "dt_bias": (dt_bias, (G, K, D)),
        "A_log": (A_log, (G, K, D, N)),
        "D_skip": (D_skip, (G, K, D)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise ValueError(
                f"{name} must be {shape} to go with u {tuple(u.shape)}, rank {R} and {N} states; "
                f"got {tuple(tensor.shape)}"
            )

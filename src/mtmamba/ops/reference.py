"""The selective scan as written in the paper, one step after the other: the truth the other backends answer to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtmamba.ops.routes import route_indices


def forward(
    u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor]:
    """Sequential 2-D selective scan; shapes as in :func:`mtmamba.ops.selective_scan_2d`.

    Computes in float32, or in float64 when ``u`` is float64.
    """
    y = torch.zeros_like(u, dtype=_dtype(u)).flatten(2, 3)
    for k, route in enumerate(route_indices(u.shape[2], u.shape[3], u.device)):
        x, _, _, _, C_out, _ = _route_inputs(k, route, u, proj, dt_weight, dt_bias, A_log)
        h = _states(k, route, u, proj, dt_weight, dt_bias, A_log)
        along = torch.einsum("lgbdn,gbln->gbld", h[1:], C_out) + D_skip[:, k, None, None].to(x.dtype) * x
        y[:, :, route] += along
    return y.reshape(1, *u.shape).to(u.dtype), u.new_empty(0, dtype=torch.float32)


def backward(
    grad_y: Tensor,
    states: Tensor,
    u: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D_skip: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of the six inputs: the adjoint of every step, walked backwards."""
    inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
    grads = [torch.zeros_like(tensor, dtype=_dtype(u)) for tensor in inputs]
    du, dproj, dW, dbias, dA_log, dD = grads
    for k, route in enumerate(route_indices(u.shape[2], u.shape[3], u.device)):
        x, dt, dt_low, B_in, C_out, A = _route_inputs(k, route, u, proj, dt_weight, dt_bias, A_log)
        h = _states(k, route, u, proj, dt_weight, dt_bias, A_log)
        gy = grad_y.to(x.dtype).flatten(2, 3)[:, :, route]
        adjoint = torch.zeros_like(h[0])  # dL/dh_l, as step l + 1 hands it down
        ddt, ddrive, dB = torch.zeros_like(dt), torch.zeros_like(dt), torch.zeros_like(B_in)
        for step in reversed(range(len(route))):
            decay = torch.exp(dt[:, :, step, :, None] * A)
            adjoint = adjoint + gy[:, :, step, :, None] * C_out[:, :, step, None]
            ddecay = adjoint * h[step] * decay  # times the derivative of exp: dL/d(dt A)
            ddt[:, :, step] = (ddecay * A).sum(-1)
            dA_log[:, k] += (ddecay * dt[:, :, step, :, None] * A).sum(1)
            ddrive[:, :, step] = (adjoint * B_in[:, :, step, None]).sum(-1)
            dB[:, :, step] = torch.einsum("gbdn,gbd->gbn", adjoint, (dt * x)[:, :, step])
            adjoint = adjoint * decay
        ddt += ddrive * x
        dz = ddt * (-torch.expm1(-dt))  # softplus'(z) = sigmoid(z) = 1 - exp(-softplus(z))
        dC = torch.einsum("gbld,lgbdn->gbln", gy, h[1:])
        d_low = torch.einsum("gbld,gdr->gblr", dz, dt_weight[:, k].to(x.dtype))
        du.flatten(2, 3)[:, :, route] += ddrive * dt + gy * D_skip[:, k, None, None].to(x.dtype)
        dproj.flatten(2, 3)[:, :, route, k] = torch.cat([d_low, dB, dC], dim=-1)
        dW[:, k] = torch.einsum("gbld,gblr->gdr", dz, dt_low)
        dbias[:, k] = dz.sum((1, 2))
        dD[:, k] = (gy * x).sum((1, 2))
    return tuple(grad.to(tensor.dtype) for grad, tensor in zip(grads, inputs, strict=True))


def _dtype(u: Tensor) -> torch.dtype:
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def _route_inputs(
    k: int, route: Tensor, u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor
) -> tuple[Tensor, ...]:
    """x, dt (G, B, L, D); dt_low (G, B, L, R); B, C (G, B, L, N) along route k; A (G, 1, D, N)."""
    dtype = _dtype(u)
    R, N = dt_weight.shape[-1], A_log.shape[-1]
    x = u.to(dtype).flatten(2, 3)[:, :, route]
    dt_low, B_in, C_out = proj.to(dtype).flatten(2, 3)[:, :, route, k].split([R, N, N], dim=-1)
    z = torch.einsum("gblr,gdr->gbld", dt_low, dt_weight[:, k].to(dtype))
    dt = F.softplus(z + dt_bias[:, k, None, None].to(dtype))
    return x, dt, dt_low, B_in, C_out, -torch.exp(A_log[:, k, None].to(dtype))


def _states(
    k: int, route: Tensor, u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor
) -> Tensor:
    """h before the first and after every step: (L + 1, G, B, D, N)."""
    x, dt, _, B_in, _, A = _route_inputs(k, route, u, proj, dt_weight, dt_bias, A_log)
    h = [x.new_zeros(*x.shape[:2], *A.shape[-2:])]
    for step in range(len(route)):
        drive = (dt * x)[:, :, step, :, None] * B_in[:, :, step, None]
        h.append(torch.exp(dt[:, :, step, :, None] * A) * h[-1] + drive)
    return torch.stack(h)

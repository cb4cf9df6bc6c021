"""The selective scan in two levels, in plain torch operations: any device, traceable by torch.export.

The L pixels of a route are cut into ``chunks`` runs of ``steps`` pixels. All chunks walk their run at once, three
times: (1) from h = 0, for what each chunk adds; (2) chunk by chunk, to hand the state on, for which the decay over
a whole chunk is exp(A * sum of dt); (3) again, now from the right state, for the answer. That takes 2 * steps + chunks
sequential steps, about 3 * sqrt(L) when chunks = sqrt(2 L). The recurrence is never inverted: that would be unstable.

Memory is bounded by walking over blocks of channels. Shape letters: S steps, K = 4 routes, c chunks, G groups,
B images, N states, D channels of a block, R rank of dt. Time comes first, so that one step is contiguous, and
channels last, so that elementwise operations vectorise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mtmamba.ops.routes import NUM_ROUTES, route_indices

# Elements that a block may hold at once: 256 MiB of float32.
BLOCK_ELEMENTS = 2**26
# Elements of a state tensor from which a step keeps a CPU busy by itself, so that more chunks would only cost.
BUSY_ELEMENTS = 2**15


def forward(
    u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor]:
    """Two-level 2-D selective scan; shapes as in :func:`mtmamba.ops.selective_scan_2d`."""
    plan = _Plan.make(u, A_log.shape[-1])
    low, B_in, C_out = plan.project(proj, dt_weight.shape[-1])
    blocks = []
    for block in plan.channel_blocks(per_channel=8 * plan.length + 4 * A_log.shape[-1] * plan.chunks):
        run = _Run.make(plan, block, u, low, dt_weight, dt_bias, A_log)
        h = run.entry_states(B_in)
        y = torch.empty_like(run.x) if not exporting() else None
        steps = []
        for s in range(plan.steps):
            h = run.step(h, s, B_in)
            y_s = _contract(h, C_out[s])
            if y is None:
                steps.append(y_s)
            else:
                y[s] = y_s
        y = torch.stack(steps) if y is None else y
        skip = _per_channel(D_skip[..., block], run.x.dtype)
        blocks.append(plan.gather_back(y + skip * run.x))
    return torch.cat(blocks, dim=-1).to(u.dtype).unsqueeze(0), u.new_empty(0, dtype=torch.float32)


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
    """Gradients of the six inputs. States are recomputed from the inputs, then walked backwards, in two levels too."""
    N = A_log.shape[-1]
    plan = _Plan.make(u, N)
    low, B_in, C_out = plan.project(proj, dt_weight.shape[-1])
    d_low, dB, dC = torch.zeros_like(low), torch.zeros_like(B_in), torch.zeros_like(C_out)
    of_channels: list[tuple[Tensor, ...]] = []
    for block in plan.channel_blocks(per_channel=(8 + N) * plan.length + 8 * N * plan.chunks):
        run = _Run.make(plan, block, u, low, dt_weight, dt_bias, A_log)
        gy = plan.gather(grad_y[..., block])
        gy = gy * plan.valid if plan.valid is not None else gy

        h = run.x.new_empty(plan.steps + 1, *run.state_shape)  # before the first and after every step
        h[0] = run.entry_states(B_in)
        for s in range(plan.steps):
            h[s + 1] = run.step(h[s], s, B_in)

        adjoint = run.entry_adjoints(gy, C_out)
        ddt, ddrive = torch.empty_like(run.dt), torch.empty_like(run.dt)
        dA = torch.zeros_like(adjoint)
        for s in reversed(range(plan.steps)):
            decay = run.decay(s)
            adjoint = torch.addcmul(adjoint, C_out[s].unsqueeze(-1), gy[s].unsqueeze(-2))
            dC[s] += _contract_channels(h[s + 1], gy[s])
            dB[s] += _contract_channels(adjoint, run.drive[s])
            ddrive[s] = _contract(adjoint, B_in[s])
            adjoint = adjoint * decay
            ddecay = adjoint * h[s]  # dL/d(dt A): the derivative of exp is in adjoint now
            ddt[s] = (ddecay * run.A).sum(-2)
            dA.addcmul_(ddecay, run.dt[s].unsqueeze(-2))

        ddt += ddrive * run.x
        dz = ddt * (-torch.expm1(-run.dt))  # softplus'(z) = 1 - exp(-softplus(z)); 0 on padding, where dt = 0
        dtype = run.x.dtype
        d_low += torch.einsum("skcgbd,gkdr->skcgbr", dz, dt_weight[:, :, block].to(dtype))
        skip = _per_channel(D_skip[..., block], dtype)
        of_channels.append(
            (
                plan.gather_back(ddrive * run.dt + skip * gy),
                torch.einsum("skcgbd,skcgbr->gkdr", dz, low),
                dz.sum((0, 2, 4)).transpose(0, 1),
                (dA.sum((1, 3)) * run.A[:, 0, :, 0]).permute(1, 0, 3, 2),
                (gy * run.x).sum((0, 2, 4)).transpose(0, 1),
            )
        )
    du, dW, dbias, dA_log, dD = (
        torch.cat(parts, dim=dim) for parts, dim in zip(zip(*of_channels, strict=True), (-1, 2, 2, 2, 2), strict=True)
    )
    dproj = plan.project_back(torch.cat([d_low, dB, dC], dim=-1))
    inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
    return tuple(g.to(t.dtype).contiguous() for g, t in zip((du, dproj, dW, dbias, dA_log, dD), inputs, strict=True))


@dataclass
class _Plan:
    """How the pixels of all routes are laid out as (steps, routes, chunks), and how much is done at once."""

    groups: int
    batch: int
    height: int
    width: int
    channels: int
    chunks: int
    steps: int
    dtype: torch.dtype
    pixels: Tensor  # (S * K * c): pixel visited; padding repeats a pixel and is made harmless by dt = 0
    routes: Tensor  # (S * K * c): route of the visit
    places: Tensor  # (K * L): where in (S, K, c) the visits of each pixel stand, route by route
    valid: Tensor | None  # (S, K, c, 1, 1, 1), or None when nothing is padded

    @staticmethod
    def make(u: Tensor, states: int) -> _Plan:
        G, B, H, W, D = u.shape
        L, device = H * W, u.device
        chunks = math.ceil(math.sqrt(2 * L))
        if device.type == "cpu" and not exporting():
            rows = NUM_ROUTES * G * B * D * states
            chunks = min(chunks, math.ceil(BUSY_ELEMENTS / rows))
        steps = math.ceil(L / chunks)
        chunks = math.ceil(L / steps)
        visit = torch.arange(chunks * steps, device=device).reshape(chunks, steps).t().reshape(steps, 1, chunks)
        route = torch.arange(NUM_ROUTES, device=device).reshape(1, NUM_ROUTES, 1)
        pixels = route_indices(H, W, device)[route, visit.clamp(max=L - 1)].flatten()
        step = route_indices(H, W, device).argsort(1)  # at which step of route k pixel p is visited
        places = (step % steps * NUM_ROUTES + route[0]) * chunks + step // steps
        valid = (visit < L).reshape(steps, 1, chunks, 1, 1, 1) if chunks * steps > L else None
        dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
        routes = route.expand(steps, -1, chunks).flatten()
        return _Plan(G, B, H, W, D, chunks, steps, dtype, pixels, routes, places.flatten(), valid)

    @property
    def length(self) -> int:
        return self.chunks * self.steps

    def channel_blocks(self, per_channel: int) -> Iterator[slice]:
        """Slices of channels that keep ``per_channel`` elements per channel and row within the budget."""
        rows = NUM_ROUTES * self.groups * self.batch
        width = max(1, min(self.channels, BLOCK_ELEMENTS // (rows * per_channel)))
        width = math.ceil(self.channels / math.ceil(self.channels / width))
        for start in range(0, self.channels, width):
            yield slice(start, min(start + width, self.channels))

    def gather(self, maps: Tensor) -> Tensor:
        """(G, B, H, W, D) -> (S, K, c, G, B, D)."""
        pixels_first = maps.flatten(2, 3).permute(2, 0, 1, 3)
        along = pixels_first.index_select(0, self.pixels).to(self.dtype)
        return along.reshape(self.steps, NUM_ROUTES, self.chunks, *along.shape[1:])

    def gather_back(self, along: Tensor) -> Tensor:
        """(S, K, c, G, B, D) -> sum over the routes, (G, B, H, W, D); a gather, so deterministic everywhere."""
        visits = along.flatten(0, 2).index_select(0, self.places)
        summed = visits.unflatten(0, (NUM_ROUTES, -1)).sum(0)
        return summed.permute(1, 2, 0, 3).unflatten(2, (self.height, self.width))

    def project(self, proj: Tensor, rank: int) -> tuple[Tensor, ...]:
        """(G, B, H, W, K, R + 2N) -> dt_low (S, K, c, G, B, R), B and C (S, K, c, G, B, N)."""
        states = (proj.shape[-1] - rank) // 2
        flat = proj.flatten(2, 4).permute(2, 0, 1, 3)  # (L * K, G, B, P)
        along = flat.index_select(0, self.pixels * NUM_ROUTES + self.routes).to(self.dtype)
        along = along.reshape(self.steps, NUM_ROUTES, self.chunks, *along.shape[1:])
        return tuple(part.contiguous() for part in along.split([rank, states, states], dim=-1))

    def project_back(self, along: Tensor) -> Tensor:
        """Inverse of :meth:`project`: each (pixel, route) is visited once."""
        visits = along.flatten(0, 2).index_select(0, self.places).unflatten(0, (NUM_ROUTES, -1))
        return visits.permute(2, 3, 1, 0, 4).unflatten(2, (self.height, self.width))


@dataclass
class _Run:
    """What one block of channels needs while it walks: tensors (S, K, c, G, B, D), and A (K, 1, G, 1, N, D)."""

    plan: _Plan
    x: Tensor
    dt: Tensor
    drive: Tensor
    A: Tensor

    @staticmethod
    def make(
        plan: _Plan, block: slice, u: Tensor, low: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor
    ) -> _Run:
        x = plan.gather(u[..., block])
        weight = dt_weight[:, :, block].to(plan.dtype)
        z = torch.einsum("skcgbr,gkdr->skcgbd", low, weight).contiguous()
        dt = F.softplus(z + _per_channel(dt_bias[..., block], plan.dtype))
        dt = dt * plan.valid if plan.valid is not None else dt
        A = -torch.exp(A_log[:, :, block].to(plan.dtype)).permute(1, 0, 3, 2)[:, None, :, None]
        return _Run(plan, x, dt, dt * x, A.contiguous())

    @property
    def state_shape(self) -> tuple[int, ...]:
        plan = self.plan
        return (NUM_ROUTES, plan.chunks, plan.groups, plan.batch, *self.A.shape[-2:])

    def decay(self, s: int) -> Tensor:
        return torch.exp(self.dt[s].unsqueeze(-2) * self.A)

    def step(self, h: Tensor, s: int, B_in: Tensor) -> Tensor:
        """h (K, c, G, B, N, D) after step s."""
        return torch.addcmul(self.decay(s) * h, B_in[s].unsqueeze(-1), self.drive[s].unsqueeze(-2))

    def entry_states(self, B_in: Tensor) -> Tensor:
        """h with which every chunk starts: what the chunks before it left."""
        h = self.x.new_zeros(self.state_shape)
        if self.plan.chunks == 1:
            return h
        for s in range(self.plan.steps):
            h = self.step(h, s, B_in)
        return self._hand_on(h, range(self.plan.chunks))

    def entry_adjoints(self, gy: Tensor, C_out: Tensor) -> Tensor:
        """dL/dh that every chunk receives from the chunk after it."""
        adjoint = self.x.new_zeros(self.state_shape)
        if self.plan.chunks == 1:
            return adjoint
        for s in reversed(range(self.plan.steps)):
            adjoint = torch.addcmul(adjoint, C_out[s].unsqueeze(-1), gy[s].unsqueeze(-2)) * self.decay(s)
        return self._hand_on(adjoint, reversed(range(self.plan.chunks)))

    def _hand_on(self, left: Tensor, order: Iterator[int] | range) -> Tensor:
        """From what each chunk leaves by itself to what each receives, chunk after chunk in ``order``."""
        decay = torch.exp(self.dt.sum(0).unsqueeze(-2) * self.A)  # over a whole chunk
        received = [torch.zeros_like(left[:, 0])] * self.plan.chunks
        carry = received[0]
        for c in order:
            received[c] = carry
            carry = decay[:, c] * carry + left[:, c]
        return torch.stack(received, dim=1)


def exporting() -> bool:
    """Whether torch.export traces us; torch.compile does not count, whatever it answers to ``is_exporting``."""
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()


def _per_channel(weights: Tensor, dtype: torch.dtype) -> Tensor:
    """(G, K, D) -> (K, 1, G, 1, D), to go with (S, K, c, G, B, D)."""
    return weights.to(dtype).transpose(0, 1)[:, None, :, None]


def _contract(h: Tensor, weights: Tensor) -> Tensor:
    """Sum over states: (..., N, D), (..., N) -> (..., D)."""
    return torch.matmul(weights.unsqueeze(-2), h).squeeze(-2)


def _contract_channels(h: Tensor, weights: Tensor) -> Tensor:
    """Sum over channels: (..., N, D), (..., D) -> (..., N)."""
    return torch.matmul(h, weights.unsqueeze(-1)).squeeze(-1)

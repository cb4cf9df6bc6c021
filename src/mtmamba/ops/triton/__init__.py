"""The selective scan on a GPU, by Triton: in-order walks with the state in registers, forward and backward.

A program owns a tile of channels of one route of one image and walks the route in order; h, (states, channels), stays
in its registers. Nothing is scanned associatively, no float is added atomically, and sums are taken in a fixed order:
results are the same in every run.

dt, fused with its matmul and softplus, and B and C are laid out along the routes first (``prepare``), for a part of
the routes at a time, so that these buffers stay small. u is read, and y written, at the pixel that the route visits.
What a walk reads is copied to shared memory some steps ahead, eight steps at a time. The routes' answers are parts of
y, which the caller sums.

Backward takes one route after the other. Forward kept h every ``SEGMENT`` steps. The route is cut into chunks that are
walked backwards side by side, after a first walk has found which adjoint each chunk receives (``adjoints``,
``hand_on``: the decay over a whole chunk is exp(A * sum of dt)). h is replayed from what was kept, by all segments side
by side to every eighth step (``restore``), and within eight steps by ``walk_back``, which then walks them backwards.

Everything inside is float32. Routes, channels and states are padded (dt = 0 leaves h alone), so any size works.

Shape letters: G groups, B images, M = G * B, L pixels, D channels, N states, R rank of dt, K = 4 routes; Lp, Dp and
Np are padded.
"""

from __future__ import annotations

import contextlib
import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from mtmamba.ops.routes import NUM_ROUTES
from mtmamba.ops.triton import kernels, tuning

SEGMENT = 64  # steps from one kept h to the next; a multiple of 8
FORWARD_WARPS = 768  # programs that make wide tiles worth while, where nothing was timed
WIDEST_TILE = 16  # channels are padded to a multiple of it
FORWARD_BYTES = 2**26  # of the buffers that a forward walk reads at once
BACKWARD_BYTES = 2**28  # of the buffers of the groups whose backward is run at once
LOG2E = 1.4426950408889634


class ForwardConstants(NamedTuple):
    """Of a forward walk."""

    tile: int  # channels of a program
    stages: int  # eight steps are computed while those of the next stages - 1 loads are under way


class BackwardConstants(NamedTuple):
    """Of a backward walk."""

    tile: int  # channels of a program
    programs: int  # that the chunks are made for; 2112: four for each of the 4 schedulers of 132 multiprocessors


#: What :mod:`mtmamba.ops.triton.tuning` may choose from.
FORWARD_SPACE = tuple(ForwardConstants(tile, stages) for tile in (16, 8) for stages in (3, 4, 6))
BACKWARD_SPACE = tuple(BackwardConstants(tile, programs) for tile in (16, 8) for programs in (1056, 2112, 4224))
#: Triton's interpreter (TRITON_INTERPRET=1) runs the kernels on a CPU: slow, but the same code.
DEVICES = ("cuda", "cpu") if triton.knobs.runtime.interpret else ("cuda",)


def states_shape(G: int, B: int, L: int, D: int, N: int) -> tuple[int, ...]:
    """Shape of what forward keeps: h before every segment, (M, K, Lp / SEGMENT, Dp, Np)."""
    return (G * B, NUM_ROUTES, -(-L // SEGMENT), -(-D // WIDEST_TILE) * WIDEST_TILE, triton.next_power_of_2(N))


def forward(
    u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor]:
    """Each route's part of the 2-D selective scan, (K, G, B, H, W, D), and h before every segment (if ``keep``).

    Shapes of the inputs as in :func:`mtmamba.ops.selective_scan_2d`.
    """
    with _on(u):
        work = _Work(u, proj, dt_weight, dt_bias, A_log, D_skip)
        K, M, Lp, Dp, Np = NUM_ROUTES, work.M, work.Lp, work.Dp, work.Np
        states = u.new_empty(work.states_shape if keep else 0, dtype=torch.float32)
        carry = u.new_empty(M, K, Dp, Np, dtype=torch.float32)
        y = torch.empty((K, *u.shape), dtype=torch.float32, device=u.device)
        length = min(Lp, max(1, FORWARD_BYTES // (4 * M * K * (Dp + 2 * Np) * SEGMENT)) * SEGMENT)
        dt, BC = work.buffers(M * K, length)

        def run(constants: ForwardConstants) -> None:
            for start in range(0, Lp, length):
                steps = min(length, Lp - start)
                work.prepare(dt, BC, 0, K, start, steps)
                kernels.walk[(Dp // constants.tile, K, M)](
                    work.u, dt, BC, work.rate, work.skip, y, states, carry, start, steps, work.B, work.H, work.W, Lp,
                    D=work.D, Dp=Dp, K=K, N=Np, TILE=constants.tile, SEGMENT=SEGMENT, STAGES=constants.stages,
                    KEEP=keep, num_warps=1,
                )  # fmt: skip

        wide = M * K * Dp // WIDEST_TILE >= FORWARD_WARPS
        default = ForwardConstants(tile=16 if wide else 8, stages=4)
        run(tuning.choose(f"forward keep={keep}", work.sizes, FORWARD_SPACE, default, run))
    return y, states


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
    """Gradients of the six inputs, each in its input's dtype; as many groups at a time as ``BACKWARD_BYTES`` allow."""
    inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
    G, B, H, W, D = u.shape
    per_group = 4 * B * H * W * D * 7
    groups = min(G, max(1, BACKWARD_BYTES // per_group))
    parts = []
    for first in range(0, G, groups):
        part = slice(first, first + groups)
        with _on(u):
            work = _Work(*(t[part] for t in inputs))
            run = functools.partial(_backward, work, grad_y[part], states[first * B : (first + groups) * B])
            default = BackwardConstants(tile=16, programs=2112)
            parts.append(run(tuning.choose("backward", work.sizes, BACKWARD_SPACE, default, run)))
    return tuple(torch.cat(grads) if len(grads) > 1 else grads[0] for grads in zip(*parts, strict=True))


def _backward(work: _Work, grad_y: Tensor, states: Tensor, constants: BackwardConstants) -> tuple[Tensor, ...]:
    """Gradients of some groups: of everything that they have."""
    G, B, H, W, L, D, N, R = work.G, work.B, work.H, work.W, work.L, work.D, work.N, work.R
    K, M, Lp, Dp, Np = NUM_ROUTES, work.M, work.Lp, work.Dp, work.Np
    tile = constants.tile
    tiles, segments = Dp // tile, Lp // SEGMENT
    per_chunk = max(1, segments * M * tiles // constants.programs)
    chunks = triton.cdiv(segments, per_chunk)
    empty = functools.partial(torch.empty, dtype=torch.float32, device=grad_y.device)

    gy = grad_y.detach().flatten(2, 3).contiguous()
    skip = work.skip.sum(1)
    dt, BC = work.buffers(M, Lp)
    blocks = empty(M, Lp // 8, Dp, Np)
    entry, total = empty(M, chunks, Dp, Np), empty(M, chunks, Dp)
    du = empty(G, B * L, D)
    dz = torch.empty_like(work.u).reshape(du.shape)
    dBC = empty(tiles, M, Lp, 2 * Np)
    dA, dD = empty(M, chunks, Dp, Np), empty(M, chunks, Dp)
    dproj = torch.empty(G, B, L, K, R + 2 * N, dtype=work.proj.dtype, device=grad_y.device)
    wide = -(-(R + 1) // 8) * 8  # matmuls want rows of whole 16 bytes
    dt_weight = F.pad(work.dt_weight, (0, wide - R)).to(dz.dtype)
    low_and_one = F.pad(F.pad(work.proj[..., :R], (0, 1), value=1.0), (0, wide - R - 1)).to(dz.dtype)  # for dbias too
    of_route = []
    shape = {"Dp": Dp, "K": K, "N": Np, "TILE": tile, "num_warps": 1}
    for k in range(K):
        work.prepare(dt, BC, k, 1, 0, Lp)
        kernels.restore[(tiles, segments, M)](
            work.u, dt, BC, work.rate, states, blocks, k, B, H, W, Lp, D=D, SEGMENT=SEGMENT, **shape
        )
        if chunks > 1:
            kernels.adjoints[(tiles, chunks, M)](
                gy, dt, BC, work.rate, entry, total, k, per_chunk, B, H, W, Lp, D=D, SEGMENT=SEGMENT, **shape
            )
            kernels.hand_on[(tiles, M)](entry, total, work.rate, k, chunks, B, **shape)
        kernels.walk_back[(tiles, chunks, M)](
            work.u, gy, dt, BC, work.rate, skip, blocks, entry, du, dz, dBC, dA, dD, k, per_chunk, B, H, W, Lp,
            D=D, SEGMENT=SEGMENT, FIRST=k == 0, ALONE=chunks == 1, **shape,
        )  # fmt: skip
        d_low = torch.bmm(dz, dt_weight[:, k])[..., :R].reshape(G, B, L, R)
        summed = work.by_pixel(dBC.sum(0), k).reshape(G, B, L, 2, Np)[..., :N].flatten(3)
        dproj[:, :, :, k] = torch.cat([d_low.to(summed.dtype), summed], dim=-1)
        low = low_and_one[..., k, :].flatten(1, 2)
        of_route.append((torch.bmm(dz.transpose(1, 2), low), dA.reshape(G, -1, Dp, Np).sum(1)))
    dW, to_A = (torch.stack(of, dim=1) for of in zip(*of_route, strict=True))
    dA_log = to_A[..., :D, :N] * -torch.exp(work.inputs[4].detach().float())
    dD_skip = dD.reshape(G, -1, 1, Dp).sum(1)[..., :D].expand(-1, K, -1)
    grads = (du, dproj, dW[..., :R], dW[..., R], dA_log, dD_skip)
    return tuple(grad.reshape(t.shape).to(t.dtype).contiguous() for grad, t in zip(grads, work.inputs, strict=True))


class _Work:
    """The inputs as the kernels want them, and their sizes."""

    def __init__(
        self, u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor
    ) -> None:
        self.inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
        self.G, self.B, self.H, self.W, self.D = u.shape
        self.L, self.N, self.R = self.H * self.W, A_log.shape[-1], dt_weight.shape[-1]
        self.states_shape = states_shape(self.G, self.B, self.L, self.D, self.N)
        self.M, _, segments, self.Dp, self.Np = self.states_shape
        self.Lp = segments * SEGMENT
        self.u = u.detach().flatten(2, 3).contiguous()
        self.proj = proj.detach().flatten(2, 3).contiguous()
        self.dt_weight, self.dt_bias, self.skip = (
            tensor.detach().float().contiguous() for tensor in (dt_weight, dt_bias, D_skip)
        )
        rate = -torch.exp(A_log.detach().float()) * LOG2E  # for exp2
        self.rate = F.pad(rate, (0, self.Np - self.N, 0, self.Dp - self.D)).contiguous()

    @property
    def sizes(self) -> str:
        """What constants are chosen for."""
        types = " ".join(str(t.dtype).removeprefix("torch.") for t in (self.u, self.proj))
        return f"{self.G}x{self.B}x{self.H}x{self.W}x{self.D} N={self.N} R={self.R} {types}"

    def buffers(self, rows: int, steps: int) -> tuple[Tensor, Tensor]:
        """For dt (rows, steps, Dp), B and C (rows, steps, 2 Np)."""
        return (
            self.u.new_empty(rows, steps, self.Dp, dtype=torch.float32),
            self.u.new_empty(rows, steps, 2 * self.Np, dtype=torch.float32),
        )

    def prepare(self, dt: Tensor, BC: Tensor, first_route: int, routes: int, start: int, steps: int) -> None:
        """Fill the buffers, (M, routes, steps, ...), with what ``routes`` routes read from step ``start`` on."""
        grid = (triton.cdiv(self.Dp, 64), triton.cdiv(steps, 64), self.M * routes)
        kernels.prepare[grid](
            self.proj, self.dt_weight, self.dt_bias, dt, BC, first_route, routes, start, steps,
            self.B, self.H, self.W, self.D, self.Dp,
            K=NUM_ROUTES, R=self.R, RP=max(16, triton.next_power_of_2(self.R)), N=self.N, NP=self.Np,
            ROWS=64, COLUMNS=64, num_warps=4,
        )  # fmt: skip

    def by_pixel(self, steps: Tensor, route: int) -> Tensor:
        """(M, Lp, C) in a route's order -> (M, L, C) in row-major order."""
        steps = steps[:, : self.L]
        if route >= 2:
            steps = steps.flip(1)
        if route % 2 == 1:
            steps = steps.unflatten(1, (self.W, self.H)).transpose(1, 2).flatten(1, 2)
        return steps


def _on(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()

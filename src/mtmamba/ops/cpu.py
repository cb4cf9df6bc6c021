"""The selective scan on a CPU, by Numba: in-order walks with the state in cache, forward and backward.

One tile of work is a tile of channels of one image of one group. It walks the four routes one after the other, reads
each pixel where it lies (no permuted copies) and keeps h, [states][channels], in the first-level cache. The innermost
loops run over channels and are vectorised by LLVM; exp is a polynomial, since calls to a library's would not be.
Tiles are independent, and summed in a fixed order: results do not depend on the number of threads.

Backward keeps nothing but the inputs. It walks each route forwards once for the state before every segment of steps,
then takes the segments from last to first: replay (states and decays are kept), then the adjoint.

Everything inside is float32. dt and its softplus, and all that is a matmul, is left to torch.
Shape letters: G groups, B images, L pixels, D channels, N states, R rank of dt, K = 4 routes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from mtmamba.ops.routes import NUM_ROUTES, route_indices

TILE = 64  # channels of a tile
SEGMENT_ELEMENTS = 2**15  # of the states that backward keeps at once: 128 KiB, to stay in the second-level cache
LOG2E = np.float32(1.4426950408889634)
# Not "reassoc": it would delete the rounding trick of exp2. Dot products, which need it, are a function of their own.
_FLAGS = {"contract", "nnan", "ninf", "nsz", "arcp"}


def forward(
    u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor]:
    """2-D selective scan; shapes as in :func:`mtmamba.ops.selective_scan_2d`, float32 inside."""
    work = _Work(u, proj, dt_weight, dt_bias, A_log, D_skip)
    y = torch.zeros(work.u.shape)

    def run(*tile: int) -> None:
        _forward_tile(*work.arrays, y.numpy(), *tile)

    work.run(run)
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
    """Gradients of the six inputs, each in its input's dtype."""
    inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
    work = _Work(*inputs)
    G, B, _, D = work.u.shape
    N = A_log.shape[-1]
    gy = grad_y.detach().float().flatten(2, 3).contiguous()
    du = torch.zeros(work.u.shape)
    dz = torch.empty(work.dt.shape)  # z: before softplus
    dBC = torch.empty(work.tiles, *work.BC.shape)
    dA = torch.zeros(B, G, NUM_ROUTES, N, D)

    def run(*tile: int) -> None:
        _backward_tile(gy.numpy(), *work.arrays, *(grad.numpy() for grad in (du, dz, dBC, dA)), *tile)

    work.run(run)
    dz_flat, low_flat = dz.flatten(0, 1).flatten(1, 2), work.low.flatten(0, 1).flatten(1, 2)  # (G K, B L, D or R)
    d_low = torch.bmm(dz_flat, work.dt_weight.flatten(0, 1)).reshape(work.low.shape).permute(0, 2, 3, 1, 4)
    dA_log = dA.sum(0) * -torch.exp(A_log.detach().float()).transpose(2, 3)
    grads = (
        du,
        torch.cat([d_low, dBC.sum(0)], dim=-1),
        torch.bmm(dz_flat.transpose(1, 2), low_flat),
        dz_flat.sum(1),
        dA_log.transpose(2, 3),
        (gy * work.u).sum((1, 2)).unsqueeze(1).expand(-1, NUM_ROUTES, -1),
    )
    return tuple(grad.reshape(t.shape).to(t.dtype).contiguous() for grad, t in zip(grads, inputs, strict=True))


class _Work:
    """The inputs as the kernels want them, and the tiles they are cut into."""

    def __init__(
        self, u: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D_skip: Tensor
    ) -> None:
        inputs = (u, proj, dt_weight, dt_bias, A_log, D_skip)
        u, proj, self.dt_weight, dt_bias, A_log, D_skip = (tensor.detach().float() for tensor in inputs)
        G, K, D, R = dt_weight.shape
        self.u = u.flatten(2, 3).contiguous()  # (G, B, L, D)
        flat = proj.flatten(2, 3)  # (G, B, L, K, R + 2N)
        self.BC = flat[..., R:].contiguous()
        self.low = flat[..., :R].permute(0, 3, 1, 2, 4).contiguous()  # (G, K, B, L, R)
        weight = self.dt_weight.reshape(G * K, D, R).transpose(1, 2)
        z = torch.baddbmm(dt_bias.reshape(G * K, 1, D), self.low.reshape(G * K, -1, R), weight)
        self.dt = F.softplus(z).reshape(*self.low.shape[:-1], D)  # (G, K, B, L, D)
        A = -torch.exp(A_log) * float(LOG2E)
        self.A = A.transpose(2, 3).contiguous()  # (G, K, N, D), for exp2
        self.D_skip = D_skip.contiguous()
        self.routes = route_indices(*u.shape[2:4]).numpy()
        self.tiles = -(-D // TILE)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What both kernels read: u, dt, BC, A, D_skip, routes; all contiguous, or rows would not vectorise."""
        return *(tensor.numpy() for tensor in (self.u, self.dt, self.BC, self.A, self.D_skip)), self.routes

    def run(self, tile: Callable[[int, int, int, int], None]) -> None:
        """Call ``tile(group, image, first channel, last channel + 1)`` for all, on torch's number of threads."""
        G, B, _, D = self.u.shape
        starts = range(0, D, TILE)
        jobs = iter([(g, b, start, min(start + TILE, D)) for g in range(G) for b in range(B) for start in starts])
        lock = threading.Lock()

        def drain() -> None:
            while True:
                with lock:
                    job = next(jobs, None)
                if job is None:
                    return
                tile(*job)

        helpers = min(torch.get_num_threads(), G * B * len(starts)) - 1
        waiting = [_pool().submit(drain) for _ in range(helpers)]
        drain()
        for future in waiting:
            future.result()


_threads: ThreadPoolExecutor | None = None


def _pool() -> ThreadPoolExecutor:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(max(1, (os.cpu_count() or 1)), thread_name_prefix="mtmamba-scan")
    return _threads


def _forget_pool() -> None:
    global _threads
    _threads = None  # its threads do not exist in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _kernel(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """njit without the GIL; machine code is kept on disk where there is a place for it."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no writable place: compiled anew in every process
            return njit(nogil=True, **options)(function)

    return compiled


def _exp2_code(typing_context: Any, x: Any) -> Any:
    """2**x for x <= 0 in float32, by instructions that vectorise; relative error 1e-7.

    x = i + f with |f| <= 1/2: adding 1.5 * 2^23 rounds to i; 2^f by a polynomial of degree 6 (Taylor's of
    exp(f log 2)); i goes to the exponent by integer addition.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single, integer = ir.FloatType(), ir.IntType(32)
        (value,) = arguments
        lowest, magic = ir.Constant(single, -126.0), ir.Constant(single, 12582912.0)
        clamped = builder.select(builder.fcmp_ordered("<", value, lowest), lowest, value)
        shifted = builder.fadd(clamped, magic)
        rest = builder.fsub(clamped, builder.fsub(shifted, magic))
        power = ir.Constant(single, _COEFFICIENTS[0])
        for coefficient in _COEFFICIENTS[1:]:
            power = builder.fadd(builder.fmul(power, rest), ir.Constant(single, coefficient))
        exponent = builder.shl(builder.bitcast(shifted, integer), ir.Constant(integer, 23))
        return builder.bitcast(builder.add(builder.bitcast(power, integer), exponent), single)

    return types.float32(types.float32), code


_exp2: Any = intrinsic(_exp2_code)

# log(2)^n / n!, highest power first, as float32 holds them
_COEFFICIENTS = [float(np.float32(np.log(2.0) ** n / np.prod(np.arange(1.0, n + 1)))) for n in range(6, -1, -1)]


@_kernel(fastmath=_FLAGS)
def _forward_tile(u, dt, BC, A, D_skip, routes, y, g, b, start, stop):
    """y += scan of channels start..stop of image b of group g.

    u, y (G, B, L, D); dt (G, K, B, L, D); BC (G, B, L, K, 2N); A (G, K, N, D), times log2(e); D_skip (G, K, D).
    """
    _, K, N, _ = A.shape
    width = stop - start
    h = np.empty((N, width), np.float32)
    dx = np.empty(width, np.float32)
    rate = np.empty((N, width), np.float32)
    for k in range(K):
        h[:] = 0
        rate[:] = A[g, k, :, start:stop]
        skip = D_skip[g, k, start:stop]
        for pixel in routes[k]:
            x = u[g, b, pixel, start:stop]
            step = dt[g, k, b, pixel, start:stop]
            out = y[g, b, pixel, start:stop]
            bc = BC[g, b, pixel, k]
            for j in range(width):
                dx[j] = step[j] * x[j]
                out[j] += skip[j] * x[j]
            for n in range(N):
                state, a = h[n], rate[n]
                to_state, to_out = bc[n], bc[N + n]
                for j in range(width):
                    state[j] = _exp2(step[j] * a[j]) * state[j] + dx[j] * to_state
                    out[j] += state[j] * to_out


@_kernel(fastmath=_FLAGS)
def _backward_tile(gy, u, dt, BC, A, D_skip, routes, du, dz, dBC, dA, g, b, start, stop):
    """Adjoint of _forward_tile.

    Added to: du (G, B, L, D), dA (B, G, K, N, D). Written: dz (G, K, B, L, D), dBC (tiles, G, B, L, K, 2N).
    """
    _, K, N, _ = A.shape
    L = routes.shape[1]
    width, tile = stop - start, start // TILE
    length = min(L, max(16, SEGMENT_ELEMENTS // (N * width)))  # of a segment
    segments = (L + length - 1) // length
    entry = np.empty((segments, N, width), np.float32)  # h before each segment
    h = np.empty((length + 1, N, width), np.float32)
    decay = np.empty((length, N, width), np.float32)
    adjoint = np.empty((length, N, width), np.float32)  # dL/dh after each step
    carried = np.empty((N, width), np.float32)  # dL/dh, as the step behind hands it on
    rate = np.empty((N, width), np.float32)
    to_rate = np.empty((N, width), np.float32)
    dx = np.empty(width, np.float32)
    for k in range(K):
        route, skip = routes[k], D_skip[g, k, start:stop]
        rate[:] = A[g, k, :, start:stop]
        to_rate[:] = 0
        carried[:] = 0
        h[0] = 0
        for s in range(segments):
            entry[s] = h[0]
            if s == segments - 1:
                break  # its states come with the replay
            for i in range(s * length, (s + 1) * length):
                pixel = route[i]
                x, step, bc = u[g, b, pixel, start:stop], dt[g, k, b, pixel, start:stop], BC[g, b, pixel, k]
                for n in range(N):
                    state, a, to_state = h[0, n], rate[n], bc[n]
                    for j in range(width):
                        state[j] = _exp2(step[j] * a[j]) * state[j] + step[j] * x[j] * to_state
        for s in range(segments - 1, -1, -1):
            first = s * length
            steps = min(length, L - first)
            h[0] = entry[s]
            for i in range(steps):
                pixel = route[first + i]
                x, step, bc = u[g, b, pixel, start:stop], dt[g, k, b, pixel, start:stop], BC[g, b, pixel, k]
                for j in range(width):
                    dx[j] = step[j] * x[j]
                for n in range(N):
                    before, after, kept = h[i, n], h[i + 1, n], decay[i, n]
                    a, to_state = rate[n], bc[n]
                    for j in range(width):
                        kept[j] = _exp2(step[j] * a[j])
                        after[j] = kept[j] * before[j] + dx[j] * to_state
            for i in range(steps - 1, -1, -1):
                pixel = route[first + i]
                x, step, bc = u[g, b, pixel, start:stop], dt[g, k, b, pixel, start:stop], BC[g, b, pixel, k]
                upstream, to_x, to_z = (
                    gy[g, b, pixel, start:stop],
                    du[g, b, pixel, start:stop],
                    dz[g, k, b, pixel, start:stop],
                )
                for j in range(width):
                    dx[j] = 0
                    to_z[j] = 0
                for n in range(N):
                    before, kept, a = h[i, n], decay[i, n], rate[n]
                    to_state, to_out = bc[n], bc[N + n]
                    own, behind, to_a = adjoint[i, n], carried[n], to_rate[n]
                    for j in range(width):
                        own[j] = behind[j] + upstream[j] * to_out
                        dx[j] += own[j] * to_state
                        behind[j] = own[j] * kept[j]
                        through = behind[j] * before[j]
                        to_z[j] += through * a[j]
                        to_a[j] += through * step[j]
                for j in range(width):
                    # softplus'(z) = 1 - exp(-dt); by its series where the difference would lose digits
                    t = step[j]
                    series = t * (1 - t * (1 - t * (1 - t * (1 - t / 5) / 4) / 3) / 2)
                    slope = series if t < np.float32(0.1) else 1 - _exp2(-t * LOG2E)
                    to_z[j] = (to_z[j] / LOG2E + dx[j] * x[j]) * slope
                    to_x[j] += dx[j] * t + skip[j] * upstream[j]
            for i in range(steps):
                pixel = route[first + i]
                x, step, upstream = (
                    u[g, b, pixel, start:stop],
                    dt[g, k, b, pixel, start:stop],
                    gy[g, b, pixel, start:stop],
                )
                to_bc = dBC[tile, g, b, pixel, k]
                for j in range(width):
                    dx[j] = step[j] * x[j]
                for n in range(N):
                    to_bc[n] = _dot(adjoint[i, n], dx)
                    to_bc[N + n] = _dot(h[i + 1, n], upstream)
        dA[b, g, k, :, start:stop] += to_rate


@_kernel(fastmath=True)
def _dot(a, b):
    total = np.float32(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total

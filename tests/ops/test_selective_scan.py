"""The scan operator: every backend against the sequential truth, outputs and gradients, at awkward sizes."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mtmamba.ops import available_backends, parallel, route_indices, scan_flops, selective_scan_2d

NAMES = ("u", "proj", "dt_weight", "dt_bias", "A_log", "D_skip")
SIZES = [(1, 1), (1, 7), (7, 1), (5, 9), (63, 17)]
ALL = [name for name in available_backends("cpu") if name != "triton"]  # which has its own tests, at sizes to interpret
FAST = [name for name in ALL if name != "reference"]
EXACT = available_backends("cpu", torch.float64)


def make_inputs(
    height: int, width: int, *, G=2, B=2, D=5, N=3, R=2, dtype=torch.float32, seed=0, requires_grad=False
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    A_log = torch.arange(1, N + 1, dtype=dtype).log() + 0.1 * normal(G, 4, D, N)
    inputs = [
        normal(G, B, height, width, D),
        normal(G, B, height, width, 4, R + 2 * N),
        normal(G, 4, D, R) * R**-0.5,
        normal(G, 4, D) - 2,
        A_log,
        1 + 0.1 * normal(G, 4, D),
    ]
    return [tensor.requires_grad_(requires_grad) for tensor in inputs]


def answer_and_gradients(inputs: list[torch.Tensor], backend: str) -> list[torch.Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    y = selective_scan_2d(*leaves, backend=backend)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [y.detach(), *torch.autograd.grad((y * weights.to(y.device, y.dtype)).sum(), leaves)]


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30)).item()


def naive_scan(u, proj, dt_weight, dt_bias, A_log, D_skip):
    """The paper's formulas, one scalar channel after the other, with no help from the package."""
    G, B, H, W, D = u.shape
    N, R = A_log.shape[-1], dt_weight.shape[-1]
    orders = [[(i, j) for i in range(H) for j in range(W)], [(i, j) for j in range(W) for i in range(H)]]
    orders += [orders[0][::-1], orders[1][::-1]]
    y = torch.zeros_like(u)
    for g in range(G):
        for b in range(B):
            for k, order in enumerate(orders):
                h = torch.zeros(D, N, dtype=u.dtype)
                for i, j in order:
                    x, p = u[g, b, i, j], proj[g, b, i, j, k]
                    dt = torch.log1p(torch.exp(dt_weight[g, k] @ p[:R] + dt_bias[g, k]))
                    h = torch.exp(-dt[:, None] * A_log[g, k].exp()) * h + (dt * x)[:, None] * p[R : R + N]
                    y[g, b, i, j] += h @ p[R + N :] + D_skip[g, k] * x
    return y


def test_routes_are_the_four_raster_orders():
    routes = route_indices(2, 3)
    assert routes.tolist() == [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]


@pytest.mark.parametrize("backend", EXACT)
def test_equals_the_formulas(backend):
    inputs = make_inputs(3, 4, dtype=torch.float64)
    torch.testing.assert_close(selective_scan_2d(*inputs, backend=backend), naive_scan(*inputs))


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1), (2, 3)])
def test_gradcheck(backend, size):
    inputs = make_inputs(*size, G=2, B=1, D=2, N=2, R=1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *args: selective_scan_2d(*args, backend=backend), inputs)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sizes", [{"D": 5, "N": 3, "R": 2}, {"G": 1, "B": 1, "D": 131, "N": 2, "R": 9}], ids=str)
def test_backends_agree(backend, size, sizes):
    """Answers and all six gradients in float32, against the sequential scan in float64."""
    inputs = make_inputs(*size, **sizes)
    wanted = answer_and_gradients([tensor.double() for tensor in inputs], "reference")
    for name, got, want in zip(("y", *NAMES), answer_and_gradients(inputs, backend), wanted, strict=True):
        assert got.dtype == torch.float32
        assert relative_difference(got, want) < 2e-5, name


def test_parallel_by_chunks_or_not_and_by_channel_blocks_is_the_same(monkeypatch):
    inputs = make_inputs(6, 5, D=7)
    monkeypatch.setattr(parallel, "BUSY_ELEMENTS", 1)
    whole = answer_and_gradients(inputs, "parallel")
    assert parallel._Plan.make(inputs[0], 3).chunks == 1
    monkeypatch.setattr(parallel, "BUSY_ELEMENTS", 2**30)
    monkeypatch.setattr(parallel, "BLOCK_ELEMENTS", 10_000)
    plan = parallel._Plan.make(inputs[0], 3)
    assert plan.chunks > 1
    assert len(list(plan.channel_blocks(per_channel=11 * plan.length))) > 1
    for got, want in zip(answer_and_gradients(inputs, "parallel"), whole, strict=True):
        assert relative_difference(got, want) < 1e-5


def test_cpu_does_not_depend_on_threads():
    inputs = make_inputs(9, 7, D=100)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = answer_and_gradients(inputs, "cpu")
        torch.set_num_threads(2)
        together = answer_and_gradients(inputs, "cpu")
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_cpu_from_several_threads_and_in_a_forked_child():
    inputs = make_inputs(9, 7)
    want = selective_scan_2d(*inputs, backend="cpu")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: selective_scan_2d(*inputs, backend="cpu"), range(16)))
    assert all(torch.equal(answer, want) for answer in answers)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        torch.set_num_threads(1)  # as DataLoader's workers do: OpenMP does not survive a fork
        os._exit(0 if torch.equal(selective_scan_2d(*inputs, backend="cpu"), want) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("backend", FAST)
def test_half_precision_inputs_keep_float32_states(backend):
    inputs = make_inputs(9, 8)
    half = [tensor.bfloat16() if i < 2 else tensor for i, tensor in enumerate(inputs)]
    got = answer_and_gradients(half, backend)
    wanted = answer_and_gradients([tensor.double() for tensor in half], "reference")
    assert got[0].dtype == got[1].dtype == torch.bfloat16
    assert got[3].dtype == torch.float32
    for a, b in zip(got, wanted, strict=True):
        assert relative_difference(a, b) < 2e-2  # bfloat16 has 8 bits


@pytest.mark.parametrize("backend", ALL)
def test_autocast_does_not_reach_inside(backend):
    inputs = make_inputs(4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = answer_and_gradients(inputs, backend)
    for got, want in zip(inside, answer_and_gradients(inputs, backend), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("backend", FAST)
def test_long_maps_stay_stable(backend):
    """Decays over a long route underflow; nothing may become infinite or NaN."""
    inputs = make_inputs(64, 64, G=1, B=1, D=2, N=2)
    inputs[3] = inputs[3] + 8  # large dt: every decay is almost 0
    wanted = answer_and_gradients([tensor.double() for tensor in inputs], "reference")
    for got, want in zip(answer_and_gradients(inputs, backend), wanted, strict=True):
        assert torch.isfinite(got).all()
        assert relative_difference(got, want) < 1e-4


@pytest.mark.parametrize("backend", FAST)
def test_deterministic(backend):
    inputs = make_inputs(12, 10)
    for a, b in zip(answer_and_gradients(inputs, backend), answer_and_gradients(inputs, backend), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", FAST)
def test_strided_inputs(backend):
    inputs = make_inputs(4, 6)
    strided = inputs[0].transpose(2, 3).contiguous().transpose(2, 3)
    assert not strided.is_contiguous()
    torch.testing.assert_close(
        selective_scan_2d(strided, *inputs[1:], backend=backend), selective_scan_2d(*inputs, backend=backend)
    )


@pytest.mark.parametrize("backend", ALL)
def test_opcheck(backend):
    inputs = make_inputs(3, 4, requires_grad=True)
    torch.library.opcheck(torch.ops.mtmamba.selective_scan_2d.default, (*inputs, backend, True))


def test_flops():
    inputs = make_inputs(5, 9, G=3, B=2, D=6, N=4)
    with FlopCounterMode(display=False) as counter:
        selective_scan_2d(*inputs)
    B, L, D, N = 2, 5 * 9, 6, 4
    assert counter.get_total_flops() == 3 * (9 * B * L * (4 * D) * N + B * L * (4 * D))
    assert scan_flops(3, B, L, D, N) == counter.get_total_flops()


def test_compiles_without_graph_break():
    inputs = make_inputs(5, 4)
    compiled = torch.compile(lambda *args: selective_scan_2d(*args) * 2, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), selective_scan_2d(*inputs) * 2)


def test_export_holds_torch_operators_only():
    class Scan(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return selective_scan_2d(*inputs)

    inputs = tuple(make_inputs(6, 8))
    program = torch.export.export(Scan(), inputs)
    namespaces = {node.target.namespace for node in program.graph.nodes if hasattr(node.target, "namespace")}
    assert namespaces == {"aten"}
    torch.testing.assert_close(program.module()(*inputs), selective_scan_2d(*inputs, backend="reference"))


def test_steps_grow_as_the_square_root(monkeypatch):
    monkeypatch.setattr(parallel, "BUSY_ELEMENTS", 2**30)
    for side in (8, 32, 100):
        plan = parallel._Plan.make(torch.empty(1, 1, side, side, 1), 1)
        assert plan.length >= side**2
        assert 2 * plan.steps + plan.chunks <= 3 * side + 3


@pytest.mark.parametrize(
    ("position", "shape", "text"),
    [(0, (2, 2, 3, 5), "u must be"), (1, (2, 2, 3, 4, 4, 9), "proj must be"), (2, (2, 4, 5), "dt_weight must be"),
     (3, (2, 4, 4), "dt_bias must be"), (5, (1, 4, 5), "D_skip must be")],
)  # fmt: skip
def test_wrong_shapes_are_named(position, shape, text):
    inputs = make_inputs(3, 4)
    inputs[position] = torch.zeros(shape)
    with pytest.raises(ValueError, match=text):
        selective_scan_2d(*inputs)


def test_cpu_backend_refuses_float64():
    with pytest.raises(ValueError, match=r"no scan backend 'cpu' for torch\.float64"):
        selective_scan_2d(*make_inputs(2, 2, dtype=torch.float64), backend="cpu")


def test_unknown_backend_lists_the_known_ones():
    with pytest.raises(ValueError, match="parallel"):
        selective_scan_2d(*make_inputs(2, 2), backend="fpga")

"""The scan in Triton: by its interpreter where there is no GPU, so at small sizes; the same kernels on a GPU."""

from __future__ import annotations

import pytest
import torch

from mtmamba.ops import available_backends, selective_scan_2d
from tests.ops.test_selective_scan import NAMES, answer_and_gradients, make_inputs, relative_difference

triton = pytest.importorskip("mtmamba.ops.triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.skipif("triton" not in available_backends(DEVICE), reason="neither a GPU nor the interpreter")
needs_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="would take the interpreter hours")


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    """So that little is padded, and small maps have several segments."""
    monkeypatch.setattr(triton, "SEGMENT", 8)


def on_device(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.to(DEVICE) for tensor in inputs]


def assert_right(inputs: list[torch.Tensor], tolerance: float, reference: str = "reference") -> None:
    wanted = answer_and_gradients([tensor.double() for tensor in inputs], reference)
    got = answer_and_gradients(on_device(inputs), "triton")
    for name, a, b, tensor in zip(("y", *NAMES), got, wanted, [inputs[0], *inputs], strict=True):
        assert a.dtype == tensor.dtype, name
        assert relative_difference(a.cpu(), b) < tolerance, name


@pytest.mark.parametrize(
    ("size", "sizes"),
    [((1, 1), {"G": 1, "B": 1, "D": 1, "N": 1, "R": 1}), ((1, 9), {"G": 1, "B": 2, "D": 16, "N": 4, "R": 1}),
     ((4, 3), {"G": 2, "B": 1, "D": 5, "N": 3, "R": 2}), ((3, 4), {"G": 1, "B": 1, "D": 37, "N": 5, "R": 17})],
    ids=str,
)  # fmt: skip
def test_answers_and_gradients(size, sizes):
    assert_right(make_inputs(*size, **sizes), 2e-5)


def test_parts_of_routes_chunks_and_groups_one_at_a_time(monkeypatch):
    """Every loop of the driver runs more than once, and the answers stay the same, to the bit in forward."""
    inputs = make_inputs(4, 5, G=2, B=1, D=3, N=2)
    whole = answer_and_gradients(on_device(inputs), "triton")
    monkeypatch.setattr(triton, "FORWARD_BYTES", 1)
    monkeypatch.setattr(triton, "BACKWARD_BYTES", 1)
    parts = answer_and_gradients(on_device(inputs), "triton")
    assert all(torch.equal(a, b) for a, b in zip(parts, whole, strict=True))
    few = triton.BackwardConstants(tile=16, programs=1)
    monkeypatch.setattr(
        triton.tuning, "choose", lambda kernel, _, __, default, ___: few if kernel == "backward" else default
    )
    for a, b in zip(answer_and_gradients(on_device(inputs), "triton"), whole, strict=True):
        assert relative_difference(a, b) < 1e-5


@pytest.mark.parametrize("choice", range(6))
def test_all_that_tuning_may_choose(choice, monkeypatch):
    assert len(triton.FORWARD_SPACE) == len(triton.BACKWARD_SPACE) == 6
    monkeypatch.setattr(triton.tuning, "choose", lambda _, __, space, *___: space[choice])
    assert_right(make_inputs(3, 3, G=1, B=1, D=17, N=2), 2e-5)


def test_nothing_is_left_unwritten():
    """Memory that nobody writes is NaN here."""
    inputs = make_inputs(3, 4, G=1, B=1, D=3, N=2)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        assert_right(inputs, 2e-5)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_keep_float32_states(dtype):
    inputs = make_inputs(3, 4, G=1, B=1)
    assert_right([tensor.to(dtype) if i < 2 else tensor for i, tensor in enumerate(inputs)], 2e-2)


def test_under_a_compiler_and_autocast():
    inputs = on_device(make_inputs(2, 3, G=1, B=1, D=3, N=2))
    want = selective_scan_2d(*inputs, backend="triton")
    compiled = torch.compile(lambda *a: selective_scan_2d(*a, backend="triton"), fullgraph=True, backend="aot_eager")
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        torch.testing.assert_close(compiled(*inputs), want)


def test_opcheck():
    inputs = [tensor.requires_grad_() for tensor in on_device(make_inputs(2, 2, G=1, B=1, D=2, N=1, R=1))]
    torch.library.opcheck(torch.ops.mtmamba.selective_scan_2d.default, (*inputs, "triton", True))


def test_refuses_float64():
    with pytest.raises(ValueError, match=r"no scan backend 'triton' for torch\.float64"):
        selective_scan_2d(*on_device(make_inputs(2, 2, dtype=torch.float64)), backend="triton")


@needs_gpu
@pytest.mark.parametrize("sizes", [{"G": 4, "B": 1, "D": 384, "N": 16, "R": 12}, {"G": 1, "B": 2, "D": 100, "N": 16}])
def test_sizes_of_a_decoder(sizes, monkeypatch):
    monkeypatch.setattr(triton, "SEGMENT", 64)
    assert_right(make_inputs(28, 36, **sizes), 2e-5, "parallel")


@needs_gpu
def test_long_map(monkeypatch):
    monkeypatch.setattr(triton, "SEGMENT", 64)
    assert_right(make_inputs(256, 256, G=1, B=1, D=4, N=2), 1e-4, "parallel")


@needs_gpu
def test_in_a_cuda_graph():
    inputs = on_device(make_inputs(9, 7, G=2, B=1, D=24, N=4))
    want = selective_scan_2d(*inputs, backend="triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = selective_scan_2d(*inputs, backend="triton")
    graph.replay()
    assert torch.equal(y, want)

"""The baseline must compute the same: otherwise ratios to it would mean nothing."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from mtmamba.bench import four_copies
from mtmamba.bench.measure import Effort, take_turns
from mtmamba.bench.replace import with_scans_replaced
from mtmamba.bench.scan import STAGES, contenders, in_route_order
from mtmamba.bench.scan import make_inputs as make_stage
from mtmamba.models.mtmamba import PRESETS
from mtmamba.ops import selective_scan_2d
from tests.conftest import tiny
from tests.ops.test_selective_scan import SIZES, make_inputs, relative_difference

CPU = torch.device("cpu")


def by_four_copies(u: torch.Tensor, proj: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    return torch.stack(four_copies.selective_scan(four_copies.plain_scan, u, in_route_order(proj), *weights))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_same_answer_and_gradients_as_the_operator(size, dtype):
    inputs = make_inputs(*size, dtype=dtype, requires_grad=True)
    grad = torch.randn_like(inputs[0])
    wanted = selective_scan_2d(*inputs, backend="reference")
    answer = by_four_copies(*inputs)
    pairs = zip(torch.autograd.grad(answer, inputs, grad), torch.autograd.grad(wanted, inputs, grad), strict=True)
    for ours, theirs in [(answer, wanted), *pairs]:
        assert ours.dtype == dtype
        assert relative_difference(ours, theirs) < (1e-12 if dtype == torch.float64 else 1e-5)


def test_without_a_gpu_the_plain_loop_is_inside():
    assert four_copies.operator(CPU) == ("plain loop", four_copies.plain_scan)


def test_mamba_ssm_is_given_what_its_operator_takes(monkeypatch):
    """By a stand-in with its signature, as no CUDA operator runs here."""

    def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
        assert z is None
        assert delta_softplus
        return four_copies.plain_scan(u, delta, A, B, C, D, delta_bias)

    interface = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn  # type: ignore[attr-defined]
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    name, operator = four_copies.operator(torch.device("cuda"))
    assert name == "mamba-ssm"
    u, proj, *weights = make_inputs(5, 9)
    answer = torch.stack(four_copies.selective_scan(operator, u, in_route_order(proj), *weights))
    torch.testing.assert_close(answer, selective_scan_2d(u, proj, *weights, backend="reference"))
    inputs = make_stage(STAGES["tiny"], 2, 1, CPU, torch.float32)
    for backward in (False, True):
        results = take_turns(contenders(inputs, "base", operator, backward, slow=False), CPU, Effort(1, 1e-3))
        assert results["mamba-ssm alone, copies given"].samples


@pytest.mark.parametrize("preset", PRESETS)
def test_a_model_answers_the_same(preset):
    model = tiny(preset, "cityscapes", drop_path_rate=0.0).eval()
    other = with_scans_replaced(model, lambda scan: four_copies.FourCopiesScan(scan, four_copies.plain_scan))
    images = torch.randn(2, 3, 64, 64)
    wanted, answers = model(images), other(images)
    for name, answer in answers.items():
        torch.testing.assert_close(answer, wanted[name], rtol=1e-4, atol=1e-5)
    loss = {id(m): sum(y.square().mean() for y in out.values()) for m, out in ((model, wanted), (other, answers))}
    parameters = list(model.parameters())
    ours, theirs = (torch.autograd.grad(loss[id(m)], parameters) for m in (model, other))
    assert max(relative_difference(a, b) for a, b in zip(ours, theirs, strict=True)) < 1e-3


def test_a_replaced_model_shares_weights_and_leaves_the_first_alone(tiny_model):
    other = with_scans_replaced(tiny_model, lambda scan: four_copies.FourCopiesScan(scan, four_copies.plain_scan))
    assert {name: id(p) for name, p in other.named_parameters()} == {
        name: id(p) for name, p in tiny_model.named_parameters()
    }
    assert not any(isinstance(module, four_copies.FourCopiesScan) for module in tiny_model.modules())
    assert any(isinstance(module, four_copies.FourCopiesScan) for module in other.modules())

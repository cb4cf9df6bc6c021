"""A grouped layer must be T ordinary layers side by side."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mtmamba.nn import heads
from mtmamba.nn.blocks import FCTM, SCTM, STM, TaskDropPath
from mtmamba.nn.grouped import GroupedConv2d, GroupedLayerNorm, GroupedLinear
from mtmamba.nn.heads import DenseHead, LiteHead, PatchExpand
from mtmamba.nn.ss2d import SS2D, ScanBranch

T, B, H, W, C = 3, 2, 4, 5, 6


@pytest.fixture
def x():
    return torch.randn(T, B, H, W, C)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(x, bias):
    layer = GroupedLinear(T, C, 7, bias=bias)
    for t, y in enumerate(layer(x)):
        torch.testing.assert_close(y, F.linear(x[t], layer.weight[t], layer.bias[t] if bias else None))
    torch.testing.assert_close(layer.shared(x[0]), layer(x[:1].expand(T, -1, -1, -1, -1)))


def test_linear_starts_as_torchs():
    layer = GroupedLinear(2, 100, 50, fan_in=400)
    assert layer.weight.abs().max() <= 1 / 20
    assert layer.weight.abs().max() > 0.9 / 20


def test_layer_norm(x):
    layer = GroupedLayerNorm(T, C)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    for t, y in enumerate(layer(x)):
        torch.testing.assert_close(y, F.layer_norm(x[t], (C,), layer.weight[t], layer.bias[t]))


@pytest.mark.parametrize(("out", "depthwise"), [(C, True), (4, False)])
def test_conv(x, out, depthwise):
    layer = GroupedConv2d(T, C, out, depthwise=depthwise)
    for t, y in enumerate(layer(x)):
        groups = C if depthwise else 1
        want = F.conv2d(x[t].permute(0, 3, 1, 2), layer.weight[t], layer.bias[t], padding=1, groups=groups)
        torch.testing.assert_close(y, want.permute(0, 2, 3, 1))


def test_conv_refuses_even_kernels():
    with pytest.raises(ValueError, match="odd"):
        GroupedConv2d(T, C, C, kernel_size=4)


def test_patch_expand_places_the_blocks():
    """Output (row p1, column p2, channel c) of a pixel's linear layer goes to pixel (p H + p1, p W + p2)."""
    layer = PatchExpand(1, 1, 2, factor=2)
    with torch.no_grad():
        layer.expand.weight.copy_(torch.arange(8.0).reshape(1, 8, 1))
        layer.norm = torch.nn.Identity()
    y = layer(torch.tensor([1.0, 10.0]).reshape(1, 1, 1, 2, 1))
    assert y.shape == (1, 1, 2, 4, 2)
    assert y[0, 0, 0].tolist() == [[0, 1], [2, 3], [0, 10], [20, 30]]
    assert y[0, 0, 1].tolist() == [[4, 5], [6, 7], [40, 50], [60, 70]]


@pytest.mark.parametrize("block", [STM, FCTM, SCTM])
def test_blocks_keep_the_shape_and_reach_every_weight(x, block):
    module = block(T, C, states=2)
    y = module(x)
    assert y.shape == x.shape
    y.square().mean().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("block", [FCTM, SCTM])
def test_cross_task_blocks_exchange_and_stm_does_not(x, block):
    """A change of one task's map reaches the other tasks through a cross-task block only."""

    def change_elsewhere(module):
        other = x.clone()
        other[0] += torch.randn_like(other[0])
        return (module(other)[1:] - module(x)[1:]).abs().max()

    assert change_elsewhere(block(T, C, states=2)) > 1e-4
    assert change_elsewhere(STM(T, C, states=2)) == 0


def test_ss2d_is_one_ss2d_per_task(x):
    """Each group's answer is that of a one-group module with the group's weights."""
    module = SS2D(T, C, states=3)
    y = module(x)
    for t in range(T):
        single = SS2D(1, C, states=3)
        single.load_state_dict({key: value[t : t + 1] for key, value in module.state_dict().items()})
        torch.testing.assert_close(single(x[t : t + 1]), y[t : t + 1])


def test_scan_starts_as_mamba():
    branch = ScanBranch(2, 40, rank=3, states=5)
    scan = branch.scan
    dt = F.softplus(scan.dt_bias)
    assert (dt > 0.99e-3).all()
    assert (dt < 0.101).all()
    torch.testing.assert_close(scan.A_log.exp(), torch.arange(1.0, 6).expand(2, 4, 40, 5))
    assert (scan.D_skip == 1).all()
    assert scan.dt_weight.abs().max() <= 3**-0.5


def test_drop_path_per_sample_and_task():
    module = TaskDropPath(0.5)
    x = torch.ones(40, 30, 2, 2, 1)
    y = module(x)
    per_map = y.flatten(2)
    assert ((per_map == 0).all(-1) | (per_map == 2).all(-1)).all()
    kept = (per_map[..., 0] > 0).float()
    assert 0.4 < kept.mean() < 0.6
    assert kept.mean(0).std() > 0  # not the same draw for all tasks
    assert kept.mean(1).std() > 0  # nor for all samples
    assert torch.equal(module.eval()(x), x)


@pytest.mark.parametrize(("head", "scale"), [(DenseHead, 4), (LiteHead, 1)])
def test_heads(x, head, scale):
    module = head(C, [2, 1, 5], stride=4)
    answers = module(x)
    assert [tuple(y.shape) for y in answers] == [(B, out, H * scale, W * scale) for out in (2, 1, 5)]


def test_dense_head_in_bands_is_the_same(monkeypatch):
    torch.manual_seed(0)
    head = DenseHead(6, [3, 1], stride=2)
    x = torch.randn(2, 2, 7, 5, 6, requires_grad=True)

    def answers_and_gradients() -> list[torch.Tensor]:
        logits = head(x)
        return [*logits, *torch.autograd.grad(sum(y.square().sum() for y in logits), [x, *head.parameters()])]

    whole = answers_and_gradients()
    monkeypatch.setattr(heads, "BAND_ELEMENTS_IN_CACHE", 1)
    assert head._rows(x) == 1
    for got, want in zip(answers_and_gradients(), whole, strict=True):
        torch.testing.assert_close(got, want)


def test_depthwise_by_shifts_or_by_task_is_the_convolution():
    conv = GroupedConv2d(2, 3, 3, depthwise=True)
    x = torch.randn(2, 2, 5, 4, 3)
    torch.testing.assert_close(conv._by_shifts(x), conv(x))
    torch.testing.assert_close(conv._by_task(x), conv(x))


def test_layer_norm_keeps_the_dtype_under_autocast():
    norm = GroupedLayerNorm(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(torch.randn(2, 3, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16

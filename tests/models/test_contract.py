"""What every model must do, over presets and encoder families."""

from __future__ import annotations

import pytest
import torch

import mtmamba
from mtmamba.models.mtmamba import PRESETS, create_model
from mtmamba.tasks import benchmark
from tests.conftest import tiny

ENCODERS = {
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4)},
    ),
    "convnext": ("convnext_atto", {}),
    "resnet": ("resnet10t", {}),
    "mobilenet": ("mobilenetv3_small_050", {}),  # channels neither double nor grow
    "pvt": ("pvt_v2_b0", {}),
}
# Strides 4, 8, 16, 16: a step of the pyramid that is no step.
DILATED = ("resnet10t", {"output_stride": 16})


def small(preset: str, tasks: object, family: str = "convnext", **options: object) -> mtmamba.MTMamba:
    name, kwargs = ENCODERS.get(family, DILATED)
    return tiny(preset, tasks, encoder=name, encoder_kwargs=kwargs, **options)


@pytest.mark.parametrize("family", [*ENCODERS, "dilated"])
@pytest.mark.parametrize("preset", PRESETS)
def test_forward_backward(preset, family):
    model = small(preset, "nyudv2", family, drop_path_rate=0.0)
    out = model(torch.randn(2, 3, 64, 64))
    assert {name: tuple(y.shape) for name, y in out.items()} == {
        task.name: (2, task.channels, 64, 64) for task in model.tasks
    }
    sum(y.square().mean() for y in out.values()).backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert unused == []  # DDP needs every parameter to take part


@pytest.mark.parametrize("family", ["swin", "convnext"])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("batch", "size"), [(1, (33, 50)), (3, (64, 96)), (1, (1, 1)), (1, (70, 31))])
def test_any_size_and_batch(preset, family, batch, size):
    model = small(preset, "cityscapes", family, output_scale=1).eval()
    images = torch.randn(batch, 3, *size)
    with torch.no_grad():
        out = model(images)
        alone = model(images[:1])
    for name, y in out.items():
        assert y.shape[0] == batch
        assert y.shape[-2:] == size
        torch.testing.assert_close(y[:1], alone[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("tasks", [["depth"], [t.name for t in benchmark("rooms")]], ids=["one", "six"])
@pytest.mark.parametrize("cross_task", ["f_ctm", "s_ctm", "none"])
def test_tasks_and_cross_task_blocks(preset, tasks, cross_task):
    model = small(preset, benchmark("rooms", tasks), cross_task=cross_task).eval()
    with torch.no_grad():
        assert list(model(torch.randn(1, 3, 32, 64))) == tasks


@pytest.mark.parametrize("preset", PRESETS)
def test_save_and_load(preset, tmp_path):
    model = small(preset, "cityscapes", output_size=(40, 70), head="lite").eval()
    model.save_pretrained(tmp_path / "model")
    again = mtmamba.load_model(tmp_path / "model")
    assert again.config == model.config
    assert not again.training
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for name, y in model(images).items():
            assert y.shape[-2:] == (40, 70)
            assert torch.equal(y, again(images)[name])


@pytest.mark.parametrize("preset", PRESETS)
def test_decoder_compiles_in_one_graph(preset):
    model = small(preset, "cityscapes").eval()
    with torch.no_grad():
        pyramid = model.encoder(torch.randn(1, 3, 64, 64))
        want = model.head(model.decoder(pyramid))
        compiled = torch.compile(lambda maps: model.head(model.decoder(maps)), fullgraph=True, backend="aot_eager")
        for got, expected in zip(compiled(pyramid), want, strict=True):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("family", ["swin", "convnext"])
def test_whole_model_compiles_in_one_graph(family):
    model = small("mtmamba", "cityscapes", family).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        for name, y in compiled(images).items():
            torch.testing.assert_close(y, model(images)[name])


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_trains_compiled(preset):
    """With the real compiler (Inductor), forward and backward."""
    model = small(preset, "cityscapes", drop_path_rate=0.0)
    images = torch.randn(1, 3, 64, 64)
    eager = {name: y.detach() for name, y in model(images).items()}
    compiled = torch.compile(model)(images)
    for name, y in compiled.items():
        torch.testing.assert_close(y.detach(), eager[name], rtol=1e-3, atol=1e-3)
    sum(y.square().mean() for y in compiled.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_eval_is_deterministic_and_training_draws(preset):
    model = small(preset, "cityscapes", drop_path_rate=0.5)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        drawn = [model(images)["semseg"] for _ in range(2)]
        assert not torch.equal(*drawn)
        model.eval()
        assert torch.equal(model(images)["semseg"], model(images)["semseg"])


@pytest.mark.parametrize("preset", PRESETS)
def test_backends_agree_in_the_whole_model(preset):
    model = small(preset, "cityscapes", "swin").eval()
    slow = small(preset, "cityscapes", "swin", backend="reference").eval()
    slow.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for name, y in model(images).items():
            torch.testing.assert_close(y, slow(images)[name], rtol=1e-4, atol=1e-4)


def test_autocast_to_bfloat16():
    model = small("mtmamba", "cityscapes").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(images)
    for name, y in half.items():
        scale = exact[name].abs().max()
        assert (y.float() - exact[name]).abs().max() < 0.1 * scale


@pytest.mark.parametrize(
    ("preset", "tasks", "parameters"),
    [
        ("mtmamba", "nyudv2", 307_999_137),
        ("mtmamba", "pascal_context", 335_858_326),
        ("mtmamba", "cityscapes", 252_271_688),
        ("mtmamba_plus", "nyudv2", 315_021_249),
        ("mtmamba_plus", "pascal_context", 343_231_606),
        ("mtmamba_plus", "cityscapes", 258_595_976),
    ],
)
def test_published_sizes(preset, tasks, parameters):
    with torch.device("meta"):
        model = create_model(preset, tasks)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(p.numel() for p in model.encoder.parameters()) == 195_201_204


def test_drop_path_rates_fall_evenly_from_first_to_last():
    model = small("mtmamba", "cityscapes", stm_blocks=2, drop_path_rate=0.2)
    rates = [m.rate for m in model.modules() if type(m).__name__ == "TaskDropPath"]
    torch.testing.assert_close(torch.tensor(rates), torch.linspace(0.2, 0, 9))


def test_cityscapes_answers_at_twice_the_size():
    model = small("mtmamba_plus", "cityscapes").eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 32, 64))["depth"].shape[-2:] == (64, 128)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "mtmambo"}, "mtmamba_plus"),
        ({"tasks": "kitti"}, "nyudv2"),
        ({"tasks": []}, "one task at least"),
        ({"encoder": "swin_huge"}, "timm knows no encoder"),
        ({"encoder": "vit_tiny_patch16_224"}, "plain ViT"),
        ({"encoder": "levit_128s"}, "pyramid"),
        ({"encoder_kwargs": {"windows": 3}}, "windows"),
        ({"head": "heavy"}, "dense"),
        ({"cross_task": "x_ctm"}, "f_ctm"),
        ({"state": 8}, "states"),
        ({"states": 0}, "states >= 1"),
        ({"expansion": 0.013}, "inner channels"),
        ({"image_size": (0, 5)}, "positive"),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        create_model(**{"name": "mtmamba", "tasks": "cityscapes", "encoder": "convnext_atto", **options})


def test_bad_images_are_named():
    with pytest.raises(ValueError, match="batch, 3, height, width"):
        small("mtmamba", "cityscapes")(torch.zeros(3, 64, 64))


@pytest.mark.parametrize("family", ["swin", "convnext", "resnet"])
def test_recomputing_in_backward_changes_no_gradient(family):
    model = small("mtmamba", "cityscapes", family, drop_path_rate=0.3).train()
    grads, forwards = [], []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        count = 0

        def counted(*_: object) -> None:
            nonlocal count
            count += 1

        hook = model.decoder.stages[0].stm[0].register_forward_pre_hook(counted)
        torch.manual_seed(1)
        model.zero_grad()
        sum(y.square().mean() for y in model(torch.randn(2, 3, 64, 64)).values()).backward()
        hook.remove()
        forwards.append(count)
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert forwards == [1, 2]
    for got, want in zip(grads[1], grads[0], strict=True):
        torch.testing.assert_close(got, want)

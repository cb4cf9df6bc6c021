"""Scale, crop, flip and padding: image and targets stay aligned, values follow the protocol, draws are seeded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from mtmamba.data.transforms import (
    HorizontalFlip,
    RandomCrop,
    RandomScale,
    ResizeImage,
    ToModel,
    compose,
    eval_transform,
    train_transform,
)
from mtmamba.tasks import IGNORE, Depth, Normals, Segmentation, benchmark

TASKS = [Segmentation("semseg", 4), Depth(), Normals()]


def coded(H: int, W: int) -> dict:
    """A sample whose pixels say where they are from: in the image by brightness, in the targets by value."""
    rows = torch.arange(H)[:, None].expand(H, W)
    columns = torch.arange(W)[None].expand(H, W)
    code = (rows * 7 + columns * 3) % 200 + 1
    return {
        "image": tv_tensors.Image(code.to(torch.uint8)[None].repeat(3, 1, 1)),
        "semseg": tv_tensors.Mask((code % 4).long()),
        "depth": tv_tensors.Mask(code[None].float()),
        "normals": tv_tensors.Mask(torch.stack([code, code + 1, code + 2]).float()),
        "id": "coded",
    }


@settings(max_examples=60, deadline=None)
@given(
    H=st.integers(1, 40),
    W=st.integers(1, 40),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_crop_and_flip_keep_every_pixel_with_its_targets(H, W, height, width, seed):
    torch.manual_seed(seed)
    sample = compose([RandomCrop(TASKS, (height, width)), HorizontalFlip(TASKS)])(coded(H, W))
    code = sample["image"][0].long()
    assert code.shape == (min(H, height), min(W, width))
    assert torch.equal(sample["semseg"].long(), code % 4)
    assert torch.equal(sample["depth"][0].long(), code)
    assert torch.equal(sample["normals"][1].long(), code + 1)
    x = sample["normals"][0].long()
    assert torch.equal(x, code) or torch.equal(x, -code)


@settings(max_examples=60, deadline=None)
@given(H=st.integers(2, 30), W=st.integers(2, 30), seed=st.integers(0, 99))
def test_scaled_targets_are_old_pixels_and_depth_is_divided(H, W, seed):
    torch.manual_seed(seed)
    factor = 0.5 + 1.5 * float(torch.rand(()))
    torch.manual_seed(seed)
    sample = RandomScale(TASKS)(coded(H, W))
    old = coded(H, W)
    height, width = max(1, int(H * factor)), max(1, int(W * factor))
    assert sample["image"].shape == (3, height, width)
    rows, columns = torch.arange(height) * H // height, torch.arange(width) * W // width
    assert torch.equal(sample["semseg"], old["semseg"][rows[:, None], columns])
    torch.testing.assert_close(sample["depth"] * factor, old["depth"][:, rows[:, None], columns])
    assert torch.equal(sample["normals"], old["normals"][:, rows[:, None], columns])
    assert isinstance(sample["depth"], tv_tensors.Mask)


def test_scale_and_its_image_lie_on_each_other():
    """A map with a bright half: after scaling, image and target have the boundary at the same place."""
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    image[:, :, 10:] = 200
    sample = {"image": tv_tensors.Image(image), "semseg": tv_tensors.Mask((image[0] > 0).long())}
    for seed in range(20):
        torch.manual_seed(seed)
        scaled = RandomScale(TASKS)(dict(sample))
        differ = (scaled["image"][0] > 100).long() != scaled["semseg"]
        assert differ.any(0).sum() <= 1  # the column where the boundary is


def test_crop_avoids_a_class_that_covers_too_much():
    labels = torch.zeros(40, 200, dtype=torch.long)
    labels[:, 180:] = torch.arange(20) % 3 + 1
    shares = []
    for seed in range(30):
        torch.manual_seed(seed)
        sample = {
            "image": tv_tensors.Image(torch.zeros(3, 40, 200, dtype=torch.uint8)),
            "semseg": tv_tensors.Mask(labels),
        }
        crop = RandomCrop(TASKS, (40, 30), draws=10)(dict(sample))["semseg"]
        torch.manual_seed(seed)
        plain = RandomCrop(TASKS, (40, 30), of=None)(dict(sample))["semseg"]
        shares.append((float((crop == 0).float().mean()), float((plain == 0).float().mean())))
    mixed, plain = (sum(share <= 0.75 for share in column) for column in zip(*shares, strict=True))
    assert mixed > plain


def test_padding_is_centred_and_follows_the_ignore_rules():
    tasks = benchmark("nyudv2")
    H, W = 5, 6
    sample = {
        "image": tv_tensors.Image(torch.full((3, H, W), 255, dtype=torch.uint8)),
        "semseg": tv_tensors.Mask(torch.ones(H, W, dtype=torch.long)),
        "depth": tv_tensors.Mask(torch.full((1, H, W), 2.0)),
        "normals": tv_tensors.Mask(torch.full((3, H, W), 0.5)),
        "edge": tv_tensors.Mask(torch.ones(1, H, W)),
    }
    ready = ToModel(tasks, (8, 9))(sample)
    inside = torch.zeros(8, 9, dtype=torch.bool)
    inside[1:6, 1:7] = True  # 3 rows: 1 above, 2 below; 3 columns: 1 left, 2 right
    assert (ready["image"][:, ~inside] == 0).all()
    assert (ready["image"][:, inside] > 1).all()
    for name, value in {"semseg": 1, "depth": 2.0, "normals": 0.5, "edge": 1.0}.items():
        target = ready[name]
        assert (target[..., inside] == value).all(), name
        assert (target[..., ~inside] == IGNORE).all(), name


def test_nothing_is_padded_that_is_large_enough():
    sample = eval_transform(TASKS, (4, 4))(coded(6, 7))
    assert sample["image"].shape == (3, 6, 7)


def test_resizing_leaves_targets_alone():
    sample = ResizeImage((6, 8))(coded(12, 16))
    assert sample["image"].shape == (3, 6, 8)
    assert sample["semseg"].shape == (12, 16)


def test_training_gives_one_size_whatever_is_drawn():
    transform = train_transform(TASKS, size=(24, 32), scale=(0.5, 2.0))
    for seed in range(20):
        torch.manual_seed(seed)
        sample = transform(coded(26, 30))
        assert {tuple(sample[name].shape[-2:]) for name in ("image", "semseg", "depth", "normals")} == {(24, 32)}
    torch.manual_seed(3)
    first = transform(coded(26, 30))
    torch.manual_seed(3)
    assert torch.equal(transform(coded(26, 30))["image"], first["image"])


@pytest.mark.parametrize("options", [{"scale": (0.5, 2.0)}, {"resize": True}])
def test_what_needs_a_size_says_so(options):
    with pytest.raises(ValueError, match="size"):
        train_transform(TASKS, **options)

"""Test-time augmentation: the mean over views, each brought back to the image as it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtmamba.models.views import Views
from mtmamba.tasks import Depth, Normals, Segmentation


class Reader(nn.Module):
    """Answers what stands in the image: a model without any error, so that every view must agree."""

    output_size, output_scale = None, 1

    def __init__(self) -> None:
        super().__init__()
        self.tasks = [Segmentation("semseg", 3), Depth(), Normals()]
        self.seen: list[tuple[int, ...]] = []
        self.width = 0

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.append(tuple(images.shape[-2:]))
        factor = images.shape[-1] / self.width
        x = torch.linspace(-1, 1, images.shape[-1]).expand(images.shape[0], 1, *images.shape[-2:])
        return {"semseg": images, "depth": images[:, :1].abs() / factor, "normals": torch.cat([x, images[:, :2]], 1)}


@pytest.mark.parametrize("views", [Views(), Views(flip=True), Views(True, (1.0, 2.0)), Views(False, (0.5, 1.0, 1.5))])
def test_views_of_an_exact_model_agree(views):
    model = Reader()
    rows = torch.linspace(1, 2, 12)[:, None]
    image = (rows + torch.linspace(0, 1, 16)).expand(2, 3, 12, 16).clone()
    model.width = 16
    got = views(model, image)
    assert len(model.seen) == len(views.scales) * (2 if views.flip else 1)
    inner = (..., slice(3, -3), slice(3, -3))  # interpolation is exact for planes, but at borders
    torch.testing.assert_close(got["semseg"][inner], image[inner], atol=2e-3, rtol=0)
    torch.testing.assert_close(got["depth"][inner], image[:, :1][inner], atol=2e-3, rtol=0)


def test_a_mirror_turns_the_x_of_normals():
    model = Reader()
    model.width = 8
    image = torch.zeros(1, 3, 4, 8)
    plain, mirrored = Views()(model, image)["normals"], Views(flip=True)(model, image)["normals"]
    assert plain[0, 0].abs().min() > 0
    # x depends on the place in the view alone and is odd, so mirrored it is the same: turned twice
    torch.testing.assert_close(mirrored, plain)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0, 1.0)])
def test_scales_are_positive(scales):
    with pytest.raises(ValueError, match="positive"):
        Views(scales=scales)

"""Encoder weights from a file: all of them, or an error."""

from __future__ import annotations

import pytest
import timm
import torch

from mtmamba.models.encoder import Encoder

SWIN = {"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4)}


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("swin_tiny_patch4_window7_224", SWIN, 224),
        ("convnext_atto", {}, 64),
        ("resnet10t", {}, 64),
        ("hiera_tiny_224", {}, 224),  # whose pyramid has its modules under another name
    ],
)
def test_weights_of_a_classifier(name, options, size, tmp_path):
    classifier = timm.create_model(name, **options)
    torch.save(classifier.state_dict(), tmp_path / "w.pth")
    encoder = Encoder(name, (size, size), str(tmp_path / "w.pth"), options)
    known = {key.replace(".", "_"): tensor for key, tensor in classifier.state_dict().items()}
    state = encoder.net.state_dict()
    assert len(state) > 20
    for key, tensor in state.items():
        assert torch.equal(tensor, known[key.removeprefix("model.").replace(".", "_")]), key


def test_what_does_not_fit_is_an_error(tmp_path):
    path = tmp_path / "w.pth"
    with pytest.raises(FileNotFoundError, match="no encoder weights"):
        Encoder("resnet10t", (64, 64), str(path))
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="no weights for 'resnet10t'"):
        Encoder("resnet10t", (64, 64), str(path))
    torch.save(timm.create_model("resnet14t").state_dict(), path)  # wider: other shapes
    with pytest.raises(ValueError, match=r"w\.pth"):
        Encoder("resnet26d", (64, 64), str(path))
    state = timm.create_model("resnet10t").state_dict()
    del state["layer3.0.conv1.weight"]
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"lacks 1 of .*layer3"):
        Encoder("resnet10t", (64, 64), str(path))

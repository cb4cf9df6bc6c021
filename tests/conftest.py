"""What several tests need: determinism, few threads' worth of noise, small models."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read once, when Triton's kernels are defined: below

from mtmamba.models.mtmamba import MTMamba, create_model


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny_model() -> MTMamba:
    """Two tasks, the smallest encoder that is quick on a CPU, in eval mode."""
    return tiny("mtmamba", "cityscapes").eval()


def tiny(name: str, tasks: object, encoder: str = "convnext_atto", **options: object) -> MTMamba:
    """A model of a few hundred thousand parameters, for 64x64 images."""
    small = {"states": 4, "expansion": 1.0, "stm_blocks": 1}
    return create_model(name, tasks, encoder=encoder, image_size=(64, 64), **{**small, **options})  # type: ignore[arg-type]

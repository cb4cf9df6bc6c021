"""Saved models: what can be wrong with them, and the model card."""

from __future__ import annotations

import json

import pytest
import torch

from mtmamba.models.hub import load_model, save_model
from tests.conftest import tiny


@pytest.fixture
def saved(tmp_path, tiny_model):
    save_model(tiny_model, tmp_path / "m", metrics={"semseg/mIoU": 0.5})
    return tmp_path / "m"


def test_card_says_tasks_and_results(saved):
    card = (saved / "README.md").read_text()
    assert "| semseg | 19 |" in card
    assert "| semseg/mIoU | 0.5 |" in card


def test_no_model_in_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_model(tmp_path)


def test_no_such_directory(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="no such directory"):
        load_model("no/such/place/at all")


def test_corrupt_weights(saved):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_model(saved)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "mtmamba"}'])
def test_corrupt_config(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_model(saved)


def test_weights_of_another_model(saved, tmp_path):
    save_model(tiny("mtmamba_plus", "cityscapes"), tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(saved / "model.safetensors")
    with pytest.raises(ValueError, match="does not fit"):
        load_model(saved)


def test_config_is_plain_json(saved, tiny_model):
    config = json.loads((saved / "config.json").read_text())
    assert config["name"] == "mtmamba"
    assert [task["name"] for task in config["tasks"]] == ["semseg", "depth"]


def test_unwritable_directory(tiny_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save_model(tiny_model, tmp_path / "file")


def test_load_is_in_eval_mode_and_exact(saved, tiny_model):
    again = load_model(saved)
    assert not again.training
    for key, tensor in tiny_model.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor)

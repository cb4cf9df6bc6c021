"""Models on disk and on the Hugging Face hub: config.json, model.safetensors and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mtmamba.models.mtmamba import MTMamba, create_model
from mtmamba.tasks import Task

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
_SIZES = ("image_size", "output_size")


def save_model(model: MTMamba, directory: str | Path, metrics: Mapping[str, float] | None = None) -> None:
    """Write ``model`` to ``directory`` (made if need be): config.json, model.safetensors and README.md, a model card.

    Args:
        metrics: what an evaluation gave, for the card.

    Raises:
        OSError: the directory cannot be written, or the disk is full.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.detach().contiguous().cpu() for key, tensor in model.state_dict().items()}
    temporary = directory / (WEIGHTS_FILE + ".part")
    try:
        save_file(weights, temporary, metadata={"format": "pt"})
    except (SafetensorError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"cannot write the weights to {directory}: {error}") from error
    temporary.replace(directory / WEIGHTS_FILE)
    (directory / CONFIG_FILE).write_text(json.dumps(config_to_json(model.config), indent=2) + "\n", encoding="utf-8")
    (directory / CARD_FILE).write_text(_card(model, metrics or {}), encoding="utf-8")


def load_model(source: str | Path, revision: str | None = None) -> MTMamba:
    """Load what :func:`save_model` wrote, in eval mode. No code of the file's is run.

    Args:
        source: a directory, or a repository's name on the Hugging Face hub ("user/name").
        revision: of the repository.

    Raises:
        FileNotFoundError: neither a directory with a model nor a repository.
        ValueError: files that are corrupt, or weights that do not fit the configuration.
    """
    directory = Path(source)
    if not directory.is_dir():
        try:
            files = [CONFIG_FILE, WEIGHTS_FILE]
            directory = Path(snapshot_download(str(source), revision=revision, allow_patterns=files))
        except (HFValidationError, HfHubHTTPError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise FileNotFoundError(f"{source}: no such directory, and no repository on the hub: {reason}") from error
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory} has no {name}: it is not a saved model")
    try:
        config = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
        model = create_model(**config_from_json(config))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{directory / CONFIG_FILE} is no model's configuration: {error}") from error
    try:
        model.load_state_dict(load_file(directory / WEIGHTS_FILE), strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{directory / WEIGHTS_FILE} does not fit the configuration: {error}") from error
    return model.eval()


def config_to_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's configuration in JSON's types; :func:`config_from_json` is its inverse."""
    return {**config, "tasks": [task.to_config() for task in config["tasks"]]}


def config_from_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of :func:`create_model`."""
    sizes = {key: None if config[key] is None else tuple(config[key]) for key in _SIZES}
    return {**config, **sizes, "tasks": [Task.from_config(task) for task in config["tasks"]]}


def _card(model: MTMamba, metrics: Mapping[str, float]) -> str:
    config = model.config
    tasks = "\n".join(f"| {t.name} | {t.channels} | {t.unit or '-'} | {t.primary} |" for t in model.tasks)
    results = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    parameters = sum(p.numel() for p in model.parameters())
    height, width = config["image_size"]
    return f"""---
library_name: mtmamba
pipeline_tag: image-segmentation
---

# {config["name"]} on {config["encoder"]}

{parameters / 1e6:.1f} M parameters, made for images of {height}x{width}.

| task | channels | unit | metric |
|---|---|---|---|
{tasks}

```python
import mtmamba

model = mtmamba.load_model("path/to/this/directory")
prediction = mtmamba.Predictor(model)("photo.jpg")
prediction.panel().save("panel.png")
```
""" + (f"\n## Results\n\n| metric | value |\n|---|---|\n{results}\n" if metrics else "")

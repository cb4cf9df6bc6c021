"""MTMamba: multi-task dense scene understanding by Mamba decoders (arXiv 2407.02228, 2408.15101).

::

    import mtmamba

    model = mtmamba.create_model("mtmamba", "nyudv2")
    mtmamba.load_official_checkpoint(model, "mtmamba_nyudv2.pth.tar")
    prediction = mtmamba.Predictor(model)("photo.jpg")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mtmamba.inference.predictor import Prediction, Predictor
    from mtmamba.models.hub import load_model
    from mtmamba.models.mtmamba import MTMamba, create_model
    from mtmamba.models.official import load_official_checkpoint
    from mtmamba.ops import selective_scan_2d
    from mtmamba.tasks import Task

# Imported on first use: `mtmamba --help` should not wait for torch.
_HOMES = {
    "MTMamba": "mtmamba.models.mtmamba",
    "Prediction": "mtmamba.inference.predictor",
    "Predictor": "mtmamba.inference.predictor",
    "Task": "mtmamba.tasks",
    "create_model": "mtmamba.models.mtmamba",
    "load_model": "mtmamba.models.hub",
    "load_official_checkpoint": "mtmamba.models.official",
    "selective_scan_2d": "mtmamba.ops",
}

__all__ = [
    "MTMamba",
    "Prediction",
    "Predictor",
    "Task",
    "__version__",
    "create_model",
    "load_model",
    "load_official_checkpoint",
    "selective_scan_2d",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mtmamba' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

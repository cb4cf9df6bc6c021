"""From a recipe to a trained model: LightningCLI with this project's defaults."""

from __future__ import annotations

import logging
import sys
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from mtmamba.data.module import SceneDataModule
from mtmamba.training.callbacks import PictureLogger, RandomStates, progress_callback
from mtmamba.training.checkpoints import AtomicCheckpointIO, newest
from mtmamba.training.evaluate import make_data
from mtmamba.training.module import MultiTaskModule


def recipes() -> dict[str, Path]:
    """The built-in recipes: name -> YAML file."""
    folder = Path(str(files("mtmamba") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """A recipe by its name, or a YAML file by its path.

    Raises:
        FileNotFoundError: neither; the error lists the recipes.
    """
    known = recipes()
    if name in known:
        return known[name]
    path = Path(name)
    if path.is_file():
        return path
    raise FileNotFoundError(f"no recipe and no file {name!r}; recipes: {', '.join(known)}")


def train(recipe: str, overrides: list[str] | None = None, out: str | Path | None = None) -> Path:
    """Train by a recipe.

    Args:
        recipe: name of a built-in one, or a YAML file.
        overrides: command-line options on top of it, as ``["--trainer.max_steps", "100"]``; ``--ckpt_path last``
            goes on with the run in ``out``.
        out: directory of the run; None: runs/NAME. Gets config.yaml, checkpoints/ and TensorBoard's events.

    Returns:
        ``out``.

    Raises:
        FileNotFoundError: no such recipe, or nothing to resume.
        FileExistsError: ``out`` holds a run already, and this is not to go on with it.
        ValueError: options that do not exist or do not fit.
        mtmamba.training.module.NonFiniteLossError: a loss became NaN or infinite.
    """
    path = find_recipe(recipe)
    out = Path(out or Path("runs") / path.stem)
    overrides = list(overrides or [])
    checkpoints = out / "checkpoints"
    resumes = any(option.split("=")[0] == "--ckpt_path" for option in overrides)
    if not resumes and any(checkpoints.glob("*.ckpt")):
        raise FileExistsError(f"{out} holds a run already: go on with --ckpt_path last, or give another --out")
    for i, option in enumerate(overrides):
        if option == "--ckpt_path=last" or (option == "last" and overrides[i - 1] == "--ckpt_path"):
            overrides[i] = option.removesuffix("last") + str(newest(checkpoints))

    defaults: dict[str, Any] = {
        "callbacks": [
            ModelCheckpoint(
                dirpath=checkpoints, filename="best", monitor="val/loss", save_last=True, enable_version_counter=False
            ),
            LearningRateMonitor("step"),
            PictureLogger(),
            RandomStates(),
            progress_callback(),
        ],
        "sync_batchnorm": torch.cuda.is_available(),  # there is none for CPUs
        "use_distributed_sampler": False,  # ours know the processes already
        "check_val_every_n_epoch": None,  # iterations, not epochs
        "num_sanity_val_steps": 1,
        "enable_model_summary": False,  # `mtmamba info` tells more
    }
    with warnings.catch_warnings():
        _quiet()
        _cli_in(out)(
            MultiTaskModule,
            SceneDataModule,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            trainer_defaults=defaults,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "fit": {"exit_on_error": False}},
            args=["fit", "--config", str(path), *overrides],
        )
    return out


def _cli_in(out: Path) -> type[LightningCLI]:
    """LightningCLI with one list of tasks for model and data, and a logger that writes to ``out``."""

    class CLI(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.link_arguments("model.tasks", "data.init_args.tasks")
            parser.link_arguments("model.only", "data.init_args.only")

        def before_instantiate_classes(self) -> None:
            data = make_data(self._get(self.config, "data").as_dict())
            data.setup("fit")  # what is wrong with it shows before an encoder is fetched

        def instantiate_trainer(self, **options: Any) -> Trainer:
            if self._get(self.config_init, "trainer.logger") is None:
                options["logger"] = TensorBoardLogger(save_dir=out, name="", version="")
            plugins = self._get(self.config_init, "trainer.plugins") or []
            options["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
            options["enable_progress_bar"] = sys.stdout.isatty()  # elsewhere LineProgress prints
            return super().instantiate_trainer(**options)

    return CLI


def _quiet() -> None:
    """Hide tips, and warnings that a user can do nothing about."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*args parameter is intended to run from within Python.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*Found .* module\\(s\\) in eval mode at the start of training.*",
    ):
        warnings.filterwarnings("ignore", text)

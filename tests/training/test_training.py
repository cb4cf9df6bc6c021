"""Training: losses fall, runs resume bit for bit, NaN stops with a name, checkpoints carry all they need."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
import yaml

from mtmamba.losses import MultiTaskLoss
from mtmamba.training.evaluate import evaluate, evaluate_constant, make_data
from mtmamba.training.module import MultiTaskModule, NonFiniteLossError, load_training_checkpoint
from mtmamba.training.run import find_recipe, train

# A model that trains in a fraction of a second.
SMALL = {
    "encoder": "mobilenetv3_small_050",
    "image_size": [32, 32],
    "only": ["semseg", "depth"],
    "decoder": {"states": 2, "expansion": 1.0, "stm_blocks": 1, "head": "lite", "drop_path_rate": 0.3},
    "learning_rate": 1e-3,
}


def recipe(path: Path, trainer: dict, **model: object) -> str:
    content = {
        "seed_everything": 1,
        "model": {"name": "mtmamba_plus", "tasks": "rooms", **SMALL, **model},
        "data": {
            "class_path": "mtmamba.data.module.RoomsDataModule",
            "init_args": {"size": [32, 32], "batch_size": 2, "val_length": 3, "train_length": 5, "num_workers": 0},
        },
        "trainer": {"max_steps": 6, "val_check_interval": 3, "accelerator": "cpu", "log_every_n_steps": 1, **trainer},
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return train(recipe(folder / "r.yaml", {}), out=folder / "out")


def test_a_run_leaves_what_it_should(run):
    assert (run / "config.yaml").is_file()
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert list(run.glob("events.out.tfevents.*"))


def test_checkpoint_makes_the_model_and_its_data_again(run):
    model, spec = load_training_checkpoint(run / "checkpoints" / "last.ckpt")
    assert [task.name for task in model.tasks] == ["semseg", "depth"]
    assert model.config["cross_task"] == "s_ctm"
    state = weights(run)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[f"model.{key}"])
    data = make_data(spec, {"val_length": 2})
    batches = data.eval_dataloader("val")
    results = evaluate(model, batches, "cpu", progress=False)
    assert 0 <= results["semseg"]["mIoU"] <= 1
    constant = evaluate_constant(model.tasks, data.eval_dataloader("train"), batches, progress=False)
    assert constant.keys() == results.keys()
    assert constant["depth"]["rmse"] > 0


def interrupted(folder: Path, trainer: dict) -> Path:
    """A run of 6 steps that dies in the fifth, is resumed from its last checkpoint, and ends."""

    class StopHereError(RuntimeError):
        pass

    def die(self, batch, batch_idx):
        if self.global_step == 4:
            raise StopHereError

    path = recipe(folder / "r.yaml", trainer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MultiTaskModule, "on_train_batch_start", die)
        with pytest.raises(StopHereError):
            train(path, out=folder / "out")
    return train(path, ["--ckpt_path", "last"], folder / "out")


@pytest.mark.parametrize("ema", [False, True])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, ema):
    trainer: dict = {}
    if ema:
        averaging = {
            "class_path": "lightning.pytorch.callbacks.EMAWeightAveraging",
            "init_args": {"decay": 0.9},
        }
        trainer["callbacks"] = [averaging]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = weights(train(recipe(tmp_path / "a" / "r.yaml", trainer), out=tmp_path / "a" / "out"))
    resumed = weights(interrupted(tmp_path / "b", trainer))
    assert whole.keys() == resumed.keys()
    different = [key for key in whole if not torch.equal(whole[key], resumed[key])]
    assert different == []


def test_a_run_is_not_overwritten(run, tmp_path):
    with pytest.raises(FileExistsError, match="--ckpt_path last"):
        train(recipe(tmp_path / "r.yaml", {}), out=run)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(recipe(tmp_path / "r.yaml", {}), ["--ckpt_path", "last"], tmp_path / "out")


def test_nan_names_the_task_and_the_step_and_keeps_checkpoints(run, tmp_path, monkeypatch):
    losses = MultiTaskModule.losses

    def poisoned(self, logits, batch):
        found = losses(self, logits, batch)
        if self.training and self.global_step == 4:
            found["depth"] = found["depth"] * float("nan")
        return found

    monkeypatch.setattr(MultiTaskModule, "losses", poisoned)
    with pytest.raises(NonFiniteLossError, match=r"step 4: .*depth = nan"):
        train(recipe(tmp_path / "r.yaml", {}), out=tmp_path / "out")
    kept = torch.load(tmp_path / "out" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3
    assert all(torch.isfinite(w).all() for w in kept["state_dict"].values())


def test_learns_a_batch_by_heart():
    """The loss of one batch falls steadily: gradients reach what matters."""
    torch.manual_seed(0)
    module = MultiTaskModule(
        tasks="rooms",
        encoder="mobilenetv3_small_050",
        image_size=(32, 32),
        only=["semseg", "depth", "edge"],
        decoder={"states": 2, "expansion": 1.0, "stm_blocks": 1, "head": "lite", "drop_path_rate": 0.0},
        loss="sum",
    )
    data = make_data({"class_path": "mtmamba.data.module.RoomsDataModule"}, {
        "size": (32, 32), "batch_size": 4, "num_workers": 0, "only": ["semseg", "depth", "edge"],
    })  # fmt: skip
    batch = next(iter(data.train_dataloader()))
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    totals = []
    for _ in range(30):
        optimizer.zero_grad()
        total = module.total_loss(module.losses(module(batch["image"]), batch))
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]


def test_schedule_warms_up_and_decays_polynomially():
    module = MultiTaskModule(
        encoder="mobilenetv3_small_050", only=["depth"], image_size=(32, 32), learning_rate=1.0, warmup_steps=4,
        decoder={"states": 2, "stm_blocks": 0},
    )  # fmt: skip
    module.trainer = L.Trainer(max_steps=104, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(L.Trainer, "estimated_stepping_batches", 104)
        rate = module.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [rate(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rate(4) == 1
    assert rate(54) == pytest.approx(0.5**0.9)
    assert rate(104) == 0


def test_weights_and_reduction_of_the_loss():
    module = MultiTaskModule(
        encoder="mobilenetv3_small_050", only=["semseg", "depth"], image_size=(32, 32), loss="sum",
        loss_weights={"depth": 10.0}, decoder={"states": 2, "stm_blocks": 0},
    )  # fmt: skip
    assert isinstance(module.total_loss, MultiTaskLoss)
    losses = {"semseg": torch.tensor(2.0), "depth": torch.tensor(0.5)}
    assert module.total_loss(losses).item() == pytest.approx(7.0)


def test_accumulation_clipping_and_bfloat16(tmp_path):
    trainer = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5, "precision": "bf16-mixed", "max_steps": 2}
    out = train(recipe(tmp_path / "r.yaml", {**trainer, "val_check_interval": 2}), out=tmp_path / "out")
    kept = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(w.dtype == torch.float32 for w in kept["state_dict"].values() if w.is_floating_point())


@pytest.mark.slow
def test_compiled_training(tmp_path):
    out = train(
        recipe(tmp_path / "r.yaml", {"max_steps": 2, "val_check_interval": 2}, compile=True), out=tmp_path / "o"
    )
    model, _ = load_training_checkpoint(out / "checkpoints" / "last.ckpt")
    assert [task.name for task in model.tasks] == ["semseg", "depth"]


@pytest.mark.parametrize("name", ["demo", "debug"])  # test_recipes.py has those that want data on disk
def test_recipes_make_a_model_and_data_that_fit(name):
    content = yaml.safe_load(find_recipe(name).read_text())
    module = MultiTaskModule(**content["model"])
    data = make_data(content["data"], {"num_workers": 0, "batch_size": 2})
    assert data.tasks == module.tasks
    batch = next(iter(data.train_dataloader()))
    assert torch.isfinite(module.total_loss(module.losses(module(batch["image"]), batch)))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["--model.learning_speed", "1"], "learning_speed"),
        (["--model.tasks", "kitti"], "kitti"),
        (["--data.size", "big"], "size"),
        (["--model.encoder", "vgg99"], "vgg99"),
    ],
)
def test_bad_options_are_named(tmp_path, overrides, text):
    with pytest.raises(Exception, match=text):  # jsonargparse's own errors are no ValueErrors
        train(recipe(tmp_path / "r.yaml", {}), overrides, tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match="debug"):
        find_recipe("nope")


@pytest.mark.parametrize("content", [b"", b"junk" * 100])
def test_unreadable_checkpoint(content, tmp_path):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load_training_checkpoint(tmp_path / "x.ckpt")


def test_checkpoint_of_something_else(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="no training checkpoint"):
        load_training_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    "spec",
    [{"class_path": "nowhere.Data"}, {"class_path": "pathlib.Path"}, {"class_path": "Data"}],
)
def test_unknown_data_module(spec):
    with pytest.raises(ValueError, match="data module"):
        make_data(spec)


def test_evaluation_needs_images_and_targets(run):
    model, _spec = load_training_checkpoint(run / "checkpoints" / "last.ckpt")
    with pytest.raises(ValueError, match="no images"):
        evaluate(model, [], "cpu", progress=False)
    with pytest.raises(ValueError, match="the data has no semseg"):
        evaluate(model, [{"image": torch.zeros(1, 3, 32, 32), "id": ["a"]}], "cpu", progress=False)

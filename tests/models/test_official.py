"""Published checkpoints: the golden answers, and every way in which a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mtmamba
from mtmamba.models.mtmamba import create_model
from mtmamba.models.official import load_official_checkpoint, model_from_official
from mtmamba.nn.ss2d import SelectiveScan2d
from mtmamba.ops import available_backends
from mtmamba.tasks import benchmark
from tests.golden import seeded

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def published_state(name: str) -> dict[str, torch.Tensor]:
    spec = json.loads((GOLDEN / f"{name}.json").read_text())
    return {
        f"module.{key}": torch.as_tensor(seeded.tensor(key, shape, spec["seed"])) for key, shape in spec["keys"].items()
    }


def write(path: Path, state: dict[str, torch.Tensor], wrapped: bool = True) -> Path:
    torch.save({"model": state, "iter_count": 40_000} if wrapped else state, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("official") / "m.pth.tar", published_state("mtmamba_plus_cityscapes_window7"))


PLACES = [
    pytest.param("cpu", backend, marks=[pytest.mark.slow] if backend == "triton" else [])  # by its interpreter
    for backend in available_backends("cpu")
]
if torch.cuda.is_available():
    PLACES += [("cuda", backend) for backend in available_backends("cuda")]


def _widest_tile(kernel, sizes, space, default, run):
    channels = int(sizes.split()[0].split("x")[-1])
    padded = -(-channels // 16) * 16
    return default._replace(tile=next(tile for tile in (512, 256, 128, 64, 32, 16) if padded % tile == 0))


@pytest.mark.parametrize(("device", "backend"), PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_golden(name, device, backend, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # 10 bits of mantissa are not enough here
    spec = json.loads((GOLDEN / f"{name}.json").read_text())
    golden = load_file(GOLDEN / f"{name}.safetensors")
    model = model_from_official(write(tmp_path / "published.pth.tar", published_state(name))).eval().to(device)
    for module in model.modules():
        if isinstance(module, SelectiveScan2d):
            module.backend = backend
    images = torch.from_numpy(seeded.image((2, 3, *spec["image"]), spec["seed"])).to(device)
    if (device, backend) == ("cpu", "triton"):
        monkeypatch.setattr("mtmamba.ops.triton.SEGMENT", 8)  # less padding to interpret, and fewer programs:
        monkeypatch.setattr("mtmamba.ops.triton.tuning.choose", _widest_tile)
        images = images[:1]
    with torch.no_grad():
        found = {f"encoder.{i}": m.permute(0, 3, 1, 2) for i, m in enumerate(model.encoder(images))}
        for task, logits in model(images).items():
            assert list(logits.shape[-2:]) == spec["output"]
            found[f"out.{task}"] = logits[:, :, :: spec["stride"], :: spec["stride"]]
    assert found.keys() == golden.keys()
    tolerance = 1e-5 if (device, backend) == ("cpu", "reference") else 1e-4
    for key, want in golden.items():
        assert (found[key].cpu() - want[: len(images)]).abs().max() <= tolerance * want.abs().max(), key


def test_saved_model_gives_the_same_answers(checkpoint, tmp_path):
    model = model_from_official(checkpoint).eval()
    model.save_pretrained(tmp_path / "saved")
    again = mtmamba.load_model(tmp_path / "saved")
    images = torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        for name, y in model(images).items():
            assert torch.equal(again(images)[name], y)


def test_plain_state_dict_without_wrapper(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)["model"]
    bare = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    model = model_from_official(write(tmp_path / "bare.pth", bare, wrapped=False))
    for key, tensor in model_from_official(checkpoint).state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor)


def refused(checkpoint: Path, path: Path, change, text: str, wrapped: bool = True) -> None:
    """A changed file is refused, the error says what is wrong, and the model is as it was."""
    state = torch.load(checkpoint, weights_only=True)["model"]
    model = model_from_official(checkpoint)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    change(state)
    with pytest.raises(ValueError, match=text):
        load_official_checkpoint(model, write(path, state, wrapped))
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])


KEY = "module.block_stm.depth_1.0.op.A_logs"


def test_missing_tensor(checkpoint, tmp_path):
    refused(checkpoint, tmp_path / "m.pth", lambda s: s.pop(KEY), r"1 missing: block_stm\.depth_1\.0\.op\.A_logs")


def test_left_over_tensor(checkpoint, tmp_path):
    def change(state):
        state["module.ema.weight"] = torch.ones(2)

    refused(checkpoint, tmp_path / "m.pth", change, r"1 left over: ema\.weight")


def test_misshapen_tensor(checkpoint, tmp_path):
    def change(state):
        state[KEY] = state[KEY][:, :-1]

    refused(checkpoint, tmp_path / "m.pth", change, r"misshapen: block_stm")


def test_all_problems_are_listed_at_once(checkpoint, tmp_path):
    def change(state):
        state["module.x"] = state.pop(KEY)

    refused(checkpoint, tmp_path / "m.pth", change, r"(?s)missing.*left over")


def test_other_model(checkpoint):
    spec = json.loads((GOLDEN / "mtmamba_plus_cityscapes_window7.json").read_text())
    model = create_model("mtmamba", "cityscapes", encoder_kwargs=spec["encoder"])
    with pytest.raises(ValueError, match=r"does not fit this mtmamba.*missing: block_1"):
        load_official_checkpoint(model, checkpoint)


def test_other_task_order(checkpoint):
    spec = json.loads((GOLDEN / "mtmamba_plus_cityscapes_window7.json").read_text())
    tasks = benchmark("cityscapes")[::-1]
    model = create_model("mtmamba_plus", tasks, encoder_kwargs=spec["encoder"])
    with pytest.raises(ValueError, match="order"):
        load_official_checkpoint(model, checkpoint)


def test_other_encoder(checkpoint):
    model = create_model("mtmamba_plus", "cityscapes", encoder="convnext_atto")
    with pytest.raises(ValueError, match="missing"):
        load_official_checkpoint(model, checkpoint)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"not a checkpoint", "no readable torch checkpoint"), (b"", "no readable torch checkpoint")],
)
def test_unreadable_file(content, text, tmp_path):
    path = tmp_path / "broken.pth.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=text):
        model_from_official(path)


def test_truncated_file(checkpoint, tmp_path):
    path = tmp_path / "half.pth.tar"
    path.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="truncated"):
        model_from_official(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        model_from_official(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [{"model": {}}, {"model": [1]}, {"a": 1}])
def test_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(ValueError, match="no state dict"):
        model_from_official(tmp_path / "m.pth")


def test_code_in_a_file_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="no readable torch checkpoint"):
        model_from_official(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_checkpoint_of_something_else(tmp_path):
    torch.save({"model": {"fc.weight": torch.ones(2, 2)}}, tmp_path / "m.pth")
    with pytest.raises(ValueError, match="no published checkpoint"):
        model_from_official(tmp_path / "m.pth")

"""Predict images of any kind: shapes, units, files, and every way in which an image can be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mtmamba import Predictor
from mtmamba.inference.predictor import find_checkpoint, list_images, load_any, read_image
from mtmamba.tasks import benchmark
from tests.conftest import tiny


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(tiny("mtmamba", benchmark("rooms")), device="cpu")


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (45, 70, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_maps_have_the_images_size_and_their_units(predictor, photo):
    prediction = predictor(photo)
    assert prediction.image.size == (70, 45)
    assert prediction.name == "photo"
    assert prediction["semseg"].shape == prediction["human_parts"].shape == (45, 70)
    assert prediction["semseg"].max() < 17
    assert prediction["depth"].shape == (45, 70)
    assert (prediction["depth"] > 0).all()
    assert prediction["normals"].shape == (3, 45, 70)
    np.testing.assert_allclose(np.linalg.norm(prediction["normals"], axis=0), 1, atol=1e-4)
    for name in ("saliency", "edge"):
        assert 0 <= prediction[name].min() <= prediction[name].max() <= 1


def test_the_same_image_in_every_form(predictor, photo):
    wanted = predictor(photo)["depth"]
    image = Image.open(photo).convert("RGB")
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for source in (str(photo), image, array, tensor, tensor.float() / 255):
        np.testing.assert_array_equal(predictor(source)["depth"], wanted)


def test_save_writes_what_each_task_stores(predictor, photo, tmp_path):
    prediction = predictor(photo)
    written = prediction.save(tmp_path / "out")
    names = {path.name for path in written}
    assert {"photo_semseg.png", "photo_depth.png", "photo_depth.npy", "photo_normals.png", "photo_panel.png"} <= names
    assert all(path.is_file() for path in written)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / "photo_semseg.png")), prediction["semseg"])
    millimetres = np.array(Image.open(tmp_path / "out" / "photo_depth.png"))
    np.testing.assert_allclose(millimetres / 1000, np.minimum(prediction["depth"], 65.535), atol=6e-4)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "photo_depth.npy"), prediction["depth"], rtol=1e-6)


def test_some_tasks_only(predictor, photo):
    only = Predictor(predictor.model, device="cpu", tasks=["edge"])
    assert list(only(photo).maps) == ["edge"]
    with pytest.raises(ValueError, match="it has semseg"):
        Predictor(predictor.model, device="cpu", tasks=["flow"])


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (500, 20)])
def test_odd_sizes(predictor, size):
    prediction = predictor(Image.new("RGB", size, "red"))
    assert prediction["semseg"].shape == size[::-1]


def test_working_size_keeps_the_aspect(predictor):
    for width, height in ((640, 480), (480, 640), (1000, 1000), (2000, 500)):
        size = predictor._size(Image.new("RGB", (width, height)))
        assert all(side % 32 == 0 for side in size)
        assert size[0] * size[1] <= 4 * predictor.pixels


def test_exif_orientation(tmp_path):
    image = Image.new("RGB", (20, 10), "white")
    image.putpixel((0, 0), (0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to be upright
    image.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.size == (10, 20)
    assert upright.getpixel((9, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("L", (4, 4), 100), (100, 100, 100)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("LA", (4, 4), (7, 255)), (7, 7, 7)),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 25700, np.uint16)), (100, 100, 100)),
        (Image.new("P", (4, 4), 0), (0, 0, 0)),
    ],
)
def test_modes(image, pixel):
    assert read_image(image).getpixel((1, 1)) == pixel


def test_corrupt_and_missing_images(tmp_path, photo):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:500])
    for name in ("text.png", "cut.png"):
        with pytest.raises(ValueError, match=f"{name} is no readable image"):
            read_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no image at"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((4, 4), np.uint8), "an image is"),
        (np.zeros((4, 4, 4), np.uint8), "an image is"),
        (np.full((4, 4, 3), 80.0), r"\[0, 1\]"),
        (np.full((4, 4, 3), np.nan), r"\[0, 1\]"),
        (np.zeros((4, 4, 3), np.int64), "uint8"),
    ],
)
def test_wrong_arrays(array, text):
    with pytest.raises(ValueError, match=text):
        read_image(array)


def test_folders(tmp_path, photo):
    (tmp_path / "notes.txt").write_text("")
    assert list_images([tmp_path]) == [photo]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        list_images([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="no image and no folder"):
        list_images([tmp_path / "none"])


def test_load_any(tmp_path, predictor):
    predictor.model.save_pretrained(tmp_path / "saved")
    assert load_any(tmp_path / "saved").config == predictor.model.config
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match="a model is a directory"):
        load_any(tmp_path / "model.bin")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no checkpoint yet"):
        find_checkpoint(tmp_path / "run")


def test_bfloat16_predicts_nearly_the_same(predictor, photo):
    torch.manual_seed(0)
    model = tiny("mtmamba", benchmark("rooms"))
    half = Predictor(model, device="cpu", precision="bfloat16")
    kept = {name: p.dtype for name, p in model.named_parameters() if p.dtype == torch.float32}
    assert {name.rsplit(".", 1)[1] for name in kept} == {"dt_weight", "dt_bias", "A_log", "D_skip"}
    for name in ("depth", "saliency"):
        a, b = predictor(photo)[name], half(photo)[name]
        assert a.dtype == b.dtype
        assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


@pytest.mark.slow
def test_compiled_predicts_the_same(predictor, photo):
    torch.manual_seed(0)
    compiled = Predictor(tiny("mtmamba", benchmark("rooms")), device="cpu", compile=True)
    np.testing.assert_allclose(compiled(photo)["depth"], predictor(photo)["depth"], rtol=1e-3)


def test_unknown_precision_is_named(predictor):
    with pytest.raises(ValueError, match="unknown precision 'int8'; there are: float32"):
        Predictor(predictor.model, precision="int8")

"""Predict any photograph: a typed prediction with units, out of an image of any kind and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mtmamba.data.transforms import normalize
from mtmamba.inference.visualize import panel
from mtmamba.models.hub import load_model
from mtmamba.models.mtmamba import MTMamba
from mtmamba.models.official import model_from_official
from mtmamba.tasks import Task
from mtmamba.training.module import load_training_checkpoint

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Source = str | Path | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image, at the image's size.

    Attributes:
        image: the image, RGB, upright.
        tasks: what was predicted, in the model's order.
        maps: by task name: labels int64 (H, W); probabilities float32 (H, W) of saliency and edges; depth float32
            (H, W) in metres; normals float32 (3, H, W), unit vectors, x right, y up, z towards the viewer.
        name: what to call it: the file's stem, or "image".
    """

    image: Image.Image
    tasks: tuple[Task, ...]
    maps: dict[str, np.ndarray]
    name: str = "image"

    def __getitem__(self, task: str) -> np.ndarray:
        return self.maps[task]

    def panel(self) -> Image.Image:
        """The image and every map in colours, with legends."""
        return panel(self.image, {task: self.maps[task.name] for task in self.tasks})

    def save(self, directory: str | Path) -> list[Path]:
        """Write NAME_TASK files as each task stores its map, and NAME_panel.png; returns the files.

        Raises:
            OSError: a file cannot be written, or the disk is full.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        for task in self.tasks:
            written += task.save(self.maps[task.name], directory / f"{self.name}_{task.name}")
        picture = directory / f"{self.name}_panel.png"
        self.panel().save(picture)
        return [*written, picture]


class Predictor:
    """Photographs in, predictions out.

    An image is resized, its aspect kept, to about as many pixels as the model was trained on (both sides multiples of
    the encoder's stride), and the answers are resized back to the image's own size (bilinear, before labels are
    chosen).

    Args:
        model: a model, or what :func:`load_any` takes.
        device: where to compute; None: a GPU if there is one.
        size: (H, W) whose number of pixels images are resized to; None: what the model was made for.
        tasks: names of the tasks to give; None: all.
        precision: "float32", "bfloat16" or "float16": what to compute in, but for the scan's states.
        compile: run the model through torch.compile, on a GPU with CUDA graphs. The first image of every size waits
            for it, a minute or more; it pays with many images.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_any`, or an unknown task or precision.
    """

    def __init__(
        self,
        model: MTMamba | str | Path,
        device: str | torch.device | None = None,
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] | None = None,
        precision: str = "float32",
        compile: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; there are: {', '.join(PRECISIONS)}")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = (model if isinstance(model, MTMamba) else load_any(model)).to(self.device).eval()
        if precision != "float32":
            self.model.cast_weights(PRECISIONS[precision])
        if compile:
            self.model.compile(mode="reduce-overhead" if self.device.type == "cuda" else None, dynamic=False)
        self.pixels = int(np.prod(size or self.model.config["image_size"]))
        known = {task.name: task for task in self.model.tasks}
        if unknown := [name for name in tasks or [] if name not in known]:
            raise ValueError(f"the model has no task {', '.join(unknown)}; it has {', '.join(known)}")
        self.tasks = tuple(task for task in self.model.tasks if tasks is None or task.name in tasks)

    def __call__(self, source: Source) -> Prediction:
        """Predict one image.

        Args:
            source: a path; a PIL image; a NumPy array (H, W, 3) uint8; or a tensor (3, H, W), uint8 or float in [0, 1].

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no image.
        """
        image = read_image(source)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(self.device)
        small = F.interpolate(normalize(pixels), size=self._size(image), mode="bilinear", antialias=True)
        maps: dict[str, np.ndarray] = {}
        with torch.inference_mode():
            logits = self.model(small)
            for task in self.tasks:
                full = F.interpolate(logits[task.name].float(), size=(image.height, image.width), mode="bilinear")
                maps[task.name] = task.decode(full)[0].cpu().numpy()
        name = Path(source).stem if isinstance(source, str | Path) else "image"
        return Prediction(image, self.tasks, maps, name)

    def _size(self, image: Image.Image) -> tuple[int, int]:
        scale = (self.pixels / (image.width * image.height)) ** 0.5
        stride = self.model.encoder.strides[-1]
        height, width = (max(1, round(side * scale / stride)) * stride for side in (image.height, image.width))
        return height, width


def load_any(source: str | Path) -> MTMamba:
    """A model out of whatever holds one, in eval mode.

    Args:
        source: a directory written by ``save_pretrained``, a training checkpoint (.ckpt), a directory of a training run
            (its best checkpoint), a published checkpoint (.pth.tar, .pth), or a name on the Hugging Face hub.

    Raises:
        FileNotFoundError: there is nothing there.
        ValueError: what is there holds no model.
    """
    path = Path(source)
    if path.name.endswith((".pth.tar", ".pth")):
        return model_from_official(path).eval()
    if path.suffix == ".ckpt":
        return load_training_checkpoint(path)[0]
    if (path / "checkpoints").is_dir():
        return load_training_checkpoint(find_checkpoint(path))[0]
    if path.is_file():
        raise ValueError(f"{path}: a model is a directory, a .ckpt of a training run, or a published .pth.tar")
    return load_model(source)


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint itself, or the best (else the last) one of a training run's directory.

    Raises:
        FileNotFoundError: the run has none.
    """
    path = Path(path)
    if not (path / "checkpoints").is_dir():
        return path
    for name in ("best.ckpt", "last.ckpt"):
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    raise FileNotFoundError(f"the run {path} has no checkpoint yet")


def read_image(source: Source) -> Image.Image:
    """An upright RGB image out of a path, PIL image, (H, W, 3) array or (3, H, W) tensor.

    EXIF orientation is followed, 16-bit greyscale scaled to 8 bits, transparency laid on white.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no image or is cut short, or an array of another shape or type.
    """
    if isinstance(source, str | Path):
        try:
            with Image.open(source) as opened:
                opened.load()
                return _upright_rgb(opened)
        except FileNotFoundError:
            raise FileNotFoundError(f"no image at {source}") from None
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{source} is no readable image: {error}") from error
    if isinstance(source, Image.Image):
        return _upright_rgb(source)
    array = source.detach().cpu().movedim(0, -1).numpy() if isinstance(source, Tensor) else np.asarray(source)
    if array.ndim != 3 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(f"an image is (H, W, 3) as array and (3, H, W) as tensor; got {tuple(source.shape)}")
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("a float image has values in [0, 1]; give uint8 for values in 0..255")
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"an image is uint8, or float in [0, 1]; got {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))


def _upright_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode.startswith("I") and values.max() > 255 else 255.0
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def list_images(sources: Sequence[str | Path]) -> list[Path]:
    """Image files out of files and folders (not below them), in order.

    Raises:
        FileNotFoundError: a source that is not there.
        ValueError: a folder without images.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise ValueError(f"the folder {source} holds no images ({', '.join(IMAGE_SUFFIXES)})")
            found += inside
        elif source.is_file():
            found.append(source)
        else:
            raise FileNotFoundError(f"no image and no folder at {source}")
    return found

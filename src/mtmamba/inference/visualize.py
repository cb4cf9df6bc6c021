"""Pictures of predictions: every task's map beside the image, with what its colours mean.

H x W pixels of the image; maps may have another resolution, and are drawn at the image's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mtmamba.tasks import IGNORE, Edge, Saliency, Segmentation, Task
from mtmamba.tasks.base import Limits, as_array
from mtmamba.tasks.colors import RGB

Picture = Image.Image | np.ndarray | Tensor
Map = Tensor | np.ndarray

INK, FAINT, PAPER = (32, 33, 36), (218, 220, 224), (255, 255, 255)
ACCENT = (255, 96, 0)  # of edges and saliency over an image: seldom met in photographs
MOST_CLASSES = 16  # in a legend


def panel(
    image: Picture,
    maps: Mapping[Task, Map],
    targets: Mapping[Task, Map] | None = None,
    *,
    titles: Mapping[str, str] | None = None,
    legend: bool = True,
    columns: int | None = None,
    cell: int = 320,
) -> Image.Image:
    """The image and every map in a grid on white, with titles and legends.

    With targets, a row of truth follows each row of predictions, on the same colour scale, over one legend.

    Args:
        image: PIL, uint8 (H, W, 3) array, or tensor (3, H, W), uint8 or float in [0, 1].
        maps: a decoded map without batch per task.
        targets: a prepared target without batch for some or all of these tasks. Ignored pixels are black.
        titles: by task name, or "image", to put in place of the usual ones.
        legend: whether to explain colours: by the classes present (the 16 most frequent), or a bar.
        columns: cells in a row; by default all, or half of them where there are more than five.
        cell: the size at which each map is drawn, in pixels, as the side of a square of equal area; no side
            gets longer than twice that. Smaller images are enlarged by whole factors without smoothing, so that
            their pixels show.

    Raises:
        ValueError: for an image or a map of another shape, or a target whose task has no map.
    """
    targets = targets or {}
    if unknown := [task.name for task in targets if task not in maps]:
        raise ValueError(f"targets without a map: {', '.join(unknown)}")
    photo = to_pil(image)
    style = _Style.for_image(photo, cell)
    figures = [_Figure((titles or {}).get("image", "image"), [photo])]
    for task, decoded in maps.items():
        shown = [decoded]
        if task in targets:
            shown.append(task.target_to_map(torch.as_tensor(targets[task])))
        title = (titles or {}).get(task.name, _title(task))
        figures.append(_figure(title, task, shown, style, legend=legend))
    if columns is None:
        columns = len(figures) if len(figures) <= 5 else math.ceil(len(figures) / 2)
    rows = [figures[start : start + columns] for start in range(0, len(figures), columns)]
    return _compose(rows, columns, style, ("prediction", "truth") if targets else None)


def overlay(image: Picture, task: Task, decoded: Map, alpha: float = 0.6) -> Image.Image:
    """A map over the image: its classes but the background, an accent where a probability is high, or all.

    Args:
        image: as in :func:`panel`.
        task: the task of the map.
        decoded: a decoded map without batch; drawn at the image's size.
        alpha: how much of the image it hides, from 0 to 1.

    Raises:
        ValueError: for an image or a map of another shape.
    """
    photo = to_pil(image)
    colors = task.colorize(decoded).numpy()
    values = as_array(decoded)
    if isinstance(task, Segmentation):
        background = task.class_names.index("background") if "background" in task.class_names else IGNORE
        weight = ((values != background) & (values != IGNORE)).astype(np.float32)
    elif isinstance(task, Saliency | Edge):
        weight = np.where(values == IGNORE, 0, values).astype(np.float32)
        colors = np.broadcast_to(np.array(ACCENT, np.uint8), colors.shape)
    else:
        weight = np.ones(colors.shape[:2], np.float32)
    mask = Image.fromarray((weight.reshape(colors.shape[:2]) * alpha * 255).clip(0, 255).astype(np.uint8))
    layer = Image.fromarray(np.ascontiguousarray(colors))
    return Image.composite(_resized(layer, photo.size), photo, _resized(mask, photo.size))


def to_pil(image: Picture) -> Image.Image:
    """PIL image, uint8 (H, W, 3) array, or tensor (3, H, W), uint8 or float in [0, 1] -> RGB PIL image.

    Raises:
        ValueError: for another shape or type.
    """
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = as_array(image)
    if isinstance(image, Tensor):
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
        if np.issubdtype(array.dtype, np.floating):
            array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f"image of shape {tuple(image.shape)} and type {image.dtype}; expected a PIL image, "
            "a uint8 array (H, W, 3), or a tensor (3, H, W), uint8 or float in [0, 1]"
        )
    return Image.fromarray(np.ascontiguousarray(array))


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels."""

    size: tuple[int, int]  # of a picture
    width: int  # of a column
    gap: int
    font: ImageFont.FreeTypeFont
    small: ImageFont.FreeTypeFont

    @staticmethod
    def for_image(image: Image.Image, cell: int) -> _Style:
        width, height = image.size
        factor = min(cell / math.sqrt(width * height), 2 * cell / max(width, height))
        if factor > 1:
            factor = max(1, round(factor))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        text = max(12, cell // 20)
        return _Style(size, max(size[0], 12 * text), text, _font(text, bold=True), _font(round(0.85 * text)))

    @property
    def line(self) -> int:
        """Height of a line of small text."""
        return round(1.5 * self.small.size)

    @property
    def head(self) -> int:
        """Height of a title."""
        return round(1.6 * self.font.size)


@dataclass(frozen=True)
class _Figure:
    """What stands in one column: a prediction and maybe its truth, under one title and over one legend."""

    title: str
    pictures: list[Image.Image]
    legend: Image.Image | None = None


def _figure(title: str, task: Task, shown: list[Map], style: _Style, *, legend: bool) -> _Figure:
    limits = task.limits(shown[-1])  # the truth's where there is one
    pictures = [Image.fromarray(task.colorize(each, limits=limits).numpy()) for each in shown]
    return _Figure(title, pictures, _legend(task, shown, limits, style) if legend else None)


def _title(task: Task) -> str:
    name = task.name.replace("_", " ")
    return name if task.unit in ("", "class", "unit vector") else f"{name} ({task.unit})"


def _legend(task: Task, shown: list[Map], limits: Limits | None, style: _Style) -> Image.Image | None:
    if isinstance(task, Segmentation):
        return _swatches(_classes(task, shown), style)
    entries = task.legend(limits=limits)
    if limits is None or not entries:
        return _swatches([*entries], style) if entries else None
    values = np.linspace(*limits, style.width, dtype=np.float32)
    ramp = np.broadcast_to(values, (*as_array(shown[0]).shape[:-2], 1, style.width)).copy()
    return _bar(task.colorize(ramp, limits=limits).numpy(), limits, style)


def _classes(task: Segmentation, shown: list[Map]) -> list[tuple[str, RGB | None]]:
    """The most frequent classes of these maps in the order of classes, and a word on the rest."""
    labels = np.concatenate([as_array(each).astype(np.uint8).ravel() for each in shown])
    counts = np.bincount(labels, minlength=256)
    present = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index] and index != IGNORE]
    entries: list[tuple[str, RGB | None]] = [*task.legend(present=present[:MOST_CLASSES])]
    if len(present) > MOST_CLASSES:
        entries.append((f"and {len(present) - MOST_CLASSES} more", None))
    if counts[IGNORE]:
        entries.append(("ignored", (0, 0, 0)))
    return entries


def _swatches(entries: list[tuple[str, RGB | None]], style: _Style) -> Image.Image:
    """Coloured squares with their names (or names alone), in as many lines as they need."""
    side, line = round(0.95 * style.small.size), style.line
    places, x, y = [], 0, 0
    for text, color in entries:
        start = 0 if color is None else round(1.4 * side)
        text = _elided(text, style.small, style.width - start)
        length = start + math.ceil(style.small.getlength(text))
        if x and x + length > style.width:
            x, y = 0, y + line
        places.append((x, y, start, text, color))
        x += length + side
    canvas = Image.new("RGB", (style.width, y + line), PAPER)
    draw = ImageDraw.Draw(canvas)
    for x, y, start, text, color in places:
        if color is not None:
            top = y + (line - side) // 2
            draw.rectangle((x, top, x + side - 1, top + side - 1), fill=color, outline=_darker(color))
        draw.text((x + start, y + line // 2), text, fill=INK, font=style.small, anchor="lm")
    return canvas


def _bar(ramp: np.ndarray, limits: Limits, style: _Style) -> Image.Image:
    """A scale of colours with its ends and its middle written below."""
    height = round(0.8 * style.small.size)
    canvas = Image.new("RGB", (style.width, height + style.line), PAPER)
    canvas.paste(Image.fromarray(ramp).resize((style.width, height), Image.Resampling.NEAREST), (0, 0))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, style.width - 1, height - 1), outline=FAINT)
    low, high = limits
    places = ((0, "l", low), (style.width // 2, "m", (low + high) / 2), (style.width, "r", high))
    for x, anchor, value in places:
        text = f"{value:.3g}"  # the unit stands in the title
        draw.text((x, height + style.line // 2), text, fill=INK, font=style.small, anchor=f"{anchor}m")
    return canvas


def _compose(rows: list[list[_Figure]], columns: int, style: _Style, row_names: tuple[str, str] | None) -> Image.Image:
    gap, (_, height) = style.gap, style.size
    pictures = [max(len(figure.pictures) for figure in row) for row in rows]
    legends = [max((f.legend.height + gap // 2 if f.legend else 0) for f in row) for row in rows]
    tall = [style.head + count * (height + gap // 2) + key for count, key in zip(pictures, legends)]
    left = gap + (style.head if row_names else 0)
    canvas = Image.new("RGB", (left + columns * (style.width + gap), gap // 2 + sum(tall) + len(rows) * gap), PAPER)
    draw = ImageDraw.Draw(canvas)
    top = gap // 2
    for row, count, extent in zip(rows, pictures, tall):
        for index, name in enumerate((row_names or ())[:count]):
            middle = top + style.head + index * (height + gap // 2) + height // 2
            _sideways(canvas, name, (gap // 2 + style.head // 2, middle), style)
        for column, figure in enumerate(row):
            x, y = left + column * (style.width + gap), top + style.head
            title = _elided(figure.title, style.font, style.width)
            draw.text((x, top + style.head // 2), title, fill=INK, font=style.font, anchor="lm")
            for picture in figure.pictures:
                canvas.paste(_resized(picture, style.size), (x, y))
                draw.rectangle((x - 1, y - 1, x + style.size[0], y + height), outline=FAINT)
                y += height + gap // 2
            if figure.legend:
                canvas.paste(figure.legend, (x, top + style.head + count * (height + gap // 2)))
        top += extent + gap
    return canvas


def _elided(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or as much of its beginning as fits the width, with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    end = next((end for end in range(len(text), 0, -1) if font.getlength(text[:end] + "…") <= width), 0)
    return text[:end].rstrip() + "…"


def _sideways(canvas: Image.Image, text: str, center: tuple[int, int], style: _Style) -> None:
    label = Image.new("RGB", (math.ceil(style.small.getlength(text)) + 2, style.line), PAPER)
    ImageDraw.Draw(label).text((1, style.line // 2), text, fill=INK, font=style.small, anchor="lm")
    label = label.rotate(90, expand=True)
    canvas.paste(label, (center[0] - label.width // 2, center[1] - label.height // 2))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """At this size: pixels stay square where it grows, and are averaged where it shrinks."""
    if picture.size == size:
        return picture
    grows = size[0] >= picture.width and size[1] >= picture.height
    return picture.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.BOX)


def _darker(color: RGB) -> RGB:
    red, green, blue = (round(0.7 * channel) for channel in color)
    return red, green, blue


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as it comes with Matplotlib, so that no system font is needed."""
    from matplotlib import get_data_path

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / name, size)

"""Draws the diagrams of docs/architecture.md: ``.venv/bin/python docs/diagrams.py`` writes docs/images/*.svg.

Coordinates are pixels, the origin is at the bottom left. The same input gives the same files, byte for byte.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

Point = tuple[float, float]

# (fill, edge): tints of the Okabe-Ito palette, which colour-blind people can tell apart.
DATA = ("#f2f2f2", "#767676")
ENCODER = ("#d6e9f8", "#0072b2")
PLAIN = ("#ffffff", "#595959")
SELF = ("#d3efe5", "#00795a")
CROSS = ("#fde8c0", "#b87400")
SCAN = ("#fbdcc8", "#c04e00")
HEAD = ("#f3dcea", "#a34f80")
INK, SOFT = "#1a1a1a", "#595959"
TITLE, TEXT, SMALL = 15, 12, 9.5
CARD = 5  # how far the sheets of a stack stand apart


class Canvas:
    """A white sheet with round corners, and the few things that the diagrams are made of."""

    def __init__(self, width: int, height: int) -> None:
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        self.renderer = FigureCanvasAgg(self.figure).get_renderer()
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.figure.patch.set_alpha(0)
        self._rounded(2, 2, width - 4, height - 4, ("#ffffff", "#d0d0d0"), radius=14)

    def box(
        self, x: float, y: float, width: float, height: float, text: str, style: tuple[str, str],
        small: str = "", sheets: int = 1,
    ) -> None:  # fmt: skip
        """A box centred on (x, y) with a text, and a smaller one below; several sheets: once per task."""
        for sheet in reversed(range(sheets)):
            shift = sheet * CARD
            self._rounded(x - width / 2 + shift, y - height / 2 + shift, width, height, style)
        written = self.text(x, y + (9 if small else 0), text, TEXT)
        if small:
            written = max(written, self.text(x, y - 10, small, SMALL, color=SOFT))
        assert written < width - 6, f"{text!r} needs {written:.0f} pixels, its box has {width}"

    def panel(self, x: float, y: float, width: float, height: float, color: str, dashed: bool = False) -> None:
        """A region behind boxes, given by its bottom left corner."""
        edge = ("none", color) if dashed else (color, "none")
        self._rounded(x, y, width, height, edge, radius=12, linestyle="--" if dashed else "-")

    def sign(self, x: float, y: float, text: str) -> None:
        """A round operator."""
        self.axes.add_patch(Circle((x, y), 13, facecolor="white", edgecolor=INK, linewidth=1.3, zorder=3))
        self.axes.text(x, y, text, size=TEXT + 2, color=INK, ha="center", va="center_baseline", zorder=4)

    def text(
        self, x: float, y: float, text: str, size: float = SMALL, color: str = INK, align: str = "center",
        bold: bool = False,
    ) -> float:  # fmt: skip
        """Text centred on the line y; returns its width."""
        label = self.axes.text(
            x, y, text, size=size, color=color, ha=align, va="center", zorder=4, weight="bold" if bold else "normal"
        )  # fmt: skip
        return label.get_window_extent(self.renderer).width

    def arrow(self, *points: Point, color: str = INK, head: bool = True, dashed: bool = False) -> None:
        """A line through the points, with a head at its end."""
        style = "--" if dashed else "-"
        *start, last, end = points
        line = {"color": color, "linewidth": 1.5, "linestyle": style, "zorder": 2}
        self.axes.plot(*zip(*start, last, strict=True), solid_joinstyle="round", **line)
        shape = "-|>,head_length=5,head_width=2.6" if head else "-"
        self.axes.add_patch(FancyArrowPatch(last, end, arrowstyle=shape, shrinkA=0, shrinkB=0, **line))

    def dot(self, x: float, y: float) -> None:
        """Where a line forks."""
        self.axes.add_patch(Circle((x, y), 3.2, color=INK, zorder=3))

    def save(self, path: Path) -> None:
        """Write the sheet; the suffix says as what."""
        metadata = {"Date": None} if path.suffix == ".svg" else None
        with mpl.rc_context({"svg.hashsalt": "mtmamba", "svg.fonttype": "path"}):
            self.figure.savefig(path, metadata=metadata)
        print(f"wrote {path}")

    def _rounded(
        self, x: float, y: float, width: float, height: float, style: tuple[str, str], radius: float = 7,
        linestyle: str = "-",
    ) -> None:  # fmt: skip
        patch = FancyBboxPatch(
            (x, y), width, height, boxstyle=f"round,pad=0,rounding_size={radius}", facecolor=style[0],
            edgecolor=style[1], linewidth=1.3, linestyle=linestyle, zorder=1 if radius > 7 else 3,
        )  # fmt: skip
        self.axes.add_patch(patch)


def architecture() -> Canvas:
    """The whole network: encoder down the left, decoder up the middle, heads and answers on the right."""
    c = Canvas(1240, 716)
    rows = [590, 425, 260, 95]
    x_image, x_encoder, x_fuse, x_stm, x_ctm, x_head, x_task = 75, 240, 448, (568, 672), 782, 925, 1125

    c.panel(158, 36, 164, 630, "#f3f8fd")
    c.text(240, 688, "Encoder", TITLE, bold=True)
    c.panel(374, 36, 474, 630, "#f4fbf8")
    c.text(611, 688, "Decoder, all T tasks in every call", TITLE, bold=True)

    c.box(x_image, rows[0], 104, 64, "Image", DATA, "(B, 3, H, W)")
    c.arrow((x_image + 52, rows[0]), (x_encoder - 68, rows[0]))
    shapes = ["H/4, W/4, C", "H/8, W/8, 2C", "H/16, W/16, 4C", "H/32, W/32, 8C"]
    for i, (y, shape) in enumerate(zip(rows, shapes, strict=True)):
        c.box(x_encoder, y, 136, 64, f"Stage {i + 1}", ENCODER, f"(B, {shape})")
        if i:
            c.arrow((x_encoder, rows[i - 1] - 32), (x_encoder, y + 32))
    c.arrow((x_encoder + 68, rows[3]), (x_fuse - 60, rows[3]))
    c.box(x_fuse, rows[3], 120, 46, "PatchExpand", PLAIN, "2× finer", sheets=3)

    for stage, row in enumerate([2, 1, 0]):
        y = rows[row]
        below = rows[3] if stage == 0 else y - 83
        c.arrow((x_encoder + 68, y), (x_fuse - 44, y), color=ENCODER[1])
        c.text((x_encoder + x_fuse) / 2 + 12, y + 12, "skip", color=ENCODER[1])
        c.arrow((x_fuse, below + 23 + 2 * CARD), (x_fuse, y - 32))
        c.box(x_fuse, y, 88, 64, "Linear", PLAIN, "fuse", sheets=3)
        c.arrow((x_fuse + 44 + 2 * CARD, y), (x_stm[0] - 37, y))
        for x, after in zip(x_stm, (x_stm[1] - 37, x_ctm - 40), strict=True):
            c.box(x, y, 74, 64, "STM", SELF, "self-task", sheets=3)
            c.arrow((x + 37 + 2 * CARD, y), (after, y))
        c.box(x_ctm, y, 80, 80, "CTM", CROSS, "cross-task")
        c.text(x_stm[0] - 37, y + 57, f"(T, B, {shapes[row]})", color=SOFT, align="left")
        if row:
            up = y + 82
            c.box(x_fuse, up, 120, 46, "PatchExpand", PLAIN, "2× finer", sheets=3)
            c.arrow((x_ctm, y + 40), (x_ctm, up), (x_fuse + 60 + 2 * CARD, up))

    c.arrow((x_ctm + 40, rows[0]), (x_head - 46, rows[0]))
    c.box(x_head, rows[0], 92, 64, "Heads", HEAD, "one per task", sheets=3)
    c.text(x_task, 688, "Answers", TITLE, bold=True)
    c.text(x_task, 644, "(B, channels, H, W) each", color=SOFT)
    answers = [
        ("Segmentation", "classes"), ("Human parts", "classes"), ("Saliency", "probability"), ("Depth", "metres"),
        ("Normals", "unit vectors"), ("Boundaries", "probability"),
    ]  # fmt: skip
    bus = x_head + 92
    ys = [rows[0] - (rows[0] - rows[3]) / 5 * i for i in range(len(answers))]
    c.arrow((x_head + 46 + 2 * CARD, rows[0]), (bus, rows[0]), (bus, ys[-1]), head=False)
    for (name, unit), y in zip(answers, ys, strict=True):
        c.arrow((bus, y), (x_task - 72, y))
        c.box(x_task, y, 144, 52, name, DATA, unit)
    c.text(x_task, ys[-1] - 46, "... or any other set of tasks", SMALL, SOFT)

    x = 566
    c.box(x, 122, 40, 26, "", PLAIN, sheets=3)
    c.text(x + 44, 127, "T networks, one batched call", align="left")
    c.text(x - 20, 88, "T tasks, B images, C = 192 for Swin-Large", align="left", color=SOFT)
    c.text(x - 20, 68, "H and W padded to multiples of 32", align="left", color=SOFT)
    return c


def routes(height: int = 4, width: int = 5, cell: int = 48) -> Canvas:
    """The four orders in which the scan visits a map's pixels."""
    c = Canvas(1240, 340)
    rows = [(r, k) for r in range(height) for k in range(width)]
    columns = [(r, k) for k in range(width) for r in range(height)]
    orders = [
        ("Route 0: rows", rows), ("Route 1: columns", columns), ("Route 2: route 0 backwards", rows[::-1]),
        ("Route 3: route 1 backwards", columns[::-1]),
    ]  # fmt: skip
    tints = mpl.colormaps["Blues"]
    for panel, (name, order) in enumerate(orders):
        left, top = 50 + panel * 300, 272
        c.text(left + width * cell / 2, 302, name, TEXT, bold=True)
        centres = [(left + (k + 0.5) * cell, top - (r + 0.5) * cell) for r, k in order]
        for step, (x, y) in enumerate(centres):
            share = 0.06 + 0.5 * step / (len(order) - 1)
            c.axes.add_patch(
                Rectangle((x - cell / 2, y - cell / 2), cell, cell, facecolor=tints(share), edgecolor="white", lw=2)
            )
            c.axes.text(x, y, str(step), size=TEXT, color=INK, ha="center", va="center", zorder=5)
        _trail(c, centres, cell)
    c.text(620, 50, "Numbers are steps. Each route is a recurrence of its own, with its own weights;", TEXT)
    c.text(620, 26, "its answer stays at the pixel that it visits, and the four answers of a pixel are added.", TEXT)
    return c


def _trail(c: Canvas, centres: Sequence[Point], cell: int) -> None:
    """Short arrows between neighbours on the map."""
    gap = 0.37
    for (x0, y0), (x1, y1) in pairwise(centres):
        if abs(x1 - x0) + abs(y1 - y0) < 1.5 * cell:
            dx, dy = (x1 - x0) * gap, (y1 - y0) * gap
            start, end = (x0 + dx, y0 + dy), (x1 - dx, y1 - dy)
            style = "-|>,head_length=3.2,head_width=2.2"
            line = {"shrinkA": 0, "shrinkB": 0, "color": INK, "linewidth": 1.1, "zorder": 5}
            c.axes.add_patch(FancyArrowPatch(start, end, arrowstyle=style, **line))


def blocks() -> Canvas:
    """What is inside STM, SS2D, S-CTM and F-CTM."""
    c = Canvas(1240, 900)
    _stm(c, left=24, bottom=676)
    _sctm(c, left=568, bottom=676)
    _ss2d(c, left=24, bottom=378)
    _fctm(c, left=24, bottom=24)
    return c


def _frame(c: Canvas, left: float, bottom: float, width: float, height: float, title: str, small: str) -> None:
    c.panel(left, bottom, width, height, "#f7f7f7")
    end = c.text(left + 16, bottom + height - 22, title, TITLE, align="left", bold=True)
    c.text(left + 28 + end, bottom + height - 23, small, SMALL + 0.5, SOFT, align="left")


def _chain(c: Canvas, y: float, start: float, items: Sequence[tuple[float, float, str, tuple[str, str]]]) -> float:
    """Boxes (x, width, text, style) from left to right, joined by arrows; returns where the last one ends."""
    for x, width, text, style in items:
        c.arrow((start, y), (x - width / 2, y))
        c.box(x, y, width, 44, text, style)
        start = x + width / 2
    return start


def _stm(c: Canvas, left: float, bottom: float) -> None:
    _frame(c, left, bottom, 520, 200, "STM", "self-task Mamba block, for each task")
    y, x = bottom + 66, left
    c.text(x + 22, y, "x", TEXT)
    c.dot(x + 48, y)
    items = [(x + 126, 104, "LayerNorm", PLAIN), (x + 240, 76, "SS2D", SELF), (x + 354, 100, "DropPath", PLAIN)]
    end = _chain(c, y, x + 36, items)
    c.arrow((end, y), (x + 445, y))
    c.arrow((x + 48, y), (x + 48, y + 60), (x + 458, y + 60), (x + 458, y + 13))
    c.sign(x + 458, y, "+")
    c.arrow((x + 471, y), (x + 506, y))


def _sctm(c: Canvas, left: float, bottom: float) -> None:
    _frame(c, left, bottom, 648, 200, "S-CTM", "cross-task block of MTMamba++")
    y, x, shared = bottom + 104, left, bottom + 34
    c.text(x + 22, y, "x", TEXT)
    c.dot(x + 48, y)
    c.dot(x + 62, y)
    items = [(x + 140, 104, "LayerNorm", PLAIN), (x + 392, 92, "CSS2D", SELF), (x + 506, 96, "DropPath", PLAIN)]
    end = _chain(c, y, x + 36, items)
    c.arrow((end, y), (x + 583, y))
    c.sign(x + 596, y, "+")
    c.arrow((x + 609, y), (x + 638, y))
    c.arrow((x + 62, y), (x + 62, y + 38), (x + 596, y + 38), (x + 596, y + 13))
    c.arrow((x + 48, y), (x + 48, shared), (x + 68, shared), head=False)
    items = [(x + 120, 104, "LayerNorm", CROSS), (x + 226, 72, "Linear", CROSS), (x + 328, 100, "Conv 3×3", CROSS)]
    end = _chain(c, shared, x + 50, items)
    c.arrow((end, shared), (x + 392, shared), (x + 392, y - 22))
    c.text(x + 404, shared + 16, "one map shared by all tasks:", align="left", color=SOFT)
    c.text(x + 404, shared, "the scan's dt, B and C", align="left", color=SOFT)


def _ss2d(c: Canvas, left: float, bottom: float) -> None:
    _frame(c, left, bottom, 1192, 278, "SS2D and CSS2D", "gated selective scan; D = 2C channels inside")
    y, gate, source, x = bottom + 166, bottom + 92, bottom + 34, left
    c.panel(x + 196, y - 38, 700, 86, SCAN[1], dashed=True)
    c.text(x + 886, y + 62, "scan branch", TEXT, SCAN[1], align="right")
    c.text(x + 22, y, "x", TEXT)
    end = _chain(c, y, x + 36, [(x + 104, 84, "Linear", PLAIN)])
    c.text(x + 104, y - 36, "C to 2D", color=SOFT)
    c.dot(end + 24, y)
    items = [
        (x + 294, 156, "Depthwise 3×3", PLAIN), (x + 432, 72, "SiLU", PLAIN), (x + 606, 214, "Scan, four routes", SCAN),
        (x + 812, 120, "LayerNorm", PLAIN),
    ]  # fmt: skip
    end = _chain(c, y, end, items)
    c.arrow((end, y), (x + 947, y))
    c.sign(x + 960, y, "×")
    _chain(c, y, x + 973, [(x + 1056, 84, "Linear", PLAIN)])
    c.text(x + 1056, y - 36, "D to C", color=SOFT)
    c.arrow((x + 1098, y), (x + 1150, y))
    c.arrow((x + 170, y), (x + 170, gate), (x + 258, gate))
    c.box(x + 294, gate, 72, 44, "SiLU", PLAIN)
    c.arrow((x + 330, gate), (x + 960, gate), (x + 960, y - 13))
    c.text(x + 184, gate + 12, "gate z", color=SOFT, align="left")
    c.text(x + 22, source, "shared map (CSS2D only)", TEXT, align="left")
    c.arrow((x + 250, source), (x + 288, source), dashed=True)
    c.box(x + 330, source, 84, 40, "Linear", PLAIN)
    c.arrow((x + 372, source), (x + 606, source), (x + 606, y - 22), dashed=True)
    c.text(x + 618, source + 8, "dt, B and C come from here, not from what is scanned", align="left", color=SOFT)


def _fctm(c: Canvas, left: float, bottom: float) -> None:
    _frame(c, left, bottom, 1192, 334, "F-CTM", "cross-task block of MTMamba")
    x = left
    skip, gate, own, shared = (bottom + offset for offset in (272, 212, 134, 56))
    middle = own
    c.text(x + 22, middle, "x", TEXT)
    c.dot(x + 60, middle)
    c.arrow((x + 36, middle), (x + 84, middle))
    c.box(x + 140, middle, 112, 44, "LayerNorm", PLAIN)
    c.dot(x + 226, middle)
    end = _chain(c, own, x + 196, [(x + 300, 84, "Linear", PLAIN), (x + 470, 150, "Scan branch", SCAN)])
    c.panel(x + 383, shared - 34, 174, own - shared + 68, SCAN[1], dashed=True)
    c.text(x + 570, shared - 22, "T + 1 branches, one scan", color=SCAN[1], align="left")
    c.text(x + 608, own + 12, "own", color=SOFT)
    c.arrow((x + 226, middle), (x + 226, gate), (x + 258, gate))
    c.box(x + 300, gate, 84, 44, "Linear", PLAIN)
    c.arrow((x + 342, gate), (x + 427, gate))
    c.box(x + 470, gate, 86, 44, "Sigmoid", PLAIN)
    c.text(x + 608, gate + 12, "gate g", color=SOFT)
    c.arrow((x + 60, middle), (x + 60, shared), (x + 84, shared))
    c.box(x + 140, shared, 112, 44, "LayerNorm", CROSS)
    end = _chain(c, shared, x + 196, [(x + 300, 84, "Linear", CROSS), (x + 470, 150, "Scan branch", SCAN)])
    c.text(x + 608, shared + 12, "shared", color=SOFT)
    c.text(x + 84, shared - 36, "all tasks' channels joined: one map for all", align="left", color=SOFT)
    c.box(x + 755, own, 190, 62, "Mix", CROSS, "g × shared + (1 − g) × own")
    c.arrow((x + 513, gate), (x + 755, gate), (x + 755, own + 31))
    c.arrow((x + 545, own), (x + 660, own))
    c.arrow((x + 545, shared), (x + 755, shared), (x + 755, own - 31))
    end = _chain(c, own, x + 850, [(x + 918, 84, "Linear", PLAIN), (x + 1032, 96, "DropPath", PLAIN)])
    c.arrow((end, own), (x + 1113, own))
    c.sign(x + 1126, own, "+")
    c.arrow((x + 1139, own), (x + 1172, own))
    c.arrow((x + 60, middle), (x + 60, skip), (x + 1126, skip), (x + 1126, own + 13))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images", help="folder")
    parser.add_argument("--format", default="svg", choices=["svg", "png"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for draw in (architecture, routes, blocks):
        draw().save(options.out / f"{draw.__name__}.{options.format}")


if __name__ == "__main__":
    main()

"""odsF, oisF and AP of boundaries: as a metric of logits, and of folders of PNG files.

Both count with :mod:`mtmamba.metrics.edge_matching`. A true boundary comes from one of two kinds of target
(:data:`Targets`):

- ``"labels"``: a label map; a pixel that differs from its right, lower or lower right neighbour is a boundary.
  PASCAL-Context takes the full LabelMap; NYUDv2 its edge image itself, as if it were labels.
- ``"boundaries"``: a map of boundaries; what is above 0.5 (of 255 in a PNG: above 127) is a boundary.

Either is thinned.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torch import Tensor

from mtmamba.losses import IGNORE
from mtmamba.metrics.base import DenseMetric
from mtmamba.metrics.edge_matching import THRESHOLDS, Counts, count_matches, suppress, thin, true_edges

Targets = Literal["labels", "boundaries"]

MAX_DISTANCE = {"nyudv2": 0.011, "pascal_context": 0.0075}
"""Tolerance by dataset, in diagonals of the image."""

# What Pillow and SciPy raise on damaged files.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, NotImplementedError, struct.error, zlib.error,
    Image.DecompressionBombError, MatReadError,
)  # fmt: skip


class Score(NamedTuple):
    """Fractions: see :class:`BoundaryMetric`."""

    odsF: float
    oisF: float
    AP: float


class BoundaryMetric(DenseMetric):
    """``odsF``, ``oisF`` and ``AP`` of boundaries, matched to the true ones within a tolerance.

    - ``odsF``: the largest F over 101 thresholds, the same for the whole set; F = 2 P R / (P + R), with precision P
      and recall R pooled over the set. (No values are interpolated between thresholds.)
    - ``oisF``: F pooled over the set, each image at its own best threshold (of equals the highest).
    - ``AP``: the mean over recall 0, 0.01, ..., 1 of the precision, interpolated linearly between the recalls
      reached; below the lowest of them it is the precision there, above the highest 0. (The usual tool has 0 below
      the lowest as well, so that a perfect map of zeros and ones would get 0.01.)

    An image of 425x560 takes 0.1 to 0.5 s of one core, more the noisier it is. Images are counted one after another:
    whoever needs more speed shares a set among processes, whose states add up.

    A prediction is the sigmoid of the logits, times 255, truncated, as in a PNG. The borders where the target is all
    255 are padding: they are cut off before anything else. Boundaries found on other pixels of 255 do not count.

    Args:
        name: of the task, for messages.
        max_distance: tolerance, in diagonals of the image without padding: 0.011 for NYUDv2, 0.0075 for
            PASCAL-Context.
        targets: "labels" or "boundaries": see :mod:`mtmamba.metrics.edge_benchmark`.
        kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: for another kind of targets, or a tolerance that is not above 0 and below 1.
    """

    higher_is_better = True
    matched: Tensor
    found: Tensor
    truth: Tensor
    best: Tensor
    images: Tensor

    def __init__(
        self, name: str = "edge", max_distance: float = 0.011, *, targets: Targets = "labels", **kwargs: Any
    ) -> None:
        super().__init__(name, channels=1, **kwargs)
        _check_options(max_distance, targets)
        self.max_distance, self.targets = max_distance, targets
        self.add_count("matched", len(THRESHOLDS))
        self.add_count("found", len(THRESHOLDS))
        self.add_count("truth", 1)
        self.add_count("best", 3)  # matched, found, truth, each image at its own best threshold
        self.add_count("images", 1)

    def accumulate(self, logits: Tensor, target: Tensor) -> None:
        maps = (logits.sigmoid() * 255).to(torch.uint8)[:, 0].cpu().numpy()
        for levels, labels in zip(maps, target[:, 0].cpu().numpy()):
            valid = labels != IGNORE
            if not valid.any():
                continue
            inside = np.ix_(_extent(valid.any(axis=1)), _extent(valid.any(axis=0)))
            counts = _count(levels[inside], labels[inside], valid[inside], self.max_distance, self.targets)
            self.matched += torch.from_numpy(counts.matched).to(self.matched.device)
            self.found += torch.from_numpy(counts.found).to(self.found.device)
            self.truth += counts.truth
            self.best += torch.from_numpy(at_best(counts)).to(self.best.device)
            self.images += 1

    def compute(self) -> dict[str, Tensor]:
        """``odsF``, ``oisF``, ``AP``: fractions; 0 where nothing is matched, NaN if there was no image."""
        device = self.matched.device
        if self.images == 0:
            score = Score(math.nan, math.nan, math.nan)
        else:
            totals = Counts(self.matched.cpu().numpy(), self.found.cpu().numpy(), int(self.truth))
            score = summarize(totals, self.best.tolist())
        kind = torch.float32 if device.type == "mps" else torch.float64
        return {key: torch.tensor(value, dtype=kind, device=device) for key, value in score._asdict().items()}


def best_threshold(counts: Counts) -> int:
    """Index of the threshold of largest F; of equals, the highest."""
    return len(THRESHOLDS) - 1 - int(np.argmax(_f(*counts)[::-1]))


def at_best(counts: Counts) -> np.ndarray:
    """One image's matched, found and true pixels at its own best threshold, int64 (3,)."""
    best = best_threshold(counts)
    return np.array((counts.matched[best], counts.found[best], counts.truth))


def summarize(totals: Counts, best: Sequence[int] | np.ndarray) -> Score:
    """Counts of a set -> its score.

    Args:
        totals: sums over images.
        best: sums over images of matched, found and true pixels, each at its own best threshold.
    """
    matched, found, truth = totals
    precision = np.divide(matched, found, out=np.zeros(len(matched)), where=found > 0)
    recall = matched / max(truth, 1)
    reached, group = np.unique(recall[found > 0], return_inverse=True)
    average = 0.0
    if len(reached):
        highest = np.zeros(len(reached))  # precision by recall
        np.maximum.at(highest, group, precision[found > 0])
        average = float(np.interp(np.linspace(0, 1, 101), reached, highest, right=0).mean())
    return Score(float(_f(matched, found, truth).max()), float(_f(*(np.array([value]) for value in best))[0]), average)


def evaluate_folders(
    predictions: Path,
    truth: Path,
    max_distance: float,
    *,
    targets: Targets = "labels",
    stems: Iterable[str] | None = None,
    progress: bool = True,
    workers: int = 1,
) -> dict[str, float]:
    """odsF, oisF and AP of boundary maps saved as files.

    Args:
        predictions: folder of STEM.png, 8-bit grey: 255 times the probability, truncated, of the image's size.
        truth: folder of STEM.png or STEM.mat (with a LabelMap, as PASCAL-Context has it).
        max_distance: tolerance, in diagonals of the image: 0.011 for NYUDv2, 0.0075 for PASCAL-Context.
        targets: what the files of ``truth`` are: "labels", or "boundaries" with lines of 255 on 0.
        stems: names to take, others are left alone. By default all, and then both folders must have the same.
        progress: show a bar.
        workers: processes. With more than one, a script calls this under ``if __name__ == "__main__":``.

    Returns:
        odsF, oisF, AP, fractions: see :class:`BoundaryMetric`.

    Raises:
        ValueError: for files that are missing, too many, unreadable or of different sizes; for bad options.
    """
    _check_options(max_distance, targets)
    if workers < 1:
        raise ValueError(f"workers {workers}; expected 1 or more")
    jobs = [(*pair, max_distance, targets) for pair in _pairs(Path(predictions), Path(truth), stems)]
    matched, found = np.zeros((2, len(THRESHOLDS)), dtype=np.int64)
    best = np.zeros(3, dtype=np.int64)
    with _mapped(workers, jobs) as results:
        for counts in track(results, "matching boundaries", total=len(jobs), transient=True, disable=not progress):
            matched += counts.matched
            found += counts.found
            best += at_best(counts)
    return summarize(Counts(matched, found, int(best[2])), best)._asdict()


@contextmanager
def _mapped(workers: int, jobs: list[tuple[Path, Path, float, Targets]]) -> Iterator[Iterator[Counts]]:
    if workers == 1:
        yield map(_count_files, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        try:
            yield pool.map(_count_files, jobs)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _count_files(job: tuple[Path, Path, float, Targets]) -> Counts:
    prediction, truth, max_distance, targets = job
    levels = _read_image(prediction, ("L",), "8-bit grey PNG, 255 times the probability")
    labels = _read_truth(truth, targets)
    if levels.shape != labels.shape:
        raise ValueError(
            f"{prediction}: of size {levels.shape}, but {truth} is {labels.shape} (height, width); "
            "save predictions at the size of the original image, without padding"
        )
    return _count(levels, labels, np.ones(labels.shape, dtype=bool), max_distance, targets)


def _count(levels: np.ndarray, target: np.ndarray, valid: np.ndarray, max_distance: float, targets: Targets) -> Counts:
    """Counts of one image: 8-bit levels, target and valid pixels, each (H, W)."""
    truth = true_edges(target, valid) if targets == "labels" else thin((target > 0.5) & valid)
    suppressed = np.where(valid, suppress(levels / 255), 0)
    return count_matches(suppressed, truth, max_distance * math.hypot(*target.shape))


def _read_truth(path: Path, targets: Targets) -> np.ndarray:
    """Labels as they are, or boundaries in 0..1."""
    if path.suffix == ".mat":
        if targets == "boundaries":
            raise ValueError(f'{path}: a .mat holds a LabelMap; take targets "labels"')
        with _reading(path):
            content = loadmat(path, variable_names=["LabelMap"])
        if "LabelMap" not in content or content["LabelMap"].ndim != 2:
            raise ValueError(f"{path}: holds no LabelMap (H, W); take the file from the dataset's archive")
        return content["LabelMap"]
    labels = _read_image(path, ("1", "L", "P", "I", "I;16", "I;16B"), "grey PNG, one number per pixel")
    if targets == "labels":
        return labels
    if labels.dtype == bool:
        return labels.astype(np.float64)
    if labels.dtype != np.uint8 or (labels.any() and labels.max() <= 127):
        raise ValueError(f"{path}: no pixel above 127, or more than 8 bits; save boundaries as 255 on 0, 8-bit grey")
    return labels / 255


def _read_image(path: Path, modes: tuple[str, ...], kind: str) -> np.ndarray:
    with _reading(path), Image.open(path) as picture:
        mode, pixels = picture.mode, np.array(picture)
    if mode not in modes:
        raise ValueError(f"{path}: of mode {mode}; save it as {kind}")
    if min(pixels.shape) < 2:
        raise ValueError(f"{path}: of size {pixels.shape}; expected 2x2 or more: is it the right file?")
    return pixels


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(f"{path}: cannot be read ({error}); copy or save it anew") from error


def _pairs(predictions: Path, truth: Path, stems: Iterable[str] | None) -> list[tuple[Path, Path]]:
    """Prediction and truth of each image, by name."""
    found, true = _files(predictions, (".png",)), _files(truth, (".png", ".mat"))
    names = sorted(true if stems is None else set(stems))
    if not names:
        raise ValueError(f"{truth}: no .png or .mat in it, or no stems given; name the folder that holds the truth")
    for folder, files in ((truth, true), (predictions, found)):
        missing = [name for name in names if name not in files]
        if missing:
            raise ValueError(
                f"{folder}: {len(missing)} of {len(names)} files missing, {_some(missing)}; add them"
                + (", or give the stems to evaluate" if stems is None else ", or leave them out of the stems")
            )
    extra = sorted(set(found) - set(true)) if stems is None else []
    if extra:
        raise ValueError(
            f"{predictions}: {len(extra)} files without truth in {truth}, {_some(extra)}; "
            "remove them, or give the stems to evaluate"
        )
    return [(found[name], true[name]) for name in names]


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; check the path")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in suffixes:
            if path.stem in files:
                raise ValueError(f"{path}: there is {files[path.stem].name} as well; keep one of the two")
            files[path.stem] = path
    return files


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _extent(occupied: np.ndarray) -> np.ndarray:
    """Indices from the first to the last that is True."""
    places = np.flatnonzero(occupied)
    return np.arange(places[0], places[-1] + 1)


def _check_options(max_distance: float, targets: str) -> None:
    if not 0 < max_distance < 1:
        raise ValueError(f"max_distance {max_distance}; expected a share of the diagonal, such as 0.0075 or 0.011")
    if targets not in get_args(Targets):
        raise ValueError(f'targets "{targets}"; expected one of {", ".join(get_args(Targets))}')


def _f(matched: np.ndarray, found: np.ndarray, truth: np.ndarray | int) -> np.ndarray:
    """F = 2 P R / (P + R) = 2 matched / (found + truth), as both P and R count the same pairs."""
    total = found + truth
    return np.divide(2.0 * matched, total, out=np.zeros(len(matched)), where=total > 0)

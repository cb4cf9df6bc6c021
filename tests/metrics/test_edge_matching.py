"""Boundary matching against brute force, and odsF of made-up predictions."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.morphology import thin as skimage_thin

from mtmamba.losses import IGNORE
from mtmamba.metrics.edge_benchmark import BoundaryMetric, best_threshold, evaluate_folders, summarize
from mtmamba.metrics.edge_matching import (
    THRESHOLDS,
    Counts,
    count_matches,
    match,
    matched_count,
    suppress,
    thin,
    true_edges,
)

KEYS = {"odsF", "oisF", "AP"}


def brute_force(found, truth, distance):
    """Size and length of the best matching, by a dense assignment in which pairs out of reach cost very much."""
    lengths = cdist(np.argwhere(found), np.argwhere(truth))
    far = 1e4
    rows, columns = linear_sum_assignment(np.where(lengths <= distance, lengths, far))
    chosen = lengths[rows, columns]
    return int((chosen <= distance).sum()), float(chosen[chosen <= distance].sum())


def blob(height=40, width=50, seed=0):
    """A soft random map of probabilities with ridges in it."""
    noise = np.random.default_rng(seed).normal(size=(height + 8, width + 8))
    for axis in (0, 1):
        noise = np.apply_along_axis(np.convolve, axis, noise, np.ones(5) / 5, "valid")
    return np.floor(255 / (1 + np.exp(-6 * noise[:height, :width]))) / 255


def batch(seed=0, images=4):
    """Logits and label maps (B, 1, H, W) with padding on all sides."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (images, 1, 5, 6), generator=generator).float().repeat_interleave(8, 2)
    labels = labels.repeat_interleave(8, 3)
    edges = torch.from_numpy(np.stack([true_edges(label[0].numpy()) for label in labels]))[:, None]
    logits = 4.0 * edges - 2 + torch.randn(edges.shape, generator=generator)
    pad = (2, 3, 1, 4)
    return torch.nn.functional.pad(logits, pad, value=5.0), torch.nn.functional.pad(labels, pad, value=float(IGNORE))


@pytest.mark.parametrize("seed", range(40))
def test_matching_is_as_brute_force_has_it(seed):
    generator = np.random.default_rng(seed)
    shape = generator.integers(3, 16, size=2)
    found, truth = (generator.random(shape) < generator.uniform(0.02, 0.4) for _ in range(2))
    distance = float(generator.choice([0, 1, math.sqrt(2), 2.3, 5]))
    size, length = brute_force(found, truth, distance)
    assert matched_count(found, truth, distance) == matched_count(truth, found, distance) == size
    one, other = match(found, truth, distance)
    assert one.sum() == other.sum() == size
    assert not (one & ~found).any()
    assert not (other & ~truth).any()
    assert brute_force(one, other, distance) == (size, pytest.approx(length))


@pytest.mark.parametrize(("shift", "distance", "expected"), [(1, 1, 20), (3, 2.99, 0), (3, 3, 20), (0, 0, 20)])
def test_a_shifted_line(shift, distance, expected):
    found, truth = np.zeros((20, 12), bool), np.zeros((20, 12), bool)
    found[:, 4], truth[:, 4 + shift] = True, True
    assert matched_count(found, truth, distance) == expected
    assert match(found, truth, distance)[0].sum() == expected


def test_two_found_beside_one_true_count_once_and_the_nearer_is_taken():
    found, truth = np.zeros((5, 9), bool), np.zeros((5, 9), bool)
    found[2, [2, 5]], truth[2, 4] = True, True
    assert matched_count(found, truth, 3) == 1
    one, other = match(found, truth, 3)
    assert one[2, 5]
    assert one.sum() == other.sum() == 1


def test_more_pairs_come_before_shorter_ones():
    found, truth = np.zeros((1, 12), bool), np.zeros((1, 12), bool)
    found[0, [3, 6]], truth[0, [5, 9]] = True, True  # 6-5 is the shortest, and would leave 3 and 9 alone
    assert match(found, truth, 3)[0].sum() == 2


def test_nothing_to_match():
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    for found, truth in ((empty, full), (full, empty), (empty, empty)):
        assert matched_count(found, truth, 2) == 0
        assert not any(mask.any() for mask in match(found, truth, 2))


@pytest.mark.parametrize(
    ("found", "distance", "message"),
    [((3, 4), 1, "shape"), ((4, 4), -1, "distance -1"), ((4, 4), math.nan, "distance")],
)
def test_matching_exception(found, distance, message):
    for function in (match, matched_count):
        with pytest.raises(ValueError, match=message):
            function(np.zeros(found, bool), np.zeros((4, 4), bool), distance)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.8, 0.95, 1.0])
def test_thinning_is_as_in_skimage(share):
    for seed in range(8):
        generator = np.random.default_rng(seed)
        image = generator.random(generator.integers(1, 40, size=2)) < share
        np.testing.assert_array_equal(thin(image), skimage_thin(image))
        coarse = np.kron(image, np.ones((5, 5), bool))
        np.testing.assert_array_equal(thin(coarse), skimage_thin(coarse))


def test_every_threshold_is_as_counted_alone():
    suppressed = suppress(blob())
    truth = true_edges(blob(seed=1) > 0.5)
    counts = count_matches(suppressed, truth, 2.5)
    assert counts.truth == truth.sum()
    for index, threshold in enumerate(THRESHOLDS):
        found = skimage_thin(suppressed > threshold)
        assert counts.found[index] == found.sum()
        assert counts.matched[index] == matched_count(found, truth, 2.5)
    assert 0 < counts.matched.max() < counts.truth


def test_thresholds():
    assert THRESHOLDS.shape == (101,)
    assert THRESHOLDS[[0, 1, 2, 99, 100]].tolist() == [0.001, 0.01, 0.02, 0.99, 0.999]


@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 70.0, 110.0, 160.0])
def test_suppression_leaves_a_line_of_one_pixel(angle):
    rows, columns = np.mgrid[:41, :41] - 20.0
    off = rows * math.sin(math.radians(angle)) + columns * math.cos(math.radians(angle))
    kept = suppress(np.exp(-(off**2) / 8))
    inside = kept[8:-8, 8:-8] > 0.05
    assert np.abs(off[8:-8, 8:-8])[inside].max() < 0.8
    np.testing.assert_array_less(inside.sum(), 2 * 25 + 1)
    along = inside.any(axis=1 if angle < 45 or angle > 135 else 0)
    assert along.all()


def test_suppression_damps_the_border():
    image = np.zeros((20, 30))
    image[:, 15] = 1
    np.testing.assert_allclose(suppress(image)[:7, 15], [0, 0.2, 0.4, 0.6, 0.8, 1, 1])


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.zeros((3, 4, 5)), "shape"), (np.full((4, 4), 255), "255"), (np.full((4, 4), np.nan), "0 to 1")],
)
def test_suppression_exception(image, message):
    with pytest.raises(ValueError, match=message):
        suppress(image)


def test_true_edges_of_labels_lie_left_of_and_above_the_change():
    labels = np.zeros((8, 8), int)
    labels[:, 4:] = 7
    expected = np.zeros((8, 8), bool)
    expected[:, 3] = True
    np.testing.assert_array_equal(true_edges(labels), expected)
    np.testing.assert_array_equal(true_edges(labels.T), expected.T)
    assert not true_edges(labels, labels == 0).any()


@pytest.mark.parametrize("targets", ["labels", "boundaries"])
def test_a_perfect_prediction_is_1(targets):
    labels = torch.zeros(1, 1, 30, 40)
    labels[..., 20:] = 1
    edges = torch.from_numpy(true_edges(labels[0, 0].numpy()))[None, None].float()
    metric = BoundaryMetric(targets=targets, max_distance=0.05)  # 2.5 pixels: the ends of the line are damped
    metric.update(40 * edges - 20, labels if targets == "labels" else edges)
    result = metric.compute()
    assert set(result) == KEYS
    assert all(value.ndim == 0 for value in result.values())
    precision_one = 28 / 30  # the line's outermost pixels, one at either end, are damped to 0
    expected = 2 * precision_one / (1 + precision_one)
    assert result["odsF"].item() == result["oisF"].item() == pytest.approx(expected)
    closed = labels.clone()
    closed[:] = 0
    closed[..., 10:20, 12:28] = 1
    edges = torch.from_numpy(true_edges(closed[0, 0].numpy()))[None, None].float()
    metric.reset()
    metric.update(40 * edges - 20, closed if targets == "labels" else edges)
    assert metric.compute()["odsF"].item() == 1
    assert metric.compute()["AP"].item() == 1


def test_an_empty_prediction_is_0_and_no_image_nan():
    metric = BoundaryMetric()
    logits, target = batch()
    metric.update(logits, torch.full_like(target, IGNORE))
    assert all(value.isnan() for value in metric.compute().values())
    metric.update(torch.full_like(logits, -30), target)
    assert all(value == 0 for value in metric.compute().values())


def test_padding_does_not_count():
    logits, target = batch()
    whole, cropped = BoundaryMetric(), BoundaryMetric()
    whole.update(logits, target)
    cropped.update(logits[..., 1:-4, 2:-3], target[..., 1:-4, 2:-3])
    assert whole.compute() == cropped.compute()
    assert 0.3 < whole.compute()["odsF"] < 1


def test_halves_add_up_to_the_whole():
    logits, target = batch()
    whole, first, second = (BoundaryMetric(max_distance=0.02) for _ in range(3))
    whole.update(logits, target)
    first.update(logits[:1], target[:1])
    second.update(logits[1:], target[1:])
    first.merge_state(second)
    assert first.compute() == whole.compute()
    first.update(logits[:1], target[:1])  # the value is computed anew
    assert first.compute() != whole.compute()
    assert whole.compute()["oisF"] >= whole.compute()["odsF"]


def test_score_by_hand():
    matched, found = np.zeros(101, int), np.zeros(101, int)
    matched[:3], found[:3] = [8, 5, 2], [16, 5, 2]
    counts = Counts(matched, found, 10)
    assert best_threshold(counts) == 1
    assert best_threshold(Counts(matched * 0, found, 10)) == 100
    best_of_set, best_of_images, average = summarize(counts, [5, 5, 10])
    assert best_of_set == best_of_images == pytest.approx(10 / 15)
    ramp = [1 - 0.5 * step / 30 for step in range(1, 31)]  # recall 0.51..0.80, precision 1 to 0.5
    assert average == pytest.approx((51 + sum(ramp)) / 101)


@pytest.mark.parametrize(("options", "message"), [({"max_distance": 7.5}, "7.5"), ({"targets": "edges"}, "edges")])
def test_metric_exception(options, message):
    with pytest.raises(ValueError, match=message):
        BoundaryMetric(**options)
    with pytest.raises(ValueError, match=r"expected \(B, 1, H, W\)"):
        BoundaryMetric().update(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))


@pytest.fixture
def folders(tmp_path):
    """Predictions and truth of a batch as PNG files, the last truth as .mat."""
    logits, target = (values[..., 1:-4, 2:-3] for values in batch())
    found, truth = tmp_path / "found", tmp_path / "truth"
    found.mkdir()
    truth.mkdir()
    levels = (logits.sigmoid() * 255).to(torch.uint8)[:, 0].numpy()
    labels = (target[:, 0] * 255).to(torch.uint8).numpy()
    for index, (level, label) in enumerate(zip(levels, labels)):
        Image.fromarray(level).save(found / f"{index}.png")
        if index < 3:
            Image.fromarray(label).save(truth / f"{index}.png")
        else:
            savemat(truth / f"{index}.mat", {"LabelMap": label.astype(np.uint16)})
    return found, truth


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_folders_are_as_the_metric(folders, workers):
    metric = BoundaryMetric(max_distance=0.02)
    metric.update(*batch())
    expected = {key: value.item() for key, value in metric.compute().items()}
    assert evaluate_folders(*folders, 0.02, progress=False, workers=workers) == expected


def test_folders_of_boundaries_and_some_stems(folders):
    found, truth = folders
    for path in truth.glob("*.png"):
        Image.fromarray(255 * true_edges(np.array(Image.open(path))).astype(np.uint8)).save(path)
    options = {"targets": "boundaries", "progress": False}
    some = evaluate_folders(found, truth, 0.02, stems=["0", "2"], **options)
    assert 0.3 < some["odsF"] < 1
    with pytest.raises(ValueError, match=r"3\.mat: a \.mat holds a LabelMap"):
        evaluate_folders(found, truth, 0.02, **options)


def _small(found, truth):
    Image.new("L", (3, 4)).save(found / "1.png")


def _colour(found, truth):
    Image.new("RGB", (48, 40)).save(found / "1.png")


def _broken(found, truth):
    (truth / "2.png").write_bytes((truth / "2.png").read_bytes()[:40])


def _broken_mat(found, truth):
    (truth / "3.mat").write_bytes(b"nothing")


def _other_mat(found, truth):
    savemat(truth / "3.mat", {"labels": np.zeros((4, 4))})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda found, truth: (found / "1.png").unlink(), r"found: 1 of 4 files missing, 1; add"),
        (lambda found, truth: (truth / "1.png").unlink(), r"found: 1 files without truth in .*, 1; remove"),
        (lambda found, truth: [path.unlink() for path in truth.iterdir()], r"truth: no \.png or \.mat"),
        (lambda found, truth: (truth / "1.mat").write_bytes(b""), r"1\.png: there is 1\.mat as well"),
        (lambda found, truth: found.rename(found.parent / "elsewhere"), r"found: no such folder"),
        (_small, r"1\.png: of size \(4, 3\), but .*1\.png is \(40, 48\)"),
        (_colour, r"1\.png: of mode RGB; save it as 8-bit grey"),
        (_broken, r"2\.png: cannot be read"),
        (_broken_mat, r"3\.mat: cannot be read"),
        (_other_mat, r"3\.mat: holds no LabelMap"),
    ],
)
def test_folders_exception(folders, spoil, message):
    spoil(*folders)
    with pytest.raises(ValueError, match=message):
        evaluate_folders(*folders, 0.02, progress=False)


@pytest.mark.slow
def test_a_worker_names_the_file(folders):
    _broken(*folders)
    with pytest.raises(ValueError, match=r"2\.png: cannot be read"):
        evaluate_folders(*folders, 0.02, progress=False, workers=2)


def test_boundaries_of_0_and_1_are_refused(folders):
    found, truth = folders
    Image.fromarray(np.eye(40, 48, dtype=np.uint8)).save(truth / "0.png")
    with pytest.raises(ValueError, match=r"0\.png: no pixel above 127"):
        evaluate_folders(found, truth, 0.02, targets="boundaries", stems=["0"], progress=False)


def test_without_numba_the_figures_are_the_same():
    code = """
import sys, warnings
sys.modules["numba"] = sys.modules["llvmlite"] = None
warnings.simplefilter("ignore")
import numpy as np, mtmamba
mtmamba.create_model("mtmamba", "nyudv2", encoder="resnet10t", image_size=(64, 64), states=2)
from mtmamba.metrics import edge_matching
map = np.random.default_rng(0).random((12, 14))
truth = edge_matching.true_edges(np.kron(np.eye(3), np.ones((4, 5)))[:, :14])
counts = edge_matching.count_matches(edge_matching.suppress(map), truth, 2.5)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    edge_matching._mention_missing.cache_clear()
    edge_matching.count_matches(map, truth, 1.0)
assert "without Numba" in str(said[0].message), said
print(counts.matched.tolist(), counts.found.tolist(), counts.truth)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    truth = true_edges(np.kron(np.eye(3), np.ones((4, 5)))[:, :14])
    counts = count_matches(suppress(np.random.default_rng(0).random((12, 14))), truth, 2.5)
    assert counts.matched.max() > 0
    assert done.stdout.strip() == f"{counts.matched.tolist()} {counts.found.tolist()} {counts.truth}"

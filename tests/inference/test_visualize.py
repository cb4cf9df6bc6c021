"""Panels and overlays: every size, every task, and that what they say is on them."""

import numpy as np
import pytest
import torch
from PIL import Image

from mtmamba.inference.visualize import overlay, panel, to_pil
from mtmamba.tasks import Depth, Edge, Normals, Regression, Saliency, Segmentation, benchmark

ROOMS = benchmark("rooms_extended")
SEMSEG = ROOMS[0]


def photo(height, width):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


def maps_of(tasks, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (1, height, width)
    return {task: task.decode(torch.randn((1, task.channels, *shape[1:]), generator=generator))[0] for task in tasks}


def targets_of(maps):
    """The maps themselves as targets."""
    targets = {}
    for task, decoded in maps.items():
        if isinstance(task, Saliency):
            decoded = (decoded > 0.5).long()
        targets[task] = decoded[None] if isinstance(task, Depth | Edge) else decoded
    return targets


def colors_in(image):
    return {tuple(color) for color in np.asarray(image).reshape(-1, 3)}


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (48, 64), (300, 500), (700, 900)])
@pytest.mark.parametrize("truth", [False, True])
def test_smoke_any_size(size, truth):
    maps = maps_of(ROOMS, *size)
    picture = panel(photo(*size), maps, targets_of(maps) if truth else None, cell=80)
    assert picture.mode == "RGB"
    assert picture.width < 3000
    assert picture.height < 3000
    assert np.asarray(picture)[0].min() == 255  # the margin is white
    assert np.asarray(picture)[:, -1].min() == 255


def test_maps_are_drawn_in_their_colors():
    """Each map is of one colour: look for it."""
    tasks = [Segmentation("semseg", 3), Depth(), Normals()]
    maps = {
        tasks[0]: torch.full((8, 8), 2),
        tasks[1]: torch.tensor([1.0, 9.0]).repeat(8, 4),
        tasks[2]: torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 8, 8),
    }
    found = colors_in(panel(photo(8, 8), maps, legend=False))
    for task, decoded in maps.items():
        assert colors_in(task.colorize(decoded)) <= found


def test_small_pixels_stay_square():
    """Enlarged by a whole factor: a chessboard keeps cells of equal width and two colours."""
    task = Segmentation("semseg", 2)
    chess = torch.tensor([[0, 1], [1, 0]]).repeat(8, 8)
    picture = np.asarray(panel(photo(16, 16), {task: chess}, legend=False, cell=100))
    board = (picture == task.colorize(chess)[0, 1].numpy()).all(axis=2)
    row = board[np.argmax(board.sum(axis=1))].astype(int)
    starts, stops = np.flatnonzero(np.diff(row) == 1), np.flatnonzero(np.diff(row) == -1)
    assert len(starts) == 8
    assert set(stops - starts) == {6}  # round(100 / 16)


def test_legend_lists_only_classes_present():
    def height(decoded):
        return panel(photo(64, 64), {SEMSEG: decoded}, cell=200).height

    wall_only, crowd = torch.zeros(64, 64).long(), torch.arange(64 * 64).reshape(64, 64) % 12
    found = colors_in(panel(photo(64, 64) * 0, {SEMSEG: wall_only}, cell=200))
    assert dict(SEMSEG.legend())["wall"] in found
    assert dict(SEMSEG.legend())["person"] not in found
    assert height(crowd) > height(wall_only)


def test_legend_of_very_many_classes_is_cut():
    task = benchmark("ade20k")[0]
    as_many, all_of_them = (torch.arange(150).reshape(10, 15) % count for count in (16, 150))
    picture = panel(photo(10, 15), {task: all_of_them})
    assert picture.height <= panel(photo(10, 15), {task: as_many}).height + 2 * 32


def test_legend_can_be_left_out():
    maps = maps_of(ROOMS, 32, 48)
    assert panel(photo(32, 48), maps, legend=False).height < panel(photo(32, 48), maps).height


def test_truth_adds_a_row_and_shares_the_scale():
    task = Depth()
    prediction, target = torch.full((32, 32), 3.0), torch.linspace(1, 5, 1024).reshape(1, 32, 32)
    alone = panel(photo(32, 32), {task: prediction})
    both = panel(photo(32, 32), {task: prediction}, {task: target})
    assert both.height > alone.height + 200
    on_the_scale_of_the_truth = colors_in(task.colorize(prediction, limits=task.limits(target[0])))
    assert on_the_scale_of_the_truth <= colors_in(both)


def test_ignored_truth_is_black_and_the_legend_says_so():
    target = torch.full((32, 32), 255)
    decoded = torch.zeros(32, 32).long()
    white = photo(32, 32) * 0 + 1
    with_hole = np.asarray(panel(white, {SEMSEG: decoded}, {SEMSEG: target}))
    without = np.asarray(panel(white, {SEMSEG: decoded}, {SEMSEG: decoded}))
    black = (with_hole == 0).all(axis=2).sum() - (without == 0).all(axis=2).sum()
    assert black > 320 * 320  # the map, and a square in the legend


def test_titles():
    maps = maps_of([SEMSEG], 32, 32)
    plain, named = panel(photo(32, 32), maps), panel(photo(32, 32), maps, titles={"semseg": "what is where"})
    assert plain.size == named.size
    assert not np.array_equal(np.asarray(plain), np.asarray(named))


def test_long_words_stay_in_their_column():
    task = Segmentation("semseg", 1, class_names=("a class with a name that goes on and on and on",))
    maps = {task: torch.zeros(8, 8).long()}
    picture = panel(photo(8, 8), maps, titles={"semseg": "w" * 99}, cell=80)
    assert np.asarray(picture)[:, -4:].min() == 255


def test_columns():
    maps = maps_of(ROOMS[:3], 32, 32)
    wide, narrow = panel(photo(32, 32), maps), panel(photo(32, 32), maps, columns=2)
    assert wide.width > 1.8 * narrow.width
    assert narrow.height > 1.8 * wide.height


def test_maps_of_another_resolution():
    """Cityscapes' maps are twice as large as the image."""
    tasks = benchmark("cityscapes")
    assert panel(photo(40, 80), maps_of(tasks, 80, 160)).size == panel(photo(40, 80), maps_of(tasks, 40, 80)).size


def test_two_channels_and_none_of_scale():
    tasks = [Regression("flow", 2), Regression("albedo", 3)]
    assert panel(photo(16, 16), maps_of(tasks, 16, 16)).width > 0


def test_target_without_map():
    with pytest.raises(ValueError, match="targets without a map: depth"):
        panel(photo(8, 8), {}, {Depth(): torch.ones(1, 8, 8)})


def test_images_of_every_kind_are_the_same():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for image in (array, tensor, tensor / 255, Image.fromarray(array)):
        np.testing.assert_array_equal(np.asarray(to_pil(image)), array)


@pytest.mark.parametrize("image", [torch.rand(1, 3, 4, 4), torch.rand(4, 4), np.zeros((4, 4, 3)), torch.rand(1, 4, 4)])
def test_images_of_another_shape_are_refused(image):
    with pytest.raises(ValueError, match="image of shape"):
        to_pil(image)


def test_overlay_of_parts_leaves_the_background():
    task = benchmark("rooms", ["human_parts"])[0]
    parts = torch.tensor([[0, 1, 255, 2]])
    image = np.full((1, 4, 3), 100, np.uint8)
    result = np.asarray(overlay(image, task, parts, alpha=0.5))[0].astype(int)
    assert result[0].tolist() == result[2].tolist() == [100, 100, 100]
    for pixel, index in ((1, 1), (3, 2)):
        expected = (100 + np.array(task.legend()[index][1])) / 2
        np.testing.assert_allclose(result[pixel], expected, atol=1)


def test_overlay_of_edges_grows_with_their_probability():
    image = np.zeros((1, 3, 3), np.uint8)
    red = np.asarray(overlay(image, Edge(), torch.tensor([[0.0, 0.5, 1.0]]), alpha=1))[0, :, 0]
    np.testing.assert_allclose(red, [0, 127, 255], atol=1)


@pytest.mark.parametrize("task", ROOMS, ids=lambda task: task.name)
def test_overlay_has_the_size_of_the_image(task):
    image = photo(20, 30)
    decoded = maps_of([task], 40, 60)[task]
    assert overlay(image, task, decoded).size == (30, 20)
    nothing = overlay(image, task, decoded, alpha=0)
    np.testing.assert_array_equal(np.asarray(nothing), np.asarray(to_pil(image)))

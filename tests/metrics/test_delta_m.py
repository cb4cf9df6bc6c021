"""Delta_m by hand, and what it refuses."""

import math

import pytest

from mtmamba.metrics import delta_m

UP = {"semseg": True, "depth": False, "normals": False, "edge": True}


def test_published_numbers():
    """MTMamba++ on NYUDv2 against single-task Swin-L, term by term."""
    single = {"semseg": 54.32, "depth": 0.5166, "normals": 19.21, "edge": 77.30}
    ours = {"semseg": 57.01, "depth": 0.4818, "normals": 18.27, "edge": 79.40}
    terms = (2.69 / 54.32, 0.0348 / 0.5166, 0.94 / 19.21, 2.10 / 77.30)
    assert delta_m(ours, single, UP) == pytest.approx(100 * sum(terms) / 4)
    assert delta_m(ours, single, UP) == pytest.approx(4.82, abs=0.01)


def test_worse_is_negative_both_ways():
    assert delta_m({"semseg": 45.0}, {"semseg": 50.0}, UP) == pytest.approx(-10)
    assert delta_m({"depth": 0.55}, {"depth": 0.5}, UP) == pytest.approx(-10)


def test_same_is_zero_and_other_baselines_are_left_out():
    assert delta_m({"edge": 70.0}, {"edge": 70.0, "depth": 0.5}, UP) == 0


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ({}, "depth has no baseline"),
        ({"depth": 0.0}, "baseline of 0"),
        ({"depth": math.nan}, "baseline of nan"),
    ],
)
def test_exceptions(baseline, message):
    with pytest.raises(ValueError, match=message):
        delta_m({"depth": 0.5}, baseline, UP)


def test_exception_no_direction():
    with pytest.raises(ValueError, match="higher_is_better"):
        delta_m({"heat": 0.5}, {"heat": 1.0}, UP)


def test_exception_no_task():
    with pytest.raises(ValueError, match="no task"):
        delta_m({}, {}, {})

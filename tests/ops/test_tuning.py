"""Constants of the scan on a GPU: timed when asked, kept on disk, and done without where there is no disk."""

from __future__ import annotations

import json

import pytest

tuning = pytest.importorskip("mtmamba.ops.triton.tuning")
SPACE, DEFAULT = ((16, 4), (8, 4), (8, 6)), (16, 4)
TIMES = {(16, 4): 3.0, (8, 4): 1.0, (8, 6): 2.0}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache of its own, and a table that is read anew, as in a new process."""
    monkeypatch.setenv("MTMAMBA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MTMAMBA_AUTOTUNE", raising=False)
    tuning._table.cache_clear()
    yield tmp_path / "cache"
    tuning._table.cache_clear()


def choose(sizes: str = "1x1", space=SPACE):
    """The choice, and with which constants the kernel was run."""
    run = []

    def measure(call):
        call()
        return TIMES[run[-1]]

    return tuning.choose("forward", sizes, space, DEFAULT, run.append, measure), run


def test_nothing_is_timed_unasked(cache):
    assert choose() == (DEFAULT, [])
    assert not cache.exists()


def test_the_fastest_is_kept_for_later_processes(monkeypatch):
    monkeypatch.setenv("MTMAMBA_AUTOTUNE", "1")
    assert choose() == ((8, 4), [*SPACE])
    assert choose() == ((8, 4), [])  # not timed again
    assert choose("2x2")[1] == [*SPACE]  # other sizes are
    tuning._table.cache_clear()
    monkeypatch.delenv("MTMAMBA_AUTOTUNE")
    assert choose() == ((8, 4), [])
    assert json.loads(tuning.cache_file().read_text()) == {"forward 1x1": [8, 4], "forward 2x2": [8, 4]}


def test_what_is_no_longer_in_the_space_is_not_taken(monkeypatch):
    monkeypatch.setenv("MTMAMBA_AUTOTUNE", "1")
    choose()
    tuning._table.cache_clear()
    monkeypatch.delenv("MTMAMBA_AUTOTUNE")
    assert choose(space=SPACE[:1]) == (DEFAULT, [])


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_cache_is_done_without(content, cache):
    cache.mkdir()
    tuning.cache_file().write_text(content)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert choose()[0] == DEFAULT


def test_a_cache_that_cannot_be_written(cache, monkeypatch):
    cache.write_text("a file where the folder should be")
    monkeypatch.setenv("MTMAMBA_AUTOTUNE", "1")
    with pytest.warns(UserWarning, match="cannot be read"), pytest.warns(UserWarning, match="cannot be kept"):
        assert choose()[0] == (8, 4)

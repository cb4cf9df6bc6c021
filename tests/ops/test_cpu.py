"""The CPU's backend: sizes that no vector divides, what it writes and keeps, threads, machines that lack something."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mtmamba.ops import available_backends, selective_scan_2d
from tests.ops.test_selective_scan import NAMES, answer_and_gradients, make_inputs, relative_difference

pytest.importorskip("numba")

from numba import njit

from mtmamba.ops import cpu
from mtmamba.ops.cpu import simd

MIB = 2**20


def apply_vectors(operation, values: np.ndarray) -> np.ndarray:
    @njit
    def run(values, result):
        for i in range(0, len(values), simd.LANES):
            simd.store(result, i, operation(simd.load(values, i, 1)))

    result = np.empty_like(values)
    run(values, result)
    return result


@pytest.mark.parametrize(
    ("operation", "truth", "low", "high", "tolerance"),
    [
        (simd.exp2, np.exp2, -125.9, 127.0, 2e-7),
        (simd.softplus, lambda x: np.logaddexp(0, x), -20, 90, 2e-6),
        (simd.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -20, 90, 2e-6),
    ],
    ids=["exp2", "softplus", "sigmoid"],
)
def test_functions_are_accurate_relative_to_themselves(operation, truth, low, high, tolerance):
    values = np.linspace(low, high, 2**16, dtype=np.float32)
    wanted = truth(values.astype(np.float64))
    assert np.abs(apply_vectors(operation, values) / wanted - 1).max() < tolerance


def test_functions_at_the_ends():
    values = np.zeros(simd.LANES, np.float32)
    values[:5] = np.nan, np.inf, -np.inf, -1e30, 1e30
    exp2 = apply_vectors(simd.exp2, np.minimum(values, 0))
    softplus, sigmoid = apply_vectors(simd.softplus, values), apply_vectors(simd.sigmoid, values)
    assert (exp2[2:4] == 2.0**-126).all()
    assert exp2[5] == 1
    assert np.isnan(softplus[0])
    assert (softplus[[1, 4]] == values[[1, 4]]).all()
    assert ((softplus[2:4] > 0) & (softplus[2:4] < 1e-37)).all()
    assert (sigmoid[[1, 4, 5]] == [1, 1, 0.5]).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_lane_sums(count):
    @njit
    def run(values, result):
        simd.add_lane_sums(result, 1, simd.load(values, 0, count))

    values = np.arange(simd.LANES * count, dtype=np.float32)
    result = np.ones(count + 2, np.float32)
    run(values, result)
    assert result.tolist() == [1, *(1 + values.reshape(count, -1).sum(1)), 1]


@pytest.mark.parametrize(
    "sizes",
    [
        {"D": 1, "N": 1, "R": 1},
        {"D": 8, "N": 4, "R": 4},
        {"D": 17, "N": 5, "R": 1, "G": 1},
        {"D": 33, "N": 7, "R": 3, "B": 1},
        {"D": 129, "N": 1, "R": 2, "G": 1, "B": 1},  # several chains of tiles
        {"D": 300, "N": 2, "R": 5, "G": 1, "B": 1},  # tiles of several widths in a chain, partial sums
        {"D": 16, "N": 16, "R": 67, "B": 1},
        {"D": 5, "N": 3, "R": 2, "G": 5, "B": 4},  # more images than a chain is worth
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 65), (128, 1), (9, 15)], ids=str)  # one step more than a segment, two, two and 7
def test_odd_sizes(size, sizes):
    inputs = make_inputs(*size, **sizes)
    wanted = answer_and_gradients([tensor.double() for tensor in inputs], "parallel")
    for name, got, want in zip(("y", *NAMES), answer_and_gradients(inputs, "cpu"), wanted, strict=True):
        assert relative_difference(got, want) < 2e-5, name


def test_no_images_have_no_gradient():
    y, *grads = answer_and_gradients(make_inputs(3, 4, B=0), "cpu")
    assert y.shape == (2, 0, 3, 4, 5)
    assert all((grad == 0).all() for grad in grads)


def test_65536_pixels():
    inputs = make_inputs(256, 256, G=1, B=1, D=3, N=2, R=1)
    inputs[3] = inputs[3] - 5  # slow decays: states remember thousands of steps
    wanted = answer_and_gradients([tensor.double() for tensor in inputs], "parallel")
    for name, got, want in zip(("y", *NAMES), answer_and_gradients(inputs, "cpu"), wanted, strict=True):
        assert relative_difference(got, want) < 1e-4, name


def test_nan_inputs_are_not_hidden():
    for position in (0, 1, 2, 3):
        inputs = make_inputs(3, 4, G=1, B=1)
        inputs[position].flatten()[0] = torch.nan
        assert selective_scan_2d(*inputs, backend="cpu").isnan().any()


def poison(monkeypatch) -> None:
    """Fresh memory of torch's is full of NaN."""
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *args, **kwargs: empty(*args, **kwargs).fill_(torch.nan))


@pytest.mark.parametrize("sizes", [{"D": 5}, {"D": 300, "G": 1, "B": 1}, {"D": 9, "G": 4, "B": 4}], ids=str)
def test_all_of_the_answer_is_written(sizes, monkeypatch):
    inputs = make_inputs(9, 15, **sizes)
    wanted = answer_and_gradients(inputs, "cpu")
    poison(monkeypatch)
    for got, want in zip(answer_and_gradients(inputs, "cpu"), wanted, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize(
    "sizes", [{"D": 1}, {"D": 57}, {"D": 300, "G": 1, "B": 1, "N": 5}, {"D": 33, "G": 4, "B": 5}], ids=str
)
def test_the_same_bits_on_any_number_of_threads(sizes, monkeypatch):
    monkeypatch.setattr(cpu, "UPDATES_OF_A_THREAD", 1)
    inputs = make_inputs(13, 11, **sizes)
    threads = torch.get_num_threads()
    try:
        answers = []
        for number in (1, 2, 3, 8):
            torch.set_num_threads(number)
            answers.append(answer_and_gradients(inputs, "cpu"))
    finally:
        torch.set_num_threads(threads)
    for answer in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answer, answers[0], strict=True))


def test_threads_follow_torch(monkeypatch):
    monkeypatch.setattr(cpu, "UPDATES_OF_A_THREAD", 1)
    started = []
    submit = cpu._pool().submit
    monkeypatch.setattr(cpu._pool(), "submit", lambda *args: started.append(threading.get_ident()) or submit(*args))
    inputs = make_inputs(3, 4, G=2, B=2)
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            started.clear()
            torch.set_num_threads(number)
            selective_scan_2d(*inputs, backend="cpu")
            assert len(started) == number - 1
    finally:
        torch.set_num_threads(threads)


class PeakMemory(TorchDispatchMode):
    """Most bytes that tensors made inside held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {id(arg.untyped_storage()) for arg in args if isinstance(arg, torch.Tensor)}
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()  # the same object as long as the memory lives
                if id(storage) not in self.seen | given:
                    self.seen.add(id(storage))
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.release, id(storage), storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def release(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def in_bytes(*tensors: torch.Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


# The decoder's stages at 448x576, and the largest with a third of its channels and several images
@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((28, 36), {"D": 1536, "N": 16, "R": 48, "G": 1, "B": 1}),
        ((56, 72), {"D": 768, "N": 16, "R": 24, "G": 1, "B": 1}),
        ((112, 144), {"D": 384, "N": 16, "R": 12, "G": 1, "B": 1}),
        ((28, 36), {"D": 512, "N": 16, "R": 48, "G": 2, "B": 4}),
    ],
    ids=str,
)
def test_extra_memory(size, sizes, monkeypatch):
    """Under 10 % of inputs and outputs forward, under 50 % backward, the states between them included."""
    monkeypatch.setattr(cpu, "_run", lambda *args: None)  # what is allocated, not what is computed
    inputs = make_inputs(*size, **sizes)
    with PeakMemory() as forward:
        y, _ = cpu.forward(*inputs, keep=False)
    assert forward.peak >= in_bytes(y)
    assert forward.peak - in_bytes(y) < 0.1 * in_bytes(*inputs, y)
    _, states = cpu.forward(*inputs, keep=True)
    with PeakMemory() as backward:
        grads = cpu.backward(y[0], states, *inputs)
    assert backward.peak >= in_bytes(*grads[:2])
    extra = backward.peak - in_bytes(*grads) + in_bytes(states)
    assert extra < 0.5 * in_bytes(*inputs, y, *grads)


def run_python(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


SCAN = """
import torch, warnings
from mtmamba.ops import available_backends, selective_scan_2d
from tests.ops.test_selective_scan import make_inputs
inputs = make_inputs(9, 8)
truth = selective_scan_2d(*inputs, backend="reference")
def scan(): torch.testing.assert_close(selective_scan_2d(*inputs), truth)
"""


def test_without_numba_parallel_takes_over_and_says_so_once():
    blocked = "import sys; sys.modules['numba'] = sys.modules['llvmlite'] = None\n"
    code = """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert not caught
    scan(); scan()
messages = [str(warning.message) for warning in caught if "Numba" in str(warning.message)]
print(available_backends(), len(messages), messages[0])
"""
    answer = run_python(blocked + SCAN + code, TRITON_INTERPRET="0")
    assert answer.startswith("['parallel', 'reference'] 1 without Numba (")
    assert available_backends()[0] == "cpu"


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("")
    code = """
from numba.core import caching
def refuse(self): raise PermissionError("read-only")
caching._CacheLocator.ensure_cache_path = refuse  # root may write anywhere
"""
    run_python(code + SCAN + "scan()", NUMBA_CACHE_DIR=str(tmp_path / "file" / "below"))


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    code = "scan(); from mtmamba.ops.cpu.walk import forward_kernel as f; print(sum(f.stats.cache_misses.values()))"
    assert [run_python(SCAN + code, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)] == ["1\n", "0\n"]


@pytest.mark.slow
def test_a_cpu_without_wide_vectors(tmp_path):
    code = "scan(); from mtmamba.ops.cpu.simd import LANES; print(LANES)"
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert run_python(SCAN + code, **plain) == "8\n"

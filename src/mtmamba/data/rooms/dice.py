"""Seeded chance for building scenes: one stream per (split, seed, index)."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

SPLITS = {"train": 0, "val": 1, "test": 2}


def seed_sequence(split: str, seed: int, index: int) -> np.random.SeedSequence:
    """The root of all chance in one image.

    The split is part of the spawn key, so the same (seed, index) in train, val and test are unrelated scenes.

    Raises:
        ValueError: an unknown split, or a negative seed or index.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative, got seed={seed}, index={index}")
    return np.random.SeedSequence(seed, spawn_key=(SPLITS[split], index))


class Dice:
    """Scalars from a NumPy generator, drawn in blocks: a scalar draw costs 0.1 µs instead of 3."""

    def __init__(self, sequence: np.random.SeedSequence) -> None:
        self._generator = np.random.default_rng(sequence)
        self._block: list[float] = []

    def random(self) -> float:
        """Uniform in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(1024).tolist()
        return self._block.pop()

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.random()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high], both included."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all alike."""
        return items[int(self.random() * len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """One of the items, as often as its weight says."""
        rest = self.random() * math.fsum(weights)
        for item, weight in zip(items, weights):
            rest -= weight
            if rest < 0:
                return item
        return items[-1]

    def sign(self) -> float:
        """-1.0 or 1.0."""
        return 1.0 if self.random() < 0.5 else -1.0

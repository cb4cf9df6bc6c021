"""Which samples come when: draws that can be resumed, and evaluation that takes each sample once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch.utils.data import Dataset, Sampler

from mtmamba.data.sample import Sample, Transform

#: Which draw of the whole training this is, and the sample drawn.
Draw: TypeAlias = tuple[int, int]


class EndlessSampler(Sampler[Draw]):
    """Training draws without end: draw p of the whole run depends on (seed, p) alone, so a run can be resumed at any p.

    Every sample comes once before one comes again, in an order that is new each time.

    Args:
        length: number of samples.
        seed: of the orders.
        start: first draw.
        rank, world_size: this process takes draws start + rank, start + rank + world_size, ...
    """

    def __init__(self, length: int, seed: int = 0, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if length < 1:
            raise ValueError("there are no samples to train on")
        self.length, self.seed = length, seed
        self.first, self.stride = start + rank, world_size

    def __iter__(self) -> Iterator[Draw]:
        draw, order_of, order = self.first, -1, torch.empty(0)
        while True:
            visit, place = divmod(draw, self.length)
            if visit != order_of:
                generator = torch.Generator().manual_seed(_mix(self.seed, visit))
                order_of, order = visit, torch.randperm(self.length, generator=generator)
            yield draw, int(order[place])
            draw += self.stride


class ShardSampler(Sampler[int]):
    """Evaluation: every sample exactly once over all processes, none twice to fill up."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class DrawnDataset(Dataset[Sample]):
    """Samples under a random transform whose draws depend on (seed, draw) alone, in whichever worker."""

    def __init__(self, dataset: Dataset[Sample], transform: Transform, seed: int) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __getitem__(self, drawn: Draw) -> Sample:
        draw, index = drawn
        sample = self.dataset[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mix(self.seed, draw))
            return self.transform(sample)


def _mix(seed: int, number: int) -> int:
    """One 63-bit seed out of two numbers, without patterns between neighbours (SplitMix64)."""
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + number + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1

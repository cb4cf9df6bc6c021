"""All that is wrong with a dataset on disk, in one go."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset

from mtmamba.data.files import FilesDataset

NOTE = "note: "
"""Begins lines that tell of no fault."""


def check(dataset: FilesDataset, workers: int = 0, progress: bool = True) -> list[str]:
    """Read every sample of a split with all the dataset's tasks.

    Open it with ``verify=False``, or what is wrong with its first or last sample is raised before.

    Args:
        workers: processes that read; 0: this one.
        progress: show a bar.

    Returns:
        A line per fault: the file, what is wrong with it, and the remedy. Files on disk that no split uses follow, in
        lines that begin with :data:`NOTE`. Empty: nothing to say.
    """
    found = dataset.list_faults()
    # one sample at a time: faults are found where they are, and the bar moves
    loader = DataLoader(_Faults(dataset), batch_size=None, num_workers=workers)
    with Progress(transient=True, disable=not progress) as bar:
        job = bar.add_task(f"{dataset.split} of {dataset.root}", total=len(dataset))
        for faults in loader:
            found += faults
            bar.advance(job)
    return [*dict.fromkeys(found), *_notes(dataset)]


def check_splits(datasets: Sequence[FilesDataset]) -> list[str]:
    """Images that are in more than one split: under the same name, or byte by byte the same under another.

    Args:
        datasets: the splits of one dataset.

    Returns:
        A line per image: its file, and where else it is. Images that are missing are left to :func:`check`.
    """
    places: dict[Path, list[str]] = defaultdict(list)
    for dataset in datasets:
        for name in dict.fromkeys(dataset.names):
            places[dataset.image_path(name)].append(dataset.split)
    found = [
        f"{path}: in {' and '.join(splits)}; take it out of all but one"
        for path, splits in places.items()
        if len(splits) > 1
    ]
    return found + [
        f"{twin}: the same picture as {path}, of {places[path][0]}, but in {places[twin][0]}; take one out"
        for path, twin in _twins([path for path, splits in places.items() if len(splits) == 1])
        if places[path] != places[twin]
    ]


def _twins(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each file that is the same as one before it, after that one. Only files of equal length are read."""
    by_length: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        if path.is_file():
            by_length[path.stat().st_size].append(path)
    found = []
    for group in by_length.values():
        first: dict[bytes, Path] = {}
        for path in group if len(group) > 1 else ():
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest in first:
                found.append((first[digest], path))
            else:
                first[digest] = path
    return found


def _notes(dataset: FilesDataset) -> list[str]:
    by_folder: dict[Path, list[str]] = defaultdict(list)
    for path in dataset.unlisted():
        by_folder[path.parent].append(path.name)
    return [
        f"{NOTE}{folder}: {len(names)} files that no split uses: {', '.join(names[:3])}{', ...' * (len(names) > 3)}"
        for folder, names in by_folder.items()
    ]


class _Faults(Dataset[list[str]]):
    def __init__(self, dataset: FilesDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> list[str]:
        return self.dataset.faults(index)

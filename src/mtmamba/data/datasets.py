"""The datasets on disk that can be read, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtmamba.data.ade20k import ADE20K
from mtmamba.data.cityscapes import Cityscapes
from mtmamba.data.files import DataError, FilesDataset
from mtmamba.data.folder import FolderDataset
from mtmamba.data.nyudv2 import NYUDv2
from mtmamba.data.pascal_context import PASCALContext
from mtmamba.tasks import Task

DATASETS: dict[str, type[FilesDataset]] = {
    "nyudv2": NYUDv2,
    "pascal_context": PASCALContext,
    "cityscapes": Cityscapes,
    "ade20k": ADE20K,
    "folder": FolderDataset,
}
"""Readers by name; add your own subclass of :class:`mtmamba.data.files.FilesDataset` here."""


def open_dataset(
    name: str, root: str | Path, split: str, tasks: Sequence[Task], *, verify: bool = True
) -> FilesDataset:
    """One split of a dataset; arguments and errors as :class:`mtmamba.data.files.FilesDataset`.

    Args:
        name: a key of :data:`DATASETS`.
    """
    if name not in DATASETS:
        raise DataError(f"no dataset {name!r}; there are: {', '.join(DATASETS)}")
    return DATASETS[name](root, split, tasks, verify=verify)

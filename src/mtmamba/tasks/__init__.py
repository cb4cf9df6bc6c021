"""Tasks: what the network predicts, and all that the rest of the program knows of it.

A new task is a subclass of :class:`Task`, or an instance of a built-in one; no other file needs to change::

    from mtmamba.tasks import Regression, Segmentation, benchmark

    tasks = [*benchmark("nyudv2"), Regression("heat", channels=1, unit="K"), Segmentation("defects", 4)]
"""

from mtmamba.losses import IGNORE
from mtmamba.tasks.base import Task
from mtmamba.tasks.benchmarks import CLASS_NAMES, benchmark
from mtmamba.tasks.continuous import Depth, Normals, Regression
from mtmamba.tasks.labels import Edge, Saliency, Segmentation

__all__ = [
    "CLASS_NAMES",
    "IGNORE",
    "Depth",
    "Edge",
    "Normals",
    "Regression",
    "Saliency",
    "Segmentation",
    "Task",
    "benchmark",
]

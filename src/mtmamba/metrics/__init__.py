"""Metrics pooled over every pixel of a set: the same whatever the batches, on one device or many.

Each is a :class:`torchmetrics.Metric` with ``update(logits, target)`` and ``compute() -> {key: 0-d tensor}``.
Shares (IoU, accuracy, F, "within") are fractions between 0 and 1. A value is NaN if no valid pixel was seen.
"""

from mtmamba.metrics.base import DenseMetric, check_shapes
from mtmamba.metrics.boundaries import PixelBoundaryMetric
from mtmamba.metrics.delta_m import delta_m
from mtmamba.metrics.depth import DepthMetric
from mtmamba.metrics.edge_benchmark import MAX_DISTANCE, BoundaryMetric, evaluate_folders
from mtmamba.metrics.normals import NormalsMetric
from mtmamba.metrics.regression import RegressionMetric
from mtmamba.metrics.saliency import SaliencyMetric
from mtmamba.metrics.segmentation import SegmentationMetric

__all__ = [
    "MAX_DISTANCE",
    "BoundaryMetric",
    "DenseMetric",
    "DepthMetric",
    "NormalsMetric",
    "PixelBoundaryMetric",
    "RegressionMetric",
    "SaliencyMetric",
    "SegmentationMetric",
    "check_shapes",
    "delta_m",
    "evaluate_folders",
]

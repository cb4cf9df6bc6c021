"""What datasets give and models take.

A sample is a dict: ``"image"``, a tv_tensors.Image (3, H, W), uint8; per task, under its name, a tv_tensors.Mask as
:class:`mtmamba.tasks.Task` describes its target; ``"id"``, a name. A batch is the same with a leading B, images
normalised and targets prepared, and ``"padding"`` (B, 4), the pixels put on left, right, top and bottom.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

Sample: TypeAlias = dict[str, Any]
Transform: TypeAlias = Callable[[Sample], Sample]

"""Rooms: procedural indoor scenes with exact truth for every task, made on the fly.

A room is sampled (`sampling`), held as analytic primitives (`scene`), seen by a ray caster (`raycast`,
`shading`) and turned into an image and its targets (`render`, `targets`). All of it depends on (split, seed,
index) alone.
"""

from .dataset import RoomsDataset
from .layouts import write_rooms
from .preview import contact_sheet
from .render import pixel_rays, render_room, render_scene
from .sampling import sample_room
from .scene import Scene

__all__ = [
    "RoomsDataset",
    "Scene",
    "contact_sheet",
    "pixel_rays",
    "render_room",
    "render_scene",
    "sample_room",
    "write_rooms",
]

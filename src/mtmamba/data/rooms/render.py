"""A scene, an image size -> the image and the truth for every task."""

import math

import numpy as np

from . import classes, film, shading, targets
from .dice import Dice, seed_sequence
from .raycast import trace
from .sampling import sample_room
from .scene import Scene

BRIGHTEST = 4.0  # end of the scale of shading; the picture is white long before

# How much each class draws the eye by itself; the room's own surfaces do not.
_EYE_WEIGHT = np.zeros(len(classes.ROOM_CLASSES))
_EYE_WEIGHT[[classes.TABLE, classes.SHELF, classes.BED, classes.SOFA]] = 0.6
_EYE_WEIGHT[[classes.WINDOW, classes.DOOR, classes.RUG]] = 0.4
_EYE_WEIGHT[[classes.CHAIR, classes.LAMP, classes.PICTURE, classes.PLANT, classes.BALL, classes.BOX]] = 1.0
_EYE_WEIGHT[classes.PERSON] = 1.6


def render_room(seed: int, index: int, size: tuple[int, int], split: str = "train") -> dict[str, np.ndarray]:
    """Render one room. The answer depends on (split, seed, index, size) alone; the scene not on the size.

    Args:
        seed: chooses the data set.
        index: the image's number in it; any number may be asked for.
        size: (H, W) in pixels, each at least 8.
        split: "train", "val" or "test", which share no scene.

    Returns:
        A dict of arrays:

        - image: uint8 (H, W, 3).
        - semseg: uint8 (H, W), numbers of `mtmamba.tasks.CLASS_NAMES["rooms"]`.
        - human_parts: uint8 (H, W), 0 background, 1 head, 2 torso with neck and hips, 3 upper arm, 4 lower arm and
          hand, 5 upper leg, 6 lower leg and foot.
        - saliency: uint8 (H, W) in {0, 1}; the rule is that of `targets.saliency`.
        - depth: float32 (H, W), metres along the optical axis.
        - normals: float32 (H, W, 3), unit vectors in the camera's frame: x right, y up, z towards the viewer.
        - edge, instance_edge: uint8 (H, W) in {0, 1}; the rule is that of `targets.edges`.
        - albedo: float32 (H, W, 3) in [0, 1], linear.
        - shading: float32 (H, W), incident plus emitted light times the exposure, at most 4. Before noise, highlights
          and the colour of the light, the image is the tone curve of albedo * shading.
        - instance: int32 (H, W), a number for every object, person and surface of the room.
        - intrinsics: float64 (4,): fx, fy, cx, cy in pixels; the centre of the top left pixel is (0, 0).

    Raises:
        ValueError: an unknown split, a negative seed or index, or too small a size.
    """
    height, width = size
    if height < 8 or width < 8:
        raise ValueError(f"size must be at least 8x8, got {height}x{width}")
    build, sensor = seed_sequence(split, seed, index).spawn(2)
    return render_scene(sample_room(Dice(build)), size, np.random.default_rng(sensor))


def render_scene(scene: Scene, size: tuple[int, int], sensor: np.random.Generator) -> dict[str, np.ndarray]:
    """Render a scene; `sensor` gives the noise. Keys and values as in `render_room`.

    Raises:
        ValueError: some pixel sees nothing: the scene is not closed.
    """
    height, width = size
    arrays = scene.arrays()
    position, view = np.array(scene.camera.position), np.array(scene.camera.axes)
    intrinsics = np.array(scene.camera.intrinsics(size))
    solids, lights = arrays.solids, arrays.lights
    depth, hit = trace(solids, position, view, intrinsics, height, width)
    if (hit < 0).any():
        raise ValueError("the camera sees out of the scene: close it with planes")
    points, normals, albedo = shading.surfaces(
        solids, arrays.materials, arrays.material, depth, hit, position, view, intrinsics
    )
    seen = shading.visibility(
        arrays.blockers, solids, lights, np.array(scene.extent), points, normals,
        shading.LIGHT_PLACES, shading.DOME_PLACES,
    )  # fmt: skip
    radiance, light, mean_log = shading.illuminate(
        solids, arrays.materials, lights, np.array(scene.ambient), points, normals, albedo, hit,
        arrays.material, arrays.instance, seen, position,
    )  # fmt: skip
    exposure = scene.exposure * 0.16 / math.exp(mean_log)
    colours = film.develop(radiance, exposure, np.array(scene.white_balance), 0.1)
    colours = film.antialias(solids, colours, hit, position, view, intrinsics)
    image = film.expose(colours, sensor.standard_normal((height, width, 4), dtype=np.float32), scene.noise)

    instance = arrays.instance[hit].astype(np.int32)
    semantic = arrays.semantic[instance]
    rays = pixel_rays(intrinsics, size)
    normals = normals @ view.T
    edge, boundary = targets.edges(
        depth, normals, instance, rays, math.cos(math.radians(targets.CREASE_DEGREES)), targets.STEP
    )
    return {
        "image": image,
        "semseg": semantic.astype(np.uint8),
        "human_parts": arrays.part[hit].astype(np.uint8),
        "saliency": targets.saliency(image, instance, _EYE_WEIGHT[arrays.semantic]),
        "depth": depth.astype(np.float32),
        "normals": normals.astype(np.float32),
        "edge": edge,
        "albedo": albedo.astype(np.float32),
        "shading": np.minimum(light * exposure, BRIGHTEST).astype(np.float32),
        "instance_edge": boundary,
        "instance": instance,
        "intrinsics": intrinsics,
    }


def pixel_rays(intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What to multiply a pixel's depth with to get its point in the camera's frame (x right, y up, z back):
    (H, W, 3)."""
    fx, fy, cx, cy = intrinsics
    rays = np.empty((*size, 3))
    rays[..., 0] = (np.arange(size[1]) - cx) / fx
    rays[..., 1] = ((cy - np.arange(size[0])) / fy)[:, None]
    rays[..., 2] = -1.0
    return rays

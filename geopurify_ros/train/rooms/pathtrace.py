"""Path-traced images of a room with Blender's Cycles (the wheel bpy): slow, but lit like a photo.

Geometry, pose and labels are those of the ray-cast view; only the light differs.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.errors import InputError
from geopurify_ros.train.rooms.mesh import TEXTURE_PX, Floats, Material
from geopurify_ros.train.rooms.render import Camera
from geopurify_ros.train.rooms.scene import Light, Scene

_NUM_SAMPLES = 8  # denoised; 24 take three times as long and look the same at this size
_SENSOR_MM = 36.0
_GLOW = 2.0  # strength of a shining surface
_DAYLIGHT = 4.0  # of windows against lamps: here the sky itself sheds no light into the room
_BEFORE_WINDOW_M = 0.13  # a window's light starts in front of its glass


class PathTracer:
    """One room inside Blender; a second one replaces the first."""

    def __init__(self, scene: Scene, lights: list[Light], ambient: Floats, threads: int) -> None:
        """Hand the room over.

        Args:
            scene: the room.
            lights: what shines.
            ambient: (3,) light that comes in where the room is open.
            threads: of the processor.

        Raises:
            InputError: bpy is not installed.
        """
        self._bpy = _blender()
        self._bpy.ops.wm.read_factory_settings(use_empty=True)
        self._world = self._bpy.context.scene
        self._settings(threads, ambient)
        self._add_mesh(scene)
        for light in lights:
            self._add_light(light)

    def render(self, camera: Camera) -> Floats:
        """(H, W, 3) linear light, as `View.light` has it."""
        self._place(camera)
        with tempfile.TemporaryDirectory() as folder, _silent():
            path = Path(folder) / "view.exr"
            self._world.render.filepath = str(path)
            self._bpy.ops.render.render(write_still=True)
            image = self._bpy.data.images.load(str(path))
            pixels = np.empty(camera.height_px * camera.width_px * 4, np.float32)
            image.pixels.foreach_get(pixels)
            self._bpy.data.images.remove(image)
        rows = pixels.reshape(camera.height_px, camera.width_px, 4)[::-1, :, :3]
        return np.nan_to_num(np.ascontiguousarray(rows))

    def _settings(self, threads: int, ambient: Floats) -> None:
        render = self._world.render
        render.engine = "CYCLES"
        render.threads_mode, render.threads = "FIXED", threads
        render.use_persistent_data = True
        render.image_settings.file_format = "OPEN_EXR"
        cycles = self._world.cycles
        cycles.samples, cycles.use_denoising = _NUM_SAMPLES, True
        cycles.use_adaptive_sampling = cycles.use_light_tree = False
        cycles.denoising_prefilter = cycles.denoising_quality = "FAST"
        cycles.max_bounces, cycles.diffuse_bounces, cycles.transparent_max_bounces = 6, 4, 8
        cycles.sample_clamp_indirect = 5.0
        world = self._bpy.data.worlds.new("sky")
        world.use_nodes = True
        background = world.node_tree.nodes["Background"]
        background.inputs[0].default_value = (*ambient.tolist(), 1.0)
        self._world.world = world

    def _add_mesh(self, scene: Scene) -> None:
        data = self._bpy.data.meshes.new("room")
        count = len(scene.points)
        data.vertices.add(3 * count)
        data.loops.add(3 * count)
        data.polygons.add(count)
        data.vertices.foreach_set("co", _flat(scene.points))
        data.loops.foreach_set("vertex_index", np.arange(3 * count, dtype=np.int32))
        data.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
        data.polygons.foreach_set("material_index", scene.material.astype(np.int32))
        data.uv_layers.new().data.foreach_set("uv", _flat(scene.uv))
        images: dict[int, Any] = {}
        for item in scene.items:
            for material in item.mesh.materials:
                data.materials.append(self._material(material, images))
        data.update()
        data.normals_split_custom_set(scene.normals.reshape(-1, 3).tolist())
        self._world.collection.objects.link(self._bpy.data.objects.new("room", data))

    def _material(self, material: Material, images: dict[int, Any]) -> Any:
        made = self._bpy.data.materials.new("m")
        made.use_nodes = True
        nodes, links = made.node_tree.nodes, made.node_tree.links
        surface = nodes["Principled BSDF"].inputs
        color = (*np.clip(material.color, 0, 1).tolist(), 1.0)
        surface["Base Color"].default_value = color
        surface["Roughness"].default_value = 0.9 - 0.7 * material.gloss
        surface["Specular IOR Level"].default_value = 0.1 + 0.4 * material.gloss
        surface["Alpha"].default_value = material.alpha
        surface["Emission Strength"].default_value = _GLOW * material.glow
        surface["Emission Color"].default_value = color
        if material.texture is not None:
            picture = nodes.new("ShaderNodeTexImage")
            picture.image = self._image(material.texture, images)
            tint = nodes.new("ShaderNodeMixRGB")
            tint.blend_type = "MULTIPLY"
            tint.inputs[0].default_value = 1.0
            tint.inputs[2].default_value = color
            links.new(picture.outputs["Color"], tint.inputs[1])
            links.new(tint.outputs[0], surface["Base Color"])
            links.new(tint.outputs[0], surface["Emission Color"])
            if material.texture[..., 3].min() < 250:
                links.new(picture.outputs["Alpha"], surface["Alpha"])
        return made

    def _image(self, texture: NDArray[np.uint8], images: dict[int, Any]) -> Any:
        if id(texture) not in images:
            image = self._bpy.data.images.new("t", TEXTURE_PX, TEXTURE_PX, alpha=True)
            image.colorspace_settings.name = "Non-Color"  # our colours are linear already
            image.pixels.foreach_set(_flat(texture[::-1] / np.float32(255)))
            image.pack()
            images[id(texture)] = image
        return images[id(texture)]

    def _add_light(self, light: Light) -> None:
        sided = bool(np.any(light.normal))
        data = self._bpy.data.lights.new("light", "AREA" if sided else "POINT")
        power = np.maximum(light.power, 1e-6)
        data.color = (power / power.max()).tolist()
        half = [float(np.linalg.norm(edge)) for edge in (light.edge_a, light.edge_b)]
        shining = self._bpy.data.objects.new("light", data)
        if sided:
            data.shape, data.size, data.size_y = "RECTANGLE", 2 * half[0], 2 * half[1]
            data.energy = float(np.pi * power.max()) * _DAYLIGHT
            axes = np.stack([light.edge_a / half[0], light.edge_b / half[1], -light.normal], 1)
            if np.linalg.det(axes) < 0:
                axes[:, 1] *= -1
        else:
            data.shadow_soft_size = max(half)
            data.energy = float(4 * np.pi * power.max())
            axes = np.eye(3)
        center = light.center + _BEFORE_WINDOW_M * light.normal
        shining.matrix_world = _four(axes, center).T.tolist()
        self._world.collection.objects.link(shining)

    def _place(self, camera: Camera) -> None:
        if self._world.camera is None:
            data = self._bpy.data.cameras.new("camera")
            self._world.camera = self._bpy.data.objects.new("camera", data)
            self._world.collection.objects.link(self._world.camera)
        eye = self._world.camera
        eye.data.sensor_width = _SENSOR_MM
        eye.data.clip_start = 0.02
        eye.data.lens = float(camera.intrinsics[0, 0]) * _SENSOR_MM / camera.width_px
        pose = camera.T_world_camera @ np.diag([1.0, -1.0, -1.0, 1.0])  # Blender looks along -z
        eye.matrix_world = pose.T.tolist()
        render = self._world.render
        render.resolution_x, render.resolution_y = camera.width_px, camera.height_px
        render.resolution_percentage = 100


def _blender() -> Any:
    try:
        with _silent():
            import bpy
    except ImportError as error:
        raise InputError(
            "path-traced rooms need Blender as a module: "
            "pip install -r requirements-pathtrace.txt (Python 3.11)"
        ) from error
    return bpy


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what Blender prints, around Python's streams, off the terminal."""
    saved = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, "w", encoding="ascii") as nothing:
        for number in (1, 2):
            os.dup2(nothing.fileno(), number)
    try:
        yield
    finally:
        for number, kept in zip((1, 2), saved, strict=True):
            os.dup2(kept, number)
            os.close(kept)


def _flat(values: Floats) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float32).reshape(-1)


def _four(axes: Floats, origin: Floats) -> NDArray[np.float64]:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = axes, origin
    return result

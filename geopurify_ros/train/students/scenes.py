"""Training scenes: maps that our own pipeline made, so that training and node see the same.

Only colour, depth and poses are read; a sequence needs no label/ folder. Every second scene is
mapped in a world turned at random: recorded sequences have any axes, and so must the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geopurify_ros.config import Config
from geopurify_ros.core.mapping.encoder import ImageTextEncoder, dtype_name
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.scene import VoxelScene, scene_of_map
from geopurify_ros.data.map_file import check_map, load_map, save_map
from geopurify_ros.data.readers.formats import open_recording
from geopurify_ros.errors import InputError
from geopurify_ros.progress import progress

_FEWEST_VOXELS = 200


@dataclass(frozen=True)
class TrainingScene:
    """A map to learn from.

    Attributes:
        name: of its file.
        encoder: id of the encoder of its features.
        voxels: the map.
    """

    name: str
    encoder: str
    voxels: VoxelScene


def make_scenes(
    sequences: list[Path], out: Path, encoder: ImageTextEncoder, config: Config,
    device: torch.device, every: int = 1, seed: int | None = 0,
) -> dict[str, Any]:
    """Map the sequences that are not in `out` yet, one map file per sequence.

    Without a seed no scene is turned.

    Raises:
        InputError: no sequence, a folder that is none, two of one name, one without voxels, or
            `out` holds scenes of another encoder or voxel size.
    """
    names = [folder.resolve().name for folder in sequences]
    if not names:
        raise InputError("there is no sequence to make scenes of")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two sequences are called {name}: scenes are kept by that name")
    for path in sorted(out.glob("*.safetensors")):
        header, size_m = check_map(path), config.map.voxel_size_m
        if (header.encoder, header.voxel_size_m) != (encoder.id, size_m):
            raise InputError(
                f"{path} was made with encoder {header.encoder} and voxels of "
                f"{header.voxel_size_m} m, not {encoder.id} and {size_m} m: choose another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    made = 0
    for number, folder in enumerate(progress(sequences, len(sequences), "scenes", "scene")):
        path = out / f"{names[number]}.safetensors"
        if not path.exists():
            turn = np.eye(4)
            if seed is not None and number % 2:
                turn = random_rotation(np.random.default_rng([seed, number]))
            _map_one(folder, path, turn, Pipeline(encoder, config, device), every)
            made += 1
    return {"out": str(out), "scenes": len(names), "made": made, "encoder": encoder.id}


def _map_one(
    folder: Path, path: Path, turn: NDArray[np.float64], pipeline: Pipeline, every: int
) -> None:
    with open_recording(folder, pipeline.config) as recording:
        for frame in recording.frames(every):
            try:
                pipeline.integrate(replace(frame, T_world_camera=turn @ frame.T_world_camera))
            except InputError as error:
                recording.refused[str(error)] += 1
    if len(pipeline.map) == 0:
        reason = next(reversed(recording.refused), "it has none")
        raise InputError(f"scene {folder.name}: no frame could be used: {reason}")
    pipeline.lifted.settle()
    encoder = pipeline.encoder
    save_map(path, pipeline.map, encoder.id, pipeline.config.map.frame,
             encoder_dtype=dtype_name(encoder))


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A 4x4 rotation, uniform over all."""
    matrix, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(upper))
    if np.linalg.det(matrix) < 0:
        matrix[:, 0] *= -1
    turn = np.eye(4)
    turn[:3, :3] = matrix
    return turn


def load_scenes(
    folder: Path, most: int | None = None, device: torch.device | str = "cpu"
) -> list[TrainingScene]:
    """The scenes of a folder, by name; the first `most` of them.

    Raises:
        InputError: none there, of two encoders or voxel sizes, or one that cannot be learned from.
    """
    paths = sorted(folder.glob("*.safetensors"))[:most]
    if not paths:
        raise InputError(f"{folder} holds no scenes: make some with geopurify train scenes")
    scenes = [load_scene(path, device) for path in paths]
    first = scenes[0]
    for one in scenes[1:]:
        same = (one.encoder, one.voxels.voxel_size_m, one.voxels.features.shape[1])
        if same != (first.encoder, first.voxels.voxel_size_m, first.voxels.features.shape[1]):
            raise InputError(
                f"scene {one.name} is of encoder {one.encoder} and voxels of "
                f"{one.voxels.voxel_size_m} m, {first.name} of {first.encoder} and "
                f"{first.voxels.voxel_size_m} m: train on one kind"
            )
    return scenes


def load_scene(path: Path, device: torch.device | str = "cpu") -> TrainingScene:
    """One scene.

    Raises:
        InputError: no map, or one with too few voxels or with numbers that are not finite.
    """
    voxel_map, header = load_map(path, device=device)
    scene = TrainingScene(
        path.stem, header.encoder, scene_of_map(voxel_map, voxel_map.up_sum)
    )
    check_scene(scene)
    return scene


def check_scene(scene: TrainingScene) -> None:
    """Raise InputError, naming the scene, where nothing can be learned from it."""
    voxels = scene.voxels
    if len(voxels) < _FEWEST_VOXELS:
        raise InputError(
            f"scene {scene.name} has {len(voxels)} voxels, {_FEWEST_VOXELS} or more are needed"
        )
    for what, values in (("features", voxels.features), ("colours", voxels.color),
                         ("normals", voxels.normal)):
        if not bool(torch.isfinite(values.sum(dtype=torch.float64))):
            raise InputError(f"scene {scene.name} has {what} that are not finite")

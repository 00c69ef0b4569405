"""Small scenes for tests of training: a furnished box without any image, and its map file."""

import dataclasses
from pathlib import Path

import torch

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.scene import scene_of_map
from geopurify_ros.data.map_file import save_map
from geopurify_ros.evaluate.runner import Mapped
from geopurify_ros.train.students.scenes import TrainingScene

FEATURE_DIM = 12
PARTS = ("floor", "wall", "board", "table")


def box_map(seed=0, size=14, noise=0.6):
    """(map, part of each voxel): floor, two walls and a coloured table top; noisy features."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.arange(size)
    zero = torch.zeros(1, dtype=torch.int64)
    low = 3 + torch.randint(0, 4, (2,), generator=generator)
    edge = torch.arange(7)
    parts = [
        torch.cartesian_prod(side, side, zero),
        torch.cartesian_prod(zero, side, 1 + side),
        torch.cartesian_prod(1 + side, zero, 1 + side),
        torch.cartesian_prod(low[0] + edge, low[1] + edge, torch.tensor([4])),
    ]
    coords = torch.cat(parts)
    part = torch.cat([torch.full((len(p),), n) for n, p in enumerate(parts)])
    normals = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])[part]
    colors = torch.tensor([[120.0, 90, 60], [230, 230, 220], [228, 230, 222], [200, 40, 40]])
    color = colors[part] + 3 * torch.randn((len(part), 3), generator=generator)
    vectors = torch.eye(FEATURE_DIM)[part]
    features = vectors + noise * torch.randn((len(part), FEATURE_DIM), generator=generator)
    voxel_map = VoxelMap(FEATURE_DIM, 0.05)
    voxel_map.integrate(FrameVoxels(
        coords, FeatureBags.of(features), color.clamp(0, 255), normals,
        torch.ones(len(coords))), 1)
    return voxel_map, part


def box_scene(seed=0, **settings):
    voxel_map, _ = box_map(seed, **settings)
    voxels = scene_of_map(voxel_map, torch.tensor([0.0, 0, 1]))
    return TrainingScene(f"box_{seed}", "test-encoder", voxels)


def with_voxels(scene, **values):
    if "features" in values:
        values["chunks"] = (values.pop("features"),)
    return dataclasses.replace(scene, voxels=dataclasses.replace(scene.voxels, **values))


def write_scenes(folder: Path, count: int):
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        save_map(folder / f"box_{seed}.safetensors", box_map(seed)[0], "test-encoder", "map")
    return folder




class PartEncoder:
    """Texts are the axes along which box_map's parts lie."""

    id, feature_dim, logit_scale = "test-encoder", FEATURE_DIM, 10.0

    def encode_text(self, texts):
        return torch.eye(FEATURE_DIM)[[PARTS.index(t) for t in texts]]


def mapped_box(seed):
    voxel_map, part = box_map(seed)
    pipeline = Pipeline(PartEncoder(), with_values(Config(), {
        "purify.iterations": 10, "purify.embedding": "geometric"}))
    pipeline.replace_map(voxel_map)
    return Mapped(pipeline, part + 1, PARTS)

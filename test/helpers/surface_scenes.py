"""A rough floor with a wall, as scenes for students."""

from __future__ import annotations

import dataclasses

import torch

from geopurify_ros.core.purification.scene import VoxelScene, geometry_channels, student_input
from geopurify_ros.core.purification.sparse_conv import index_of, submanifold_map
from geopurify_ros.core.purification.student import SMALL, StudentNet

D = 20


def surface(count=400, seed=0, features=D):
    """A rough floor with a wall: voxels as a depth camera leaves them."""
    generator = torch.Generator().manual_seed(seed)
    floor = torch.cartesian_prod(torch.arange(30), torch.arange(20), torch.tensor([0]))
    wall = torch.cartesian_prod(torch.tensor([0]), torch.arange(20), torch.arange(1, 16))
    coords = torch.cat((floor, wall))
    coords = coords[torch.randperm(len(coords), generator=generator)[:count]]
    normal = torch.where((coords[:, 2] == 0)[:, None], torch.tensor([0.0, 0, 1]),
                         torch.tensor([1.0, 0, 0]))
    return VoxelScene(
        index_of(coords), coords, (torch.randn((len(coords), features), generator=generator),),
        255 * torch.rand((len(coords), 3), generator=generator), normal,
        torch.tensor([0.0, 0, 1], dtype=torch.float64), 0.05)


def input_of(scene, kind):
    taps = submanifold_map(scene.index, scene.coords)
    return student_input(scene.features, geometry_channels(scene, taps, kind), kind)


def student(shape=SMALL, seed=0):
    torch.manual_seed(seed)
    return StudentNet(shape, shape.in_channels(D)).eval()


def rearranged(scene, order):
    coords = scene.coords[order]
    return dataclasses.replace(
        scene, index=index_of(coords), coords=coords, chunks=(scene.features[order],),
        color=scene.color[order], normal=scene.normal[order])

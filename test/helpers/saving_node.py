"""A mapping node with a heavy map, for tests that save it; as a program it runs until killed."""

from __future__ import annotations

import sys
import tempfile

import rclpy
import torch
from rclpy.executors import SingleThreadedExecutor
from ros_harness import ColorEncoder

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.ros.node import MappingNode


class WideEncoder(ColorEncoder):
    """As wide as CLIP, so that the map is as heavy."""

    feature_dim = 512

    def encode_image(self, rgb):
        grid = super().encode_image(rgb)
        return torch.nn.functional.pad(grid, (0, 0, 0, 0, 0, 509))

    def encode_text(self, texts):
        return torch.nn.functional.pad(super().encode_text(texts), (0, 509))


def fill(voxel_map, count: int) -> None:
    side = round(count ** (1 / 3)) + 1
    coords = torch.cartesian_prod(*(torch.arange(side) for _ in range(3)))[:count] + 100
    features = torch.nn.functional.normalize(torch.rand(count, voxel_map.feature_dim), dim=1)
    voxel_map.integrate(FrameVoxels(
        coords, FeatureBags.of(features), torch.rand(count, 3) * 255,
        torch.nn.functional.normalize(torch.rand(count, 3), dim=1), torch.ones(count)), 1)


def main(num_voxels: int) -> None:
    rclpy.init(args=[])
    config = with_values(Config(), {"map.folder": tempfile.gettempdir()})
    node = MappingNode(config, WideEncoder(), namespace=f"room_{num_voxels}")
    node.trigger_configure()
    fill(node.worker.pipeline.map, num_voxels)
    node.trigger_activate()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.spin()


if __name__ == "__main__":
    main(int(sys.argv[1]))

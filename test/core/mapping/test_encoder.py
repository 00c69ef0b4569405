"""Which images an encoder is handed."""

import numpy as np
import pytest
import torch

from geopurify_ros.config import Config, EncoderConfig
from geopurify_ros.core.mapping.encoder import RgbdEncoder, encode_frame
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.errors import InputError


class Colors:
    """One feature a cell, of colours alone."""

    id, feature_dim, logit_scale = "colors", 4, 1.0

    def __init__(self):
        self.calls = []

    def encode_image(self, rgb):
        self.calls.append(("image", tuple(rgb.shape), float(rgb.max())))
        return torch.ones(1, 4, 3, 4) / 2


class Shapes(Colors):
    """It also takes depth."""

    def encode_rgbd(self, rgb, depth_m, intrinsics):
        self.calls.append(("rgbd", tuple(depth_m.shape), float(intrinsics[0, 0])))
        return torch.ones(1, 4, 3, 4) / 2


def frame():
    rgb = np.full((12, 16, 3), 255, np.uint8)
    depth_m = np.full((12, 16), 2, np.float32)
    return RgbdFrame(rgb, depth_m, np.array([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]]), np.eye(4), 0)


@pytest.mark.parametrize(("encoder", "use_depth", "call"), [
    (Colors(), True, ("image", (1, 3, 12, 16), 1.0)),
    (Shapes(), True, ("rgbd", (12, 16), 20.0)),
    (Shapes(), False, ("image", (1, 3, 12, 16), 1.0))])
def test_depth_goes_to_encoders_that_take_it(encoder, use_depth, call):
    grid = encode_frame(encoder, frame(), "cpu", use_depth)
    assert grid.shape == (1, 4, 3, 4)
    assert encoder.calls == [call]
    assert isinstance(encoder, RgbdEncoder) == isinstance(encoder, Shapes)


@pytest.mark.parametrize("use_depth", [True, False])
def test_the_pipeline_does_as_its_parameter_says(use_depth):
    encoder = Shapes()
    Pipeline(encoder, Config(encoder=EncoderConfig(use_depth=use_depth))).integrate(frame())
    assert [call[0] for call in encoder.calls] == ["rgbd" if use_depth else "image"]


def test_a_grid_of_another_width_is_named():
    class Narrow(Colors):
        def encode_image(self, rgb):
            return torch.ones(1, 3, 3, 4)

    with pytest.raises(InputError, match="feature grid"):
        encode_frame(Narrow(), frame(), "cpu", use_depth=True)

"""The node takes images in the encodings of drivers that know no better."""

from __future__ import annotations

import array

import numpy as np
from ros_harness import running


def test_a_png_of_depth_on_the_plain_topic_and_colour_as_yuv():
    """16-bit PNG keeps every number; webcams send yuv422_yuy2."""
    def bend(rgb, depth, info, tf):
        depth.format = "16UC1; png compressed "
        depth.data = depth.data[12:]
        grey = np.full((48, 64, 2), 128, np.uint8)
        rgb.encoding, rgb.step, rgb.data = "yuv422_yuy2", 0, array.array("B", grey.tobytes())

    with running(**{"camera.depth_transport": "png"}) as harness:
        harness.fuse(bend=bend)
        z_m = harness.node.worker.pipeline.map.centers_m()[:, 2].numpy()
        assert np.allclose(z_m, 2.0, atol=0.06)

"""The legend of pictures."""

import numpy as np
from PIL import Image

from geopurify_ros.core.answers.palette import label_color
from geopurify_ros.data.render import side_by_side

PANEL = Image.new("RGB", (400, 10), "white")


def swatch(picture, number):
    """The middle of the little square of a prompt, in the one row below the panel."""
    return tuple(int(c) for c in np.asarray(picture)[16 + 8, 8 + 150 * number + 6])


def test_the_legend_has_no_colour_for_what_was_not_found():
    picture = side_by_side([[PANEL]], ("chair", "table"), frozenset({"table"}))
    assert swatch(picture, 0) == tuple(label_color(1))
    assert swatch(picture, 1) == (255, 255, 255)
    assert swatch(side_by_side([[PANEL]], ("chair", "table")), 1) == tuple(label_color(2))

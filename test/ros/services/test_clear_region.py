"""~/clear_region over DDS: a box of voxels is gone, and is mapped anew when it is seen again."""

import math

import pytest
from geometry_msgs.msg import Point
from ros_harness import running

from geopurify_ros.srv import ClearRegion


def clear(harness, low, high):
    request = ClearRegion.Request(
        min=Point(x=low[0], y=low[1], z=low[2]), max=Point(x=high[0], y=high[1], z=high[2]))
    return harness.call(ClearRegion, "clear_region", request)


@pytest.mark.slow
def test_voxels_of_a_box_are_removed_and_seen_again():
    with running() as harness:
        harness.fuse()
        voxels = harness.node.worker.pipeline.map
        known, centers = len(voxels), voxels.centers_m()
        low, high = centers.amin(dim=0).tolist(), centers.median(dim=0).values.tolist()
        inside = int(((centers.numpy() >= low) & (centers.numpy() <= high)).all(axis=1).sum())
        response = clear(harness, low, high)
        assert response.success
        assert response.num_voxels == inside > 0
        assert response.message == f"{inside} voxels removed"
        assert len(harness.node.worker.pipeline.map) == known - inside
        nothing = clear(harness, low, high)
        assert nothing.success
        assert nothing.num_voxels == 0
        harness.fuse()
        voxels = harness.node.worker.pipeline.map
        assert len(voxels.rows_inside(tuple(low), tuple(high))) > 0
        known = len(voxels)
        everything = clear(harness, (-math.inf,) * 3, (math.inf,) * 3)
        assert everything.num_voxels == known
        harness.assert_alive()


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), [
    ((0.0, 0.0, 1.0), (1.0, 1.0, 0.5)), ((math.nan, 0.0, 0.0), (1.0, 1.0, 1.0))])
def test_a_box_that_is_none_is_refused_in_a_sentence(low, high):
    with running() as harness:
        harness.fuse()
        known = len(harness.node.worker.pipeline.map)
        response = clear(harness, low, high)
        assert not response.success
        assert "min must not exceed max along any axis" in response.message
        assert len(harness.node.worker.pipeline.map) == known
        harness.assert_alive()

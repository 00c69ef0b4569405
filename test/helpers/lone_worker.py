"""A worker alone, without a graph, on a map of one frame of the box room."""

import time

from box_room import pipeline_of

from geopurify_ros.core.mapping.keyframe import KeyframeGate
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.worker import MappingWorker


class Log(list):
    """Warnings as a list."""

    warning = info = list.append


class Listener:
    def map_changed(self, *_arguments):
        pass

    answered = cleared = catch_up = map_changed
    wants_raw = wants_labels = True
    lacks_labels, camera_m = False, None


def lone_worker():
    """Not started; its warnings are in `log`."""
    pipeline, log = pipeline_of("mean", num_frames=1), Log()
    made = MappingWorker(pipeline, KeyframeGate(pipeline.config.keyframe), FrameCounts(),
                         Reporter(log), Listener())
    made.log = log
    return made


def wait(condition, what):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


class BrokenCard:
    """A device whose every operation raises, as all do after a sticky CUDA error."""

    type = "cuda"

    def __str__(self):
        return "cuda:0"

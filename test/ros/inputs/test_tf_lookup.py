"""tf2_ros and our own buffer say the same, under whatever name /tf has."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from ros_camera import stamp_msg

from geopurify_ros.data.messages.transform_buffer import TransformBuffer
from geopurify_ros.errors import InputError, TransformError
from geopurify_ros.ros.inputs import tf_lookup


class TransformationError(Exception):
    """tf2_ros.TransformException."""


class Buffer:
    """What tf2_ros.Buffer does, with its own words where it fails."""

    def __init__(self):
        self.held = TransformBuffer()

    def set_transform(self, transform, authority, static=False):
        with contextlib.suppress(InputError):  # tf2 writes it to the log
            self.held.set_transform(transform, static)

    def set_transform_static(self, transform, authority):
        self.set_transform(transform, authority, static=True)

    def lookup_transform(self, target, source, time):
        try:
            matrix = self.held.lookup(target, source, time.nanoseconds)
        except TransformError as error:
            words = '"map" passed to lookupTransform argument target_frame does not exist.'
            raise TransformationError(words) from error
        made = TransformStamped()
        made.transform.translation.x, made.transform.rotation.w = matrix[0, 3], 1.0
        return made

    def clear(self):
        self.held.clear()


class Listener:
    """What tf2_ros.TransformListener calls of its buffer."""

    def __init__(self, buffer, node, spin_thread):
        self.buffer = buffer

    def unregister(self):
        pass


class FakeNode:
    """A node whose /tf is remapped."""

    def __init__(self):
        self.callbacks = {}

    def resolve_topic_name(self, name):
        return f"/robot{name}"

    def create_subscription(self, _kind, topic, callback, _qos):
        self.callbacks[topic] = callback


@pytest.fixture
def both(monkeypatch):
    """(listener, send) of tf2 and of our own; `send(transform, static)`."""
    told = []
    stand_in = SimpleNamespace(Buffer=Buffer, TransformListener=Listener,
                               TransformException=TransformationError)
    monkeypatch.setattr(tf_lookup, "tf2_ros", stand_in)
    real = tf_lookup.make_tf_listener(FakeNode(), lambda *a: told.append(("tf2", *a)))
    assert isinstance(real, tf_lookup.Tf2Listener)
    node = FakeNode()
    with monkeypatch.context() as without:
        without.setattr(tf_lookup, "tf2_ros", None)
        own = tf_lookup.make_tf_listener(node, lambda *a: told.append(("own", *a)))

    def send(transform, static=False):
        takes = real._listener.buffer
        (takes.set_transform_static if static else takes.set_transform)(transform, "authority")
        topic = tf_lookup.STATIC_TOPIC if static else tf_lookup.TOPIC
        node.callbacks[topic](SimpleNamespace(transforms=[transform]))

    return SimpleNamespace(real=real, own=own, send=send, told=told)


def link(parent, child, stamp_s=0.0, x=0.0):
    made = TransformStamped(child_frame_id=child)
    made.header.frame_id, made.header.stamp = parent, stamp_msg(round(stamp_s * 1e9))
    made.transform.translation.x, made.transform.rotation.w = x, 1.0
    return made


def failures(both, *where):
    found = []
    for listener in (both.real, both.own):
        with pytest.raises(TransformError) as caught:
            listener.lookup(*where)
        found.append(str(caught.value))
    return found


def test_both_find_the_same(both):
    for k in range(5):
        both.send(link("map", "base", 10.0 + k, x=float(k)))
    both.send(link("base", "camera", x=0.5), static=True)
    for listener in (both.real, both.own):
        pose = listener.lookup("map", "camera", 11_500_000_000)
        assert np.allclose(pose[:3, 3], (2.0, 0, 0))
        assert listener.describe("map", "camera") == "map <- base <- camera"
        assert listener.rates_hz("map", "camera") == {"map <- base": 1.0}


def test_both_name_the_frames_where_the_tree_is_cut(both):
    both.send(link("odom", "base", 1.0))
    real, own = failures(both, "map", "base", 10**9)
    assert real == own == ("no transform connects 'base' to 'map': known are odom <- base and map")
    assert both.real.describe("map", "base") == both.own.describe("map", "base") == own


def test_both_name_the_slow_link_its_rate_and_the_timeout_it_needs(both):
    for k in range(6):
        both.send(link("map", "odom", 100.0 + 2 * k))
    real, own = failures(both, "map", "odom", 111_500_000_000)
    assert real == own
    assert "'map' <- 'odom': asked 1.500 s after the newest transform" in own
    assert "they come at 0.5 Hz" in own
    assert "set pose.timeout_s to 3.0 or more" in own


def test_both_tell_of_clocks_that_differ(both):
    both.send(link("map", "base", 1.7e9))
    real, own = failures(both, "map", "base", 5_000_000_000)
    assert real == own
    assert "different clocks" in own


def test_both_tell_of_bad_transforms_under_the_name_that_the_topic_has(both):
    both.send(link("map", "map", 1.0))
    assert [(who, topic) for who, topic, *_ in both.told] == [("tf2", "/robot/tf"),
                                                              ("own", "/robot/tf")]
    assert both.told[0][2] == both.told[1][2]


def test_transforms_whose_stamps_stay_zero_are_told(both):
    both.send(link("map", "base"))
    assert not both.told, "simulated time may begin at zero"
    both.send(link("map", "base"))
    assert "stamps are zero" in both.told[0][2]

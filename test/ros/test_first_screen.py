"""What a user sees first: a RealSense that publishes another depth topic than the preset reads."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from ros_camera import CAMERA
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from geopurify_ros.ros.tools.private_domain import give_back, isolated_environment

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "geopurify_ros.cli"]
LINES_OF_A_SCREEN = 24


@pytest.fixture
def environment():
    made = isolated_environment()
    yield made
    give_back(int(made["ROS_DOMAIN_ID"]))


@pytest.fixture
def driver(environment):
    """realsense2_camera without align_depth: colour and unaligned depth, 10 Hz."""
    context = Context()
    rclpy.init(args=[], context=context, domain_id=int(environment["ROS_DOMAIN_ID"]))
    node = Node("camera", namespace="/camera", context=context)
    publishers = [
        (node.create_publisher(kind, f"/camera/camera/{topic}", 5), kind)
        for topic, kind in (("color/image_raw", Image), ("color/camera_info", CameraInfo),
                            ("depth/image_rect_raw", Image), ("depth/camera_info", CameraInfo))
    ]
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(0.1):
            header = Header(frame_id=CAMERA, stamp=node.get_clock().now().to_msg())
            for publisher, kind in publishers:
                publisher.publish(kind(header=header))

    thread = threading.Thread(target=publish)
    thread.start()
    yield node
    stop.set()
    thread.join()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_the_first_screen_names_the_wrong_depth_topic(driver, environment):
    node = subprocess.Popen([*COMMAND, "run", "--camera", "realsense"], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    screen: list[str] = []
    wanted = "/camera/camera/aligned_depth_to_color/image_raw: nobody publishes the depth images"
    try:
        for line in node.stdout:
            screen.append(line.rstrip())
            if wanted in line or len(screen) == LINES_OF_A_SCREEN:
                break
        doctor = subprocess.run([*COMMAND, "doctor"], env=environment, capture_output=True,
                                text=True)
    finally:
        node.send_signal(signal.SIGINT)
        node.communicate(timeout=60)
    print("\n$ geopurify run --camera realsense", *screen, "$ geopurify doctor", doctor.stdout,
          sep="\n")
    assert wanted in screen[-1], screen
    assert "/camera/camera/depth/image_rect_raw; choose with depth:=TOPIC" in screen[-1]
    assert node.returncode == 0
    assert doctor.returncode == 1
    assert "/camera/camera/depth/image_rect_raw" in doctor.stdout


def test_the_doctor_takes_less_than_ten_seconds(driver, environment):
    started = time.monotonic()
    done = subprocess.run([*COMMAND, "doctor"], env=environment, capture_output=True, text=True)
    assert time.monotonic() - started < 10
    assert done.returncode == 1
    assert "/camera/camera/color/image_raw" in done.stdout

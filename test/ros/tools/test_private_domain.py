"""Demo and tests take a ROS domain that nobody uses."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from geopurify_ros.errors import GeoPurifyError
from geopurify_ros.ros.tools import private_domain
from geopurify_ros.ros.tools.private_domain import give_back, isolated_environment, take_domain


@pytest.fixture
def only(monkeypatch):
    """Domains that the tests themselves have not taken, few enough to run out of."""
    def choose(*domains: int) -> None:
        monkeypatch.setattr(private_domain, "_DOMAINS", domains)

    return choose


def test_two_never_get_the_same_domain(only):
    only(97, 98)
    taken = {take_domain(), take_domain()}
    try:
        assert taken == {97, 98}
        with pytest.raises(GeoPurifyError, match="in use"):
            take_domain()
    finally:
        for domain in taken:
            give_back(domain)
    give_back(take_domain())


def test_a_domain_with_an_open_socket_is_in_use(only):
    """As a participant of DDS opens it on any interface, here the loopback one."""
    only(97, 98)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("127.0.0.1", 7400 + 250 * 97 + 10))
        for _ in range(5):
            domain = take_domain()
            give_back(domain)
            assert domain == 98


def test_a_ros_graph_of_another_process_is_seen(only):
    program = ("import rclpy; rclpy.init(domain_id=98); n = rclpy.create_node('robot'); "
               "print('up', flush=True); input()")
    robot = subprocess.Popen([sys.executable, "-c", program], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert robot.stdout.readline() == "up\n"
        only(97, 98)
        for _ in range(5):
            domain = take_domain()
            give_back(domain)
            assert domain == 97
    finally:
        robot.communicate("\n")


def test_a_process_that_ended_holds_nothing(only):
    only(97)
    subprocess.run([sys.executable, "-c", (
        "from geopurify_ros.ros.tools import private_domain; "
        "private_domain._DOMAINS = (97,); assert private_domain.take_domain() == 97"
    )], check=True)
    domain = take_domain()
    give_back(domain)
    assert domain == 97


def test_the_user_may_choose_the_domain_of_the_demo(monkeypatch):
    monkeypatch.setenv("GEOPURIFY_DEMO_DOMAIN", "42")
    made = isolated_environment()
    assert made["ROS_DOMAIN_ID"] == "42"
    assert made["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"

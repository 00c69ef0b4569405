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
def two() -> tuple[int, int]:
    """Domains that nobody has, be it another test of this process that never gives back."""
    free = take_domain(), take_domain()
    for domain in free:
        give_back(domain)
    return free


@pytest.fixture
def only(monkeypatch):
    """As few domains as one can run out of."""
    def choose(*domains: int) -> None:
        monkeypatch.setattr(private_domain, "_DOMAINS", domains)

    return choose


def test_two_never_get_the_same_domain(only, two):
    only(*two)
    taken = {take_domain(), take_domain()}
    try:
        assert taken == set(two)
        with pytest.raises(GeoPurifyError, match="in use"):
            take_domain()
    finally:
        for domain in taken:
            give_back(domain)
    give_back(take_domain())


def test_a_domain_with_an_open_socket_is_in_use(only, two):
    """As a participant of DDS opens it on any interface, here the loopback one."""
    only(*two)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("127.0.0.1", 7400 + 250 * two[0] + 10))
        for _ in range(5):
            domain = take_domain()
            give_back(domain)
            assert domain == two[1]


def test_a_ros_graph_of_another_process_is_seen(only, two):
    program = (f"import rclpy; rclpy.init(domain_id={two[1]}); n = rclpy.create_node('robot'); "
               "print('up', flush=True); input()")
    robot = subprocess.Popen([sys.executable, "-c", program], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert robot.stdout.readline() == "up\n"
        only(*two)
        for _ in range(5):
            domain = take_domain()
            give_back(domain)
            assert domain == two[0]
    finally:
        robot.communicate("\n")


def test_a_process_that_ended_holds_nothing(only, two):
    only(two[0])
    subprocess.run([sys.executable, "-c", (
        "from geopurify_ros.ros.tools import private_domain; "
        f"private_domain._DOMAINS = ({two[0]},); "
        f"assert private_domain.take_domain() == {two[0]}"
    )], check=True)
    domain = take_domain()
    give_back(domain)
    assert domain == two[0]


def test_the_user_may_choose_the_domain_of_the_demo(monkeypatch):
    monkeypatch.setenv("GEOPURIFY_DEMO_DOMAIN", "42")
    made = isolated_environment()
    assert made["ROS_DOMAIN_ID"] == "42"
    assert made["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"

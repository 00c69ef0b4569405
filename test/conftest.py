"""Shared set-up: helper modules of this folder, and a ROS graph and caches of our own."""

import os
import sys
from pathlib import Path

import pytest

from geopurify_ros.ros.tools.private_domain import take_domain

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch, see geopurify_ros/threads.py
sys.path.insert(0, str(Path(__file__).parent / "helpers"))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(take_domain())


def pytest_addoption(parser):
    """Longer runs of tests that `make test` runs in short; BENCHMARK.md has their figures."""
    parser.addoption("--fuzz", type=int, default=500, help="hypothesis examples per input type")
    parser.addoption("--kills", type=int, default=5, help="kill -9 during that many saves")
    parser.addoption("--soak-s", type=float, default=90.0, help="seconds of the soak test")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Text embeddings of tests never reach the user's cache."""
    os.environ["GEOPURIFY_CACHE"] = str(tmp_path_factory.mktemp("cache"))

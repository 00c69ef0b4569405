"""A ROS graph of one's own: demo and tests never touch a live robot or each other."""

from __future__ import annotations

import os

# Above 101 the UDP ports of DDS reach into those that Linux hands out to clients.
_NUM_DOMAINS = 101


def isolated_environment() -> dict[str, str]:
    """The environment for child processes: this machine only, and a domain by process id."""
    domain = os.environ.get("GEOPURIFY_DEMO_DOMAIN") or str(1 + os.getpid() % _NUM_DOMAINS)
    return {
        **os.environ,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": domain,
    }

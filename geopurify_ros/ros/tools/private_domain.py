"""A ROS graph of one's own: demo and tests never touch a live robot or each other."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
from pathlib import Path
from typing import IO

from geopurify_ros.errors import GeoPurifyError

# Above 101 the UDP ports of DDS reach into those that Linux hands out to clients.
_DOMAINS = range(1, 102)
# Ports of a domain: base + gain * domain and the 249 behind it (DDSI-RTPS 9.6.2).
_PORT_BASE, _DOMAIN_GAIN = 7400, 250

_held: dict[int, IO[str]] = {}  # locks of the domains that this process has taken


def take_domain() -> int:
    """The number of a ROS domain that nobody on this machine uses, until `give_back`.

    Nobody: no socket is open on its ports, and no other process has taken it in this way.

    Raises:
        GeoPurifyError: all are in use.
    """
    busy = {(port - _PORT_BASE) // _DOMAIN_GAIN for port in _udp_ports()}
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        if domain not in busy and domain not in _held and _lock(domain):
            return domain
    raise GeoPurifyError("all ROS domains of this machine are in use: end some ROS processes")


def give_back(domain: int) -> None:
    """Let others have a domain that `take_domain` returned."""
    _held.pop(domain).close()


def _lock(domain: int) -> bool:
    path = Path(tempfile.gettempdir()) / f"geopurify_domain_{domain}.lock"
    try:
        handle = path.open("w")
    except OSError:  # another user's
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return False
    _held[domain] = handle
    return True


def _udp_ports() -> set[int]:
    """Ports of this machine that sockets are bound to; empty where the system does not tell."""
    ports = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        ports |= {int(row.split()[1].rpartition(":")[2], 16) for row in rows}
    return ports


def isolated_environment() -> dict[str, str]:
    """The environment for child processes: this machine only, and a domain that nobody uses."""
    domain = os.environ.get("GEOPURIFY_DEMO_DOMAIN") or str(take_domain())
    return {
        **os.environ,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": domain,
    }

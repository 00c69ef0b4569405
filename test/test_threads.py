"""torch must find the wait policy in place when it is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import geopurify_ros.cli as cli
assert "torch" not in sys.modules, "the command line must not import torch by itself"
assert cli.main(["eval", "/nowhere"]) == 2
assert "torch" in sys.modules
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


def policy(**environment: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True,
                          env={**environment}, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_idle_threads_spin_briefly_unless_the_user_says_otherwise():
    assert policy() == "None 10000"
    assert policy(OMP_WAIT_POLICY="ACTIVE") == "ACTIVE None"
    assert policy(GOMP_SPINCOUNT="5") == "None 5"

"""Lets torch share the processor with the rest of the robot."""

import os

# About ten microseconds: longer than the gap between two steps of a stage, far shorter than the
# time slice that another process takes.
_SPINS = "10000"


def wait_briefly() -> None:
    """Make idle OpenMP threads spin for a moment, then sleep; call it before torch is imported.

    By default they spin for milliseconds and steal the time of the thread they wait for as soon
    as other processes want the cores: single stages took up to 50 times longer. Without any
    spinning, waking them makes short stages three times slower (BENCHMARK.md). What the user set
    is kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)

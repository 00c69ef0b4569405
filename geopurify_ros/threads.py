"""Lets torch share the processor with the rest of the robot."""

import os


def wait_passively() -> None:
    """Make idle OpenMP threads sleep instead of spin; call it before torch is imported.

    Spinning threads steal the time of the one they wait for as soon as other processes want the
    cores: with both of two cores busy elsewhere, single stages took up to 50 times longer
    (BENCHMARK.md). A value that the user set is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

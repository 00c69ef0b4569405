"""The number type of the image tower: asked of the processor, tried for a moment, remembered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from geopurify_ros.encoders import precision
from geopurify_ros.encoders.precision import faster_dtype, measured_dtype, pick_dtype

CPU = torch.device("cpu")
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def spend(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Machine:
    """A trial whose calls take the given processor time; it notes what was tried."""

    def __init__(self, float32_s: float, bfloat16_s: float, small: float = 0.1) -> None:
        self.seconds = {torch.float32: float32_s, torch.bfloat16: bfloat16_s}
        self.small = small
        self.calls: list[tuple[torch.dtype, int]] = []

    def __call__(self, dtype, side_px):
        def call() -> None:
            self.calls.append((dtype, side_px))
            share = 1.0 if side_px == precision.TRIAL_PX else self.small
            spend(self.seconds[dtype] * share)

        return call


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GEOPURIFY_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("float32_s", "bfloat16_s", "expected"), [
    (1.0, 0.3, torch.bfloat16),
    (1.0, 0.79, torch.bfloat16),
    (1.0, 0.81, torch.float32),  # not worth the digits
    (1.0, 8.0, torch.float32),
])
def test_the_number_type_follows_from_two_measurements(float32_s, bfloat16_s, expected):
    assert faster_dtype(float32_s, bfloat16_s) == expected


def test_a_processor_without_bfloat16_is_never_asked_to_try_it(monkeypatch, own_cache):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert pick_dtype("a", Machine(1e-3, 1e-4), CPU) == torch.float32
    assert not list(own_cache.iterdir()), "nothing was measured, so nothing is remembered"


@pytest.mark.slow
def test_forced_to_avx2_the_processor_has_no_bfloat16():
    """Also where ATen alone, or oneDNN alone, is told so."""
    for forced in (AVX2, *({name: value} for name, value in AVX2.items())):
        said = subprocess.run(
            [sys.executable, "-c", "from geopurify_ros.encoders.precision import has_bfloat16; "
             "print(has_bfloat16())"],
            env={**os.environ, **forced}, capture_output=True, text=True, check=True,
        ).stdout
        assert said.strip() == "False", forced


def test_a_hopeless_type_is_given_up_after_a_small_image():
    machine = Machine(0.02, 2.0, small=0.1)  # as with AVX2: a large image takes seconds
    start = time.process_time()
    assert measured_dtype(machine) == torch.float32
    assert time.process_time() - start < 2.0
    assert {side for _, side in machine.calls} == {precision.GLANCE_PX}


def test_a_slow_machine_decides_within_two_seconds_of_processor_time():
    """Two images of each type at the least, three where they take 0.2 s."""
    machine = Machine(0.2, 0.1, small=0.02)
    start = time.process_time()
    assert measured_dtype(machine) == torch.bfloat16
    assert time.process_time() - start < 2.0


def test_what_was_measured_is_remembered_for_encoder_and_machine(monkeypatch, own_cache):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    first, again, other = Machine(2e-3, 1e-3), Machine(1e-3, 2e-3), Machine(1e-3, 2e-3)
    assert pick_dtype("a", first, CPU) == torch.bfloat16
    assert pick_dtype("a", again, CPU) == torch.bfloat16
    assert not again.calls
    assert pick_dtype("b", other, CPU) == torch.float32
    monkeypatch.setattr(precision, "processor", lambda: "another one")
    assert pick_dtype("a", again, CPU) == torch.float32, "a home folder may be shared"


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"dtype": 3}', b'{"dtype": "int8"}', b"\xff"]
)
def test_a_damaged_memory_is_measured_anew(monkeypatch, own_cache, damage):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    pick_dtype("a", Machine(2e-3, 1e-3), CPU)
    (file,) = own_cache.iterdir()
    assert json.loads(file.read_text()) == {"dtype": "bfloat16"}
    file.write_bytes(damage)
    assert pick_dtype("a", Machine(1e-3, 2e-3), CPU) == torch.float32


def test_a_cache_that_cannot_be_written_is_only_slower(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GEOPURIFY_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    assert pick_dtype("a", Machine(2e-3, 1e-3), CPU) == torch.bfloat16


def test_only_a_cpu_is_measured():
    machine = Machine(1.0, 0.1)
    assert pick_dtype("a", machine, torch.device("cuda")) == torch.float16
    assert pick_dtype("a", machine, torch.device("mps")) == torch.float32
    assert not machine.calls

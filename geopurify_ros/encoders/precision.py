"""Which number type is faster on this machine: asked of the processor, then tried for a moment.

bfloat16 is 1.5 to 4 times as fast as float32 on processors with instructions for it, and twenty
times slower on those with AVX2 alone (docs/encoders.md), where it is not even tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from geopurify_ros.encoders.text_cache import cache_folder
from geopurify_ros.errors import ConfigError

_WORTH_IT = 0.8  # bfloat16 rounds to three digits: it must earn that
_HOPELESS = 3.0  # times slower in a small image: the large one would only cost time
_TRIALS = 6  # in turns: a busy moment must not decide
_BUDGET_S = 1.0  # of processor time, for the trials after the first ones
GLANCE_PX, TRIAL_PX = 64, 320  # sides of the small and of the large image

NUMBER_TYPES = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16
}  # fmt: skip

Call = Callable[[], object]
# the encoder in a number type on an image of so many pixels a side
Trial = Callable[[torch.dtype, int], Call]

_log = logging.getLogger(__name__)


def asked_dtype(text: str) -> torch.dtype | None:
    """The number type of parameter `encoder.dtype`; None for "auto": see `pick_dtype`.

    Raises:
        ConfigError: no such type.
    """
    if text != "auto" and text not in NUMBER_TYPES:
        choices = ", ".join(("auto", *NUMBER_TYPES))
        raise ConfigError(f"encoder.dtype is {text!r}, expected one of {choices}")
    return NUMBER_TYPES.get(text)


@torch.inference_mode()
def tried(
    name: str, dtype: torch.dtype, device: torch.device, encode: Callable[[], Tensor]
) -> Tensor:
    """The features that `encode` makes in a number type that was asked for.

    Raises:
        ConfigError: the device cannot compute in it, or the features are not finite.
    """
    try:
        features = encode()
        if not bool(torch.isfinite(features).all()):
            raise RuntimeError("its features are not finite")
    except (RuntimeError, TypeError) as error:  # an operator or a type that the device lacks
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the encoder {name} cannot compute in {_name(dtype)} on {device} ({reason}): "
            "set encoder.dtype to auto"
        ) from error
    return features


def ramp(
    dtype: torch.dtype, side_px: int = GLANCE_PX, device: torch.device | None = None
) -> Tensor:  # (1, 3, side, side)
    """A picture to try with, from 0 to 1."""
    picture = torch.linspace(0, 1, 3 * side_px * side_px, device=device)
    return picture.view(1, 3, side_px, side_px).to(dtype)


def pick_dtype(name: str, trial: Trial, device: torch.device) -> torch.dtype:
    """The number type for the image tower of the encoder `name`.

    float16 on CUDA, float32 on other accelerators. On a CPU bfloat16 where the processor has it
    and it saves a fifth of the time; what was measured is remembered for this machine.
    """
    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu" or not has_bfloat16():
        return torch.float32
    path = cache_folder() / f"number-type-{_key(name)}.json"
    remembered = _read(path)
    if remembered is not None:
        return remembered
    start = time.process_time()
    picked = measured_dtype(trial)
    _log.info("%s measured for %s in %.1f s", picked, name, time.process_time() - start)
    _write(path, picked)
    return picked


def has_bfloat16() -> bool:
    """Whether oneDNN may use instructions for bfloat16 here (flags and ONEDNN_MAX_CPU_ISA)."""
    try:
        supported = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return False
    return supported and torch.backends.cpu.get_cpu_capability() != "AVX2"


@torch.inference_mode()
def measured_dtype(trial: Trial) -> torch.dtype:
    """Try both types: a small image first, which ends it where bfloat16 is hopeless."""
    types = (torch.float32, torch.bfloat16)
    float32_s, bfloat16_s = least_seconds(*(trial(t, GLANCE_PX) for t in types), repeats=2)
    if bfloat16_s > _HOPELESS * float32_s:
        return torch.float32
    return faster_dtype(*least_seconds(*(trial(t, TRIAL_PX) for t in types), repeats=_TRIALS))


def faster_dtype(float32_s: float, bfloat16_s: float) -> torch.dtype:
    """bfloat16 where it saves at least a fifth of the time."""
    return torch.bfloat16 if bfloat16_s < _WORTH_IT * float32_s else torch.float32


def least_seconds(*calls: Call, repeats: int = 2) -> list[float]:
    """Least processor time of each call, in turns after one to warm up.

    At most `repeats` turns, fewer once they have taken a second.
    """
    for call in calls:
        call()
    seconds: list[list[float]] = [[] for _ in calls]
    end = time.process_time() + _BUDGET_S
    for _ in range(repeats):
        for call, found in zip(calls, seconds, strict=True):
            start = time.process_time()
            call()
            found.append(time.process_time() - start)
        if time.process_time() > end:
            break
    return [min(found) for found in seconds]


def _key(name: str) -> str:
    """Another encoder, processor, torch or number of threads is measured anew."""
    facts = [name, processor(), torch.backends.cpu.get_cpu_capability(), torch.__version__,
             torch.get_num_threads(), os.environ.get("ONEDNN_MAX_CPU_ISA", "")]  # fmt: skip
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def processor() -> str:
    """Name and abilities of the processor, empty where the system does not tell."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line.strip() for line in file]
    except OSError:
        return ""
    told = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(told)))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _read(path: Path) -> torch.dtype | None:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    try:
        return known.get(json.loads(path.read_text())["dtype"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there or not whole: measured again


def _write(path: Path, picked: torch.dtype) -> None:
    """Whole or not at all; where it cannot be written it is measured at the next start."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            part.write_text(json.dumps({"dtype": _name(picked)}))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

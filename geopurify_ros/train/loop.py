"""A training loop that can be cut off at any moment and goes on as if nothing had happened.

Randomness must come from (seed, step), never from a generator that lives across steps.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from geopurify_ros.errors import ConfigError, InputError

Step = Callable[[int], dict[str, float]]


def run(
    out: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: Step,
    num_steps: int,
    settings: dict[str, Any],
    every: int = 100,
) -> list[dict[str, float]]:
    """Call `step` until `num_steps`, keeping state.pt and metrics.json in `out` up to date.

    Args:
        out: folder; what it holds of the same settings is continued.
        model: its weights and buffers are kept.
        optimizer: its state is kept.
        step: does step number k, returns figures; their means are kept.
        num_steps: in all.
        settings: what must not differ when going on, but for "steps"; written to metrics.json.
        every: steps between two notes and saves.

    Returns:
        Mean figures of every stretch, each with its last "step".

    Raises:
        InputError: a figure is not finite, or the folder cannot be continued.
    """
    out.mkdir(parents=True, exist_ok=True)
    start, curve = _continued(out, model, optimizer, settings)
    sums: dict[str, float] = {}
    bar = tqdm(range(start, num_steps), initial=start, total=num_steps, unit="step")
    for number in bar:
        for name, value in step(number).items():
            sums[name] = sums.get(name, 0.0) + value
            if not math.isfinite(value):
                raise InputError(
                    f"step {number}: {name} is {value}; {out} keeps the state before, "
                    "try a lower learning rate"
                )
        if (number + 1) % every == 0 or number + 1 == num_steps:
            length = (number % every) + 1
            curve.append(
                {"step": number + 1, **{k: round(v / length, 6) for k, v in sums.items()}}
            )
            bar.set_postfix({k: f"{v / length:.3f}" for k, v in sums.items()})
            sums = {}
            _save(out, model, optimizer, settings, number + 1, curve)
    return curve


def warm_cosine(number: int, num_steps: int, warm: int) -> float:
    """Factor of the learning rate: rises over `warm` steps, then falls to zero as a cosine."""
    if number < warm:
        return (number + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (number - warm) / max(num_steps - warm, 1)))


def check_steps(num_steps: int) -> None:
    """Raise ConfigError unless there is at least one step."""
    if num_steps < 1:
        raise ConfigError(f"steps is {num_steps}, expected 1 or more")


def _continued(
    out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> tuple[int, list[dict[str, float]]]:
    path = out / "state.pt"
    if not path.exists():
        return 0, []
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}): remove it to start anew") from error
    if state["settings"] != _fixed(settings):
        raise InputError(f"{out} holds a training of other settings: choose another folder")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), list(json.loads(state["curve"]))


def _fixed(settings: dict[str, Any]) -> str:
    """All settings but the number of steps: a training may be ended sooner, or go on longer."""
    return json.dumps({k: v for k, v in settings.items() if k != "steps"}, sort_keys=True)


def _save(
    out: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
    step: int,
    curve: list[dict[str, float]],
) -> None:
    state = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
        "settings": _fixed(settings), "curve": json.dumps(curve),
    }  # fmt: skip
    fresh = out / "state.tmp"
    torch.save(state, fresh)
    os.replace(fresh, out / "state.pt")
    text = json.dumps({"settings": settings, "step": step, "curve": curve}, indent=1)
    (out / "metrics.json").write_text(text + "\n")

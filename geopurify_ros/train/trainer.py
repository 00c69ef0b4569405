"""The one training loop: warm-up and cosine in steps, seeded, resumable, curves on disk."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from geopurify_ros.data.output_files import write_report
from geopurify_ros.data.tensor_file import SafetensorError, read_tensors, write_tensors
from geopurify_ros.errors import ConfigError, InputError
from geopurify_ros.train.curves import draw_curves
from geopurify_ros.train.folder_lock import one_at_a_time

_KIND = "geopurify_training"
_WARMUP_START = 1e-6  # share of the learning rate at step 0 (METHODS 1.6)
_FINAL_SHARE = 1e-3  # of the base learning rate, the floor of all groups


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        steps: of the whole run.
        warmup: of them, linear.
        base_lr: learning rate of a group of multiplier 1.
        weight_decay: of AdamW.
        seed: of everything random in the run.
        clip_norm: length to which a longer gradient is cut; 0 leaves all as they are.
    """

    steps: int = 2000
    warmup: int = 40
    base_lr: float = 1e-3
    weight_decay: float = 1e-5
    seed: int = 0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        """Check the number of steps."""
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}, expected 1 or more")

    def learning_rate(self, step: int, multiplier: float) -> float:
        """Linear from 1e-6 of the peak, then cosine to 1e-3 of the base rate (T1.10)."""
        peak, floor = self.base_lr * multiplier, self.base_lr * _FINAL_SHARE
        if step < self.warmup:
            return peak * (_WARMUP_START + (1 - _WARMUP_START) * step / self.warmup)
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Task(Protocol):
    """What is trained."""

    @property
    def net(self) -> nn.Module:
        """Holds everything that a resumed run must find again."""
        ...

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Multipliers of the learning rate and their parameters."""
        ...

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step and what to log; a function of the weights, step and generator alone."""
        ...

    def after_step(self, step: int) -> None:
        """Whatever follows the optimizer, such as a moving average."""
        ...

    def where(self, step: int) -> str:
        """The scene of a step, for error messages."""
        ...


def fit(
    task: Task, schedule: Schedule, out: Path, settings: dict[str, Any],
    save_every: int = 100, stop_after: int | None = None,
) -> list[dict[str, float]]:
    """Train to the end, or go on where an interrupted run in `out` was last saved.

    Args:
        task: what to train.
        schedule: how.
        out: folder for progress.safetensors, metrics.json and curves.png.
        settings: whatever else the result depends on; another run's are refused. The number of
            steps may change: a run may be ended sooner, though not before what it has, or go on
            longer.
        save_every: steps between saves; a resumed run repeats what came after the last one.
        stop_after: end early, as an interrupt would (tests).

    Returns:
        One dictionary per step: loss, learning rate and what the task logs.

    Raises:
        InputError: the loss is not finite, `out` holds another run or one of more steps, or
            another process is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(out):
        return _fit(task, schedule, out, settings, save_every, stop_after)


def _fit(
    task: Task, schedule: Schedule, out: Path, settings: dict[str, Any], save_every: int,
    stop_after: int | None,
) -> list[dict[str, float]]:
    multipliers, groups = zip(*task.groups(), strict=True)
    optimizer = torch.optim.AdamW(
        [{"params": group} for group in groups], schedule.base_lr,
        weight_decay=schedule.weight_decay, fused=True,
    )
    known = {"schedule": asdict(schedule), **settings}
    history = _resume(out / "progress.safetensors", task.net, optimizer, known)
    if len(history) > schedule.steps:
        raise InputError(
            f"{out} holds a training of {len(history)} steps, more than the {schedule.steps} that "
            "are asked for: ask for as many, or choose another folder"
        )
    steps = range(len(history), min(schedule.steps, stop_after or schedule.steps))
    task.net.train()
    bar = tqdm(steps, desc="train", unit="step", initial=len(history), total=schedule.steps)
    for step in bar:
        for group, multiplier in zip(optimizer.param_groups, multipliers, strict=True):
            group["lr"] = schedule.learning_rate(step, multiplier)
        generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        loss, logged = task.loss(step, generator)
        if not bool(torch.isfinite(loss)):
            raise InputError(
                f"the loss is not finite at step {step}, {task.where(step)}; {out} keeps what was "
                "saved before"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if schedule.clip_norm:
            nn.utils.clip_grad_norm_(task.net.parameters(), schedule.clip_norm)
        optimizer.step()
        task.after_step(step)
        history.append({"loss": loss.item(), "learning_rate": schedule.learning_rate(step, 1.0),
                        **logged})
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if (step + 1) % save_every == 0 or step + 1 == schedule.steps:
            _save(out, task.net, optimizer, known, history)
    task.net.eval()
    return history


def recent(history: list[dict[str, float]], steps: int = 50) -> dict[str, float]:
    """Mean figures of the last steps."""
    last = history[-steps:]
    return {name: round(sum(entry[name] for entry in last) / len(last), 5) for name in last[-1]}


def trained_weights(out: Path) -> dict[str, Tensor]:
    """The weights that `fit` saved last.

    Raises:
        InputError: there are none, or the file is damaged.
    """
    return _weights(_trained(out)[0])


def trained_settings(out: Path) -> dict[str, Any]:
    """How the weights that `fit` saved last were trained.

    Raises:
        InputError: there are none, or the file is damaged.
    """
    settings: dict[str, Any] = _trained(out)[1]["settings"]
    return settings


def _trained(out: Path) -> tuple[dict[str, Tensor], Any]:
    content = _read(out / "progress.safetensors")
    if content is None:
        raise InputError(f"{out} holds no training")
    return content


def _save(
    out: Path, net: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any],
    history: list[dict[str, float]],
) -> None:
    tensors = {f"net.{name}": t.detach().cpu() for name, t in net.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value).cpu()
    tensors = {name: t.contiguous().clone() for name, t in tensors.items()}
    header = {"settings": settings, "history": history}
    try:
        write_tensors(out / "progress.safetensors", tensors, _KIND, header)
        write_report(out / "metrics.json", {"settings": settings, "steps": history})
    except (OSError, SafetensorError) as error:
        raise InputError(f"the progress could not be written to {out}: {error}") from error
    draw_curves(history, out / "curves.png")


def _resume(
    path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> list[dict[str, float]]:
    content = _read(path)
    if content is None:
        return []
    tensors, header = content
    # through JSON, as what was saved went
    if _without_steps(header["settings"]) != _without_steps(json.loads(json.dumps(settings))):
        raise InputError(f"{path} is of a run with other settings: choose another folder")
    net.load_state_dict(_weights(tensors))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = _laid_out_as(parameters[int(number)], tensor)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    history: list[dict[str, float]] = header["history"]
    return history


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """A copy in the memory order of its parameter: the fused AdamW goes through both as one."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter).copy_(value)


def _read(path: Path) -> tuple[dict[str, Tensor], Any] | None:
    if not path.exists():
        return None
    try:
        content = read_tensors(path, _KIND)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} is damaged: choose another folder") from error
    if content is None:
        raise InputError(f"{path} is no training: choose another folder")
    return content


def _weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[4:]: t for name, t in tensors.items() if name.startswith("net.")}


def _without_steps(settings: dict[str, Any]) -> dict[str, Any]:
    """The warm-up goes with the number of steps; a run may name its schedule once more."""
    return {
        name: _without_steps(value) if isinstance(value, dict)
        else None if name in ("steps", "warmup") else value
        for name, value in settings.items()
    }

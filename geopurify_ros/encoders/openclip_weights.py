"""Where the weights of an open_clip model come from: a file, the local cache, or the hub.

The cache is looked at first and without the network; the hub is asked for a sign of life before
anything is fetched. Left alone, its client retries for half a minute before it says that there
is no network.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geopurify_ros.errors import CheckpointError

_PROBE_S = 4.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """A file of weights, and what open_clip's table knows about them (means, activation)."""

    path: Path
    id: str
    tag_config: dict[str, Any]


def find_weights(model_name: str, pretrained: str) -> Weights:
    """The weights of a tag, or of a checkpoint path.

    Raises:
        CheckpointError: neither a file nor a tag, or a tag that cannot be had.
    """
    from open_clip import list_pretrained_tags_by_model
    from open_clip.pretrained import get_pretrained_cfg

    path = Path(pretrained).expanduser()
    if path.is_file():
        return Weights(path, f"{path.name}@{_digest(path)}", _normalization_of(model_name))
    config = get_pretrained_cfg(model_name, pretrained)
    if not config:
        tags = list_pretrained_tags_by_model(model_name)
        known = f"its tags are {', '.join(tags)}" if tags else "it has no tags"
        raise CheckpointError(
            f"'{pretrained}' is neither a file nor a tag of {model_name}; {known}"
        )
    found = _in_cache(config) or _fetched(model_name, pretrained, config)
    return Weights(found, pretrained, config)


def _digest(path: Path) -> str:
    """The content: another file of this name must not pass for the same encoder."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


def _normalization_of(model_name: str) -> dict[str, Any]:
    """Mean and std that the tags of a model agree on: a file does not say its own.

    MobileCLIP takes plain 0..1, and would be off by far under open_clip's default.
    """
    from open_clip import list_pretrained_tags_by_model
    from open_clip.pretrained import get_pretrained_cfg

    tags = list_pretrained_tags_by_model(model_name)
    configs = [get_pretrained_cfg(model_name, tag) for tag in tags]
    kinds = {(config["mean"], config["std"]) for config in configs}
    if len(kinds) == 1:
        mean, std = kinds.pop()
        return {"mean": mean, "std": std}
    if kinds:
        _log.warning(
            "The tags of %s differ in mean and std; OpenAI's are used for the file", model_name
        )
    return {}


def _in_cache(config: dict[str, Any]) -> Path | None:
    from huggingface_hub import constants, try_to_load_from_cache

    repository, names = _hub_files(config)
    for name in names:
        found = try_to_load_from_cache(repository, name, cache_dir=constants.HF_HUB_CACHE)
        if isinstance(found, str):
            return Path(found)
    return None


def _hub_files(config: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Repository and file names, in the order in which open_clip tries them."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, _, name = config["hf_hub"].rpartition("/")
    if not name:
        return repository, (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    return repository, (str(Path(name).with_suffix(".safetensors")), name)


def _fetched(model_name: str, tag: str, config: dict[str, Any]) -> Path:
    from huggingface_hub import constants
    from open_clip.pretrained import download_pretrained

    missing = f"the weights '{tag}' of {model_name} are not in {constants.HF_HUB_CACHE} and "
    repository, names = _hub_files(config)
    remedy = (
        f"; on a machine with internet run 'hf download {repository} {names[0]}' and copy its "
        f"cache folder here, or name a checkpoint file (open_clip:{model_name}:<path>), or use "
        "the encoder builtin"
    )
    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(f"{missing}HF_HUB_OFFLINE forbids fetching them{remedy}")
    if not _hub_answers():
        raise CheckpointError(f"{missing}{constants.ENDPOINT} cannot be reached{remedy}")
    _log.info("Fetching %s of %s from %s", tag, model_name, constants.ENDPOINT)
    try:
        return Path(download_pretrained(config))
    except Exception as error:  # of the network, the disk, the hub's client
        raise CheckpointError(
            f"{missing}fetching them failed ({type(error).__name__}){remedy}"
        ) from error


def _hub_answers() -> bool:
    """Any answer counts. A thread, because looking a name up has no time limit of its own."""
    from huggingface_hub import constants, get_session

    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(Exception):  # whatever it is: no answer
            get_session().head(constants.ENDPOINT, timeout=_PROBE_S)
            answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_S)
    return answered.is_set()

"""The directions that an encoder's features use, in a file beside its weights."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from geopurify_ros.errors import CheckpointError

BASIS_KIND = "geopurify_basis"  # key in the header
TENSOR = "basis"


def basis_path(weights: Path) -> Path:
    """Where the basis of an encoder file lies: NAME_basis beside NAME_encoder."""
    return weights.with_name(f"{weights.stem.removesuffix('_encoder')}_basis.safetensors")


def read_basis(path: Path, encoder_id: str, feature_dim: int) -> Tensor | None:  # (D, r) float32
    """The basis of an encoder, which `geopurify train basis` made; None if there is no file.

    Raises:
        CheckpointError: damaged, or of another encoder.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[BASIS_KIND])
            basis: Tensor = file.get_tensor(TENSOR)
        encoder = header["encoder"]
    except (OSError, LookupError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"the basis {path} cannot be read ({error}): install the package again"
        ) from error
    if encoder != encoder_id or basis.shape[0] != feature_dim:
        raise CheckpointError(
            f"the basis {path} is of encoder {encoder}, not {encoder_id}: make it anew with "
            "`geopurify train basis`, or take it away"
        )
    return basis

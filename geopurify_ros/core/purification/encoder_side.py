"""What an encoder brings to purification: a basis and a vocabulary, where it has them."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from geopurify_ros.core.mapping.encoder import Based, ImageTextEncoder, Vocabulary
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.purification.basis import (
    ALL,
    ENCODER,
    FEWEST_VOXELS,
    MAP,
    FeatureBasis,
    checked,
)
from geopurify_ros.core.purification.purified import Patch, Purified


class EncoderSide:
    """The encoder of a pipeline, as purification sees it."""

    def __init__(self, encoder: ImageTextEncoder, device: torch.device) -> None:
        """For maps on `device`.

        Raises:
            InputError: the encoder's basis is none, or of another width than its features.
        """
        self._encoder, self._device = encoder, device
        self._vectors: Tensor | None = None
        self._lock = threading.Lock()
        self._basis: FeatureBasis | None = None
        if isinstance(encoder, Based):
            vectors = checked(encoder.basis, encoder.feature_dim).to(device)
            self._basis = FeatureBasis(vectors, ENCODER)

    @property
    def names(self) -> tuple[str, ...]:
        """The encoder's vocabulary; empty: it has none."""
        return self._encoder.vocabulary if isinstance(self._encoder, Vocabulary) else ()

    @property
    def vocabulary(self) -> Tensor | None:  # (A, D)
        """Vectors of the names, None where there are none; encoded once, by who comes first."""
        with self._lock:
            if self._vectors is None and self.names:
                vectors = self._encoder.encode_text(self.names)
                self._vectors = vectors.to(self._device, torch.float32)
            return self._vectors

    def basis_of(self, voxels: VoxelMap) -> FeatureBasis | None:
        """The basis of a map so far: its own, else that of the encoder."""
        if voxels.basis is None:
            return self._basis
        rows, rank = voxels.basis.shape
        return FeatureBasis(voxels.basis, ALL if rows == rank else MAP)

    def settle(self, voxels: VoxelMap, made: Purified | Patch | None) -> str:
        """Let a map keep the basis that it was purified in; returns what is new about it."""
        if not isinstance(made, Purified):
            return ""
        before = self.basis_of(voxels)
        is_known = before is not None and before.vectors is made.basis.vectors
        if is_known or len(made) < FEWEST_VOXELS:
            return ""
        voxels.basis = made.basis.vectors
        kept = f"{made.basis.rank} of {voxels.feature_dim} directions are kept from now on"
        if before is not None:
            return f"{made.misfit:.1%} of the features lie outside their basis: {kept} (new ones)"
        if made.basis.origin == ALL:
            return f"the features of {self._encoder.id} use all directions: {kept}"
        return ""

"""Teacher `sonata`: adapter for the public Sonata package (facebookresearch/sonata).

Written from the package's README ("Quick Start"; commit 2be74eb):
    point = {"coord": numpy.array (N, 3), "color": numpy.array (N, 3), "normal": ... (N, 3)}
    transform = sonata.transform.default()   # CenterShift, GridSample 0.02, NormalizeColor, ...
    model = sonata.model.load("ckpt/sonata.pth")
    point = model(transform(point))
    # twice: parent.feat = torch.cat([parent.feat, point.feat[inverse]], dim=-1)
    # then, while there is a pooling_parent: parent.feat = point.feat[inverse]
    feat = point.feat[point.inverse]
NormalizeColor divides by 255, so colour goes in as 0..255 (METHODS 1.13 B5). Its weights are
CC-BY-NC and are not shipped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.purification.scene import VoxelScene
from geopurify_ros.errors import CheckpointError, expect_shape

_CONCATENATED_LEVELS = 2  # deeper levels joined to their parents; the others are only spread


class SonataTeacher:
    """Sonata's multi-level features of voxel centres."""

    id = "sonata-1"

    def __init__(self, model: Any, transform: Callable[[dict[str, Any]], Any]) -> None:
        """`model` and `transform` as the package gives them; the model is frozen in eval mode."""
        self._model = model.eval().requires_grad_(False)
        self._transform = transform

    @torch.inference_mode()
    def features(self, scene: VoxelScene) -> Tensor:  # (V, T) unit norm
        """Features of all voxels; constant inside Sonata's 8 cm cells (METHODS 1.4)."""
        self._model.eval()  # a caller's train() must not wake DropPath (B3)
        with _fixed_randomness():
            point = self._transform(point_dictionary(scene))
            point = self._model(point)
        feat = _up_cast(point)
        expect_shape(feat, (len(scene), None), "Sonata's features")
        return normalize(feat.to(torch.float32), dim=1).cpu()


def point_dictionary(scene: VoxelScene) -> dict[str, NDArray[np.float32]]:
    """A map as Sonata wants it: metres with z up, colour 0..255, unit normals."""
    turn = _upright(scene.up.numpy())
    centers = (scene.coords.cpu().numpy() + 0.5) * scene.voxel_size_m
    return {
        "coord": (centers @ turn.T).astype(np.float32),
        "color": scene.color.cpu().numpy().astype(np.float32),
        "normal": (scene.normal.cpu().numpy() @ turn.T).astype(np.float32),
    }


def _upright(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rotation that takes `up` to z."""
    side = np.eye(3)[int(np.abs(up).argmin())]
    x = np.cross(side, up)
    x /= np.linalg.norm(x)
    return np.stack((x, np.cross(up, x), up))


def _up_cast(point: Any) -> Tensor:
    """From the coarsest level back to the points that went in."""
    level = 0
    while "pooling_parent" in point:
        parent, inverse = point.pop("pooling_parent"), point.pop("pooling_inverse")
        feat = point.feat[inverse]
        if level < _CONCATENATED_LEVELS:
            feat = torch.cat((parent.feat, feat), dim=-1)
        parent.feat = feat
        point, level = parent, level + 1
    feat = point.feat[point.inverse]
    return torch.as_tensor(feat)


@contextlib.contextmanager
def _fixed_randomness() -> Iterator[None]:
    """GridSample picks a point per cell at random, and the model shuffles orders."""
    state = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(state)


def load_sonata(checkpoint: Path) -> SonataTeacher:
    """The teacher from a weight file of the package.

    Raises:
        CheckpointError: the package or the file is missing.
    """
    try:
        import sonata  # type: ignore[import-not-found]
    except ImportError as error:
        raise CheckpointError(
            "the teacher sonata needs the package of github.com/facebookresearch/sonata "
            f"({error.name} is missing); selfsup and geometric need nothing"
        ) from error
    if not checkpoint.is_file():
        raise CheckpointError(f"there is no Sonata checkpoint {checkpoint}")
    return SonataTeacher(sonata.model.load(str(checkpoint)), sonata.transform.default())

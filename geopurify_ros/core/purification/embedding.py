"""The hand-made embedding: similar surface normal and similar colour.

It stands where no student is wanted, and beside what a student learnt: unit vectors whose dot
product says how much two neighbouring voxels belong to the same surface.
"""

from __future__ import annotations

import torch
from torch import Tensor

# CIE Lab distance at which two colours are different things; about five just-noticeable steps.
_COLOR_SIGMA_LAB = 12.0
_NUM_COLOR_FEATURES = 48
# Lightness changes with shading and exposure, hue does not.
_LAB_WEIGHT = (0.5, 1.0, 1.0)
# D65 sRGB to XYZ, divided by the white point
_XYZ_OF_RGB = (
    (0.412453 / 0.950456, 0.357580 / 0.950456, 0.180423 / 0.950456),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.088754, 0.119193 / 1.088754, 0.950227 / 1.088754),
)


def lab_from_rgb(rgb: Tensor) -> Tensor:  # (N, 3) 0..255 -> (N, 3)
    """CIE Lab (D65) of sRGB colours: L 0..100, a and b about -100..100."""
    c = rgb / 255.0
    linear = torch.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    xyz = linear @ rgb.new_tensor(_XYZ_OF_RGB).T
    f = torch.where(xyz > 0.008856, xyz.clamp_min(1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(dim=1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def geometric_embedding(
    normals: Tensor,  # (V, 3) unit or zero
    colors: Tensor,  # (V, 3) 0..255
) -> Tensor:  # (V, E) unit norm
    """Half normal, half colour.

    The dot product of two embeddings is (n_i . n_j + exp(-dLab^2 / 2 sigma^2)) / 2 up to the
    error of the random Fourier features that carry the colour half: a bare Lab vector would not
    do, its dot product is ruled by lightness.
    """
    lab = lab_from_rgb(colors) * colors.new_tensor(_LAB_WEIGHT)
    generator = torch.Generator().manual_seed(20260101)
    frequency = torch.randn((3, _NUM_COLOR_FEATURES), generator=generator) / _COLOR_SIGMA_LAB
    phase = lab @ frequency.to(lab)
    wave = torch.cat((phase.cos(), phase.sin()), dim=1) / _NUM_COLOR_FEATURES**0.5
    return torch.nn.functional.normalize(torch.cat((normals, wave), dim=1), dim=1)

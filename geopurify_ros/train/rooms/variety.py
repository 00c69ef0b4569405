"""How far the furniture and the views of a room differ from what its makers had in mind.

A network that sees red only in carpets calls a red cupboard a floor. `WIDE` is for training the
image tower; everything is measured in rooms of the `USUAL` kind.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variety:
    """Bounds of what is drawn by chance.

    Attributes:
        repainted: share of the objects in colours of their own.
        saturation: of such a colour, at most.
        dyed: share of the textures of such objects that are tinted in any colour.
        gloss: factor on the gloss of a model, at most.
        scale: factors on the size of a model, least and most.
        stretch: the same for each axis apart.
        close: share of the views from nearby, of few objects.
        built: whether furniture built from parts joins that of the catalogue.
        clutter: factor on the small things on surfaces and on the floor.
    """

    repainted: float = 0.2
    saturation: float = 0.8
    dyed: float = 0.0
    gloss: float = 0.6
    scale: tuple[float, float] = (0.92, 1.1)
    stretch: tuple[float, float] = (0.95, 1.05)
    close: float = 0.0
    built: bool = False
    clutter: float = 1.0

    @property
    def crowding(self) -> float:
        """Factor on furniture and on what hangs on walls: these fill a room far sooner."""
        return float(self.clutter**0.4)


USUAL = Variety()
DENSE_CLUTTER = 4.0
WIDE = Variety(
    repainted=0.5, saturation=1.0, dyed=0.5, gloss=1.0, scale=(0.85, 1.2), stretch=(0.85, 1.18),
    close=0.4,
)

"""Open-vocabulary voxel mapping, purified with geometric priors.

Every process that uses one of our messages runs this file: it imports nothing heavy. What is
listed in `__all__` is imported when it is asked for.
"""

import importlib
import logging
import pkgutil

__version__ = "0.1.0"
# A source tree beside an installed package still finds the generated msg and srv modules.
__path__ = pkgutil.extend_path(__path__, __name__)
logging.getLogger(__name__).addHandler(logging.NullHandler())

_LENT = {
    "Config": "config",
    "ask": "offline.asking",
    "new_pipeline": "offline.pipeline",
    "open_map": "offline.pipeline",
    "open_recording": "data.readers.formats",
    "purify_points": "offline.points",
    "save_map": "offline.pipeline",
    "with_values": "config",
}
__all__ = sorted(_LENT)


def __getattr__(name: str) -> object:
    """What the package lends of its modules, under short names that stay."""
    if name not in _LENT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LENT[name]}"), name)

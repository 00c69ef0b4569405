"""Lets open_clip and transformers import on a CPU build of torch.

The registry's torchvision is compiled against the CUDA build of torch. Beside a CPU build its
library does not load, and its import stops with "operator torchvision::nms does not exist". None
of its operators is needed here, only its Python; so the operators are declared, without code, and
the import is done again. On a sound installation nothing is touched.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import torch

_OPERATOR = re.compile(r'register_(?:meta|fake)\("(?:torchvision::)?(\w+)"\)')
_libraries: list[Any] = []  # declarations end with the object


def ensure_torchvision() -> bool:
    """Import torchvision, declaring its operators if that is what it takes; true if it was."""
    try:
        importlib.import_module("torchvision")
        return False
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in _operator_names():
        library.define(f"{operator}(Tensor x) -> Tensor")
    _libraries.append(library)
    importlib.import_module("torchvision")
    return True


def _operator_names() -> list[str]:
    """Every operator that torchvision's own file wants declared."""
    spec = importlib.util.find_spec("torchvision")
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        return []
    source = (Path(folders[0]) / "_meta_registrations.py").read_text()
    return sorted(set(_OPERATOR.findall(source)))

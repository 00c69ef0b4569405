"""The one folder that services write maps into and read them from."""

from __future__ import annotations

import os
from pathlib import Path

from geopurify_ros.errors import InputError

_ENDING = ".safetensors"


class MapFolder:
    """Whoever is on the ROS graph may call the services, but not reach another file of the user.

    Attributes:
        path: of the folder; it is made when the first map is saved.
    """

    def __init__(self, name: str) -> None:
        """`name` is parameter map.folder; empty: geopurify_maps in the user's ROS folder."""
        home = os.environ.get("ROS_HOME") or "~/.ros"
        self.path = Path(name or f"{home}/geopurify_maps").expanduser()

    def inside(self, text: str) -> Path:
        """The file that a caller means by a name, or by a path below the folder.

        Raises:
            InputError: it names no file, or one that is elsewhere, be it over a link.
        """
        asked = Path(text.strip())
        if asked.name in ("", "..") or "\0" in text:
            raise InputError(f"file_path is '{text}': expected the name of a map, as in kitchen")
        folder = self.path.resolve()
        path = folder / asked
        if not path.suffix:
            path = path.with_suffix(_ENDING)
        real = path.resolve()
        if folder not in real.parents:
            raise InputError(
                f"file_path is '{text}': maps are saved and loaded in {self.path} only (parameter "
                "map.folder): give a name, or a path below it"
            )
        return real

    def make_room(self, path: Path) -> None:
        """Make the folders of a file that `inside` allowed.

        Raises:
            InputError: they cannot be made.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the folder {path.parent} cannot be made ({error.strerror}): see parameter "
                "map.folder"
            ) from error

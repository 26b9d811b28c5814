"""Settings that the viewer remembers between its runs, in one file of the cache folder."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dnnlib import moved, ownership
from dnnlib.util import make_cache_dir_path, open_atomic

__getattr__ = moved.names_of(__name__)
MAX_RECENT = 20
FOLDED = ("Directions & points", "Performance", "Capture")  # panes that are folded at first
MIN_SIDE, MAX_SIDE = 200, 16384  # sides of the window; graphics cards draw no larger pictures


@dataclass
class Settings:
    """Remembered settings.

    Attributes:
        recent: Networks that were loaded, the latest first.
        recent_files: Files of latents and of directions, likewise.
        window_size: Width and height in screen coordinates.
        ui_scale: Size of the controls.
        folded: Titles of the panes that are folded.
    """

    recent: list[str] = field(default_factory=list)
    recent_files: list[str] = field(default_factory=list)
    window_size: tuple[int, int] = (1280, 800)
    ui_scale: float = 1.0
    folded: list[str] = field(default_factory=lambda: [*FOLDED])

    def add_recent(self, network: str) -> None:
        """Put a network to the front of the recent ones."""
        self.recent = _with_first(self.recent, network)

    def add_recent_file(self, path: str) -> None:
        """Put a file of latents or directions to the front of the recent ones."""
        self.recent_files = _with_first(self.recent_files, path)

    def save(self) -> None:
        """Write the file. If it cannot be written, nothing is remembered."""
        try:
            path = settings_path()
            ownership.make_private(path.parent)
            with open_atomic(path, "w") as f:
                json.dump(asdict(self), f, indent=2, allow_nan=False)
        except (OSError, ValueError):
            pass


def load_settings() -> Settings:
    """Read the file. Missing or damaged settings get their defaults."""
    try:
        data = json.loads(settings_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return Settings()
    data = data if isinstance(data, dict) else {}
    settings = Settings()
    settings.recent = _texts(data.get("recent"))
    settings.recent_files = _texts(data.get("recent_files"))
    size = data.get("window_size")
    if isinstance(size, list) and len(size) == 2 and is_window_size(*size):
        settings.window_size = (int(size[0]), int(size[1]))
    if _is_within(data.get("ui_scale"), 0.5, 4):
        settings.ui_scale = float(data["ui_scale"])
    folded = data.get("folded")
    if isinstance(folded, list):
        settings.folded = _texts(folded)
    return settings


def is_window_size(width: Any, height: Any) -> bool:
    """Whether a window can have this width and height."""
    return all(_is_within(side, MIN_SIDE, MAX_SIDE) for side in (width, height))


def settings_path() -> Path:
    """Path of the file."""
    return Path(os.path.join(make_cache_dir_path(), "visualizer.json"))


def _with_first(paths: list[str], first: str) -> list[str]:
    return [first, *(path for path in paths if path != first)][:MAX_RECENT]


def _texts(items: Any) -> list[str]:
    """The texts among the first items; none if there is no list."""
    return (
        [item for item in items if isinstance(item, str)][:MAX_RECENT]
        if isinstance(items, list)
        else []
    )


def _is_within(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high

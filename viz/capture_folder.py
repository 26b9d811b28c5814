"""A folder for saved pictures and latents, in numbered files."""

import re
from collections.abc import Callable
from pathlib import Path

from dnnlib.paths import expand_home
from gui_utils.toolkit import Toolkit


class CaptureFolder:
    """Where the window saves.

    Args:
        folder: The folder; it is created when the first file is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)

    def draw(self, ui: Toolkit) -> None:
        """Draw the row in which the folder can be changed."""
        ui.label("Folder")
        ui.fill_width()
        _, self.place = ui.input_text("##capture folder", self.place)

    def save(self, stem: str, suffix: str, write: Callable[[Path], None]) -> str:
        """Save a file under the next number.

        Args:
            stem: Beginning of the name.
            suffix: End of the name.
            write: Writes a file.

        Returns:
            The path.

        Raises:
            OSError: If nothing was saved.
            ValueError: If the folder is no path, because it has a NUL for example.
        """
        folder = Path(expand_home(self.place))
        folder.mkdir(parents=True, exist_ok=True)
        path = next_path(folder, stem, suffix)
        write(path)
        return str(path)


def next_path(folder: Path, stem: str, suffix: str) -> Path:
    """The path of the next number in the folder: `stem0000.png`, and so on."""
    name = rf"{stem}(\d+){re.escape(suffix)}"
    matches = [re.fullmatch(name, path.name) for path in folder.iterdir()]
    number = max((int(match[1]) + 1 for match in matches if match), default=0)
    return folder / f"{stem}{number:04d}{suffix}"

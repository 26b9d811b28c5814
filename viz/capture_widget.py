"""Save the picture, the whole window, or the latent on screen, in numbered files."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from imgui_bundle import imgui

from dnnlib.paths import expand_home
from generation import latent_files
from generation.latent_files import Latents
from gui_utils import controls, text
from torch_utils import images
from viz.command_line import gen_images_command
from viz.renderer import Result


@dataclass
class CaptureState:
    """The folder, whether to save the window, and the last message."""

    folder: str
    is_window_requested: bool = False
    message: str = ""


class CaptureWidget:
    """The pane "Capture".

    Args:
        folder: Folder for the files; it is created when the first file is saved.
    """

    title = "Capture"

    def __init__(self, folder: Path) -> None:
        self.state = CaptureState(str(folder))

    def draw(self, result: Result | None) -> None:
        """Draw the pane."""
        state = self.state
        controls.label("Folder")
        controls.fill_width()
        changed, folder = imgui.input_text("##capture folder", text.drawable(state.folder))
        state.folder = folder if changed else state.folder
        controls.label("")
        has_image = result is not None and result.image is not None
        with controls.disabled(not has_image, "there is no picture"):
            if controls.button("Save image", 7, "Ctrl+S; in the picture's own size"):
                self.save_image(result)
        imgui.same_line()
        if controls.button("Save GUI", 7, "The whole window"):
            state.is_window_requested = True
        controls.label("")
        with controls.disabled(not has_image, "there is no picture"):
            if controls.button("Save latent", 7, "What is on screen, for --latents of all scripts"):
                self.save_latent(result)
            imgui.same_line()
            if controls.button("Copy as command", 8, "Ctrl+Shift+C; a line for gen_images.py"):
                self.copy_command(result)

    def copy_command(self, result: Result | None) -> None:
        """Copy the `gen_images.py` line of the view to the clipboard, and print it."""
        if result is None or result.network is None:
            self.state.message = "nothing to copy: there is no picture"
            return
        command, left_out = gen_images_command(
            result.view, result.network, result.latents.num if result.latents else 1
        )
        command = text.drawable(command)
        imgui.set_clipboard_text(command)
        click.echo(command)  # there may be no clipboard, over SSH for example
        self.state.message = f"copied: {command}"
        if left_out:
            self.state.message = f"copied, without {', '.join(left_out)}: {command}"
            click.echo(f"Note: gen_images.py does not know {', '.join(left_out)}.", err=True)

    def save_latent(self, result: Result | None) -> None:
        """Save the styles on screen, and the transform of the content if the network has one."""
        if result is None or result.ws is None or result.network is None:
            return
        found = Latents(
            torch.from_numpy(result.ws)[None],
            None if result.transform is None else result.transform[None],
            network=result.network.hash,
        )
        self._save("latent", ".npz", lambda path: latent_files.save(path, found))

    def save_image(self, result: Result | None) -> None:
        """Save the current picture."""
        if result is not None and result.image is not None:
            self._save_pixels("image", result.image, result.notice)

    def save_window(self, pixels: np.ndarray) -> None:
        """Save the pixels of the window, uint8 `[H, W, 3]`."""
        self._save_pixels("window", pixels)

    def _save_pixels(self, stem: str, pixels: np.ndarray, notice: str | None = None) -> None:
        picture = pixels.transpose(2, 0, 1)
        self._save(stem, ".png", lambda path: images.save_png(picture, path), notice)

    def _save(
        self, stem: str, suffix: str, write: Callable[[Path], None], notice: str | None = None
    ) -> None:
        try:
            folder = Path(expand_home(self.state.folder))
            folder.mkdir(parents=True, exist_ok=True)
            path = next_path(folder, stem, suffix)
            write(path)
        except (OSError, ValueError) as error:  # a ValueError for a NUL in the path, for example
            reason = getattr(error, "strerror", None) or error
            self.state.message = f"not saved to {self.state.folder}: {reason}"
        else:
            self.state.message = f"saved {path}" + ("" if notice is None else f": {notice}")


def next_path(folder: Path, stem: str, suffix: str) -> Path:
    """The path of the next number in the folder: `stem0000.png`, and so on."""
    name = rf"{stem}(\d+){re.escape(suffix)}"
    matches = [re.fullmatch(name, path.name) for path in folder.iterdir()]
    number = max((int(match[1]) + 1 for match in matches if match), default=0)
    return folder / f"{stem}{number:04d}{suffix}"

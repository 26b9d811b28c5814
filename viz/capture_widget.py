"""Save the picture, the whole window, or the latent on screen; copy the view as a command."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from dnnlib import moved
from dnnlib.text import drawable
from generation import latent_files
from generation.latent_files import Latents
from gui_utils.toolkit import Toolkit
from torch_utils import images
from viz.command_line import gen_images_command
from viz.renderer import Result

__getattr__ = moved.names_of(__name__)


class Store(Protocol):
    """Where files are saved: a folder, or the computer of a browser.

    Attributes:
        place: Its name.
    """

    place: str

    def draw(self, ui: Toolkit) -> None:
        """Draw the controls of the store."""

    def save(self, stem: str, suffix: str, write: Callable[[Path], None]) -> str:
        """Save a file that `write` writes, and return where; see `CaptureFolder.save`."""


@dataclass
class CaptureState:
    """Whether to save the window, and the last message."""

    is_window_requested: bool = False
    message: str = ""


class CaptureWidget:
    """The pane "Capture".

    Args:
        store: Where files are saved.
        copy: Puts a command into the clipboard; it also gets the names of the settings that the
            command cannot express.
        has_window: Whether there is a window that can be saved.
    """

    title = "Capture"

    def __init__(
        self, store: Store, copy: Callable[[str, list[str]], None], has_window: bool
    ) -> None:
        self.state = CaptureState()
        self.store = store
        self._copy = copy
        self._has_window = has_window

    def draw(self, ui: Toolkit, result: Result | None) -> None:
        """Draw the pane."""
        self.store.draw(ui)
        ui.label("")
        has_image = result is not None and result.image is not None
        with ui.disabled(not has_image, "there is no picture"):
            if ui.button("Save image", 7, "Ctrl+S; in the picture's own size"):
                self.save_image(result)
        if self._has_window:
            ui.same_line()
            if ui.button("Save GUI", 7, "The whole window"):
                self.state.is_window_requested = True
        ui.label("")
        with ui.disabled(not has_image, "there is no picture"):
            if ui.button("Save latent", 7, "What is on screen, for --latents of all scripts"):
                self.save_latent(result)
            ui.same_line()
            if ui.button("Copy as command", 8, "Ctrl+Shift+C; a line for gen_images.py"):
                self.copy_command(result)

    def copy_command(self, result: Result | None) -> None:
        """Copy the `gen_images.py` line of the view."""
        if result is None or result.network is None:
            self.state.message = "nothing to copy: there is no picture"
            return
        command, left_out = gen_images_command(
            result.view, result.network, result.latents.num if result.latents else 1
        )
        command = drawable(command)
        self._copy(command, left_out)
        self.state.message = f"copied: {command}"
        if left_out:
            self.state.message = f"copied, without {', '.join(left_out)}: {command}"

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
            path = self.store.save(stem, suffix, write)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self.state.message = f"not saved to {self.store.place}: {reason}"
        else:
            self.state.message = f"saved {path}" + ("" if notice is None else f": {notice}")

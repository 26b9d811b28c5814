"""Choose a network: type a path or URL, pick a recent one, browse folders of runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnnlib import pretrained
from gui_utils.toolkit import Toolkit
from viz.browse import Folder, list_folder
from viz.renderer import Result, View
from viz.settings import Settings


@dataclass
class NetworkState:
    """The typed text, and the folders that were read."""

    typed: str = ""
    shown: str | None = None  # the network that `typed` was set from
    folders: dict[Path, Folder] = field(default_factory=dict)


class NetworkWidget:
    """The pane "Network".

    Args:
        settings: Holds the recent networks.
        browse_dirs: Folders of runs.
    """

    title = "Network"

    def __init__(self, settings: Settings, browse_dirs: Sequence[Path]) -> None:
        self.settings = settings
        self.browse_dirs = browse_dirs
        self.state = NetworkState()

    def draw(self, ui: Toolkit, view: View, result: Result | None) -> str | None:
        """Draw the pane, and return the file to open now, perhaps the same again."""
        state = self.state
        if view.network != state.shown:
            state.typed, state.shown = view.network or "", view.network
        ui.fill_width()
        placeholder = "path, URL or pretrained:NAME; or latents"
        entered, state.typed = ui.input_text("##network", state.typed, placeholder, state.typed)
        chosen = _path(state.typed) if entered else None
        third = ui.share(3)
        has_recent = bool(self.settings.recent or self.settings.recent_files)
        with ui.disabled(not has_recent, "nothing has been loaded yet"):
            chosen = self._recent_menu(ui, third) or chosen
        ui.same_line()
        chosen = self._browse_menu(ui, third) or chosen
        ui.same_line()
        hint = "Load the typed path; a folder stands for its newest network. Or drop a file here"
        if ui.button("Load", third, hint):
            chosen = _path(state.typed)
        self._draw_facts(ui, result)
        return chosen or None

    def _draw_facts(self, ui: Toolkit, result: Result | None) -> None:
        if result is None or result.network is None:
            ui.text("no network")
            return
        info = result.network
        size = f"{info.img_resolution}x{info.img_resolution}"
        colors = {1: "grey", 3: "RGB", 4: "RGBA"}.get(info.img_channels, f"{info.img_channels} ch")
        classes = f", {info.c_dim} classes" if info.c_dim else ""
        ui.text(f"{size} {colors}, {info.num_ws} styles{classes}")

    def _recent_menu(self, ui: Toolkit, width_ems: float) -> str | None:
        chosen = None
        with ui.menu("Recent", width_ems) as is_open:
            if is_open:
                chosen = _items(ui, self.settings.recent)
                if self.settings.recent_files:
                    ui.separator("Latents and directions")
                    chosen = _items(ui, self.settings.recent_files) or chosen
        return chosen

    def _browse_menu(self, ui: Toolkit, width_ems: float) -> str | None:
        chosen = None
        places = ", ".join(map(str, self.browse_dirs))
        with ui.menu("Browse", width_ems, f"Networks in {places}") as is_open:
            if not is_open:
                self.state.folders.clear()  # read them again when the menu opens
                return None
            if in_the_box := pretrained.addresses():
                ui.separator("In the box")
            chosen = _items(ui, in_the_box)
            for path in self.browse_dirs:
                if len(self.browse_dirs) > 1 or in_the_box:
                    ui.separator(str(path))
                chosen = self._folder(ui, path) or chosen
        return chosen

    def _folder(self, ui: Toolkit, path: Path) -> str | None:
        """Draw the content of a folder, and of the open folders in it."""
        if path not in self.state.folders:
            self.state.folders[path] = list_folder(path)
        folder = self.state.folders[path]
        if folder.error is not None:
            ui.text(folder.error)
        elif not (folder.folders or folder.networks):
            ui.text(f"no networks in {path}" if path in self.browse_dirs else "empty")
        chosen = None
        for network in folder.networks:
            if ui.menu_item(f"{network.name}##{network}"):
                chosen = str(network)
        for child in folder.folders:
            with ui.tree_node(f"{child.name}##{child}") as is_open:
                if is_open:
                    chosen = self._folder(ui, child) or chosen
        return chosen


def _items(ui: Toolkit, paths: Sequence[str]) -> str | None:
    """Draw a list of paths, and return the clicked one."""
    chosen = None
    for path in paths:
        if ui.menu_item(path):
            chosen = path
    return chosen


def _path(typed: str) -> str:
    """The path that was typed, or copied with quotes."""
    return typed.strip().strip("\"'")

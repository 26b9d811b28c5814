"""Choose a network: type a path or URL, pick a recent one, browse folders of runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgui_bundle import imgui

from dnnlib import pretrained
from gui_utils import controls, text
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

    def draw(self, view: View, result: Result | None) -> str | None:
        """Draw the pane, and return the file to open now, perhaps the same again."""
        state = self.state
        if view.network != state.shown:
            state.typed, state.shown = text.drawable(view.network or ""), view.network
        controls.fill_width()
        entered, state.typed = imgui.input_text_with_hint(
            "##network",
            "path, URL or pretrained:NAME; or latents",
            state.typed,
            imgui.InputTextFlags_.enter_returns_true | imgui.InputTextFlags_.auto_select_all,
        )
        controls.hint(state.typed)
        chosen = state.typed.strip().strip("\"'") if entered else None
        third = (imgui.get_content_region_avail().x / controls.em() - 1.2) / 3
        has_recent = bool(self.settings.recent or self.settings.recent_files)
        with controls.disabled(not has_recent, "nothing has been loaded yet"):
            if controls.button("Recent", third):
                controls.open_popup_below("recent")
            chosen = self._recent_popup() or chosen
        imgui.same_line()
        places = text.drawable(", ".join(map(str, self.browse_dirs)))
        if controls.button("Browse", third, f"Networks in {places}"):
            state.folders.clear()
            controls.open_popup_below("browse")
        chosen = self._browse_popup() or chosen
        imgui.same_line()
        hint = "Load the typed path; a folder stands for its newest network. Or drop a file here"
        if controls.button("Load", third, hint):
            chosen = state.typed.strip().strip("\"'")
        self._draw_facts(result)
        return chosen or None

    def _draw_facts(self, result: Result | None) -> None:
        if result is None or result.network is None:
            imgui.text_disabled("no network")
            return
        info = result.network
        size = f"{info.img_resolution}x{info.img_resolution}"
        colors = {1: "grey", 3: "RGB", 4: "RGBA"}.get(info.img_channels, f"{info.img_channels} ch")
        classes = f", {info.c_dim} classes" if info.c_dim else ""
        imgui.text_disabled(f"{size} {colors}, {info.num_ws} styles{classes}")

    def _recent_popup(self) -> str | None:
        chosen = None
        if imgui.begin_popup("recent"):
            chosen = _menu(self.settings.recent)
            if self.settings.recent_files:
                imgui.separator_text("Latents and directions")
                chosen = _menu(self.settings.recent_files) or chosen
            imgui.end_popup()
        return chosen

    def _browse_popup(self) -> str | None:
        chosen = None
        imgui.set_next_window_size_constraints(
            (controls.em(24), controls.em(6)), (controls.em(48), controls.em(30))
        )
        if imgui.begin_popup("browse"):
            if in_the_box := pretrained.addresses():
                imgui.separator_text("In the box")
            for name in in_the_box:
                clicked, _ = imgui.menu_item(text.drawable(name), "", False)
                if clicked:
                    chosen = name
            for path in self.browse_dirs:
                if len(self.browse_dirs) > 1 or in_the_box:
                    imgui.separator_text(text.drawable(str(path)))
                chosen = self._folder(path) or chosen
            imgui.end_popup()
        return chosen

    def _folder(self, path: Path) -> str | None:
        """Draw the content of a folder, and of the open folders in it."""
        if path not in self.state.folders:
            self.state.folders[path] = list_folder(path)
        folder = self.state.folders[path]
        if folder.error is not None:
            imgui.text_disabled(text.drawable(folder.error))
        elif not (folder.folders or folder.networks):
            is_top = path in self.browse_dirs
            imgui.text_disabled(text.drawable(f"no networks in {path}") if is_top else "empty")
        chosen = None
        for network in folder.networks:
            name = text.drawable(f"{network.name}##{network}")
            clicked, _ = imgui.menu_item(name, "", False)
            if clicked:
                chosen = str(network)
        for child in folder.folders:
            if imgui.tree_node_ex(text.drawable(f"{child.name}##{child}")):
                chosen = self._folder(child) or chosen
                imgui.tree_pop()
        return chosen


def _menu(paths: Sequence[str]) -> str | None:
    """Draw a list of paths, and return the clicked one."""
    chosen = None
    for path in paths:
        shown = text.shorten(path, controls.em(40))
        clicked, _ = imgui.menu_item(text.drawable(f"{shown}##{path}"), "", False)
        if clicked:
            chosen = path
    return chosen

"""Position in the plane of latents: seed, fraction, class; dragged or animated."""

from dataclasses import dataclass, replace

import numpy as np
from imgui_bundle import imgui

from gui_utils import controls, text
from viz.file_row import FileRow
from viz.renderer import SEEDS_PER_ROW, Result, View
from viz.target_picture import TargetPicture

MAX_NAMES = 200  # class names in the list
MAX_SPEED = 4  # seeds per second
SEEDS_PER_EM = 0.1  # dragging by ten times the font size leads to the next seed


@dataclass
class LatentState:
    """Memory of the pane.

    Attributes:
        is_animated: Whether the point moves.
        speed: Its speed, in seeds per second.
        searched: The searched text among class names.
        shows_target: Whether to show the projected picture beside the image.
    """

    is_animated: bool = False
    speed: float = 0.25
    searched: str = ""
    shows_target: bool = False


class LatentWidget:
    """The pane "Latent"."""

    title = "Latent"

    def __init__(self) -> None:
        self.state = LatentState()
        self._row = FileRow(
            "File", "Latents of projector.py, or of other programs", "latents.npz in place of seeds"
        )
        self._is_possible = True
        self._target = TargetPicture()

    @property
    def is_animated(self) -> bool:
        """Whether the pane needs continuous frames."""
        return self._is_possible and self.state.is_animated

    def draw(self, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        self._is_possible = view.latents is None
        if view.latents is None:
            return self._draw_plane(view, result, elapsed_sec)
        path = self._row.draw(view.latents)
        if path != view.latents:
            return replace(view, latents=path, latent_idx=0)
        view = self._draw_file(view, result)
        return self._draw_class(view, result) if view.mix_layers else view

    def take_entry(self) -> bool:
        """Whether the path of a file was entered since the last call, perhaps the same again."""
        return self._row.take_entry()

    def target(self, result: Result) -> np.ndarray | None:
        """The picture to show beside the image, uint8 `[H, W, 4]`; None for no picture."""
        info = result.latents
        if info is None or info.target is None or not self.state.shows_target:
            return None
        return self._target.pixels(info.target)

    def _draw_file(self, view: View, result: Result | None) -> View:
        """Draw the controls of a file of latents."""
        info = result.latents if result is not None else None
        if result is None or info is None or result.view.latents != view.latents:
            imgui.text_disabled("no latents of this file are shown")
            if view.latent_idx > 0:
                imgui.same_line()
                if controls.button("First image", 7):
                    view = replace(view, latent_idx=0)
            return view
        controls.label("Image", "Number of the image in the file")
        controls.fill_width()
        form = text.drawable(info.name).replace("%", "%%")
        last = info.num - 1
        _, idx = controls.slider_int("##latent idx", view.latent_idx, 0, last, f"%d  {form}")
        controls.label("Target", "The picture that was projected, as projector.py has written it")
        with controls.disabled(info.target is None, "there is no target.png beside the file"):
            _, self.state.shows_target = imgui.checkbox("Show##target", self.state.shows_target)
        return replace(view, latent_idx=min(max(idx, 0), last))

    def _draw_plane(self, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the controls of the plane of latents."""
        state = self.state
        if state.is_animated:
            view = replace(view, x=view.x + state.speed * elapsed_sec)
        col, row = int(np.floor(view.x)), int(np.floor(view.y))
        controls.label("Seed", "x + 100 * y of the point in the plane of latents")
        imgui.set_next_item_width(controls.em(8))
        changed, seed = controls.input_int("##seed", col + SEEDS_PER_ROW * row)
        if changed:
            view = replace(view, x=seed + view.x - col, y=view.y - row)
            col, row = seed, 0
        imgui.same_line()
        dx, dy = controls.drag_button("Drag", 4, "Press and drag; or drag the picture itself")
        view = self.drag(view, dx, dy)
        imgui.same_line()
        if controls.button("Reset##latent", 4):
            view = replace(view, x=0, y=0)

        controls.label("Fraction", "How far the point is on the way to the next seeds")
        controls.fill_width()
        before = (float(view.x - np.floor(view.x)), float(view.y - np.floor(view.y)))
        fraction = controls.slider2("##fraction", before, 0, 0.999)
        if fraction != before:
            x, y = (float(np.clip(value, 0, 0.999)) for value in fraction)
            view = replace(view, x=float(np.floor(view.x) + x), y=float(np.floor(view.y) + y))

        controls.label("Animate", "Move through the seeds")
        _, state.is_animated = imgui.checkbox("##animate latent", state.is_animated)
        imgui.same_line()
        imgui.set_next_item_width(controls.em(8))
        state.speed = controls.speed_slider("##speed", state.speed, MAX_SPEED, "%.3f seeds/s")
        imgui.same_line()
        if controls.button("Snap", 4, "Go to the nearest seed"):
            view = replace(view, x=float(np.rint(view.x)), y=float(np.rint(view.y)))
        return self._draw_class(view, result)

    def drag(self, view: View, dx: float, dy: float) -> View:
        """Move the point by a movement of the mouse in font sizes."""
        if dx == dy == 0 or view.latents is not None:
            return view
        return replace(view, x=view.x + dx * SEEDS_PER_EM, y=view.y + dy * SEEDS_PER_EM)

    def _draw_class(self, view: View, result: Result | None) -> View:
        info = result.network if result is not None else None
        if info is None or info.c_dim == 0:
            return view
        controls.label("Class", "By number, or by the name that the dataset gives it")
        imgui.set_next_item_width(controls.em(7) if info.class_names else controls.em(13.5))
        _, class_idx = controls.input_int("##class", view.class_idx)
        class_idx = min(max(class_idx, 0), info.c_dim - 1)
        if info.class_names:
            imgui.same_line()
            controls.fill_width()
            class_idx = self._choose_class(class_idx, info.class_names)
        else:
            imgui.same_line()
            imgui.text_disabled(f"of {info.c_dim}")
        return replace(view, class_idx=class_idx)

    def _choose_class(self, class_idx: int, names: tuple[str, ...]) -> int:
        """Draw the list of names that contain the searched text; Enter takes the first name."""
        if not imgui.begin_combo("##class name", names[class_idx]):
            return class_idx
        if imgui.is_window_appearing():
            self.state.searched = ""
            imgui.set_keyboard_focus_here()
        controls.fill_width()
        entered, self.state.searched = imgui.input_text_with_hint(
            "##search",
            "search",
            self.state.searched,
            imgui.InputTextFlags_.enter_returns_true,
        )
        searched = self.state.searched.casefold()
        found = [idx for idx, name in enumerate(names) if searched in name.casefold()]
        for idx in found[:MAX_NAMES]:
            clicked, _ = imgui.selectable(f"{names[idx]}##class {idx}", idx == class_idx)
            if clicked:
                class_idx = idx
        if len(found) > MAX_NAMES:
            imgui.text_disabled(f"and {len(found) - MAX_NAMES} more: type a part of the name")
        elif not found:
            imgui.text_disabled("no class of this name")
        if entered and found:
            class_idx = found[0]
            imgui.close_current_popup()
        imgui.end_combo()
        return class_idx

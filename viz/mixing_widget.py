"""Style mixing: some layers take the style of another seed."""

from dataclasses import replace

from imgui_bundle import imgui

from dnnlib import moved
from gui_utils import controls
from viz.motion import SeedMotion, wrapped
from viz.renderer import Result, View

SEEDS_PER_SEC = 2  # speed of the animation
COLUMNS = 9
__getattr__ = moved.names_of(__name__)
PARTS = ("coarse", "middle", "fine")  # thirds of the styles
PART_COLORS = ((0.95, 0.75, 0.4), (0.6, 0.85, 0.6), (0.5, 0.75, 1))


class MixingWidget:
    """The pane "Style mixing"."""

    title = "Style mixing"

    def __init__(self) -> None:
        self.state = SeedMotion()

    @property
    def is_animated(self) -> bool:
        """Whether the pane needs continuous frames."""
        return self.state.is_animated

    def draw(self, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        state = self.state
        seed = view.mix_seed
        if state.is_animated:
            seed = state.advance(seed, elapsed_sec * SEEDS_PER_SEC)
        controls.label("Seed", "Where the checked layers take their style from")
        imgui.set_next_item_width(controls.em(9))
        _, seed = controls.input_int("##mix seed", seed)
        imgui.same_line()
        _, state.is_animated = imgui.checkbox("Animate##mixing", state.is_animated)
        view = replace(view, mix_seed=wrapped(seed))

        num_ws = result.network.num_ws if result is not None and result.network else 0
        if num_ws == 0:
            return view
        layers = set(view.mix_layers)
        controls.label("Styles", "One for each layer, from the coarsest to the finest")
        start = imgui.get_cursor_pos_x()
        if controls.button("All##mixing", 2.2):
            layers = set(range(num_ws))
        imgui.same_line()
        if controls.button("None##mixing", 3):
            layers = set()
        for part, color in zip(PARTS, PART_COLORS, strict=True):
            members = {idx for idx in range(num_ws) if part_of(idx, num_ws) == part}
            imgui.same_line()
            imgui.push_style_color(imgui.Col_.text, (*color, 1))
            is_on = bool(members) and members <= layers
            if controls.toggle(f"{part}##mixing", is_on, 3.5, f"The {part} styles") != is_on:
                layers = layers - members if is_on else layers | members
            imgui.pop_style_color()
        width = (imgui.get_content_region_avail().x + imgui.get_cursor_pos_x() - start) / COLUMNS
        for idx in range(num_ws):
            if idx % COLUMNS == 0:
                imgui.set_cursor_pos_x(start)
            else:
                imgui.same_line(start + idx % COLUMNS * width)
            part = part_of(idx, num_ws)
            imgui.push_style_color(imgui.Col_.text, (*PART_COLORS[PARTS.index(part)], 1))
            width_ems = width / controls.em() - 0.25
            is_mixed = controls.toggle(
                f"{idx}##mix", idx in layers, width_ems, f"style {idx}, {part}"
            )
            imgui.pop_style_color()
            (layers.add if is_mixed else layers.discard)(idx)
        return replace(view, mix_layers=tuple(sorted(layers)))


def part_of(idx: int, num_ws: int) -> str:
    """Part of a style: coarse, middle or fine."""
    return PARTS[idx * len(PARTS) // num_ws]

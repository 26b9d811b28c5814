"""Style mixing: some layers take the style of another seed."""

from dataclasses import dataclass, replace

from imgui_bundle import imgui

from dnnlib.cli import MAX_SEED
from gui_utils import controls
from viz.renderer import Result, View

SEEDS_PER_SEC = 2  # of the animation
COLUMNS = 8


@dataclass
class MixingState:
    """Motion: whether, and how far it is on its way to the next seed."""

    is_animated: bool = False
    progress: float = 0


class MixingWidget:
    """The pane "Style mixing"."""

    title = "Style mixing"

    def __init__(self) -> None:
        self.state = MixingState()

    @property
    def is_animated(self) -> bool:
        """Whether frames are needed all the time."""
        return self.state.is_animated

    def draw(self, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane; returns what is to be rendered now."""
        state = self.state
        seed = view.mix_seed
        if state.is_animated:
            state.progress += elapsed_sec * SEEDS_PER_SEC
            seed += int(state.progress)
            state.progress %= 1
        controls.label("Seed", "Where the checked layers take their style from")
        imgui.set_next_item_width(controls.em(9))
        _, seed = imgui.input_int("##mix seed", seed)
        imgui.same_line()
        _, state.is_animated = imgui.checkbox("Animate##mixing", state.is_animated)
        view = replace(view, mix_seed=seed % (MAX_SEED + 1))

        num_ws = result.network.num_ws if result is not None and result.network else 0
        if num_ws == 0:
            return view
        layers = set(view.mix_layers)
        controls.label("Layers", "One style for each layer, coarse to fine")
        start = imgui.get_cursor_pos_x()
        if controls.button("All##mixing", 4):
            layers = set(range(num_ws))
        imgui.same_line()
        if controls.button("None##mixing", 4):
            layers = set()
        for idx in range(num_ws):
            if idx % COLUMNS == 0:
                imgui.set_cursor_pos_x(start)
            else:
                imgui.same_line(start + idx % COLUMNS * controls.em(2.3))
            _, is_mixed = imgui.checkbox(f"##mix{idx}", idx in layers)
            controls.hint(f"style {idx}")
            (layers.add if is_mixed else layers.discard)(idx)
        return replace(view, mix_layers=tuple(sorted(layers)))

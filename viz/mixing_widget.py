"""Style mixing: some layers take the style of another seed."""

from dataclasses import replace

from dnnlib import moved
from gui_utils.toolkit import Color, Toolkit
from viz.motion import SeedMotion, wrapped
from viz.renderer import Result, View

SEEDS_PER_SEC = 2  # speed of the animation
COLUMNS = 9
__getattr__ = moved.names_of(__name__)
PARTS = ("coarse", "middle", "fine")  # thirds of the styles
PART_COLORS: dict[str, Color] = dict(
    zip(PARTS, ((0.95, 0.75, 0.4), (0.6, 0.85, 0.6), (0.5, 0.75, 1)), strict=True)
)


class MixingWidget:
    """The pane "Style mixing"."""

    title = "Style mixing"

    def __init__(self) -> None:
        self.state = SeedMotion()

    @property
    def is_animated(self) -> bool:
        """Whether the pane needs continuous frames."""
        return self.state.is_animated

    def draw(self, ui: Toolkit, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        state = self.state
        seed = view.mix_seed
        if state.is_animated:
            seed = state.advance(seed, elapsed_sec * SEEDS_PER_SEC)
        ui.label("Seed", "Where the checked layers take their style from")
        ui.width(9)
        seed = ui.input_int("##mix seed", seed)
        ui.same_line()
        state.is_animated = ui.checkbox("Animate##mixing", state.is_animated)
        view = replace(view, mix_seed=wrapped(seed))

        num_ws = result.network.num_ws if result is not None and result.network else 0
        if num_ws == 0:
            return view
        layers = set(view.mix_layers)
        ui.label("Styles", "One for each layer, from the coarsest to the finest")
        if ui.button("All##mixing", 2.2):
            layers = set(range(num_ws))
        ui.same_line()
        if ui.button("None##mixing", 3):
            layers = set()
        parts = [part_of(idx, num_ws) for idx in range(num_ws)]
        for part in PARTS:
            members = {idx for idx in range(num_ws) if parts[idx] == part}
            ui.same_line()
            is_on = bool(members) and members <= layers
            hint, color = f"The {part} styles", PART_COLORS[part]
            if ui.toggle(f"{part}##mixing", is_on, 3.5, hint, color) != is_on:
                layers = layers - members if is_on else layers | members
        are_mixed = ui.toggles(
            [f"{idx}##mix" for idx in range(num_ws)],
            [idx in layers for idx in range(num_ws)],
            [f"style {idx}, {part}" for idx, part in enumerate(parts)],
            [PART_COLORS[part] for part in parts],
            COLUMNS,
        )
        layers = {idx for idx in range(num_ws) if are_mixed[idx]}
        return replace(view, mix_layers=tuple(sorted(layers)))


def part_of(idx: int, num_ws: int) -> str:
    """Part of a style: coarse, middle or fine."""
    return PARTS[idx * len(PARTS) // num_ws]

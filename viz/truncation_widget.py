"""Truncation and per-pixel noise."""

from dataclasses import replace

from dnnlib import moved
from gui_utils.toolkit import Toolkit
from viz.motion import SeedMotion, wrapped
from viz.renderer import Result, View
from viz.view import NoiseMode

__getattr__ = moved.names_of(__name__)
NOISE_PER_SEC = 10  # seeds per second of the animation


class TruncationWidget:
    """The pane "Truncation & noise"."""

    title = "Truncation & noise"

    def __init__(self) -> None:
        self.state = SeedMotion()
        self._is_possible = False

    @property
    def is_animated(self) -> bool:
        """Whether the pane needs continuous frames."""
        return self._is_possible and self.state.is_animated

    def draw(self, ui: Toolkit, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        view = self.draw_truncation(ui, view, result)
        info = result.network if result is not None else None
        return self._draw_noise(ui, view, info is not None and info.has_noise, elapsed_sec)

    def draw_truncation(self, ui: Toolkit, view: View, result: Result | None) -> View:
        """Draw the controls without those of the noise, and return the view to render now."""
        info = result.network if result is not None else None
        # Layers that are mixed in come from a seed, and are truncated.
        is_from_file = view.latents is not None and not view.mix_layers
        with ui.disabled(is_from_file, "latents of a file are not truncated"):
            return self._draw_psi(ui, view, info.num_ws if info is not None else 0)

    def _draw_psi(self, ui: Toolkit, view: View, num_ws: int) -> View:
        ui.label("Psi", "1: full variety; 0: the average image")
        ui.fill_width(4.6)
        psi = ui.slider("##psi", view.truncation_psi, -1, 2)
        ui.same_line()
        if ui.button("Reset##truncation", 4):
            psi, view = 1, replace(view, truncation_cutoff=None)
        view = replace(view, truncation_psi=psi)

        ui.label("Cutoff", "How many styles are truncated, from the coarsest on")
        ui.fill_width()
        cutoff = num_ws if view.truncation_cutoff is None else min(view.truncation_cutoff, num_ws)
        with ui.blank(num_ws == 0):
            form = "all" if cutoff == num_ws else "%d"
            chosen = ui.slider_int("##cutoff", cutoff, 0, max(num_ws, 1), form)
        if chosen != cutoff:
            view = replace(view, truncation_cutoff=None if chosen >= num_ws else max(chosen, 0))
        return view

    def _draw_noise(self, ui: Toolkit, view: View, has_noise: bool, elapsed_sec: float) -> View:
        state, self._is_possible = self.state, has_noise
        ui.label("Noise", "Per-pixel noise of StyleGAN2")
        with ui.disabled(not has_noise, "this network has no noise"):
            is_on = ui.checkbox("On##noise", view.noise_mode != "none")
            ui.same_line()
            was_random = view.noise_mode == "random"
            is_random = ui.checkbox("Random", was_random or state.is_animated)
            ui.hint("Drawn with a seed, in place of the network's stored noise")
            ui.same_line()
            state.is_animated = ui.checkbox("Animate##noise", state.is_animated)
        if is_random and not was_random:
            is_on = True
        elif not is_random or not is_on:
            state.is_animated = False
        mode: NoiseMode = "const"
        if not is_on:
            mode = "none"
        elif is_random or state.is_animated:
            mode = "random"
        seed = view.noise_seed
        if has_noise and state.is_animated:
            seed = state.advance(seed, elapsed_sec * NOISE_PER_SEC)
        if mode == "random":
            ui.label("Noise seed")
            ui.fill_width()
            seed = ui.input_int("##noise seed", seed)
        return replace(view, noise_mode=mode, noise_seed=wrapped(seed))

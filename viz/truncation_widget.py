"""Truncation and per-pixel noise."""

from dataclasses import replace

from imgui_bundle import imgui

from dnnlib import moved
from gui_utils import controls
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

    def draw(self, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        info = result.network if result is not None else None
        # Layers that are mixed in come from a seed, and are truncated.
        is_from_file = view.latents is not None and not view.mix_layers
        with controls.disabled(is_from_file, "latents of a file are not truncated"):
            view = self._draw_truncation(view, info.num_ws if info is not None else 0)
        return self._draw_noise(view, info is not None and info.has_noise, elapsed_sec)

    def _draw_truncation(self, view: View, num_ws: int) -> View:
        controls.label("Psi", "1: full variety; 0: the average image")
        controls.fill_width(4.6)
        psi = controls.slider("##psi", view.truncation_psi, -1, 2)
        imgui.same_line()
        if controls.button("Reset##truncation", 4):
            psi, view = 1, replace(view, truncation_cutoff=None)
        view = replace(view, truncation_psi=psi)

        controls.label("Cutoff", "How many styles are truncated, from the coarsest on")
        controls.fill_width()
        cutoff = num_ws if view.truncation_cutoff is None else min(view.truncation_cutoff, num_ws)
        with controls.blank(num_ws == 0):
            form = "all" if cutoff == num_ws else "%d"
            changed, cutoff = controls.slider_int("##cutoff", cutoff, 0, max(num_ws, 1), form)
        if changed:
            view = replace(view, truncation_cutoff=None if cutoff >= num_ws else max(cutoff, 0))
        return view

    def _draw_noise(self, view: View, has_noise: bool, elapsed_sec: float) -> View:
        state, self._is_possible = self.state, has_noise
        controls.label("Noise", "Per-pixel noise of StyleGAN2")
        with controls.disabled(not has_noise, "this network has no noise"):
            _, is_on = imgui.checkbox("On##noise", view.noise_mode != "none")
            imgui.same_line()
            was_random = view.noise_mode == "random"
            _, is_random = imgui.checkbox("Random", was_random or state.is_animated)
            controls.hint("Drawn with a seed, in place of the network's stored noise")
            imgui.same_line()
            _, state.is_animated = imgui.checkbox("Animate##noise", state.is_animated)
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
            controls.label("Noise seed")
            controls.fill_width()
            _, seed = controls.input_int("##noise seed", seed)
        return replace(view, noise_mode=mode, noise_seed=wrapped(seed))

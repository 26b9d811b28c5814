"""A page with a pane that has every control, and with what the pane knows, as JSON.

Run: python -m tests.web_utils.toy_page --port=8080
"""

import json
import sys
from dataclasses import asdict, dataclass, field

from nicegui import app, ui

from web_utils.panes import Panes
from web_utils.toolkit import WebToolkit

LAYERS = [(f"L{i}_{2**i}", f"{4 * i}x{4 * i}", str(64 * i), "float32") for i in range(16)]
NAMES = [f"class {i}" for i in range(1000)]
COLORS = [(0.95, 0.75, 0.4), (0.6, 0.85, 0.6), (0.5, 0.75, 1.0)]


@dataclass
class State:
    """What the pane knows."""

    opened: list[str] = field(default_factory=lambda: ["Latent", "Lists", "Other"])
    clicks: list[str] = field(default_factory=list)
    seed: int = 7
    fraction: tuple[float, float] = (0.25, 0.5)
    moved: tuple[float, float] = (0.0, 0.0)
    is_animated: bool = False
    speed: float = 0.25
    psi: float = 0.7
    cutoff: int = 14
    layers: tuple[int, int] = (0, 13)
    translate: tuple[float, float] = (0.1, 0.0)
    angle: float = 0.0
    text: str = "demo/runs/00003-stylegan3-t/network-snapshot-000200.pkl"
    entered: list[str] = field(default_factory=list)
    idx: int = 0
    class_idx: int = 3
    row: int = 2
    channels: int = 3
    is_on: bool = False
    mixed: list[bool] = field(default_factory=lambda: [i % 3 == 0 for i in range(14)])
    amounts: list[float] = field(default_factory=lambda: [0.0] * 12)
    is_blocked: bool = False
    num_frames: int = 0


class Toy:
    """The pane."""

    def __init__(self) -> None:
        self.state = State()

    def draw(self, tk) -> None:
        self.state.num_frames += 1
        for title, draw in (("Latent", self.latent), ("Lists", self.lists), ("Other", self.other)):
            if self.section(tk, title):
                draw(tk)

    def section(self, tk, title) -> bool:
        opened = self.state.opened
        if is_open := tk.section(title, title in opened):
            opened += [title] * (title not in opened)
        elif title in opened:
            opened.remove(title)
        return is_open

    def clicked(self, is_clicked: bool, what: str) -> None:
        if is_clicked:
            self.state.clicks.append(what)

    def latent(self, tk) -> None:
        s = self.state
        tk.label("Seed", "x + 100 * y of the point in the plane of latents")
        tk.width(8)
        s.seed = max(tk.input_int("##seed", s.seed), 0)
        tk.same_line()
        dx, dy = tk.drag_button("Drag", 4, "Press and drag; or drag the picture itself")
        s.moved = (s.moved[0] + dx, s.moved[1] + dy)
        tk.same_line()
        self.clicked(tk.button("Reset##latent", 4), "reset")
        tk.label("Fraction", "How far the point is on the way to the next seeds")
        tk.fill_width()
        s.fraction = tk.slider2("##fraction", s.fraction, 0, 0.999)
        tk.label("Animate", "Move through the seeds")
        s.is_animated = tk.checkbox("##animate", s.is_animated)
        tk.same_line()
        tk.width(8)
        s.speed = tk.speed_slider("##speed", s.speed, 4, "%.3f seeds/s")
        if s.is_animated:
            tk.label("Speed 2")
            tk.fill_width()
            tk.speed_slider2("##speed 2", (s.speed, -s.speed), 4, "%.2f")
        tk.label("Psi", "1: full variety; 0: the average image")
        tk.fill_width(4.6)
        with tk.disabled(s.is_blocked, "latents of a file are not truncated"):
            s.psi = tk.slider("##psi", s.psi, -1, 2)
            tk.same_line()
            self.clicked(tk.button("Reset##psi", 4), "psi")
        tk.label("Cutoff")
        tk.fill_width()
        with tk.blank(s.is_blocked):
            form = "all" if s.cutoff == 14 else "%d"
            s.cutoff = min(tk.slider_int("##cutoff", s.cutoff, 0, 14, form), 14)
        tk.label("Layers")
        tk.fill_width()
        s.layers = tk.slider_int2("##layers", s.layers, 0, 13)
        tk.label("Translate", "x and y, in fractions of the image")
        tk.fill_width(5)
        s.translate = tk.drag2("##translate", s.translate, 0.002)
        tk.same_line()
        s.is_on = tk.checkbox("Round", s.is_on)
        tk.hint("To whole pixels")
        tk.label("Rotate")
        tk.width(8)
        s.angle = tk.drag("##angle", s.angle, 0.25, "%.2f°")

    def lists(self, tk) -> None:
        s = self.state
        tk.fill_width()
        is_entered, s.text = tk.input_text("##network", s.text, "path or URL", s.text)
        s.entered += [s.text] * is_entered
        for name in ("Recent", "Browse"):
            if name == "Browse":
                tk.same_line()
            with tk.menu(name, tk.share(3), f"{name} networks") as is_open:
                if is_open:
                    tk.separator("In the box")
                    self.clicked(tk.menu_item(f"{name}.pkl"), f"{name}.pkl")
                    with tk.tree_node(f"runs##{name}") as is_shown:
                        if is_shown:
                            for i in range(3):
                                self.clicked(tk.menu_item(f"{i}.pkl##{name}"), f"runs/{i}.pkl")
        tk.same_line()
        self.clicked(tk.button("Load", tk.share(3)), "load")
        tk.text("256x256 RGB, 14 styles, 1000 classes")
        tk.label("Class")
        tk.width(5)
        s.class_idx = min(max(tk.input_int("##class", s.class_idx), 0), 999)
        tk.same_line()
        tk.fill_width()
        s.class_idx = tk.searched_choice("##name", s.class_idx, NAMES, "no class of this name")
        tk.label("Colours")
        tk.fill_width()
        idx = tk.choice("##colours", s.idx, ["grey", "viridis", "<b>magma</b>", "refused"])
        s.idx = s.idx if idx == 3 else idx
        columns = [("Layer", 2.2), ("Size", 1.4), ("Channels", 1.1), ("Type", 1.1)]
        row = tk.table("layers", columns, LAYERS, s.row)
        s.row = s.row if row is None else row
        tk.cells("stats", [("All", "mean 0.1", "std 1", "max 3.5"), ("Shown", "", "", "max 2")])
        tk.label("Channel")
        for count in (1, 3):
            if tk.radio(f"{count}##channels", s.channels == count):
                s.channels = count
            tk.same_line()
        s.is_blocked = tk.checkbox("Blocked", s.is_blocked)

    def other(self, tk) -> None:
        s = self.state
        tk.label("Styles", "One for each layer, from the coarsest to the finest")
        for idx, part in enumerate(("coarse", "middle", "fine")):
            members = range(idx * 5, min(idx * 5 + 5, 14))
            is_on = all(s.mixed[i] for i in members)
            if tk.toggle(part, is_on, 3.5, f"The {part} styles", COLORS[idx]) != is_on:
                for i in members:
                    s.mixed[i] = not is_on
            tk.same_line()
        self.clicked(tk.button("None##mixing", 3), "none")
        names = [f"{i}##mix" for i in range(14)]
        colors = [COLORS[i // 5] for i in range(14)]
        s.mixed = tk.toggles(names, s.mixed, [f"style {i}" for i in range(14)], colors, 9)
        with tk.scroll_area("amounts", 4):
            for i, amount in enumerate(s.amounts):
                tk.label(f"direction of a long name {i}", "PCA")
                tk.fill_width(2.6)
                s.amounts[i] = tk.slider(f"##amount {i}", amount, -3, 3)
                tk.same_line()
                if tk.button(f"0##{i}", 2):
                    s.amounts[i] = 0.0
        tk.label("Render", "Time that the last pictures took")
        tk.graph("##render", [3 + i % 7 for i in range(60)], "12.3 ms, 60.0 pictures/s")


errors: list[str] = []  # of all pages
app.on_exception(lambda error: errors.append(repr(error)))


@ui.page("/")
def page(dark: bool = False, lag_sec: float = 0) -> None:
    """Show the pane, in frames that come at once or with a lag."""
    toy, toolkit = Toy(), WebToolkit()
    ui.dark_mode(dark)
    ui.query(".nicegui-content").classes("p-2")

    def refresh() -> None:
        if toy.state.is_animated:
            toy.state.psi = (toy.state.psi + 0.01) % 1
        panes.update(toolkit.settle(toy.draw))
        dropped = dict(num_dropped=toolkit.num_dropped, errors=errors)
        known.set_text(json.dumps({**asdict(toy.state), **dropped}))

    with ui.element("div").style("width: 380px; max-width: 100%"):
        panes = Panes(toolkit, refresh if lag_sec == 0 else lambda: None)
        known = ui.label().classes("state hidden")
    refresh()
    ui.timer(lag_sec or 0.05, lambda: refresh() if toy.state.is_animated or lag_sec else None)


if __name__ in ("__main__", "__mp_main__"):
    port = int(sys.argv[1].removeprefix("--port="))
    ui.run(host="127.0.0.1", port=port, show=False, reload=False, show_welcome_message=False)

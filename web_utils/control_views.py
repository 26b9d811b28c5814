"""Controls on a page: each kind builds its elements once, and then changes what differs."""

from collections.abc import Callable
from typing import Any

from nicegui.element import Element
from nicegui.elements.checkbox import Checkbox
from nicegui.elements.tooltip import Tooltip

from web_utils import untrusted
from web_utils.elements import DragArea, Field, Slider, Text, listen, set_class, set_prop
from web_utils.tree import Control

MAX_CHARACTERS = 14  # of the number beside a slider; what is longer is cut
SPEED_POWER = 3  # the speed is the cube of the position of the slider
GRAPH_SIZE = (240, 40)  # coordinates; the graph is stretched to its place
HEADROOM = 1.2  # top of a graph, in largest values


class Hand:
    """Passes on what the user does.

    Args:
        send: Gets keys and values.
        is_waiting: Whether no frame has seen the last event of a key.

    Attributes:
        touched: Keys of elements that may show something else than the last tree.
    """

    def __init__(self, send: Callable[[str, Any], None], is_waiting: Callable[[str], bool]) -> None:
        self._send = send
        self.is_waiting = is_waiting
        self.touched: set[str] = set()

    def send(self, key: str, value: Any) -> None:
        """The user has changed a control."""
        self.touched.add(key)
        self._send(key, value)

    def forget_seen(self) -> None:
        """All elements show the tree, except those with events that no frame has seen."""
        self.touched = {key for key in self.touched if self.is_waiting(key)}


class ControlView:
    """A control on the page, inside the current element.

    Args:
        control: What to show first.
        hand: Takes what the user does.
        spoken: Its name for people who hear the page; used where the control shows none.
    """

    def __init__(self, control: Control, hand: Hand, spoken: str) -> None:
        self.control = control
        self.hand = hand
        self.spoken = control.name or spoken
        self._sent: Any = None
        self._is_showing = False
        self._tooltip: Tooltip | None = None
        self.frame = Element("div").classes(f"pane-control pane-{control.kind}")
        self.frame.props["data-key"] = control.key
        set_class(self.frame, "pane-fills", control.fills)
        if control.width is not None:
            self.frame.style(f"--ems: {control.width:.3g}em")
        with self.frame:
            self.build(control)
        self._show(control)

    def build(self, control: Control) -> None:
        """Make the elements; `show` gives them what can change."""

    def show(self, control: Control) -> None:
        """Change what differs."""

    def explanation(self, control: Control) -> str:
        """What its tooltip says."""
        return control.reason or control.tooltip

    def update(self, control: Control) -> None:
        """Show another state of the control, see `row_views.structure`."""
        if control != self.control or self.hand.touched:
            self._show(control)

    def send(self, value: Any) -> None:
        """The user has changed the control; values that `show` sets do not count."""
        if self._is_showing:
            return
        self._sent = value
        self.hand.send(self.control.key, value)

    @property
    def latest(self) -> Any:
        """The value that the user sees, even if no frame has seen it."""
        return self._sent if self.hand.is_waiting(self.control.key) else self.control.value

    def _show(self, control: Control) -> None:
        self.control = control
        set_class(self.frame, "pane-off", control.is_disabled)
        set_class(self.frame, "pane-blank", control.is_blank)
        self._explain(self.explanation(control))
        # What the user has just done is not replaced by an older value.
        if not self.hand.is_waiting(control.key):
            self._is_showing = True
            self.show(control)
            self._is_showing = False

    def _explain(self, text: str) -> None:
        if self._tooltip is None and text:
            with self.frame:
                self._tooltip = Tooltip(text).classes("pane-tooltip")
        elif self._tooltip is not None and not text:
            self._tooltip.delete()
            self._tooltip = None
        elif self._tooltip is not None:
            self._tooltip.set_text(text)


class LineView(ControlView):
    """A line of text, or a line with a title."""

    def build(self, control: Control) -> None:
        self.line = Text("div")

    def show(self, control: Control) -> None:
        self.line.set_text(control.name)


class ButtonView(ControlView):
    """A button, a toggle, or a line of a menu."""

    def build(self, control: Control) -> None:
        self.button = Text("button", control.name)
        self.button.props["type"] = "button"
        if control.kind == "menu_item":
            self.button.props["role"] = "menuitem"
        if not control.name:
            self.button.props["aria-label"] = self.spoken
        if control.color is not None:
            red, green, blue = (round(255 * part) for part in control.color)
            self.frame.style(f"--tint: rgb({red} {green} {blue})")
        listen(self.button, "click", lambda _: self.click(), "true")

    def click(self) -> None:
        """The user has clicked."""
        self.send(not self.latest if self.control.kind == "toggle" else True)

    def show(self, control: Control) -> None:
        self.button.set_text(control.name)
        set_prop(self.button, "disabled", control.is_disabled or None)
        if control.kind == "toggle":
            is_on = bool(control.value) and not control.is_blank
            set_prop(self.button, "aria-pressed", "true" if is_on else "false")


class DragButtonView(ControlView):
    """A button to press and drag."""

    def build(self, control: Control) -> None:
        self.area = DragArea(self.send, in_pixels=False)
        with self.area:
            self.button = Text("button", control.name)
            self.button.props["type"] = "button"
            if not control.name:
                self.button.props["aria-label"] = self.spoken

    def show(self, control: Control) -> None:
        set_prop(self.button, "disabled", control.is_disabled or None)
        set_prop(self.area, "isDisabled", control.is_disabled)


class CheckboxView(ControlView):
    """A box to check."""

    def build(self, control: Control) -> None:
        self.box = Checkbox(control.name, value=bool(control.value)).props("dense size=2em")
        if not control.name:
            self.box.props["aria-label"] = self.spoken
        self.box.on_value_change(lambda event: self.send(event.value))

    def show(self, control: Control) -> None:
        self.box.set_value(bool(control.value) and not control.is_blank)
        set_prop(self.box, "disable", control.is_disabled or None)


class RadioView(ControlView):
    """One of several choices."""

    def build(self, control: Control) -> None:
        self.radio = Element("q-radio").props("dense size=2em")
        self.radio.props["label"] = control.name
        self.radio.props["val"] = True
        listen(self.radio, "update:model-value", lambda _: self.send(True), "true")

    def show(self, control: Control) -> None:
        set_prop(self.radio, "model-value", bool(control.value) and not control.is_blank)
        set_prop(self.radio, "disable", control.is_disabled or None)


class NumberView(ControlView):
    """A number to type."""

    def build(self, control: Control) -> None:
        self.field = self.make_field()
        with Element("div").classes("pane-steps"):
            for name, by in (("less", -1), ("more", 1)):
                button = Text("button", "\N{MINUS SIGN}" if by < 0 else "+")
                button.props["type"] = "button"
                button.props["aria-label"] = f"{self.spoken}: one {name}"
                listen(button, "click", self.step, str(by))

    def make_field(self, name: str = "") -> Field:
        """The field of the number; `name` is added to the spoken one."""
        field = Field(True, self.enter, on_step=self.step)
        field.props["aria-label"] = self.spoken + name
        field.props["autocomplete"] = "off"
        return field

    def enter(self, typed: Any) -> None:
        """The user has typed something; what is no number changes nothing."""
        form = self.control.form
        assert form is not None
        number = form.read(typed) if isinstance(typed, str) else None
        if number is not None:
            self.send(number)

    def step(self, count: Any) -> None:
        """The user wants one more (1) or one less (-1)."""
        if count in (-1, 1):
            self.send(self.latest + count * self.step_size)

    @property
    def step_size(self) -> float:
        """What the arrows up and down add."""
        decimals = self.control.form.decimals if self.control.form is not None else None
        return 1 if self.control.kind in ("input_int", "slider_int") else 10 ** -(decimals or 0)

    def show(self, control: Control) -> None:
        assert control.form is not None and isinstance(control.value, int | float)
        set_prop(self.field, "text", "" if control.is_blank else control.form.show(control.value))
        set_prop(self.field, "disabled", control.is_disabled or None)


class DragView(NumberView):
    """A number to drag or to type."""

    def build(self, control: Control) -> None:
        self.area = DragArea(self.move, in_pixels=True)
        with self.area:
            self.field = self.make_field()

    def move(self, movement: Any) -> None:
        """The user has dragged by so many pixels."""
        pixels = untrusted.movement(movement)
        if pixels is not None:
            self.send(self.latest + pixels[0] * self.control.speed)

    @property
    def step_size(self) -> float:
        return self.control.speed

    def show(self, control: Control) -> None:
        super().show(control)
        set_prop(self.area, "isDisabled", control.is_disabled)


class SliderView(NumberView):
    """A slider with its number, which can be typed."""

    def build(self, control: Control) -> None:
        self.slider = Slider(self._position(control)).props("dense")
        self.slider.props["aria-label"] = self.spoken
        self.slider.on_value_change(lambda event: self._slide(event.value))
        self.field = self.make_field(", as a number")

    def show(self, control: Control) -> None:
        super().show(control)
        assert control.limits is not None and control.form is not None
        is_speed = control.kind == "speed_slider"
        low, high = (-1, 1) if is_speed else control.limits
        set_prop(self.slider, "min", low)
        set_prop(self.slider, "max", high)
        is_whole = control.kind == "slider_int"
        set_prop(self.slider, "step", 0 if is_speed else 1 if is_whole else self.step_size)
        set_prop(self.slider, "disable", control.is_disabled or None)
        if self._value_at(self.slider.value) != control.value:
            self.slider.set_value(self._position(control))
        ends = max(len(control.form.show(limit)) for limit in control.limits)
        longest = max(len(self.field.props["text"]), ends)
        self.field.style(f"width: {min(longest, MAX_CHARACTERS)}ch")

    def _slide(self, position: Any) -> None:
        value = self._value_at(position)
        self.send(position if value is None else value)

    def _position(self, control: Control) -> float:
        """Where the slider stands: the value, or the place of a speed from -1 to 1."""
        assert control.limits is not None and isinstance(control.value, int | float)
        low, high = control.limits
        value = min(max(control.value, low), high)
        if control.kind != "speed_slider":
            return value
        root = (abs(value) / high) ** (1 / SPEED_POWER)
        return root if value > 0 else -root

    def _value_at(self, position: Any) -> float | None:
        """The value of a position, as it is shown; None for something else than a number."""
        number = untrusted.number(position)
        if number is None or self.control.kind != "speed_slider":
            return number
        assert self.control.limits is not None and self.control.form is not None
        speed = number**SPEED_POWER * self.control.limits[1]
        decimals = self.control.form.decimals
        return speed if decimals is None else round(speed, decimals)


class InputTextView(ControlView):
    """A line of text."""

    def build(self, control: Control) -> None:
        self.field = Field(
            False,
            on_enter=lambda text: self.send((text, True)),
            on_type=lambda text: self.send((text, False)),
        )
        self.field.props["placeholder"] = control.placeholder
        self.field.props["aria-label"] = self.spoken or control.placeholder
        self.field.props["maxlength"] = untrusted.MAX_TEXT
        self.field.props["spellcheck"] = "false"
        self.field.props["autocomplete"] = "off"

    def show(self, control: Control) -> None:
        set_prop(self.field, "text", "" if control.is_blank else control.value)
        set_prop(self.field, "disabled", control.is_disabled or None)


class ChoiceView(ControlView):
    """A list to choose from."""

    def build(self, control: Control) -> None:
        self.select = Element("select")
        self.select.props["aria-label"] = self.spoken
        with self.select:
            for idx, option in enumerate(control.options):
                Text("option", option).props["value"] = str(idx)
        listen(self.select, "change", self.send, "e.target.selectedIndex")

    def show(self, control: Control) -> None:
        value = "" if control.is_blank else str(control.value)
        if control.key in self.hand.touched and self.select.props.get("value") == value:
            self.select.update()  # the pane has refused the choice, which the browser still shows
        set_prop(self.select, "value", value)
        set_prop(self.select, "disabled", control.is_disabled or None)


class CellsView(ControlView):
    """Rows of texts in columns of equal width."""

    def build(self, control: Control) -> None:
        self.texts: list[Text] = []

    def show(self, control: Control) -> None:
        texts = [cell for row in control.cells for cell in row]
        columns = max(map(len, control.cells), default=1)
        self.frame.style(f"grid-template-columns: repeat({columns}, minmax(0, 1fr))")
        while len(self.texts) > len(texts):
            self.texts.pop().delete()
        with self.frame:
            self.texts += [Text("div") for _ in texts[len(self.texts) :]]
        for element, text in zip(self.texts, texts, strict=True):
            element.set_text(text)


class GraphView(ControlView):
    """A graph from zero up, with a text over it."""

    def build(self, control: Control) -> None:
        width, height = GRAPH_SIZE
        with Element("svg") as svg:
            self.line = Element("polyline")
        svg.props["viewBox"] = f"0 0 {width} {height}"
        svg.props["preserveAspectRatio"] = "none"
        svg.props["aria-hidden"] = "true"
        self.overlay = Text("div")

    def show(self, control: Control) -> None:
        self.overlay.set_text("" if control.is_blank else control.name)
        set_prop(self.line, "points", "" if control.is_blank else _points(control.value))


def _points(values: Any) -> str:
    """Corners of a line through values, in the coordinates of a graph."""
    known = [untrusted.number(value) or 0.0 for value in values]
    width, height = GRAPH_SIZE
    top = max(known, default=0.0) * HEADROOM or 1.0
    across = width / max(len(known) - 1, 1)
    return " ".join(
        f"{idx * across:.0f},{height - height * max(value, 0) / top:.1f}"
        for idx, value in enumerate(known)
    )

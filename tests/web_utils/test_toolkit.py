"""The toolkit of the browser, without a browser: what panes get, and the tree that is shown."""

import json
import math
from dataclasses import asdict, replace

import pytest

from web_utils.toolkit import MAX_FOUND, WebToolkit
from web_utils.tree import Control, Row, Section

HOSTILE = [
    None,
    "",
    "1",
    [],
    {},
    [[]],
    {"value": 1},
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -1,
    1.5,
    2,
    (1, 2, 3),
    [None, None],
    ["x" * 5000, True],
    ["nul\0", True],
    ["\ud800", False],
    ["text", 1],
    [math.nan, 0],
    [1e30, 0],
    object(),
]


def draw_one(method, *args, returned=None, **kwargs):
    """A pane with one control, which keeps what the control returns."""

    def draw(tk):
        assert tk.section("Pane", True)
        result = getattr(tk, method)(*args, **kwargs)
        if returned is not None:
            returned.append(result)

    return draw


def control_of(tree, key) -> Control:
    """The control of a key, wherever it is."""

    def search(rows):
        for row in rows:
            for control in row.controls:
                if control.key == key:
                    return control
                inner = search([*control.rows, Row(None, "", control.children)])
                if inner is not None:
                    return inner
        return None

    found = search([row for section in tree for row in section.rows])
    assert found is not None, key
    return found


def sent(key, value, method, *args, **kwargs):
    """What a control returns after an event, and in the frames before and after."""
    toolkit, returned = WebToolkit(), []
    draw = draw_one(method, *args, returned=returned, **kwargs)
    toolkit.frame(draw)
    toolkit.send(key, value)
    toolkit.frame(draw)
    toolkit.frame(draw)
    return returned


# Each control


@pytest.mark.parametrize(
    "method, args, event, new",
    [
        ("button", ("B",), True, True),
        ("toggle", ("B", False, 3), True, True),
        ("toggle", ("B", True, 3), False, False),
        ("checkbox", ("B", False), True, True),
        ("radio", ("B", False), True, True),
        ("input_int", ("B", 3), 7, 7),
        ("input_int", ("B", 3), 2**60, 2**53),
        ("input_int", ("B", 3), -1e30, -(2**53)),
        ("input_int", ("B", 3), 7.0, 7),
        ("slider_int", ("B", 3, 0, 5), 9, 9),
        ("slider", ("B", 0.5, 0.0, 1.0), 3, 3.0),
        ("slider", ("B", 0.5, 0.0, 1.0), 0.7000000000000001, 0.7),
        ("speed_slider", ("B", 0.5, 4.0, "%.2f"), 9, 4.0),
        ("speed_slider", ("B", 0.5, 4.0, "%.2f"), -9, -4.0),
        ("drag", ("B", 0.5, 0.01), -1e9, -1e9),
        ("input_text", ("B", "old"), ("new", False), (False, "new")),
        ("input_text", ("B", "old"), ["old", True], (True, "old")),
        ("choice", ("B", 0, ["x", "y"]), 1, 1),
        ("menu_item", ("B",), True, True),
        ("table", ("B", [("t", 1)], [["x"], ["y"]], None), 1, 1),
        ("drag_button", ("B",), (1, -2), (1.0, -2.0)),
    ],
)
def test_an_event_is_returned_once_and_in_the_type_of_the_control(method, args, event, new):
    before, now, after = sent("Pane/B", event, method, *args)
    assert now == new and type(now) is type(new)
    assert after == before


@pytest.mark.parametrize(
    "method, value, args",
    [
        ("slider_int2", (1, 2), (0, 9)),
        ("slider2", (1.0, 2.0), (0.0, 9.0)),
        ("speed_slider2", (1.0, 2.0), (9.0, "%.1f")),
        ("drag2", (1.0, 2.0), (0.1,)),
    ],
)
def test_the_halves_of_a_pair_have_events_of_their_own(method, value, args):
    toolkit, returned = WebToolkit(), []
    draw = draw_one(method, "P", value, *args, returned=returned)
    toolkit.frame(draw)
    toolkit.send("Pane/P/0", 4)
    toolkit.send("Pane/P/1", 5)
    (section,) = toolkit.frame(draw)
    assert returned[-1] == (4, 5)
    ((grid,),) = (row.controls for row in section.rows)
    assert grid.kind == "grid" and grid.num_columns == 2
    assert [child.value for child in grid.children] == [4, 5]


def test_toggles_are_a_grid_and_each_has_its_own_event():
    toolkit, returned = WebToolkit(), []
    names, colors = ["0##mix", "1##mix", "2##mix"], [(1.0, 0.0, 0.0)] * 3
    draw = draw_one("toggles", names, [True, False, False], [""] * 3, colors, 2, returned=returned)
    toolkit.frame(draw)
    toolkit.send("Pane/0##mix", False)
    toolkit.send("Pane/2##mix", True)
    (section,) = toolkit.frame(draw)
    assert returned == [[True, False, False], [False, False, True]]
    (row,) = section.rows
    (grid,) = row.controls
    assert row.label == ""  # beside the column of labels
    assert [child.name for child in grid.children] == ["0", "1", "2"] and grid.num_columns == 2


def test_the_tree_shows_what_the_user_did_in_the_same_frame():
    toolkit = WebToolkit()
    draw = draw_one("slider", "S", 0.5, 0, 1, "%.1f dB")
    toolkit.frame(draw)
    toolkit.send("Pane/S", 0.25)
    control = control_of(toolkit.frame(draw), "Pane/S")
    assert control.value == 0.25 and control.limits == (0, 1)
    assert control.form is not None and control.form.show(0.25) == "0.2 dB"


def test_values_that_no_one_touches_come_back_exactly():
    value = 1 / 3 + 1e-12
    assert sent("Pane/other", 1, "slider", "S", value, 0, 1) == [value] * 3


# Events


@pytest.mark.parametrize(
    "method, args",
    [
        ("button", ("B",)),
        ("drag_button", ("B",)),
        ("toggle", ("B", False, 3)),
        ("checkbox", ("B", False)),
        ("radio", ("B", False)),
        ("input_int", ("B", 3)),
        ("slider_int", ("B", 3, 0, 5)),
        ("slider", ("B", 0.5, 0.0, 1.0)),
        ("speed_slider", ("B", 0.5, 4.0, "%.2f")),
        ("drag", ("B", 0.5, 0.01)),
        ("input_text", ("B", "old")),
        ("choice", ("B", 0, ["x"])),
        ("menu_item", ("B",)),
        ("table", ("B", [("t", 1)], [["x"]], None)),
    ],
)
@pytest.mark.parametrize("event", HOSTILE, ids=[str(i) for i in range(len(HOSTILE))])
def test_hostile_events_never_raise_and_never_bring_a_wrong_type(method, args, event):
    toolkit, returned = WebToolkit(), []
    draw = draw_one(method, *args, returned=returned)
    toolkit.frame(draw)
    toolkit.send("Pane/B", event)
    toolkit.settle(draw)
    fine = {"input_int": (1.5, 2, -1), "slider_int": (1.5, 2, -1), "slider": (1.5, 2, -1)}
    fine |= {"speed_slider": (1.5, 2, -1), "drag": (1.5, 2, -1)}
    if method in ("input_int", "slider_int"):
        assert type(returned[1]) is int and abs(returned[1]) <= 2**53
    if event not in fine.get(method, ()) and not (event == 10**400 and "int" in method):
        assert returned[1] == returned[0]
        assert toolkit.num_dropped == 1


def test_a_wrong_event_is_told_once_for_each_control(caplog):
    toolkit = WebToolkit()
    draw = draw_one("slider", "S", 0.5, 0, 1)
    for _ in range(5):
        toolkit.send("Pane/S", "x")
        toolkit.frame(draw)
    assert toolkit.num_dropped == 5
    assert len(caplog.records) == 1 and "Pane/S" in caplog.text


def test_the_last_event_counts_and_movements_add_up():
    toolkit, returned = WebToolkit(), []

    def draw(tk):
        returned.append((tk.drag_button("D"), tk.slider("S", 0.0, 0, 1), tk.button("B")))

    toolkit.frame(draw)
    for value in (0.25, 0.5, 0.75):
        toolkit.send("/S", value)
        toolkit.send("/D", (value, -1))
        toolkit.send("/B", True)
    assert toolkit.is_waiting("/S") and toolkit.is_waiting("/D") and toolkit.has_events
    toolkit.frame(draw)
    toolkit.frame(draw)
    assert returned[1:] == [((1.5, -3), 0.75, True), ((0, 0), 0, False)]
    assert not toolkit.has_events


def test_events_of_controls_that_are_gone_or_disabled_are_dropped():
    toolkit, returned, is_drawn, is_disabled = WebToolkit(), [], True, False

    def draw(tk):
        with tk.disabled(is_disabled, "not now"):
            if is_drawn:
                drag, clicked = tk.drag_button("D"), tk.button("B")
                returned.append((drag, clicked, tk.checkbox("C", False)))
                with tk.menu("M", 5) as is_open:
                    returned.append(is_open)

    for is_drawn, is_disabled in ((False, False), (True, True)):
        state, (is_drawn, is_disabled) = (is_drawn, is_disabled), (True, False)
        toolkit.frame(draw)
        is_drawn, is_disabled = state
        before = toolkit.num_dropped
        for key, value in (("/D", (1, 1)), ("/B", True), ("/C", True), ("/M", True)):
            toolkit.send(key, value)
        toolkit.frame(draw)
        is_drawn, is_disabled = True, False
        toolkit.frame(draw)
        assert toolkit.num_dropped == before + 4
    assert {value for value in returned if value is not False} == {((0, 0), False, False)}


def test_a_pane_that_fails_leaves_the_toolkit_usable():
    toolkit = WebToolkit()

    def fail(tk):
        with tk.disabled(True), tk.blank(True), tk.menu("M", 5):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        toolkit.frame(fail)
    control = control_of(toolkit.frame(draw_one("button", "B")), "Pane/B")
    assert not control.is_disabled and not control.is_blank


def test_settle_shows_values_that_depend_on_later_controls():
    toolkit, state = WebToolkit(), {"is_on": False, "frames": 0}

    def draw(tk):
        state["frames"] += 1
        tk.text("on" if state["is_on"] else "off")
        state["is_on"] = tk.checkbox("C", state["is_on"])

    toolkit.settle(draw)
    assert state["frames"] == 1
    toolkit.send("/C", True)
    (section,) = toolkit.settle(draw)
    assert section.rows[0].controls[0].name == "on" and state["frames"] == 4


def test_settle_ends_with_panes_that_always_change():
    toolkit, count = WebToolkit(), iter(range(100))
    toolkit.send("/B", True)
    toolkit.settle(lambda tk: (tk.button("B"), tk.text(str(next(count)))))
    assert next(count) == 4


# Sections and rows


def test_a_section_opens_and_closes_by_an_event():
    toolkit, opened = WebToolkit(), []

    def draw(tk):
        opened.append(tk.section("A", opened[-1] if opened else True))
        if opened[-1]:
            tk.button("B")
        tk.section("Z", False)

    assert [s.is_open for s in toolkit.frame(draw)] == [True, False]
    toolkit.send("A", False)
    tree = toolkit.frame(draw)
    assert tree == [Section("A", False, ()), Section("Z", False, ())]
    toolkit.send("A", "yes")
    assert toolkit.frame(draw) == tree
    toolkit.send("A", True)
    assert len(toolkit.frame(draw)[0].rows) == 1


def test_label_and_same_line_decide_the_rows():
    def draw(tk):
        tk.section("A", True)
        tk.label("First", "tip")
        tk.button("1")
        tk.same_line()
        tk.button("2")
        tk.button("3")
        tk.label("Second")
        tk.button("4")
        tk.label("")
        tk.text("5")
        tk.section("B", True)
        tk.same_line()
        tk.button("6")

    a, b = WebToolkit().frame(draw)
    shown = [(row.label, row.tooltip, [c.name for c in row.controls]) for row in a.rows]
    assert shown == [
        ("First", "tip", ["1", "2"]),
        (None, "", ["3"]),
        ("Second", "", ["4"]),
        ("", "", ["5"]),
    ]
    assert [c.name for c in b.rows[0].controls] == ["6"]


def test_a_group_takes_one_place_in_its_row():
    def draw(tk):
        tk.label("Rows")
        with tk.scroll_area("area", 3):
            for i in range(5):
                tk.label(f"row {i}")
                tk.button(f"0##{i}")
        tk.same_line()
        tk.button("after")
        tk.hint("about after")
        with tk.menu("M", 4):
            pass
        tk.hint("about M")

    (section,) = WebToolkit().frame(draw)
    first, second = section.rows
    area, after = first.controls
    assert area.kind == "scroll_area" and area.num_rows == 3
    assert [row.label for row in area.rows] == [f"row {i}" for i in range(5)]
    assert after.tooltip == "about after"
    assert second.controls[0].tooltip == "about M"


def test_widths():
    def draw(tk):
        tk.width(8)
        tk.slider("a", 0, 0, 1)
        tk.slider("b", 0, 0, 1)
        tk.fill_width(7)
        tk.slider("c", 0, 0, 1)
        tk.same_line()
        tk.fill_width()
        tk.choice("d", 0, ["x"])
        tk.button("e", tk.share(3))
        tk.button("f", 4)

    (section,) = WebToolkit().frame(draw)
    widths = {c.name: (c.width, c.fills) for row in section.rows for c in row.controls}
    assert widths == {
        "a": (8, False),
        "b": (None, False),
        "c": (None, True),
        "d": (7, False),
        "e": (None, True),
        "f": (4, False),
    }


def test_disabled_nests_and_the_outermost_reason_wins():
    def draw(tk):
        outer = tk.disabled(True, "outer")
        with tk.disabled(True, ""), tk.disabled(False, "no"), outer, tk.disabled(True, "inner"):
            tk.button("a")
        tk.button("b")
        with tk.blank(True), tk.blank(False):
            tk.slider("c", 0.5, 0, 1)
        with tk.blank(False):
            tk.slider("d", 0.5, 0, 1)

    (section,) = WebToolkit().frame(draw)
    a, b, c, d = (row.controls[0] for row in section.rows)
    assert (a.is_disabled, a.reason, a.is_blank) == (True, "outer", False)
    assert (b.is_disabled, b.reason) == (False, "")
    assert (c.is_disabled, c.reason, c.is_blank) == (True, "", True)
    assert not d.is_disabled and not d.is_blank


def test_only_the_part_of_a_name_before_the_marks_is_shown_and_equal_names_are_numbered(caplog):
    def draw(tk):
        tk.section("A", True)
        tk.button("Reset##x")
        tk.button("Reset##y")
        tk.button("Reset##y")

    (section,) = WebToolkit().frame(draw)
    controls = [row.controls[0] for row in section.rows]
    assert [c.key for c in controls] == ["A/Reset##x", "A/Reset##y", "A/Reset##y#2"]
    assert {c.name for c in controls} == {"Reset"}
    assert "same name" in caplog.text


def test_keys_of_lines_do_not_depend_on_other_sections():
    def draw(is_open):
        def draw(tk):
            if tk.section("A", is_open):
                tk.text("one")
                tk.toggles(["0"], [True], [""], [(1, 1, 1)], 9)
            tk.section("B", True)
            tk.text("two")
            tk.separator("three")
            tk.toggles(["0"], [True], [""], [(1, 1, 1)], 9)

        return draw

    assert WebToolkit().frame(draw(True))[1] == WebToolkit().frame(draw(False))[1]


def test_trees_compare_by_value():
    draw = draw_one("graph", "G", [1.0, 2.0], "2 ms")
    first, second = WebToolkit().frame(draw), WebToolkit().frame(draw)
    assert first == second and hash(first[0]) == hash(second[0])
    control = control_of(first, "Pane/G")
    assert control.fills and control.value == (1.0, 2.0) and control.name == "2 ms"
    assert replace(control, value=(1.0,)) != control


# Menus


class Menus:
    """A pane with two menus."""

    def __init__(self):
        self.toolkit, self.chosen, self.is_drawn, self.is_disabled = WebToolkit(), [], True, False

    def draw(self, tk):
        if not self.is_drawn:
            return
        with tk.disabled(self.is_disabled), tk.menu("Browse", 5) as is_open:
            if is_open:
                if tk.menu_item("net.pkl"):
                    self.chosen.append("net")
                with tk.tree_node("runs") as is_shown:
                    if is_shown and tk.menu_item("old.pkl"):
                        self.chosen.append("old")
        with tk.menu("Recent", 5) as is_open:
            if is_open:
                tk.menu_item("last.pkl")

    def after(self, key=None, value=None):
        """Which menus and nodes are open, and how many rows they have."""
        if key is not None:
            self.toolkit.send(key, value)
        tree = self.toolkit.settle(self.draw)
        if not self.is_drawn:
            return None
        return {
            key: len(control_of(tree, key).rows)
            for key in ("/Browse", "/Recent")
            if control_of(tree, key).value
        }


def test_a_menu_opens_and_an_item_closes_it():
    menus = Menus()
    assert menus.after() == {}
    assert menus.after("/Browse", True) == {"/Browse": 2}
    assert menus.after("/net.pkl", True) == {} and menus.chosen == ["net"]
    assert menus.after("/net.pkl", True) == {} and menus.chosen == ["net"]


def test_one_menu_is_open_at_a_time():
    menus = Menus()
    assert menus.after("/Browse", True) == {"/Browse": 2}
    assert menus.after("/Recent", True) == {"/Recent": 1}
    assert menus.after("/Browse", True) == {"/Browse": 2}
    assert menus.after("/Recent", False) == {"/Browse": 2}
    assert menus.after("/Browse", False) == {}
    assert menus.after("/Browse", 1) == {}


def test_a_tree_node_opens_and_is_still_open_when_the_menu_comes_back():
    menus = Menus()
    menus.after("/Browse", True)
    menus.after("/runs", True)
    tree = menus.toolkit.frame(menus.draw)
    assert control_of(tree, "/runs").value is True
    assert control_of(tree, "/runs").rows[0].controls[0].name == "old.pkl"
    assert menus.after("/old.pkl", True) == {} and menus.chosen == ["old"]
    menus.after("/Browse", True)
    assert control_of(menus.toolkit.frame(menus.draw), "/old.pkl")
    menus.after("/runs", False)
    assert control_of(menus.toolkit.frame(menus.draw), "/runs").rows == ()


@pytest.mark.parametrize("attribute", ["is_drawn", "is_disabled"])
def test_a_menu_that_is_hidden_or_disabled_is_closed(attribute):
    menus = Menus()
    menus.after("/Browse", True)
    setattr(menus, attribute, attribute == "is_disabled")
    menus.after()
    setattr(menus, attribute, attribute != "is_disabled")
    assert menus.after() == {}


# Lists


def search(toolkit, draw, text, is_entered=False):
    toolkit.send("Pane/##C search", (text, is_entered))
    return control_of(toolkit.settle(draw), "Pane/##C")


def test_a_searched_list_sends_what_was_found():
    toolkit, returned = WebToolkit(), []
    names = [f"class {i}" for i in range(1000)]
    draw = draw_one("searched_choice", "##C", 3, names, "no class of this name", returned=returned)
    closed = control_of(toolkit.frame(draw), "Pane/##C")
    assert closed.name == "class 3" and closed.rows == ()
    toolkit.send("Pane/##C", True)
    opened = control_of(toolkit.settle(draw), "Pane/##C")
    assert len(opened.rows) == MAX_FOUND + 2
    assert opened.rows[-1].controls[0].name == "and 800 more: type a part of the name"
    found = search(toolkit, draw, "CLASS 99")
    assert [row.controls[0].name for row in found.rows[1:4]] == [
        "class 99",
        "class 990",
        "class 991",
    ]
    assert search(toolkit, draw, "zebra").rows[-1].controls[0].name == "no class of this name"
    assert search(toolkit, draw, "zebra", True).value is True
    assert set(returned) == {3}
    assert search(toolkit, draw, "99", True).value is False
    assert 99 in returned
    toolkit.send("Pane/##C", True)
    opened = control_of(toolkit.settle(draw), "Pane/##C")
    assert opened.rows[0].controls[0].value == ""  # the search begins anew
    toolkit.send("Pane/class 7##C 7", True)
    assert control_of(toolkit.settle(draw), "Pane/##C").value is False
    assert 7 in returned


def test_indices_are_checked_against_the_options_that_are_drawn_now():
    toolkit, options, returned = WebToolkit(), ["x", "y", "z"], []
    draw = draw_one("choice", "C", 0, options, returned=returned)
    toolkit.frame(draw)
    toolkit.send("Pane/C", 2)
    del options[1:]
    toolkit.frame(draw)
    assert returned == [0, 0]


def test_names_that_are_not_unicode_become_escapes_and_texts_stay_unless_they_are_typed():
    toolkit, name, shown = WebToolkit(), "caf\udce9", "caf\\udce9"
    typed = []

    def draw(ui):
        ui.label(name, name)
        typed.append(ui.input_text("##path", name, tooltip=name))
        ui.choice(f"##{name}", 0, [name])
        ui.table("table", [("Name", 1)], [[name]], None)
        ui.text(name)

    (section,) = toolkit.frame(draw)
    json.dumps(asdict(section), ensure_ascii=False).encode()
    assert section.rows[0].label == section.rows[0].controls[0].value == shown
    toolkit.send("/##path", (shown, True))
    toolkit.frame(draw)
    toolkit.send("/##path", ("cafe", False))
    toolkit.frame(draw)
    assert typed == [(False, name), (True, name), (False, "cafe")]

"""Keys: quick chords, keyboards of other alphabets, and what Esc closes first."""

import numpy as np
import pytest

pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")
import glfw

from gui_utils import keys
from gui_utils.keys import KeyPress, read_key

slow = pytest.mark.slow
QUICK_MS = 4  # between two presses


@slow
def test_quick_chords_all_count(open_window):
    person = open_window()
    # No frame is drawn between them. GLFW takes presses within a millisecond for one.
    person.do("key", "--delay", QUICK_MS, *["ctrl+equal"] * 8)
    assert person.window.ui_scale == pytest.approx(1.1**8)
    person.do("key", "--delay", QUICK_MS, *["ctrl+minus"] * 8)
    assert person.window.ui_scale == pytest.approx(1)
    person.do("key", "--delay", QUICK_MS, "ctrl+KP_Add", "ctrl+KP_Subtract", "ctrl+KP_Subtract")
    assert person.window.ui_scale == pytest.approx(1 / 1.1)


@slow
def test_quick_chord_saves_even_out_of_a_text_field(person, tmp_path):
    person.do("key", "--delay", QUICK_MS, "ctrl+s", "ctrl+s")
    person.click("##network")
    person.do("key", "--delay", 0, "ctrl+s")
    assert len(list((tmp_path / "saved").iterdir())) == 3
    assert person.application.network.state.typed.endswith("t.pkl")  # no letter was typed


@pytest.mark.parametrize(
    "key, on_keyboard, mods, expected",
    [
        (glfw.KEY_S, "s", glfw.MOD_CONTROL, KeyPress("S", ctrl=True)),
        (glfw.KEY_Q, "a", glfw.MOD_CONTROL, KeyPress("A", ctrl=True)),  # French
        (glfw.KEY_S, "ы", glfw.MOD_CONTROL, KeyPress("S", ctrl=True)),  # Russian
        (glfw.KEY_SEMICOLON, "ö", 0, KeyPress("Ö")),  # German
        (glfw.KEY_RIGHT_BRACKET, "+", glfw.MOD_CONTROL, KeyPress("+", ctrl=True)),  # German
        (glfw.KEY_C, "c", glfw.MOD_CONTROL | glfw.MOD_SHIFT, KeyPress("C", True, True)),
        (glfw.KEY_S, "s", glfw.MOD_CONTROL | glfw.MOD_ALT, None),  # AltGr types characters
        (glfw.KEY_ESCAPE, None, 0, KeyPress("Esc")),
        (glfw.KEY_LEFT_SHIFT, None, 0, None),
    ],
)
def test_keys_have_the_names_of_the_users_keyboard(monkeypatch, key, on_keyboard, mods, expected):
    monkeypatch.setattr(keys.glfw, "get_key_name", lambda key, scancode: on_keyboard)
    assert read_key(key, 0, glfw.PRESS, mods) == expected
    assert read_key(key, 0, glfw.RELEASE, mods) is None


@slow
def test_escape_closes_a_popup_before_the_help(person):
    person.do("key", "F1")
    person.click("Recent")
    assert is_popup_open() and person.application._dialogs._open == "Help"
    person.do("key", "Escape")
    assert not is_popup_open() and person.application._dialogs._open == "Help"
    person.do("key", "Escape")
    assert person.application._dialogs._open is None


@slow
def test_escape_closes_popups_one_press_each(person):
    person.click("FFT")
    for button in ("Recent", "Browse", "##colours"):
        person.click(button)
        assert is_popup_open()
        person.do("key", "Escape")
        assert not is_popup_open()
        assert person.application._dialogs._open is None
    person.do("key", "Escape")
    assert person.application._dialogs.is_asking


@slow
def test_escape_ends_typing_and_keeps_what_was_there(person):
    before = person.application.network.state.typed
    person.click("##network")
    person.type("x")
    person.do("key", "Escape")
    assert person.application.network.state.typed == before
    assert person.application._dialogs._open is None
    person.do("key", "F1")
    person.do("key", "Escape")
    assert person.application._dialogs._open is None
    person.do("key", "Escape")
    assert person.application._dialogs.is_asking
    before = person.pixels()
    person.do("key", "Escape")
    assert not person.window.should_close()
    assert not np.array_equal(person.pixels(), before)
    person.do("key", "--delay", 0, "Escape", "Return")  # however quick
    assert person.window.should_close()


def is_popup_open() -> bool:
    from imgui_bundle import imgui

    any_popup = imgui.PopupFlags_.any_popup_id | imgui.PopupFlags_.any_popup_level
    return imgui.is_popup_open("", any_popup)

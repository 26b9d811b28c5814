"""Window, level and colours of one channel."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def grey(in_front_of):
    """In front of a window that shows a network of grey images."""
    return in_front_of("gray.pkl")


def is_offered(person, name: str) -> bool:
    person.items.pop(name, None)
    person.pump(3)
    return name in person.items


def test_window_and_level_change_the_picture(grey):
    before = grey.check(level=0, window=2)
    grey.drag("##window", 20, 0, 0.2)
    assert grey.application.view.level > 0.05
    darker = grey.check(window=2)
    assert darker.mean() < before.mean()
    grey.drag("##window", -80, 0, 0.8)
    assert grey.application.view.window < 1.5
    assert grey.check().std() > darker.std()
    grey.drag("##window", -400, 0, 0.8)
    shown = grey.check(window=0)  # a threshold
    assert set(np.unique(shown)) <= {0, 255}


def test_colours_change_the_picture_of_one_channel(grey):
    before = grey.check()
    assert (before[..., 0] == before[..., 2]).all()
    choose(grey, "viridis")
    shown = grey.check(color_map="viridis")
    assert (shown[..., 0] != shown[..., 2]).any()
    grey.click("FFT")
    other = grey.check(fft=True)
    choose(grey, "grey")
    assert not np.array_equal(grey.check(color_map="grey"), other)


def choose(person, name: str) -> None:
    """Choose from the list of colours, whose rows follow each other below it."""
    from viz import color_maps

    person.click("##colours")
    left, top, _, bottom = person.items["##colours"]
    row = bottom - top - 2
    person.do("mousemove", round(left + 20), round(bottom + row * 0.7))
    idx = color_maps.NAMES.index(name)
    for _ in range(idx):
        person.do("mousemove_relative", 0, round(row))
    person.do("click", 1)
    person.settle()


def test_only_one_channel_has_a_window(person, folder):
    assert not is_offered(person, "##window")  # an image in colours
    person.click("L1_36_8")
    assert not is_offered(person, "##window")
    person.click("1##channels")
    assert is_offered(person, "##window") and is_offered(person, "##colours")
    person.drag("##window", 20, 0, 0.2)
    person.check(num_channels=1)
    person.click("FFT")
    assert not is_offered(person, "##window") and is_offered(person, "##colours")
    person.click("image")
    person.click("FFT")
    assert not is_offered(person, "##window") and not is_offered(person, "##colours")

"""Layout of figures: captions that fit, parts beside and beneath each other."""

import numpy as np
import PIL.ImageFont
import pytest

from torch_utils import layout

FONT = PIL.ImageFont.load_default(layout.FONT_SIZE)


@pytest.mark.parametrize("length", [50, 3000])
def test_long_captions_lose_their_middle(length):
    name = "folder/" + "x" * length + "/00001.png"
    got = layout.text(name, 150)
    assert got.shape == (layout.FONT_SIZE + layout.GAP, 150, 3)
    kept = [f"{name[: num // 2]}...{name[num // 2 - num :]}" for num in range(1, 40)]
    longest = max((text for text in kept if FONT.getlength(text) <= 150), key=len)
    assert longest.startswith("folder/") and longest.endswith("/00001.png")
    assert np.array_equal(got, layout.text(longest, 150))


def test_short_captions_stay_whole_and_nothing_fits_into_no_width():
    assert (layout.text("sample 3", 200) < layout.BACKGROUND).any()
    assert (layout.text("sample 3", 2) == layout.BACKGROUND).all()


def test_parts_are_aligned_at_the_top_left():
    low, high = np.zeros([2, 3, 3], np.uint8), np.zeros([4, 1, 3], np.uint8)
    row = layout.beside(low, high)
    assert row.shape == (4, 3 + 1 + 2 * layout.GAP, 3)
    assert (row[:2, :3] == 0).all() and (row[2:, :3] == layout.BACKGROUND).all()
    column = layout.beneath(low, high)
    assert column.shape == (6, 3, 3) and (column[2:, 1:] == layout.BACKGROUND).all()

"""data.label_names: which label is whose, where names are spelled unalike."""

import random
import unicodedata

import pytest

from data import label_names
from data.label_names import match_names

COMPOSED, DECOMPOSED = "caf\u00e9/\u00fc.png", "cafe\u0301/u\u0308.png"

FOUND = {
    "as they are": ({"a/1.png": 5}, ["a/1.png"], {"a/1.png": 5}),
    "backslashes": ({"a\\1.png": 5, "b\\1.png": 6}, ["a/1.png", "b/1.png"], None),
    "a dot in front": ({"./a/1.png": 5, ".\\b\\1.png": 6}, ["a/1.png", "b/1.png"], None),
    "dots and slashes within": ({"/a//x/./1.png": 5}, ["a/x/1.png"], None),
    "composed accents": ({COMPOSED: 5}, [DECOMPOSED], None),
    "decomposed accents": ({DECOMPOSED: 5}, [COMPOSED], None),
    "both accents, each its own": (
        {COMPOSED: 5, DECOMPOSED: 6},
        [DECOMPOSED, COMPOSED],
        {DECOMPOSED: 6, COMPOSED: 5},
    ),
    "another suffix": ({"a.jpg": 5, "b.JPEG": 6}, ["a.png", "b.png"], None),
    "no suffix": ({"scan_1.5": 5, "scan_1.25": 6}, ["scan_1.5.png", "scan_1.25.png"], None),
    "one folder more": ({"set/a/1.png": 5, "set/b/1.png": 6}, ["a/1.png", "b/1.png"], None),
    "an address": ({"C:\\my\\set\\1.png": 5, "C:\\my\\set\\2.png": 6}, ["1.png", "2.png"], None),
    "one folder less": ({"1.png": 5, "2.png": 6}, ["set/1.png", "set/2.png"], None),
    "two folders less, another suffix": ({"1": 5, "2": 6}, ["x/y/1.png", "x/y/2.png"], None),
    "everything at once": (
        {".\\set\\u\u0308\\1.jpg": 5, ".\\set\\b\\2.jpg": 6},
        ["\u00fc/1.png", "b/2.png"],
        None,
    ),
    "a backslash that is part of a name": ({"a\\1.png": 5}, ["a\\1.png"], None),
    "the same label twice": ({"a.png": 5, "./a.png": 5}, ["a.png"], {"a.png": 5}),
}


@pytest.mark.parametrize("case", FOUND)
def test_names_are_found_in_other_spellings(case):
    listed, images, expected = FOUND[case]
    match = match_names(listed, images, "here")
    labels = {image: listed[name] for image, name in match.listed_of.items()}
    assert labels == (expected or dict(zip(images, listed.values(), strict=True)))
    assert match.unlabelled == [] and match.unused == []
    is_exact = all(image in listed for image in images)
    assert (match.changes is None) == is_exact
    if not is_exact:
        num = sum(image not in listed for image in images)
        assert match.changes.startswith(f"{num} name{'s' * (num > 1)} matched after ")


REFUSED = {
    "two images without suffix": ({"a.jpg": 0}, ["a.png", "a.gif"], ["a.jpg", "a.png", "a.gif"]),
    "one of two has a label": (
        {"a.jpg": 0, "a.png": 1},
        ["a.png", "a.gif"],
        ["a.jpg", "a.png", "a.gif"],
    ),
    "two accents": ({"./" + COMPOSED: 0}, [COMPOSED, DECOMPOSED], [COMPOSED, DECOMPOSED]),
    "two labels by suffix": ({"a.jpg": 0, "a.bmp": 1}, ["a.png"], ["a.jpg", "a.bmp", "a.png"]),
    "two labels by spelling": ({"a/1.png": 0, "a\\1.png": 1}, ["a/1.png"], ["a/1.png", "a\\1.png"]),
    "two spellings": ({"./a/1.png": 0, "a\\1.png": 1}, ["a/1.png"], ["./a/1.png", "a\\1.png"]),
    "two folders": ({"s/s/x.png": 0}, ["s/x.png", "x.png"], ["s/", "s/s/"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_be_meant_in_two_ways_is_refused_with_both(case):
    listed, images, named = REFUSED[case]
    with pytest.raises(ValueError, match=r"^here: ") as info:
        match_names(listed, images, "here")
    for name in named:
        assert name in str(info.value)


def test_what_is_left_over_is_told():
    match = match_names({"a.png": 0, "x/ghost.png": 1}, ["a.png", "b.png"], "here")
    assert match.listed_of == {"a.png": "a.png"} and match.changes is None
    assert match.unlabelled == ["b.png"] and match.unused == ["x/ghost.png"]
    # Nothing in common: no folder is invented, no base name compared.
    match = match_names({"a/1.png": 0, "b/2.png": 1}, ["c/1.png", "d/2.png"], "here")
    assert match.listed_of == {} and len(match.unlabelled) == len(match.unused) == 2
    # A folder that only some labels have is no common one.
    assert not match_names({"t/1.png": 0, "v/1.png": 1}, ["1.png"], "here").listed_of


@pytest.mark.parametrize("start", ["", "./", "x/", "x\\"])
def test_lists_below_the_top_start_there_or_at_the_top(start):
    listed = {f"{start}a.png": 0, f"{start}b.png": 1}
    match = match_names(listed, ["x/a.png", "x/b.png"], "here", folder="x")
    assert match.listed_of == {"x/a.png": f"{start}a.png", "x/b.png": f"{start}b.png"}
    # An image of the same name at the top is not the one beside the list.
    match = match_names({"a.png": 0}, ["a.png", "x/a.png"], "here", folder="x")
    assert match.listed_of == {"x/a.png": "a.png"} and match.unlabelled == ["a.png"]


@pytest.mark.parametrize("seed", range(20))
def test_random_spellings_lead_back_to_their_images(seed):
    """The oracle is the way in which the spellings were made."""
    rng = random.Random(seed)
    stems = rng.sample(
        [f"{word}{i}" for word in ("a", "\u00e9t\u00e9", "x.y") for i in range(40)], 50
    )
    images = [f"{rng.choice(['', 'p/', 'p/q/', 'r s/'])}{stem}.png" for stem in stems]
    form, folder = rng.choice(["NFC", "NFD"]), rng.choice(["", "all/", "all/of/"])
    suffix, slash = rng.choice([".png", ".jpg", ""]), rng.choice("/\\")
    spelled = {}
    for image in images:
        name = f"{folder}{image.removesuffix('.png')}{suffix}"
        name = unicodedata.normalize(form, f"{rng.choice(['', './'])}{name}")
        spelled[name.replace("/", slash)] = image
    shuffled = dict(rng.sample(list(spelled.items()), len(spelled)))
    match = match_names(shuffled, images, "here")
    assert match.listed_of == {image: name for name, image in spelled.items()}
    assert match.unlabelled == [] and match.unused == []


@pytest.mark.timeout(60)  # comparing each name with each would take hours
def test_exact_names_are_looked_up_and_not_respelled(monkeypatch):
    names = [f"{i // 1000:05d}/img{i:08d}.png" for i in range(200_000)]
    listed = dict.fromkeys(reversed(names), 0)
    monkeypatch.setattr(label_names, "as_path", None)
    match = match_names(listed, names, "here")
    assert list(match.listed_of) == names and match.unlabelled == match.unused == []


def test_messages_show_no_control_characters():
    with pytest.raises(ValueError) as info:
        match_names({"a\x1b.jpg": 0}, ["a\x1b.png", "a\x1b.gif"], "here")
    assert r"a\x1b.png or a\x1b.gif" in str(info.value)
    changes = match_names({"./a\u202e\n.png": 0}, ["a\u202e\n.png"], "here").changes
    assert r"./a\u202e\n.png for a\u202e\n.png" in changes

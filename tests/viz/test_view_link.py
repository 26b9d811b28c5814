"""Links of views: there and back without loss, and whatever else strangers write is refused."""

import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields, replace

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from dnnlib.errors import InputError
from viz import color_maps
from viz.frozen_array import FrozenArray
from viz.view import Drag, View, base_of
from viz.view_link import MAX_LINK, from_link, left_out, to_link

EXAMPLES = os.environ.get("PROPERTY_EXAMPLES")
profile = hypothesis.settings(
    max_examples=int(EXAMPLES or 300), derandomize=EXAMPLES is None, database=None, deadline=None
)

# Field -> a view in which it is not as by default, its link.
LINKS = {
    "network": (View(network="pretrained:shapes-t"), "network=pretrained:shapes-t"),
    "x": (View(x=3), "seed=3"),
    "y": (View(x=0.1, y=-2), "x=0.1&y=-2"),
    "class_idx": (View(class_idx=7), "class=7"),
    "latents": (View(latents="out/a b.npz"), "latents=out/a%20b.npz"),
    "latent_idx": (View(latents="w.npz", latent_idx=4), "latents=w.npz&latent=4"),
    "directions": (View(directions="pca.npz"), "directions=pca.npz"),
    "amounts": (
        View(directions="pca.npz", amounts=(("pc1", 2.5), ("a&b", -1.0))),
        "directions=pca.npz&direction:pc1=2.5&direction:a%26b=-1",
    ),
    "direction_layers": (
        View(directions="pca.npz", direction_layers=(2, 5)),
        "directions=pca.npz&direction-layers=2-5",
    ),
    "mix_seed": (View(mix_seed=4294967295), "mix-seed=4294967295"),
    "mix_layers": (View(mix_layers=(0, 1, 2, 5, 7, 8)), "mix-layers=0-2,5,7-8"),
    "truncation_psi": (View(truncation_psi=0.7), "trunc=0.7"),
    "truncation_cutoff": (View(truncation_cutoff=0), "cutoff=0"),
    "noise_mode": (View(noise_mode="random"), "noise-mode=random"),
    "noise_seed": (View(noise_seed=9), "noise-seed=9"),
    "translate": (View(translate=(0.3, -1)), "translate=0.3,-1"),
    "rotate": (View(rotate=1 / 3), "rotate=0.3333333333333333"),
    "untransform": (View(untransform=True), "untransform=1"),
    "layer": (View(layer="L5_84_512"), "layer=L5_84_512"),
    "channel": (View(channel=12), "channel=12"),
    "num_channels": (View(num_channels=1), "channels=1"),
    "normalize": (View(normalize=True), "normalize=1"),
    "gain_db": (View(gain_db=-6), "gain=-6"),
    "level": (View(level=-0.5), "level=-0.5"),
    "window": (View(window=0), "window=0"),
    "color_map": (View(color_map="viridis"), "colors=viridis"),
    "fft": (View(fft=True), "fft=1"),
    "fft_range_db": (View(fft_range_db=(-60, 20.5)), "fft-range=-60,20.5"),
    "fft_beta": (View(fft_beta=0), "fft-beta=0"),
    "fft_all": (View(fft_all=False), "fft-all=0"),
    "force_fp32": (View(force_fp32=True), "fp32=1"),
}


@pytest.mark.parametrize("field", LINKS)
def test_every_field_has_a_part(field):
    view, link = LINKS[field]
    assert getattr(view, field) != getattr(View(), field)
    assert to_link(view) == link
    assert from_link(link) == from_link(f"#{link}") == view


def test_every_field_of_a_view_is_tested():
    assert {field.name for field in fields(View)} == {*LINKS, "drag"}
    assert all(field.default is not MISSING for field in fields(View))


def test_default_view_has_an_empty_link():
    assert to_link(View()) == ""
    assert from_link("") == from_link("#") == View()


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
places = st.one_of(st.integers(-(2**53), 2**53), st.floats(-(2**53), 2**53))
seeds = st.integers(0, 2**32 - 1)
indices = st.integers(0, 2**31 - 1)
paths = st.text(st.characters(exclude_characters="\0", exclude_categories=()), min_size=1)
names = st.text(st.characters(exclude_characters=":=", exclude_categories=()), min_size=1)
layers = st.integers(0, 999)
flags = st.booleans()


@st.composite
def views(draw):
    """Any view that the panes can make, without dragged points."""
    latents, directions = draw(st.none() | paths), draw(st.none() | paths)
    low = draw(st.floats(-120, 119))
    view = View(
        network=draw(st.none() | paths),
        x=draw(places),
        y=draw(places | st.just(0)),
        class_idx=draw(indices),
        latents=latents,
        directions=directions,
        mix_seed=draw(seeds),
        mix_layers=tuple(sorted(draw(st.sets(layers)))),
        truncation_psi=draw(finite),
        truncation_cutoff=draw(st.none() | layers),
        noise_mode=draw(st.sampled_from(["const", "random", "none"])),
        noise_seed=draw(seeds),
        translate=(draw(finite), draw(finite)),
        rotate=draw(finite),
        untransform=draw(flags),
        layer=draw(st.none() | names),
        channel=draw(indices),
        num_channels=draw(st.sampled_from([1, 3])),
        normalize=draw(flags),
        gain_db=draw(st.floats(-700, 700)),
        level=draw(finite),
        window=abs(draw(finite)),
        color_map=draw(st.sampled_from(color_maps.NAMES)),
        fft=draw(flags),
        fft_range_db=(low, draw(st.floats(low + 1, 120))),
        fft_beta=draw(st.floats(0, 700)),
        fft_all=draw(flags),
        force_fp32=draw(flags),
    )
    if latents is not None:
        view = replace(view, latent_idx=draw(indices))
    if directions is not None:
        amounts = draw(st.dictionaries(names, finite.filter(bool), max_size=5))
        ends = draw(st.none() | st.tuples(layers, layers).map(lambda ends: tuple(sorted(ends))))
        view = replace(view, amounts=tuple(amounts.items()), direction_layers=ends)
    return view


@profile
@hypothesis.given(views())
def test_view_comes_back_from_its_link(view):
    link = to_link(view)
    assert link.isascii() and not re.search(r"[\s#\"'<>\\]", link)
    assert from_link(link) == view


def test_numbers_of_other_types_are_written_like_those_of_python():
    view = View(x=np.float64(0.1), translate=(np.float64(1), 0), class_idx=np.int64(3))
    assert to_link(view) == "x=0.1&class=3&translate=1,0"


def test_seed_is_a_point_of_the_first_row_only():
    assert to_link(View(x=4294967295.0)) == "seed=4294967295"
    assert to_link(View(x=4294967296)) == "x=4294967296.0"
    assert to_link(View(x=-1)) == "x=-1"
    assert to_link(View(x=3, y=2)) == "x=3&y=2"  # seed=203 would be another point


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("trunc=abc", "#trunc=abc: must be a number"),
        ("trunc=", "#trunc=: must be a number"),
        ("trunc=nan", "#trunc=nan: must be a number"),
        ("trunc=inf", "#trunc=inf: must be a number"),
        ("trunc=1_0", "#trunc=1_0: must be a number"),
        ("trunc=٣", "#trunc=٣: must be a number"),
        ("trunc=%201", "#trunc= 1: must be a number"),
        ("trunc=1e39", "#trunc=1e39: must be from -3.40282e+38 to 3.40282e+38"),
        ("trunc=1e999", "#trunc=1e999: must be from -3.40282e+38 to 3.40282e+38"),
        ("x=1e16", "#x=1e16: must be from -9.0072e+15 to 9.0072e+15"),
        ("seed=1.5", "#seed=1.5: must be a whole number from 0 to 4294967295"),
        ("seed=-1", "#seed=-1: must be a whole number from 0 to 4294967295"),
        ("seed=4294967296", "#seed=4294967296: must be a whole number from 0 to 4294967295"),
        ("class=2147483648", "#class=2147483648: must be a whole number from 0 to 2147483647"),
        ("cutoff=1000", "#cutoff=1000: must be a whole number from 0 to 999"),
        ("mix-layers=0-2000000000", "must be numbers of layers from 0 to 999, such as 2-5"),
        ("mix-layers=", "#mix-layers=: must be numbers of layers from 0 to 999, such as 2-5"),
        ("mix-layers=3,1", "#mix-layers=3,1: the numbers must increase"),
        ("mix-layers=1,1", "#mix-layers=1,1: the numbers must increase"),
        ("mix-layers=5-2", "#mix-layers=5-2: the numbers must increase"),
        ("directions=d&direction-layers=5-2", "#direction-layers=5-2: the numbers must increase"),
        ("translate=1", "#translate=1: must be two numbers, such as 0.3,1"),
        ("translate=1,2,3", "#translate=1,2,3: must be a number"),
        ("noise-mode=loud", "#noise-mode=loud: must be one of const, random, none"),
        ("channels=2", "#channels=2: must be one of 1, 3"),
        ("colors=jet", "#colors=jet: must be one of grey, viridis, inferno, cividis, coolwarm"),
        ("fft=yes", "#fft=yes: must be one of 0, 1"),
        ("gain=1000", "#gain=1000: must be from -700 to 700"),
        ("window=-1", "#window=-1: must be from 0 to 3.40282e+38"),
        ("fft-range=-121,0", "#fft-range=-121,0: must be from -120 to 120"),
        ("fft-range=5,5", "#fft-range=5,5: the second number must be at least 1 above the first"),
        ("fft-beta=-1", "#fft-beta=-1: must be from 0 to 700"),
        ("network=", "#network=: is empty"),
        ("network=a%00b", r"#network=a\x00b: must not contain '\x00'"),
        ("network=" + "a" * 4097, " ...: has more than 4096 characters"),
        ("layer=" + "a" * 256, " ...: has more than 255 characters"),
        ("network=%ff", "the encoding is not UTF-8"),
        ("latent=1", "#latent=1: needs latents=FILE"),
        ("direction:pc0=1", "#direction:pc0=1: needs directions=FILE"),
        ("direction-layers=1-2", "#direction-layers=1-2: needs directions=FILE"),
        ("directions=d&direction:=1", "#direction:=1: is empty"),
        ("directions=d&direction:a:b=1", "#direction:a:b=1: must not contain ':' or '='"),
        ("directions=d&direction:a=nan", "#direction:a=nan: must be a number"),
        ("seed=1&x=2", "#x=2: give either seed, or x and y"),
        ("y=1&seed=1", "#y=1: give either seed, or x and y"),
        ("seed=1&seed=1", "#seed=1: seed is given twice"),
        ("directions=d&direction:a=1&direction:a=2", "#direction:a=2: direction:a is given twice"),
        ("drag=1", "#drag=1: unknown; a link can have network, seed, x, y, class, latents"),
        ("__class__=1", "#__class__=1: unknown"),
        ("truncation_psi=1", "#truncation_psi=1: unknown"),
        ("fft", "#fft: write NAME=VALUE"),
        ("seed=1&", "#: write NAME=VALUE"),
        ("%0a%1b[2J=1", r"#\n\x1b[2J=1: unknown"),
        ("a" * (MAX_LINK + 1), "the link has 32001 characters, more than 32000"),
    ],
)
def test_wrong_links_are_refused_in_one_line_that_names_the_part(link, message):
    with pytest.raises(InputError) as caught:
        from_link(link)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text and len(text) < 700


@profile
@hypothesis.given(st.text() | st.text("=&%-.,:0123456789eabxynetworkse").map("seed={}".format))
def test_any_text_is_a_view_or_refused(text):
    try:
        view = from_link(text)
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert from_link(to_link(view)) == view


def test_no_amount_along_a_direction_is_as_if_the_direction_were_not_named():
    assert from_link("directions=d&direction:a=0&direction:b=1").amounts == (("b", 1),)


def test_points_are_left_out_and_named():
    view = View(network="a", x=3)
    drag = Drag(base_of(view), ((1.0, 2.0),), ((3.0, 4.0),))
    assert left_out(view) == []
    assert left_out(replace(view, drag=drag)) == ["points and paint"]
    start = FrozenArray.of(np.zeros([2, 2], np.float32))
    for moved in (replace(drag, num_steps=2), replace(drag, start=start)):
        dragged = replace(view, drag=moved)
        assert left_out(dragged) == ["dragged points (Save latent)"]
        assert from_link(to_link(dragged)) == view


def test_links_need_neither_torch_nor_a_window():
    code = "import sys, viz.view_link; print({'torch', 'imgui_bundle'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"

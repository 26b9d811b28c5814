"""The viewer of one browser, without a page and without NiceGUI."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest

from dnnlib.errors import InputError
from editing import directions
from editing.directions import Directions
from gui_utils.inputs import KeyPress
from viz.async_renderer import InlineRenderer
from viz.directions_widget import MAX_DRAWN
from viz.frozen_array import FrozenArray
from viz.view import Drag, View, base_of
from viz.view_link import from_link
from viz.web import session as sessions
from viz.web.downloads import Downloads
from viz.web.session import Session
from web_utils.toolkit import WebToolkit


class Files:
    """Files whose names hold `secret` may not be opened; others may be uploaded."""

    def __init__(self):
        self.uploaded: set[str] = set()

    def check(self, path: str) -> None:
        if "secret" in path:
            raise InputError(f"{path} is outside")

    def is_uploaded(self, path: str) -> bool:
        return path in self.uploaded

    def with_names(self, text: str) -> str:
        for path in self.uploaded:
            text = text.replace(path, "its own name")
        return text


class Visitor:
    """A session, what its page would show, and what the page would get."""

    def __init__(self, *networks, **options):
        self.files = Files()
        self.downloads: list[tuple[str, bytes]] = []
        self.copied: list[str] = []
        self.toolkit = WebToolkit()
        self.session = Session(
            InlineRenderer("cpu"),
            Downloads(lambda *file: self.downloads.append(file)),
            self.files,
            networks=networks,
            request_frame=lambda: None,
            copy=self.copied.append,
            **options,
        )

    def settle(self) -> list:
        """Draw frames until the picture shows the view; the panes."""
        session = self.session
        for _ in range(10):
            session.take_result()
            sections = self.toolkit.frame(lambda ui: session.draw_panes(ui, 0))
            session.advance()
        assert session.is_settled
        return sections

    def keys(self) -> list[str]:
        """Keys of all controls."""
        return [
            control.key
            for section in self.settle()
            for row in section.rows
            for control in row.controls
        ]


@pytest.fixture
def network(folder):
    return str(folder / "t.pkl")


@pytest.fixture
def visitor(network):
    visitor = Visitor(network)
    visitor.settle()
    return visitor


def test_first_network_is_shown(visitor, network):
    image, overlay = visitor.session.picture()
    assert image.shape == (16, 16, 3) and overlay.message == ""
    assert visitor.session.link() == (f"network={network}", [])


def test_controls_change_the_picture(visitor):
    before, _ = visitor.session.picture()
    visitor.toolkit.send("Truncation & noise/##psi", 0.5)
    visitor.settle()
    after, _ = visitor.session.picture()
    assert visitor.session.view.truncation_psi == 0.5 and (before != after).any()


def test_only_the_first_of_many_directions_are_drawn(visitor, tmp_path):
    path, names = tmp_path / "many.npz", tuple(f"d{idx}" for idx in range(1000))
    vectors = np.zeros([1000, 1, 8], np.float32)
    vectors[:, 0, 0] = 1
    directions.save(path, Directions(vectors, np.ones(1000), names, "drawn"))
    amounts = (("d999", 0.5),)
    visitor.session.open(str(path))
    visitor.session.view = replace(visitor.session.view, amounts=amounts)
    drawn = set(re.findall(r"[^']+/##d\d+", str(visitor.settle())))
    assert len(drawn) == MAX_DRAWN
    visitor.toolkit.send(next(key for key in drawn if key.endswith("/##d3")), 0.25)
    sections = visitor.settle()
    assert visitor.session.view.amounts == (*amounts, ("d3", 0.25))
    assert visitor.session.result.error is None
    assert "the first 200 directions; 800 more are left out" in str(sections)


@pytest.mark.parametrize("field", ["network", "latents", "directions"])
def test_files_outside_are_never_read(visitor, field):
    visitor.session.view = replace(visitor.session.view, **{field: "secret/file"})
    rendered = []
    visitor.session.renderer.submit = rendered.append
    visitor.settle()
    image, overlay = visitor.session.picture()
    assert image is None and overlay.is_error and overlay.message == "secret/file is outside"
    assert rendered == []


@pytest.mark.parametrize("name", ["secret.pkl", "secret.npz", "secret"])
def test_files_outside_are_not_opened(visitor, name, monkeypatch):
    before = visitor.session.view
    monkeypatch.setattr(sessions.Viewer, "open", lambda *args: pytest.fail("opened"))
    monkeypatch.setattr(sessions.Viewer, "load", lambda *args: pytest.fail("loaded"))
    visitor.session.open(name)
    visitor.session.load(name)
    assert visitor.session.view == before
    assert visitor.session.status() == f"not opened: {name} is outside"


@pytest.mark.parametrize("name", ["broken.npz", "broken.pkl"])
def test_errors_have_the_names_of_uploads_and_no_paths(visitor, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"damaged")
    visitor.files.uploaded.add(str(path))
    visitor.session.open(str(path))
    shown = [visitor.session.status(), visitor.session.message() or ""]
    visitor.settle()
    shown.append(visitor.session.picture()[1].message)
    assert any("its own name" in text for text in shown)
    assert not any(str(tmp_path) in text for text in shown)


def test_a_link_restores_the_view(visitor, network):
    visitor.session.follow_link(f"#network={network}&seed=7&trunc=0.5&translate=0.25,0")
    visitor.settle()
    link, left_out = visitor.session.link()
    assert from_link(link) == visitor.session.view and left_out == []
    assert visitor.session.view.x == 7 and visitor.session.view.translate == (0.25, 0)


def test_a_link_without_a_network_is_for_the_first_one(visitor, network):
    visitor.session.follow_link("#seed=3")
    visitor.settle()
    assert visitor.session.view == View(network=network, x=3)


def test_a_wrong_link_changes_nothing_and_is_said(visitor):
    before = visitor.session.view
    visitor.session.follow_link("#seed=abc")
    assert visitor.session.view == before
    assert visitor.session.status().startswith("the link is wrong: #seed=abc: ")


def test_a_link_to_a_file_outside_keeps_the_rest(visitor):
    visitor.session.follow_link("#network=secret.pkl&seed=3")
    visitor.settle()
    assert visitor.session.view == View(x=3)  # the page offers networks
    assert visitor.session.picture()[0] is None


def test_links_leave_out_what_was_uploaded_and_dragged(visitor, network):
    visitor.files.uploaded.add(network)
    view = replace(visitor.session.view, x=2.0)
    drag = Drag(base_of(view), ((1.0, 1.0),), ((3.0, 3.0),))
    visitor.session.view = replace(view, drag=drag)
    link, left_out = visitor.session.link()
    assert link == "seed=2"
    assert left_out == ["points and paint", "what was uploaded"]


def test_simple_has_few_controls_and_no_others_by_link(network, folder):
    visitor = Visitor(network, is_simple=True)
    keys = visitor.keys()
    assert any("##seed" in key for key in keys) and any("##psi" in key for key in keys)
    for name in ("##network", "layers", "##mix seed", "##translate", "FFT", "##File", "##beta"):
        assert not any(name in key for key in keys)
    visitor.session.follow_link(
        f"#network={folder / 'cond.pkl'}&layer=L1_36_8&fft=1&rotate=30&seed=4&trunc=0.5"
    )
    visitor.settle()
    assert visitor.session.view == View(network=network, x=4, truncation_psi=0.5)
    assert visitor.session.link()[0] == "seed=4&trunc=0.5"  # no path of the server


def test_links_of_simple_hold_no_paths(network, tmp_path):
    view = View(directions="secret.npz", amounts=(("pc1", 2.0),))
    visitor = Visitor(network, is_simple=True, view=view)
    link, _ = visitor.session.link()
    assert "secret" not in link and network not in link
    visitor.session.view = replace(visitor.session.view, amounts=())
    assert visitor.session.follow_link(f"#{link}")
    assert visitor.session.view == replace(view, network=network)


def test_simple_animates(network):
    visitor = Visitor(network, is_simple=True)
    visitor.settle()
    visitor.toolkit.send("/##animate latent", True)
    visitor.settle()
    assert visitor.session.elapsed(0.2) == 0.2


def test_a_late_picture_does_not_hide_a_refusal(visitor):
    late = visitor.session.result
    visitor.session.view = replace(visitor.session.view, latents="secret/file")
    visitor.settle()
    visitor.session.renderer.poll = lambda: late
    assert visitor.session.take_result()
    assert visitor.session.picture()[1].message == "secret/file is outside"


def test_files_of_a_view_are_all_fields_with_paths():
    paths = {field.name for field in fields(View) if field.type == str | None} - {"layer"}
    view = View(**dict.fromkeys(paths, "x"))
    assert view.files == dict.fromkeys(paths, "x") and len(paths) == 3


def test_arrows_go_to_the_next_seeds_and_ctrl_z_back(visitor, monkeypatch):
    for name, place in (("ArrowRight", (1, 0)), ("ArrowDown", (1, 1)), ("ArrowLeft", (0, 1))):
        visitor.session.press(KeyPress(name))
        assert (visitor.session.view.x, visitor.session.view.y) == place
    visitor.settle()
    monkeypatch.setattr(sessions, "QUIET_SEC", 0)  # the user has paused
    visitor.settle()
    visitor.session.press(KeyPress("Z", ctrl=True))
    assert (visitor.session.view.x, visitor.session.view.y) == (0, 0)
    visitor.session.press(KeyPress("Y", ctrl=True))
    assert (visitor.session.view.x, visitor.session.view.y) == (0, 1)


def test_captures_are_downloads(visitor):
    visitor.session.press(KeyPress("S", ctrl=True))
    visitor.session.press(KeyPress("S", ctrl=True))
    assert [name for name, _ in visitor.downloads] == ["image0000.png", "image0001.png"]
    assert visitor.downloads[0][1].startswith(b"\x89PNG")
    visitor.session.press(KeyPress("C", ctrl=True, shift=True))
    assert visitor.copied[0].startswith("python gen_images.py --network=")


def test_an_idle_session_needs_no_frames(visitor, monkeypatch):
    monkeypatch.setattr(sessions, "QUIET_SEC", 0)
    visitor.settle()
    assert visitor.session.advance() is None
    visitor.session.latent.state.is_animated = True
    visitor.settle()
    assert visitor.session.advance() == 0


def test_changes_are_one_step_while_the_mouse_is_held(visitor, monkeypatch):
    monkeypatch.setattr(sessions, "QUIET_SEC", 0)
    session = visitor.session
    session.is_held = True
    for seed in (1, 2, 3):
        session.view = replace(session.view, x=seed)
        visitor.settle()
    session.is_held = False
    visitor.settle()
    session.undo()
    assert session.view.x == 0


def test_the_array_of_a_mask_is_kept(visitor):
    session = visitor.session
    mask = FrozenArray.of(np.eye(16, dtype=bool))
    session.view = replace(session.view, drag=Drag(base_of(session.view), mask=mask))
    visitor.settle()
    first = session.picture()[1]
    session.view = replace(session.view, drag=Drag(base_of(session.view), mask=replace(mask)))
    second = session.picture()[1]
    assert first.mask is second.mask is not None and first.is_same(second)
    session.view = replace(session.view, drag=None)
    assert not first.is_same(session.picture()[1])

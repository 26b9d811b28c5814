"""What visitors may open, attacked with paths.

- Paths that lead out: absolute, `..`, home folders, links to files, to folders, in circles; other
  spellings of addresses; drives and shares of Windows.
- Questions whether a file outside exists, by the message or by a way through it.
- Hidden files, files of other kinds, pipes.
"""

import os
from pathlib import Path

import pytest

from dnnlib.errors import InputError
from viz.web.places import SUFFIXES, Places


@pytest.fixture
def tree(tmp_path):
    """A folder that may be browsed, and one beside it."""
    for name in ("runs/00", "runs/.hidden", "runs/empty", "outside/00", "runs-2"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("runs/00/net.pkl", "runs/.hidden/net.pkl", "runs/.net.pkl", "runs/00/notes.txt"):
        (tmp_path / name).write_text("x")
    for name in ("outside/net.pkl", "outside/00/net.pkl", "runs-2/net.pkl"):
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.fixture
def places(tree):
    return Places([tree / "runs"], ["named.pkl"], allow_addresses=False)


def refusal(places: Places, path: str) -> str:
    with pytest.raises(InputError) as caught:
        places.check(path)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1500
    return message


def test_files_inside_are_opened(places, tree):
    runs = tree / "runs"
    for name in ("00/net.pkl", "00", "empty", ".", "00//net.pkl", "./00/./net.pkl", "00/"):
        places.check(f"{runs}/{name}")
    for suffix in SUFFIXES:
        places.check(f"{runs}/missing{suffix}")  # the loader says so
    places.check("named.pkl")
    places.check("pretrained:shapes-t")
    places.check("pretrained:../../outside/net")  # names a network in the box, or nothing


def test_relative_paths_are_those_of_the_server(tree, monkeypatch):
    monkeypatch.chdir(tree)
    for folder in ("runs", ".", tree / "runs"):
        places = Places([Path(folder)], [], allow_addresses=False)
        places.check("runs/00/net.pkl")
    assert "outside" in refusal(Places([tree / "runs"], [], False), "outside/net.pkl")


OUTSIDE = ["{tree}/outside/net.pkl", "{tree}/runs-2/net.pkl", "{tree}/runs/../outside/net.pkl"]
OUTSIDE += ["/etc/passwd", "/", "", "..", "../net.pkl", "{tree}", "~", "~/net.pkl", "~root/x.pkl"]
OUTSIDE += ["~nobody-of-this-name/x.pkl"]
OUTSIDE += ["\\\\host\\share\\net.pkl", "//host/share/net.pkl", "{tree}/runs/00/net.pkl\0.pkl"]
OUTSIDE += ["file://{tree}/outside/net.pkl", " file://{tree}/outside/net.pkl", "FILE:///etc/x.pkl"]
OUTSIDE += ["\nfile:///etc/x.pkl", "fi\nle:///etc/x.pkl", "file:/etc/x.pkl", "ftp://host/x.pkl"]
OUTSIDE += [" pretrained:x", "\ud800.pkl", "{tree}/runs/" + "x/" * 3000, "{tree}/runs/\ud800.pkl"]
OUTSIDE += ["{tree}/runs/" + "x" * 300 + ".pkl", "{tree}/runs/\x1b[31m.pkl"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_that_lead_out_are_refused(tree, monkeypatch, path):
    monkeypatch.chdir(tree / "runs" / "empty")
    places = Places([tree / "runs" / "00", Path(".")], ["named.pkl"], allow_addresses=False)
    assert "is outside of --browse-dir" in refusal(places, path.replace("{tree}", str(tree)))


@pytest.mark.parametrize("path", ["named.pkl/", "./named.pkl", "NAMED.pkl", "C:\\net.pkl", "x.pkl"])
def test_files_of_the_command_line_are_meant_exactly(places, path):
    assert "is outside of --browse-dir" in refusal(places, path)


def test_a_folder_of_the_command_line_can_be_browsed(tree):
    places = Places([], [str(tree / "outside")], allow_addresses=False)
    places.check(str(tree / "outside"))
    places.check(str(tree / "outside" / "net.pkl"))
    assert "outside" in refusal(places, str(tree / "runs" / "00" / "net.pkl"))


def test_whether_an_outside_file_exists_is_not_told(places, tree, monkeypatch):
    looked_at = []
    real = os.stat

    def stat(path, *args, **kwargs):
        looked_at.append(str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "lstat", stat)
    for path in ("outside/net.pkl", "outside/no.pkl", "outside/00", "no/net.pkl"):
        message = refusal(places, str(tree / path))
        assert message.replace(path, "") == refusal(places, str(tree / "x")).replace("x", "", 1)
        assert str(tree / path) not in looked_at
    # Through a folder that may exist, and back.
    for path in ("outside", "missing"):
        assert "outside of" in refusal(places, f"{tree}/runs/../{path}/../runs/00/net.pkl")


def test_links_are_followed(tree):
    runs = tree / "runs"
    (runs / "inner.pkl").symlink_to(runs / "00" / "net.pkl")
    (runs / "out.pkl").symlink_to(tree / "outside" / "net.pkl")
    (runs / "nowhere.pkl").symlink_to(tree / "outside" / "no.pkl")
    (runs / "hidden.pkl").symlink_to(runs / ".hidden" / "net.pkl")
    (runs / "circle.pkl").symlink_to(runs / "circle.pkl")
    (runs / "folder").symlink_to(tree / "outside")
    (runs / "empty" / "newest.pkl").symlink_to(tree / "outside" / "net.pkl")
    (tree / "alias").symlink_to(runs)
    places = Places([tree / "alias"], [], allow_addresses=False)
    for start in (tree / "alias", runs):
        places.check(str(start / "00" / "net.pkl"))
        places.check(str(start / "inner.pkl"))
        for name in ("out.pkl", "nowhere.pkl", "hidden.pkl", "circle.pkl", "folder", "empty"):
            assert "outside" in refusal(places, str(start / name))
        assert "outside" in refusal(places, str(start / "folder" / "net.pkl"))


def test_hidden_files_and_other_kinds_are_refused(places, tree):
    for name in (".net.pkl", ".hidden", ".hidden/net.pkl", "00/..pkl"):
        assert "hidden" in refusal(places, str(tree / "runs" / name))
    assert "must end in .pkl" in refusal(places, str(tree / "runs" / "00" / "notes.txt"))
    os.mkfifo(tree / "runs" / "pipe.pkl")
    assert "is not a file" in refusal(places, str(tree / "runs" / "pipe.pkl"))


def test_a_hidden_folder_may_be_browsed_if_it_was_named(tree):
    places = Places([tree / "runs" / ".hidden"], [], allow_addresses=False)
    places.check(str(tree / "runs" / ".hidden" / "net.pkl"))


def test_addresses_are_fetched_only_if_allowed(tree, places):
    address = "http://169.254.169.254/latest/meta-data"
    assert "opens no web addresses" in refusal(places, address)
    assert "opens no web addresses" in refusal(places, " HTTP://host/net.pkl")
    Places([], [address], allow_addresses=False).check(address)  # of the command line
    allowed = Places([tree / "runs"], [], allow_addresses=True)
    allowed.check(address)
    for other in ("file:///etc/passwd", "ftp://host/net.pkl", "gopher://host/net.pkl"):
        assert "outside" in refusal(allowed, other)


def test_visitors_open_what_they_have_uploaded_themselves(places, tree):
    path = str(tree / "outside" / "net.pkl")
    places.check(path, uploaded=[path])
    with pytest.raises(InputError):
        places.check(str(tree / "outside" / "00" / "net.pkl"), uploaded=[path])

"""Files in the page of the viewer: networks that a visitor names, and what a visitor uploads."""

import base64
import os
import pickle
import shutil

import numpy as np
import pytest

from tests.web_utils.browser import needs_browser, wait_for

pytest.importorskip("nicegui", reason="needs requirements-web.txt")
pytest.importorskip("selenium", reason="needs selenium")

pytestmark = [needs_browser, pytest.mark.slow]
INPUT = ".viewer-upload input[type=file]"
DROP = """
const [name, text] = arguments;
const files = new DataTransfer();
files.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
for (const kind of ["dragover", "drop"])
  document.querySelector(".picture-canvas").dispatchEvent(
    new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
"""


class Hostile:
    """A pickle that makes a folder when it is read by Python's own loader."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"mkdir {self.folder}",)


def upload(visitor, path) -> None:
    """Choose a file in the dialog of the button."""
    wait_for(lambda: visitor.all(INPUT))[0].send_keys(str(path))


def test_typed_paths(visitor, files, tmp_path):
    before = visitor.check()
    network = "Network/##network"
    visitor.enter(network, str(files / "gray.pkl"))
    assert not np.array_equal(visitor.check_link(network=str(files / "gray.pkl")), before)
    outside = shutil.copy(files / "t.pkl", tmp_path / "t.pkl")
    for path in (outside, tmp_path / "absent.pkl", files / ".." / "t.pkl"):
        visitor.enter(network, str(path))
        visitor.says(f"{path} is outside of --browse-dir")
        visitor.check()
    visitor.enter(network, str(files / "absent.pkl"))
    visitor.tells("absent.pkl")
    visitor.enter(network, str(files / "broken.pkl"))
    visitor.tells("broken.pkl")
    visitor.enter("Latent/##seed", "3")
    visitor.enter(network, f'"{files / "t.pkl"}"')
    visitor.check_link(network=str(files / "t.pkl"), x=3)


def test_menus(visitor, files):
    visitor.click("Network/Browse", "button")
    visitor.click(f"Network/run##{files / 'run'}", "button")
    visitor.click(f"Network/named.pkl##{files / 'run' / 'named.pkl'}", "button")
    visitor.check_link(network=str(files / "run" / "named.pkl"))
    visitor.click("Network/Recent", "button")
    visitor.click(f"Network/{files / 't.pkl'}", "button")
    visitor.check_link(network=str(files / "t.pkl"))


def test_a_network_in_the_box(visitor):
    visitor.enter("Network/##network", "pretrained:shapes-t")
    wait_for(lambda: visitor.fragment == "network=pretrained:shapes-t")
    visitor.says("ms")
    wait_for(lambda: visitor.message == "")


def test_names_of_files_that_are_not_unicode(visitor, files):
    name = os.fsdecode(b"caf\xe9.pkl")
    shutil.copy(files / "gray.pkl", files / name)
    try:
        visitor.click("Network/Browse", "button")
        key = f"Network/{name}##{files / name}".encode(errors="backslashreplace").decode()
        visitor.click(key.replace("\\", "\\\\"), "button")
        visitor.says("caf\\udce9.pkl is outside of --browse-dir")  # like other odd names
        visitor.enter("Latent/##seed", "3")
        visitor.check_link(x=3)
    finally:
        (files / name).unlink()


def test_the_first_screen_offers_networks(visit, start_server, files):
    visitor = visit(start_server(f"--browse-dir={files}"))
    offers = wait_for(lambda: visitor.all(".viewer-offers button"))
    assert "pretrained:shapes-t" in [offer.text for offer in offers]
    named = next(offer for offer in offers if offer.text == str(files / "run" / "named.pkl"))
    named.click()
    visitor.check_link(network=str(files / "run" / "named.pkl"))
    assert not visitor.run("return document.querySelector('.viewer-offers button')?.offsetParent")


def test_uploads(visit, start_server, files, tmp_path):
    server = start_server(f"--browse-dir={files}", "--max-upload=1", files / "t.pkl")
    visitor = visit(server)
    visitor.check(network=str(files / "t.pkl"))
    shutil.copy(files / "gray.pkl", tmp_path / "my net.pkl")
    upload(visitor, tmp_path / "my net.pkl")
    visitor.says("uploaded my net.pkl")
    visitor.check(network=str(tmp_path / "my net.pkl"))
    wait_for(lambda: visitor.fragment == "")  # others cannot open it
    uploaded = wait_for(lambda: visitor.value("Network/##network"))
    assert os.path.exists(uploaded) and "my-net" in uploaded

    hostile = tmp_path / "hostile.pkl"
    hostile.write_bytes(pickle.dumps({"G_ema": Hostile(tmp_path / "was-run")}))
    upload(visitor, hostile)
    visitor.tells("system")
    assert not (tmp_path / "was-run").exists()

    (tmp_path / "large.pkl").write_bytes(bytes(2**20 + 1))
    upload(visitor, tmp_path / "large.pkl")
    visitor.says("a file can be at most 1 MB")
    (tmp_path / "a.txt").write_text("no network")
    upload(visitor, tmp_path / "a.txt")
    visitor.says("a.txt: the name of a file must end in")

    content = base64.b64encode((files / "t.pkl").read_bytes()).decode()
    visitor.run(DROP, "dropped.pkl", content)
    visitor.check(network=str(files / "t.pkl"))
    visitor.says("uploaded dropped.pkl")
    visitor.browser.get("about:blank")
    wait_for(lambda: not os.path.exists(uploaded))

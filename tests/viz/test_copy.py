"""What is shown, as a command: run, it writes the same picture."""

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from viz.command_line import gen_images_command
from viz.renderer import NetworkInfo, View

ROOT = Path(__file__).parents[2]
INFO = NetworkInfo(16, 3, 8, 0, 6, has_transform=True, has_noise=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, view",
    [
        ("t", View(x=207, truncation_psi=0.65, translate=(1 / 7, 1e-7), rotate=-33.5)),
        ("cond", View(x=-1, y=3, class_idx=2, truncation_psi=-0.3, noise_mode="none")),
    ],
    ids=["transform", "class"],
)
def test_copied_command_writes_the_picture_of_the_window(
    open_window, folder, display, tmp_path, capfd, name, view
):
    person = open_window()
    person.application.view = replace(view, network=str(folder / f"{name}.pkl"))
    shown = person.check()
    capfd.readouterr()
    person.do("key", "ctrl+shift+c")
    from imgui_bundle import imgui

    command = imgui.get_clipboard_text()
    assert capfd.readouterr().out == command + "\n"
    assert person.application.capture.state.message == f"copied: {command}"
    program, script, *args = shlex.split(command)
    assert (program, script) == ("python", "gen_images.py")
    subprocess.run(
        [sys.executable, ROOT / script, *args, "--device=cpu"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    (path,) = (tmp_path / "out").glob("*.png")
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(path)), shown)


@pytest.mark.slow
def test_button_copies_and_says_what_the_command_leaves_out(person, capfd):
    person.click("FFT")
    person.drag("picture", 40, 0)
    person.click("Copy as command")
    message = person.application.capture.state.message
    assert message.startswith("copied, without the place between seeds, the spectrum: python gen_")
    assert "the place between seeds, the spectrum" in capfd.readouterr().err


@pytest.mark.slow
def test_without_a_picture_nothing_is_copied(open_window):
    person = open_window()
    person.do("key", "ctrl+shift+c")
    assert person.application.capture.state.message.startswith("nothing to copy")


@pytest.mark.parametrize(
    "view, left_out",
    [
        (View(), []),
        (View(x=0.5), ["the place between seeds"]),
        (View(mix_layers=(1,)), ["style mixing"]),
        (View(truncation_cutoff=3), []),
        (View(truncation_cutoff=3, truncation_psi=0.5), ["the cutoff of truncation"]),
        (View(noise_mode="random"), ["the seed of the noise"]),
        (View(untransform=True, layer="L0"), ["Untransform", "the layer"]),
        (View(gain_db=3, fft=True), ["the spectrum", "brightness and colours"]),
        (View(force_fp32=True), ["Force FP32"]),
    ],
)
def test_what_a_command_cannot_say_is_named(view, left_out):
    assert gen_images_command(replace(view, network="net.pkl"), INFO)[1] == left_out


def test_numbers_are_exact():
    view = View(network="n.pkl", translate=(0.1 + 0.2, -1 / 3), rotate=12.5, truncation_psi=0.7)
    command, _ = gen_images_command(view, INFO)
    assert "--trunc=0.7 " in command and "--rotate=12.5 " in command
    assert "--translate=0.30000000000000004,-0.3333333333333333 " in command


def test_paths_are_quoted():
    command, _ = gen_images_command(View(network="my runs/it's.pkl"), INFO)
    assert shlex.split(command)[2] == "--network=my runs/it's.pkl"

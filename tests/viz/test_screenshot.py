"""`--screenshot` with the options that say what the window is to show."""

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")

import visualizer
from gui_utils.window import Window, WindowError
from viz.renderer import Renderer, View

pytestmark = pytest.mark.slow
EQUIVARIANT = View(x=7, truncation_psi=0.6, translate=(0.25, -0.125), rotate=30)


@pytest.fixture(scope="module", autouse=True)
def graphics():
    try:
        Window("Test", (100, 100), is_offscreen=True).close()
    except WindowError as error:
        pytest.skip(str(error))


def run(*args):
    return CliRunner().invoke(visualizer.main, ["--device=cpu", *map(str, args)])


@pytest.mark.parametrize(
    "name, options, view, size",
    [
        ("t", "--seed=3", View(x=3), (1280, 800)),
        ("t", "--seed=7 --trunc=0.6 --translate=0.25,-0.125 --rotate=30", EQUIVARIANT, (900, 700)),
        ("t", "--layer=L1_36_8 --size=700x500", View(layer="L1_36_8"), (700, 500)),
        ("cond", "--class=2 --trunc=0.5", View(class_idx=2, truncation_psi=0.5), (900, 700)),
        ("t", "--fft --layer=L1_36_8", View(fft=True, layer="L1_36_8"), (1280, 800)),
        ("gray", "--fft", View(fft=True), (640, 480)),
    ],
)
def test_picture_in_the_screenshot_is_that_of_the_renderer(
    folder, tmp_path, name, options, view, size
):
    path = tmp_path / "window.png"
    network = folder / f"{name}.pkl"
    result = run(f"--screenshot={path}", f"--size={size[0]}x{size[1]}", *options.split(), network)
    assert result.exit_code == 0, result.output
    assert result.output == f"Wrote {path}\n"
    window = np.asarray(PIL.Image.open(path))
    assert window.shape == (size[1], size[0], 3)
    expected = Renderer("cpu").render(View(**{**vars(view), "network": str(network)})).image
    assert contains(window, np.broadcast_to(expected, (*expected.shape[:2], 3)))


@pytest.mark.parametrize(
    "name, options, code, message",
    [
        ("t", "--layer=L99", 2, "no layer"),
        ("cond", "--layer=conv0", 2, "b4.conv1"),  # names those that there are
        ("cond", "--class=3", 2, "this network has classes 0 to 2"),
        ("t", "--class=1", 2, "this network has no classes"),
        ("cond", "--class=1 --translate=0.1,0", 2, "--translate and --rotate need a network"),
        ("gray", "--rotate=5", 2, "--translate and --rotate need a network"),
        ("missing", "--seed=1", 1, "No such file or directory"),
        ("broken", "", 1, "truncated or damaged"),
        (None, "--seed=1", 2, "Name the network"),
        (None, "--fft --class=1", 2, "Name the network"),
        ("t", "--size=1280x99999999", 2, "--size"),
        ("t", "--size=199x400", 2, "width and height must be 200 to 16384"),
        ("t", "--translate=1", 2, "--translate"),
    ],
)
def test_a_refusal_writes_nothing(folder, tmp_path, name, options, code, message):
    path = tmp_path / "window.png"
    network = [] if name is None else [folder / f"{name}.pkl"]
    result = run(f"--screenshot={path}", "--size=640x480", *options.split(), *network)
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert message in result.output.partition("Error: ")[2], line
    assert not path.exists()


def test_a_folder_that_is_missing_is_said_in_one_line(folder, tmp_path):
    path = tmp_path / "nowhere" / "window.png"
    result = run(f"--screenshot={path}", folder / "t.pkl")
    if result.exit_code == 0:  # it has been made
        assert path.is_file()
    else:
        assert result.output.count("Error: ") == 1 and str(path) in result.output


def contains(window: np.ndarray, image: np.ndarray) -> bool:
    """Whether an image, each pixel enlarged by some factor, is somewhere in a window."""
    height, width = image.shape[:2]
    for factor in range(min(window.shape[0] // height, window.shape[1] // width), 0, -1):
        enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
        corners = (window == enlarged[0, 0]).all(2)
        corners &= np.roll(corners, -1, 1) if factor > 1 else corners
        for y, x in np.argwhere(corners):
            part = window[y : y + factor * height, x : x + factor * width]
            if part.shape == enlarged.shape and np.array_equal(part, enlarged):
                return True
    return False

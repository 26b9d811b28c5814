"""Explore a network in a window or a browser: move through its latents and look into its layers."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dnnlib import cli, options
from dnnlib.errors import MachineError

if TYPE_CHECKING:
    from viz.view import Result, View
    from viz.web.options import ServeOptions

# Options that mean something only with --serve, or never with it.
OF_SERVING = ("host", "port", "quality", "max_sessions", "max_upload", "token", "simple")
OF_THE_WINDOW = ("screenshot", "size", "capture_dir")
MAX_UPLOAD_MB = 2**20


@click.command(cls=cli.Command)
@click.argument("paths", type=cli.Address(), metavar=f"[{options.NETWORK_METAVAR}]...", nargs=-1)
@click.option(
    "--capture-dir",
    type=cli.LocalPath(file_okay=False, path_type=Path),
    metavar="DIR",
    default="screenshots",
    show_default=True,
    help="Folder for pictures that the window saves.",
)
@click.option(
    "--browse-dir",
    type=cli.LocalPath(file_okay=False, path_type=Path),
    metavar="DIR",
    multiple=True,
    help="Folder of runs to choose from; can be given several times.  "
    "[default: demo/runs, runs, training-runs]",
)
@options.file_option(
    "--screenshot", "Write a picture of the window and exit; needs no display.", metavar="FILE.png"
)
@options.seed_option("Start with this seed.")
@options.trunc_option
@options.class_option
@options.latents_option("--latents", "Start with latents of a file in place of a seed.")
@options.latents_option("--directions", "Start with directions that directions.py has found.")
@click.option("--layer", metavar="NAME", help="Start with a layer; the window lists their names.")
@click.option("--fft", is_flag=True, help="Start with the power spectrum.")
@options.translate_option
@options.rotate_option
@options.size_option("--size", "Size of the window.  [default: the size in the last session]")
@click.option(
    "--serve",
    is_flag=True,
    help="Show the viewer in a browser in place of the window. Other computers reach it through "
    "ssh -L, or with --host.",
)
@options.value_option(
    "--host",
    click.STRING,
    "With --serve: name or address to serve at; 0.0.0.0 is all of this machine.",
    default="127.0.0.1",
)
@options.value_option(
    "--port", cli.WholeNumber(0, 65535), "With --serve: port; 0 takes any free one.", default=8080
)
@click.option(
    "--token",
    is_flag=True,
    help="With --serve: ask for a token at 127.0.0.1, too, where other users of this machine can "
    "connect. At other addresses there always is one; it is in the link that is printed.",
)
@click.option(
    "--simple",
    is_flag=True,
    help="With --serve: picture, seed, truncation and directions only, to show a network.",
)
@options.value_option(
    "--quality",
    cli.WholeNumber(1, 100),
    "With --serve: quality of the pictures while they move (JPEG).",
    default=85,
)
@options.count_option("--max-sessions", "With --serve: browsers at the same time.", default=8)
@options.value_option(
    "--max-upload",
    cli.WholeNumber(0, MAX_UPLOAD_MB),
    "With --serve: largest file that browsers may upload; 0 for none.",
    default=1024,
    metavar="MB",
)
@options.allow_untrusted_option
@options.device_option
@options.version_option
def main(
    paths: tuple[str, ...],
    capture_dir: Path,
    browse_dir: tuple[Path, ...],
    screenshot: Path | None,
    seed: int,
    trunc: float,
    class_idx: int | None,
    latents: Path | None,
    directions: Path | None,
    layer: str | None,
    fft: bool,
    translate: tuple[float, float],
    rotate: float,
    size: tuple[int, int] | None,
    serve: bool,
    host: str,
    port: int,
    token: bool,
    simple: bool,
    quality: int,
    max_sessions: int,
    max_upload: int,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Explore networks interactively.

    Opens the first network; the menu Recent offers the others. In the window, F1 shows the keys.
    The window needs more packages: pip install -r requirements-gui.txt

    With --serve, a browser takes the place of the window. Visitors may open the networks of the
    command line, those in --browse-dir, and what they upload.
    The server needs more packages: pip install -r requirements-web.txt

    \b
    Examples:
      python visualizer.py pretrained:shapes-t
      # A projected picture, to be changed along directions and by dragging points
      python visualizer.py --latents=out/projected_w.npz --directions=pca.npz net.pkl
      # Without a network: choose one in the window
      python visualizer.py --browse-dir=training-runs
      # The newest snapshot of a run
      python visualizer.py training-runs/00000-stylegan3-t-photos-256x256-gpus8-batch32-gamma2
      # A picture of the window, on a machine without a display: the spectrum of a layer
      python visualizer.py --screenshot=window.png --layer=L5_84_512 --fft --size=1280x800 \\
          network-snapshot-025000.pkl
      # In a browser: prints a link, and the line of ssh that makes the link work from elsewhere
      python visualizer.py --serve net.pkl
      # For visitors, who need the link: it has a token
      python visualizer.py --serve --host=0.0.0.0 --simple --directions=pca.npz net.pkl
    """
    _check_options(serve, allow_untrusted)
    if serve:
        _import_server()
    else:
        _import_window()
    from torch_utils import devices
    from viz.view import View

    _check_size(size)
    devices.configure_backends(devices.resolve_device(device))
    view = View(
        x=seed,
        class_idx=class_idx or 0,
        truncation_psi=trunc,
        latents=None if latents is None else str(latents),
        directions=None if directions is None else str(directions),
        layer=layer,
        fft=fft,
        translate=translate,
        rotate=rotate,
    )
    if latents is not None and (seed != 0 or trunc != 1 or class_idx is not None):
        warnings.warn("--seed, --class and --trunc have no effect with --latents", stacklevel=1)
    if simple and not paths:
        raise click.UsageError("Name the network that --simple is to show.")
    if screenshot is not None and not paths and view != View():
        raise click.UsageError("Name the network that --screenshot is to show.")
    if serve:
        from viz.web.options import ServeOptions, is_loopback, make_token

        serving = ServeOptions(
            host=host,
            port=port,
            quality=quality,
            max_sessions=max_sessions,
            max_upload_bytes=max_upload * 2**20,
            token=make_token() if token or not is_loopback(host) else None,
            simple=simple,
        )
        _serve(serving, list(paths), view, browse_dir, device)
        return
    start = dict(
        view=view,
        capture_dir=capture_dir,
        browse_dirs=browse_dir,
        device=device,
        allow_untrusted=allow_untrusted,
    )
    if screenshot is not None:
        _save_screenshot(screenshot, size or (1280, 800), paths, **start)
    else:
        _open_window(size, list(paths), **start)


def _check_options(serve: bool, allow_untrusted: bool) -> None:
    """Refuse options that have no effect, and code in files that visitors may choose."""
    ctx = click.get_current_context()
    for name in OF_THE_WINDOW if serve else OF_SERVING:
        option = f"--{name.replace('_', '-')}"
        if not cli.is_given(ctx, name):
            continue
        if serve:
            raise click.UsageError(
                f"{option} is for the window; leave it out with --serve: browsers have a size of "
                "their own, and download pictures."
            )
        raise click.UsageError(f"{option} is for browsers; add --serve, or leave out {option}.")
    if serve and allow_untrusted:
        from dnnlib import trust

        where = "--allow-untrusted"
        if not cli.is_given(ctx, "allow_untrusted"):
            where = f"{trust.VARIABLE} in the environment"
        raise click.UsageError(
            f"--serve runs no code in files, because visitors choose the files: leave out {where}. "
            "legacy.py --allow-untrusted converts a network that you trust."
        )


def _import_server() -> None:
    """Import NiceGUI; the error says what to install."""
    try:
        import nicegui  # noqa: F401
    except ImportError as error:
        raise MachineError(
            f"--serve needs more packages ({error}): pip install -r requirements-web.txt"
        ) from error


def _serve(serving: "ServeOptions", paths: list[str], view: "View", *start: Any) -> None:
    from viz.web.server import serve

    serve(serving, paths, view, *start)


def _import_window() -> None:
    """Import Dear ImGui; the error says what to install."""
    try:
        import viz.application  # noqa: F401
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("imgui_bundle", "glfw", "OpenGL", ""):
            raise
        if sys.version_info < (3, 11):
            raise MachineError("the window needs Python 3.11 or later") from error
        raise MachineError(
            f"the window needs more packages ({error}): pip install -r requirements-gui.txt"
        ) from error


def _check_size(size: tuple[int, int] | None) -> None:
    from viz.settings import MAX_SIDE, MIN_SIDE, is_window_size

    if size is not None and not is_window_size(*size):
        raise click.BadParameter(
            f"width and height must be {MIN_SIDE} to {MAX_SIDE}", param_hint="'--size'"
        )


def _open_window(size: tuple[int, int] | None, paths: list[str], **start: Any) -> None:
    from gui_utils.window import Window
    from viz import application
    from viz.settings import Settings, load_settings

    def make_window(settings: Settings) -> Window:
        return Window("Visualizer", settings.window_size, ui_scale=settings.ui_scale)

    settings = load_settings()
    if size is not None:
        settings.window_size = size
    application.run(make_window, settings, paths, **start)


def _save_screenshot(
    file: Path, size: tuple[int, int], paths: tuple[str, ...], **start: Any
) -> None:
    from torch_utils import images
    from viz.screenshot import draw_window

    if len(paths) > 1:
        warnings.warn(f"--screenshot shows {paths[0]} only", stacklevel=1)
    with cli.blame("--screenshot"):
        pixels, result = draw_window(size, paths[0] if paths else None, **start)
    if result is not None:
        if result.error is not None:
            raise click.exceptions.Exit(1)  # the application has printed the error
        _check_shown(start["view"], result)
    with cli.blame("--screenshot"):
        images.save_png(pixels.transpose(2, 0, 1), file)
    click.echo(f"Wrote {file}")


def _check_shown(view: "View", result: "Result") -> None:
    """Refuse a screenshot that does not show the view of the options."""
    names = [layer.name for layer in result.layers]
    if view.layer is not None and view.layer not in names:
        raise click.BadParameter(
            f"this network has no layer {view.layer!r}, but {', '.join(names)}",
            param_hint="'--layer'",
        )
    assert result.network is not None  # there is no error
    num_classes = result.network.c_dim
    if view.class_idx >= max(num_classes, 1):
        which = f"classes 0 to {num_classes - 1}" if num_classes else "no classes"
        raise click.BadParameter(f"this network has {which}", param_hint="'--class'")
    if not result.network.has_transform and (view.translate != (0, 0) or view.rotate != 0):
        raise click.UsageError(
            "--translate and --rotate need a network with an input transform (StyleGAN3)."
        )


if __name__ == "__main__":
    main()

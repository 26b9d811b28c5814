"""Explore a network in a window: move through its latents, look into its layers."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import sys
import warnings
from functools import partial
from pathlib import Path

import click

from dnnlib import cli


@click.command(cls=cli.Command)
@click.argument("paths", type=cli.Address(), metavar="[PATH|URL]...", nargs=-1)
@click.option(
    "--capture-dir",
    type=cli.LocalPath(file_okay=False, path_type=Path),
    metavar="DIR",
    default="screenshots",
    show_default=True,
    help="Where saved pictures go.",
)
@click.option(
    "--browse-dir",
    type=cli.LocalPath(file_okay=False, path_type=Path),
    metavar="DIR",
    default="training-runs",
    show_default=True,
    help="Folder of runs that Browse shows.",
)
@click.option(
    "--screenshot",
    type=cli.LocalPath(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Write a picture of the window and exit; needs no display.",
)
@click.option(
    "--size",
    type=cli.Size(),
    metavar="WxH",
    help="Size of the window.  [default: as the last time]",
)
@cli.allow_untrusted_option
@cli.device_option
@cli.version_option
def main(
    paths: tuple[str, ...],
    capture_dir: Path,
    browse_dir: Path,
    screenshot: Path | None,
    size: tuple[int, int] | None,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Explore networks interactively.

    Opens the first network; the others are offered in the menu Recent. In the window, F1 shows the
    keys. What to install: pip install -r requirements-gui.txt

    \b
    Examples:
      python visualizer.py network-snapshot-025000.pkl
      # Without a network: choose one in the window
      python visualizer.py --browse-dir=training-runs
      # A picture of the window, on a machine without a display
      python visualizer.py --screenshot=window.png network-snapshot-025000.pkl
    """
    try:
        from gui_utils.window import Window
        from viz import application
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("imgui_bundle", "glfw", "OpenGL", ""):
            raise
        if sys.version_info < (3, 11):
            raise RuntimeError("the window needs Python 3.11 or later") from error
        raise RuntimeError(
            f"the window needs more packages ({error}): pip install -r requirements-gui.txt"
        ) from error
    from torch_utils import distributed, images
    from viz.memory import Memory, load_memory

    torch_device = distributed.resolve_device(device)
    distributed.configure_backends(torch_device)
    options = dict(
        capture_dir=capture_dir,
        browse_dir=browse_dir,
        device=device,
        allow_untrusted=allow_untrusted,
    )
    if screenshot is not None:
        if len(paths) > 1:
            warnings.warn(f"--screenshot shows {paths[0]} only", stacklevel=1)
        with cli.blame("--screenshot"):
            window = Window("Visualizer", size or (1280, 800), is_offscreen=True)
        app = application.Application(window, Memory(), is_async=False, **options)
        try:
            if paths:
                app.load(paths[0])
            pixels = application.take_screenshot(app)
        finally:
            app.close()
            window.close()
        if app.result is not None and app.result.error is not None:
            raise click.exceptions.Exit(1)  # the application has said what is wrong
        with cli.blame("--screenshot"):
            images.save_png(pixels.transpose(2, 0, 1), screenshot)
        click.echo(f"Wrote {screenshot}")
        return

    memory = load_memory()
    if size is not None:
        memory.window_size = size
    application.run(partial(_open_window, Window), memory, list(paths), **options)


def _open_window(Window, memory):
    return Window("Visualizer", memory.window_size, ui_scale=memory.ui_scale)


if __name__ == "__main__":
    main()

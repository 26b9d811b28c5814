"""A page with two pictures to test, and addresses that control them.

Run as `python -m tests.web_utils.picture_page PORT`.
"""

import sys
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
from fastapi import Request
from nicegui import app, ui

from tests.web_utils.samples import sample
from web_utils.overlay import Axes, Overlay
from web_utils.picture import Picture

pictures: dict[str, Picture] = {}
events: dict[str, list[Any]] = {}
is_echoing = False


@cache
def base(size: int) -> np.ndarray:
    return sample(7, size, size)


def color(number: int, size: int) -> np.ndarray:
    """A picture of one of many colours; the first pixel has the number in its red."""
    image = base(size).copy()
    image[: size // 4, : size // 4] = (number % 256, 90, 160)
    return image


def overlay_of(options: dict[str, Any]) -> Overlay:
    """An overlay from JSON: arrays are given by their sizes."""
    options = dict(options)
    if "mask" in options:
        width, height = options["mask"]
        options["mask"] = np.broadcast_to(np.arange(width) < width // 2, [height, width])
    if "target" in options:
        options["target"] = sample(99, *options["target"])
    if options.pop("axes", False):
        colors = np.stack([np.arange(256), np.zeros(256), 255 - np.arange(256)], axis=1)
        options["axes"] = Axes(32, -80, 20, colors.astype(np.uint8))
    return Overlay(**options)


@app.post("/test/show/{name}")
async def show(name: str, request: Request) -> None:
    options = await request.json()
    image = sample(*options["image"]) if options.get("image") else None
    pictures[name].show(image, overlay_of(options.get("overlay", {})))


@app.post("/test/set/{name}")
async def set_options(name: str, request: Request) -> None:
    global is_echoing
    options = await request.json()
    picture = pictures[name]
    if "mode" in options:
        picture.set_mode(options["mode"])
    if "status" in options:
        picture.set_status(options["status"])
    if "dark" in options:
        app.storage.general["dark"] = options["dark"]
    if options.get("break"):
        assert picture._task is not None
        picture._task.cancel()
    if options.get("delete"):
        with picture.client:
            picture.delete()
    is_echoing = options.get("echo", is_echoing)


@app.get("/test/events/{name}")
async def take_events(name: str) -> list[Any]:
    taken, events[name] = events[name], []
    return taken


@app.get("/test/statistic/{name}")
async def statistic(name: str) -> dict[str, float]:
    return asdict(pictures[name].statistic)


def add_picture(name: str, size: int) -> None:
    events[name] = []
    number = 0
    base(size)

    def note(*values: Any) -> None:
        nonlocal number
        events[name].append(
            [asdict(value) if hasattr(value, "position") else value for value in values]
        )
        if is_echoing:
            number += 1
            pictures[name].show(color(number, size))

    picture = Picture(
        on_drag=note,
        on_pointer=note,
        on_key=(lambda key: events[name].append(asdict(key))) if name == "a" else None,
        kept_keys=("F1", "Ctrl+S"),
    )
    picture.style("flex: 1; min-width: 0; min-height: 0").classes(name)
    pictures[name] = picture


@ui.page("/")
def page(dark: bool = False, size: int = 256, both: bool = True) -> None:
    ui.dark_mode(dark)
    ui.query(".nicegui-content").classes("p-0")
    with ui.element("div").style("display: flex; width: 100vw; height: 100vh; flex-wrap: nowrap"):
        add_picture("a", size)
        if both:
            add_picture("b", size)
    ui.input("text").style("position: fixed; left: 0; bottom: 0; width: 3em").classes("typed")


ui.run(
    host="127.0.0.1",
    port=int(sys.argv[1]),
    show=False,
    reload=False,
    ws_per_message_deflate=False,
    show_welcome_message=False,
)

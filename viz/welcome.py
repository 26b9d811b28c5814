"""The first screen of the window: networks in the box, recent ones, and those of new runs."""

from collections.abc import Sequence
from pathlib import Path

from imgui_bundle import imgui

from dnnlib import moved
from gui_utils import controls, text
from gui_utils.placement import Area
from viz.offers import offers
from viz.settings import Settings

__getattr__ = moved.names_of(__name__)
WIDTH_EMS = 44
INTRODUCTION = "Drop a network here, type its path or URL on the left, or choose one."
HELP = "F1 shows the keys."


class Welcome:
    """Lists to choose the first network from.

    Args:
        settings: Holds the recent networks.
        browse_dirs: Folders of runs.
    """

    def __init__(self, settings: Settings, browse_dirs: Sequence[Path]) -> None:
        self._lists = offers(settings.recent, browse_dirs)

    def draw(self, area: Area) -> str | None:
        """Draw the lists in the middle of an area, and return the clicked network."""
        lists = self._lists
        line = imgui.get_text_line_height_with_spacing()
        num_lines = 3 + sum(len(names) + 2 for names in lists.values())
        width = min(area[2] - area[0] - controls.em(2), controls.em(WIDTH_EMS))
        left = (area[0] + area[2] - width) / 2
        top = max((area[1] + area[3] - num_lines * line) / 2, area[1] + line)
        imgui.set_cursor_screen_pos((left, top))
        chosen = None
        if imgui.begin_child("welcome", (width, area[3] - top)):
            imgui.text_wrapped(INTRODUCTION)
            imgui.text_disabled(HELP)
            for title, names in lists.items():
                imgui.dummy((0, line / 2))
                imgui.text_disabled(text.shorten(title, width))
                for name in names:
                    shown = text.shorten(name, width)
                    clicked, _ = imgui.selectable(text.drawable(f"{shown}##{title}{name}"), False)
                    if clicked:
                        chosen = name
        imgui.end_child()
        return chosen

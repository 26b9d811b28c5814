"""The first screen of the window: networks in the box, recent ones, and those of new runs."""

import os
from collections.abc import Sequence
from pathlib import Path

from imgui_bundle import imgui

from dnnlib import pretrained
from dnnlib.addresses import is_address
from gui_utils import controls, text
from gui_utils.placement import Area
from viz import browse
from viz.settings import Settings

MAX_OFFERED = 8  # in each list
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
        recent = [name for name in settings.recent if is_address(name) or os.path.exists(name)]
        runs = [str(path) for path in browse.newest_of_runs(browse_dirs, MAX_OFFERED)]
        self._lists = {
            "Recent": recent[:MAX_OFFERED],
            "In the box": pretrained.addresses()[:MAX_OFFERED],
            f"Newest runs in {', '.join(map(str, browse_dirs))}": runs,
        }

    def draw(self, area: Area) -> str | None:
        """Draw the lists in the middle of an area, and return the clicked network."""
        lists = {title: names for title, names in self._lists.items() if names}
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

"""Keys of the page."""

from viz.keys import COMMON, DRAG, PAN

# What the help shows.
KEYS = (
    DRAG,
    ("Wheel, two fingers", "zoom at the mouse"),
    PAN,
    ("Double click, Ctrl + 0", "the whole picture"),
    ("Arrow keys", "the next seeds"),
    *COMMON,
    ("F1", "this help"),
)
OF_UPLOADS = (("Drop a file on the page", "upload a network, latents or directions"),)
# Keys that shall not do what browsers do by default.
KEPT = (
    *("F1", "Ctrl+S", "Ctrl+Z", "Ctrl+Y", "Ctrl+Shift+Z", "Ctrl+Shift+C"),
    *("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"),
)

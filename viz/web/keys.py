"""Keys of the page."""

# What the help shows.
KEYS = (
    ("Drag in the picture", "move through the latents, or set points"),
    ("Wheel, two fingers", "zoom at the mouse"),
    ("Drag with the right button", "move the enlarged picture"),
    ("Double click, Ctrl + 0", "the whole picture"),
    ("Arrow keys", "the next seeds"),
    ("Ctrl + S", "download the picture"),
    ("Ctrl + Shift + C", "copy the gen_images.py command"),
    ("Ctrl + Z, Ctrl + Y", "undo, redo changes of the view"),
    ("F1", "this help"),
)
OF_UPLOADS = (("Drop a file on the page", "upload a network, latents or directions"),)
# Keys that shall not do what browsers do by default.
KEPT = (
    *("F1", "Ctrl+S", "Ctrl+Z", "Ctrl+Y", "Ctrl+Shift+Z", "Ctrl+Shift+C"),
    *("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"),
)

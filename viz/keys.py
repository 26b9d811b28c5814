"""Keys of the window and of the page, as their help shows them."""

DRAG = ("Drag in the picture", "move through the latents, or set points")
PAN = ("Drag with the right button", "move the enlarged picture")
# What `Viewer.press` does.
COMMON = (
    ("Ctrl + S", "save the picture"),
    ("Ctrl + Shift + C", "copy the gen_images.py command"),
    ("Ctrl + Z, Ctrl + Y", "undo, redo changes of the view"),
)

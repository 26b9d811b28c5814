"""Writes the presets of training/presets.py into docs/configs.md: `make help-texts`."""

import re
from pathlib import Path

from training import advice, presets

PAGE = Path(__file__).parent / "configs.md"
NO_GPU = "without a GPU"
MARKED = re.compile(
    r"(<!-- `make help-texts` writes this: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL
)


def text_of(title: str) -> str:
    """The text between the marks of a title: a configuration, or `NO_GPU`."""
    if title == NO_GPU:
        return f"`--preset={presets.CPU.name}` sets\n`{advice.as_arguments(presets.CPU.options)}`"
    lines = ["| images | GPUs | `--preset` | sets |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {preset.resolution}x{preset.resolution} | {preset.gpus} | `{preset.name}` | "
        f"`{advice.as_arguments(preset.options)}` |"
        for preset in presets.PRESETS.values()
        if preset.cfg == title and preset != presets.CPU
    ]
    return "\n".join(lines)


def fill(page: str) -> str:
    """The page with current tables."""
    return MARKED.sub(lambda match: f"{match[1]}\n{text_of(match[2])}\n\n{match[3]}", page)


def main() -> None:
    """Write the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

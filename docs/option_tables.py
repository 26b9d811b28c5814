"""Writes the starting points of training/advice.py into docs/configs.md: `make help-texts`."""

import re
from pathlib import Path

from training import advice
from training.config import Cfg

PAGE = Path(__file__).parent / "configs.md"
# Resolution and number of GPUs in each row.
ROWS: dict[Cfg, list[tuple[int, int]]] = {
    "stylegan3-t": [(128, 1), (256, 1), (256, 8), (512, 1), (512, 8), (1024, 1), (1024, 8)],
    "stylegan3-r": [(128, 1), (256, 1), (256, 8), (512, 1), (512, 8), (1024, 8), (1024, 16)],
    "stylegan2": [(128, 1), (256, 1), (256, 8), (512, 1), (512, 8), (1024, 8)],
}
NO_GPU = "without a GPU"
MARKED = re.compile(
    r"(<!-- `make help-texts` writes this: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL
)


def text_of(title: str) -> str:
    """The text between the marks of a title: a configuration, or `NO_GPU`."""
    if title == NO_GPU:
        return f"`{advice.as_arguments(advice.starting_point('stylegan3-t', 32, gpus=0))}`"
    lines = [f"| images | GPUs | {title} |", "| --- | --- | --- |"]
    cfg = next(cfg for cfg in ROWS if cfg == title)
    for resolution, gpus in ROWS[cfg]:
        arguments = advice.as_arguments(advice.starting_point(cfg, resolution, gpus))
        lines.append(f"| {resolution}x{resolution} | {gpus} | `{arguments}` |")
    return "\n".join(lines)


def fill(page: str) -> str:
    """The page with current tables."""
    return MARKED.sub(lambda match: f"{match[1]}\n{text_of(match[2])}\n\n{match[3]}", page)


def main() -> None:
    """Write the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The options of runs, and those in which runs differ, from `training_options.json`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnnlib import errors
from reports import json_lines

NAME = "training_options.json"
MISSING = "-"  # in place of a value


def read(path: Path, problems: list[str]) -> dict[str, str]:
    """The options of a run by dotted name, such as `G_kwargs.z_dim`, as JSON text.

    Args:
        path: The file.
        problems: Takes a sentence on a file that is missing or damaged.
    """
    if not path.is_file():
        problems.append(f"{path.name} is missing: the options are unknown.")
        return {}
    try:
        options = json_lines.parse(path.read_bytes())
        if isinstance(options, dict):
            return _flatten(options, "")
        problems.append(f"{path.name} is damaged: the options are unknown.")
    except RecursionError:
        problems.append(f"{path.name} is nested too deeply: the options are unknown.")
    except OSError as error:
        problems.append(f"{path.name}: cannot be read: {errors.message_of(error)}")
    return {}


def total_kimg(options: dict[str, str]) -> float | None:
    """The planned length of a run, `None` if that is unknown."""
    number = json_lines.as_float(json_lines.parse(options.get("total_kimg", "").encode()))
    return number if number > 0 else None


def rows(runs: Sequence[dict[str, str]]) -> list[tuple[str, list[str]]]:
    """Every option with its value in each run."""
    names = dict.fromkeys(name for options in runs for name in options)
    return [(name, [options.get(name, MISSING) for options in runs]) for name in names]


def differing(table: Sequence[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """The rows in which not all values are the same; `run_dir` always differs, and is left out."""
    return [row for row in table if len(set(row[1])) > 1 and row[0] != "run_dir"]


def _flatten(value: dict[str, Any], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            found.update(_flatten(item, f"{prefix}{key}."))
        else:
            found[prefix + key] = json.dumps(item, ensure_ascii=False)
    return found

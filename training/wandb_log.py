"""Copy what a run logs to Weights & Biases (https://wandb.ai); nothing there delays or ends a run.

The package `wandb` runs in a thread that takes entries from a queue. Its first failure (no login,
no network, no disk) gives one warning, and ends the copying.
"""

import importlib.util
import os
import queue
import re
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import PIL.Image

from dnnlib import errors, text
from dnnlib.errors import MachineError
from dnnlib.util import open_atomic

ID_FILE = "wandb-id.txt"  # in the run's folder: a continued run goes on under the same id
START_SEC = 60  # most that the service may take to answer
CLOSE_SEC = 30  # most that the package waits for uploads at the end of a run
MAX_ENDING_SEC = CLOSE_SEC + 5.0  # most that the end of a run waits for the package
MAX_WAITING = 1000  # entries; more are dropped, which only a service that hangs leads to


class Project(click.types.StringParamType):
    """A project of Weights & Biases, perhaps with its owner; `None` for none."""

    name = "[entity/]project|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | None:
        if value == "none":
            return None
        if not re.fullmatch(r"(?:[\w.-]+/)?[^\s/\\#?%:,][^/\\#?%:,]{0,127}", value):
            self.fail(f"{value!r} is not the name of a project, or OWNER/PROJECT", param, ctx)
        return value


def check_package() -> None:
    """Refuse `--wandb` without the package.

    Raises:
        MachineError: Names the package.
    """
    spec = importlib.util.find_spec("wandb")
    # A folder `wandb`, which the package leaves behind, would be importable as well.
    if spec is None or spec.origin is None:
        raise MachineError("--wandb takes another package: pip install wandb")


class WandbLog:
    """Copies entries to a run of Weights & Biases, in the main process only.

    Args:
        project: The project, perhaps with its owner: `OWNER/PROJECT`.
        run_dir: Folder of the run, which also takes the files of the package.
        options: Options of the run, for its page.
    """

    def __init__(self, project: str, run_dir: str | Path, options: Mapping[str, Any]) -> None:
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(MAX_WAITING)
        self._is_on = True
        self._is_closing = False
        self._thread = threading.Thread(
            target=self._work, args=(project, Path(run_dir), dict(options)), daemon=True
        )
        self._thread.start()

    def write(self, entry: Mapping[str, float | PIL.Image.Image], cur_nimg: int) -> None:
        """Copy numbers and images, by name; returns at once."""
        try:
            self._put({**entry, "kimg": cur_nimg / 1000})
        except queue.Full:
            self._end(f"{MAX_WAITING} entries are waiting")

    def close(self) -> None:
        """Wait for the uploads, but not for long; a second call does nothing."""
        self._is_closing = True
        try:
            self._put(None)
        except queue.Full:
            self._end(f"{MAX_WAITING} entries are waiting")
        self._thread.join(MAX_ENDING_SEC)
        if self._thread.is_alive():
            self._end(f"no answer within {MAX_ENDING_SEC:g} seconds")

    def _put(self, entry: dict[str, Any] | None) -> None:
        if self._is_on:
            self._waiting.put_nowait(entry)

    def _end(self, reason: str) -> None:
        if self._is_on:
            self._is_on = False
            what = "training goes on, but nothing more is"
            if self._is_closing:
                what = "the last entries were not"
            print(f"Warning: {what} copied to Weights & Biases: {text.one_line(reason)}")

    def _work(self, project: str, run_dir: Path, options: dict[str, Any]) -> None:
        """Copy entries until there are no more, or the package fails."""
        try:
            run = _start(project, run_dir, options)
            while (entry := self._waiting.get()) is not None:
                run.log({name: _for_wandb(value) for name, value in entry.items()})
            run.finish()
        except Exception as error:  # nothing that happens there may end a run
            self._end(errors.message_of(error))


def _start(project: str, run_dir: Path, options: dict[str, Any]) -> Any:
    """Begin the run there, or go on with it."""
    import wandb  # takes a second or two

    entity, _, name = project.rpartition("/")
    # Silent: it must not ask for a login where nobody answers, nor write into the log of the run.
    wandb.setup(wandb.Settings(silent=True))
    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        init_timeout=START_SEC,
        finish_timeout=CLOSE_SEC,
        silent=True,
    )
    run = wandb.init(
        project=name,
        entity=entity or None,
        id=_run_id(run_dir),
        name=run_dir.name,
        resume="allow",
        dir=os.fspath(run_dir),
        config=options,
        settings=settings,
    )
    # A run that went back to an earlier state logs smaller numbers again, which steps cannot do.
    run.define_metric("*", step_metric="kimg")
    return run


def _run_id(run_dir: Path) -> str:
    """The id of the run there, the same whenever this run is continued."""
    path = run_dir / ID_FILE
    if path.is_file():
        found = path.read_text("utf-8", errors="replace").strip()
        if re.fullmatch(r"\w{1,64}", found, re.ASCII):
            return found
        print(f"Note: {path} holds no id; the run begins anew at Weights & Biases.")
    new = uuid.uuid4().hex[:16]
    with open_atomic(path, "w") as file:
        file.write(f"{new}\n")
    return new


def _for_wandb(value: Any) -> Any:
    if isinstance(value, PIL.Image.Image):
        import wandb

        return wandb.Image(value)
    return value

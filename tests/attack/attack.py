"""Give files to scripts, one at a time, and judge what becomes of it."""

import dataclasses
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.attack import hostile
from tests.attack.entrances import ENTRANCES, Entrance, Props
from tests.attack.stage import Stage
from tests.attack.trial import Job, Limits, Outcome, Scripts
from tests.attack.warm import PATIENCE, Warm

NO_WINDOW = ("no OpenGL", "needs more packages", "needs Python 3.11")  # what the viewer says then


@dataclass(frozen=True)
class Try:
    """One file through one entrance.

    Attributes:
        file: Name of the file.
        entrance: Name of the entrance.
        outcome: How the script ended.
        fall: What is wrong, None if nothing is.
    """

    file: str
    entrance: str
    outcome: Outcome
    fall: str | None

    def command(self, is_warm: bool) -> str:
        """How to repeat it."""
        more = "" if is_warm else " --scripts"
        names = f"--file {shlex.quote(self.file)} --entrance {shlex.quote(self.entrance)}"
        return f"python -m tests.attack {names}{more}"


class Attack:
    """Runs the scripts, and has what they need.

    Args:
        is_warm: Fork a process that has imported the scripts, instead of starting each.
    """

    def __init__(self, is_warm: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stylegan3-attack-"))
        self.backend = Warm() if is_warm else Scripts()
        self.stage = Stage(self.folder / "try")
        self.props = Props(self.folder / "props")
        self._build_props()

    def give(
        self,
        file: str,
        entrance: str,
        content: bytes | None = None,
        limits: Limits = Limits(),  # noqa: B008
    ) -> Try:
        """Let a script have a file.

        Args:
            file: Name of the file.
            entrance: Name of the entrance.
            content: Its bytes; by default those of the hostile file of that name.
            limits: What the script may take.
        """
        content = hostile.content_of(file) if content is None else content
        outcome = self._run(ENTRANCES[entrance], content, limits)
        return Try(file, entrance, outcome, outcome.fall(limits))

    def why_closed(self, entrance: str) -> str | None:
        """Why an entrance cannot be used here, None if a sound file passes.

        Raises:
            RuntimeError: If a sound file does not pass: what is refused there tells nothing.
        """
        sound = ENTRANCES[entrance].sound
        if sound is None:
            return None
        outcome = self._run(ENTRANCES[entrance], sound(self.props).read_bytes(), PATIENCE)
        if any(text in outcome.stderr for text in NO_WINDOW):
            return outcome.stderr.strip().splitlines()[-1]
        if outcome.code != 0 or "damaged" in outcome.stderr or outcome.fall(PATIENCE):
            raise RuntimeError(f"{entrance}: a sound file does not pass: {outcome}")
        return None

    def close(self) -> None:
        """Remove all folders."""
        self.backend.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, entrance: Entrance, content: bytes, limits: Limits) -> Outcome:
        self.stage.set_up(entrance, self.props, content)
        args, environment = entrance.args(self.props), self.stage.environment(entrance)
        job = Job(entrance.script, args, self.stage.work, environment, limits)
        outcome = self.backend.run(job)
        return dataclasses.replace(outcome, damage=[*outcome.damage, *self.stage.damage()])

    def _build_props(self) -> None:
        self.props.folder.mkdir()
        self.backend.build(self.props.folder)
        features = dataclasses.replace(ENTRANCES["features"], places=lambda props: [])
        outcome = self._run(features, b"", PATIENCE)
        caches = self.stage.work / "cache"
        found = sorted(path for path in caches.rglob("*") if path.is_file())
        assert outcome.code == 0 and found, outcome
        names = [path.relative_to(caches) for path in found]
        for name in names:
            (self.props.folder / "cache" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(caches / name, self.props.folder / "cache" / name)
        # Files of older versions ended otherwise: those, too, may lie there.
        older = [name.with_suffix(".pkl") for name in names]
        caches = tuple(dict.fromkeys(str(name) for name in (*names, *older)))
        self.props = dataclasses.replace(self.props, caches=caches)

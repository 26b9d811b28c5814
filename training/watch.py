"""Watches a run, and warns in plain words of what goes wrong; training itself stays as it is."""

import dataclasses
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from data import fingerprint
from dnnlib import errors
from metrics import ranking
from torch_utils import devices
from torch_utils.training_stats import Collector
from training import checkpoint, diversity, metric_history, symptoms
from training.config import TrainConfig
from training.log import RunLog
from training.loss import PHASES
from training.run_dirs import network_path
from training.snapshot import SampleSheet
from training.symptoms import Finding, Observation
from training.thinning import KeptSnapshots

MAX_TICKS = 1000  # of the history; then every second of the older half goes
# Images from one measurement of diversity to the next, at least, for each process: while the main
# process measures, the others wait. This takes less than 1 % of the time of training.
DIVERSITY_NIMG = 1000
WORSE = 1.5  # times as severe as at the last warning: worth another one
REPEAT_SHARE = 0.25  # of the images of the whole run, after which a warning is repeated


class Watch:
    """Collects what is known of a run, and prints warnings; only the main process has one.

    A warning comes once, and again if things have become notably worse, or after a long time.

    Args:
        config: The run.
        metrics: Names of the metrics that the run evaluates.
        networks: Contains `D` and `G_ema`.
        sheet: The sheet of images, part of which is measured.
        log: The log of the run.
        kept: The network snapshots that the run keeps.
    """

    def __init__(
        self,
        config: TrainConfig,
        metrics: Iterable[str],
        networks: Mapping[str, torch.nn.Module],
        sheet: SampleSheet,
        log: RunLog,
        kept: KeptSnapshots,
    ) -> None:
        self.config = config
        self.metrics = list(metrics)
        self.networks = networks
        self.sheet = sheet
        self.log = log
        self.kept = kept
        self.history: list[Observation] = []
        # Name -> severity of the last warning, and thousands of images at that time.
        self._said: dict[str, tuple[float, float]] = {}
        self._found: set[str] = set()  # names of what was found when last looked for
        self._can_measure = True

    def finish_tick(self, stats: Collector, cur_nimg: int) -> None:
        """Look at the figures of a tick, and at generated images.

        Args:
            stats: Statistics of the tick.
            cur_nimg: Images that the run has seen.
        """
        tick = observation({name: stats.mean(name) for name in stats.names()}, cur_nimg)
        if self._is_diversity_due(cur_nimg):
            measured = self._measure_diversity()
            tick = dataclasses.replace(
                tick, diversity=measured.overall, label_diversity=measured.within_labels
            )
        self.history.append(tick)
        if len(self.history) > MAX_TICKS:
            del self.history[: MAX_TICKS // 2 : 2]
        is_adaptive = self.config.ada_target is not None
        found = symptoms.in_history(self.history, self.config.total_kimg, is_adaptive)
        self._warn(found, symptoms.IN_HISTORY, cur_nimg)

    def finish_snapshot(self, cur_nimg: int) -> None:
        """Look at the metrics and at the disk, after a tick that may have written a snapshot."""
        run_dir = Path(self.config.run_dir)
        dataset = fingerprint.short(self.config.dataset_fingerprint)
        try:
            values = metric_history.read(run_dir, self.metrics, cur_nimg, dataset)
            on_disk = self._look_at_disk(run_dir, cur_nimg)
        except OSError:  # the folder is gone; what cannot be written there has its own warnings
            return
        rankings = ranking.of_metrics(self.metrics)
        found = symptoms.worse_metrics(
            values,
            lambda name: rankings[name].higher_is_better,
            lambda kimg: network_path(run_dir, kimg * 1000).exists(),
        )
        before = {name for name in self._found if name.startswith("metric_")}
        self._warn(found, before, cur_nimg)
        self._warn([] if on_disk is None else [on_disk], {"disk"}, cur_nimg)

    def stats(self) -> dict[str, dict[str, float]]:
        """Statistics of the last tick: diversities, and 1 for each warning that still holds."""
        tick = self.history[-1]
        values = {
            "Progress/diversity": tick.diversity,
            "Progress/label_diversity": tick.label_diversity,
            **{f"Warning/{name}": float(name in self._found) for name in self._said},
        }
        return {k: dict(num=1, mean=v, std=0.0) for k, v in values.items() if v is not None}

    def state_dict(self) -> dict[str, Any]:
        """History and warnings, as far as they follow from the training and not the machine."""
        saved = [dataclasses.asdict(tick) for tick in self.history]
        for tick in saved:
            for name in symptoms.DURATIONS:
                del tick[name]
        said = {k: list(v) for k, v in self._said.items() if k not in symptoms.OF_MACHINE}
        lasting = sorted(self._found.difference(symptoms.OF_MACHINE))
        return dict(history=saved, said=said, found=lasting)

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Continue from a state; `None` is that of an older version, which watched nothing."""
        if state is not None:
            self.history = [Observation(**tick) for tick in state["history"]]
            self._said = {name: (pair[0], pair[1]) for name, pair in state["said"].items()}
            self._found = set(state.get("found", []))  # which states of older versions lack

    def _warn(self, found: Iterable[Finding], looked_for: Iterable[str], cur_nimg: int) -> None:
        """Print what is new."""
        self._found.difference_update(looked_for)
        for finding in found:
            self._found.add(finding.name)
            now = (finding.severity, cur_nimg / 1000)
            if is_due(now, self._said.get(finding.name), self.config.total_kimg):
                self._said[finding.name] = now
                print(f"Warning: {finding.text}")
                self.log.write_warning(finding.name, finding.text, cur_nimg)

    def _is_diversity_due(self, cur_nimg: int) -> bool:
        """Whether an untrained network is behind us, and the last measurement long ago."""
        interval_kimg = DIVERSITY_NIMG * self.config.num_gpus / 1000
        known = [tick.kimg for tick in self.history if tick.diversity is not None]
        since_kimg = cur_nimg / 1000 - (known[-1] if known else 0)
        return self._can_measure and since_kimg >= interval_kimg

    def _measure_diversity(self) -> diversity.Diversity:
        chosen = self.sheet.chosen
        try:
            return diversity.measure(
                self.networks["G_ema"],
                self.networks["D"],
                torch.cat(self.sheet.z)[chosen],
                torch.cat(self.sheet.c)[chosen],
                self.sheet.chosen_reals,
                len(self.sheet.z[0]),  # the run makes these batches smaller when memory is short
            )
        except Exception as error:
            if not errors.is_out_of_memory(error):
                raise
        self._can_measure = False
        devices.free_memory(self.sheet.z[0].device)
        print("Note: there is no memory to measure the diversity of images; it is left out.")
        return diversity.Diversity()

    def _look_at_disk(self, run_dir: Path, cur_nimg: int) -> Finding | None:
        """Compare the free space with the files to come, once their sizes are known."""
        nimg_left = self.config.total_kimg * 1000 - cur_nimg
        if nimg_left <= 0:
            return None
        tick_nimg = max(self.config.kimg_per_tick * 1000, self.config.batch_size)
        num_ticks = math.ceil(nimg_left / tick_nimg)
        states = [path.stat().st_size for path in checkpoint.states(run_dir)]
        pickle_bytes, sheet_bytes = (
            max((path.stat().st_size for path in run_dir.glob(pattern)), default=0)
            for pattern in ("network-snapshot-*.pkl", "fakes[0-9]*.png")
        )
        if not states or not pickle_bytes or not sheet_bytes:
            return None
        num_pickles = math.ceil(num_ticks / self.config.network_snapshot_ticks)
        if self.config.keep_snapshots:  # one more is written before another is deleted
            num_more = max(self.config.keep_snapshots + 1 - len(self.kept.kimg), 0)
            num_pickles = min(num_pickles, num_more)
        return symptoms.small_disk(
            free_bytes=shutil.disk_usage(run_dir).free,
            state_bytes=max(states),
            pickle_bytes=pickle_bytes,
            sheet_bytes=sheet_bytes,
            # A state is written before the oldest is deleted.
            num_states=self.config.keep_states + 1 - len(states),
            num_pickles=num_pickles,
            num_sheets=math.ceil(num_ticks / self.config.image_snapshot_ticks),
        )


def observation(means: Mapping[str, float], cur_nimg: int) -> Observation:
    """What the statistics of a tick say; numbers that are not finite are unknown."""
    known = {name: value for name, value in means.items() if math.isfinite(value)}
    phases = [known[f"Timing/{name}"] for name in PHASES if f"Timing/{name}" in known]
    return Observation(
        kimg=cur_nimg / 1000,
        augment_p=known.get("Progress/augment"),
        real_score=known.get("Loss/scores/real"),
        fake_score=known.get("Loss/scores/fake"),
        real_sign=known.get("Loss/signs/real"),
        fake_sign=known.get("Loss/signs/fake"),
        tick_sec=known.get("Timing/sec_per_tick"),
        sec_per_kimg=known.get("Timing/sec_per_kimg"),
        phases_ms=sum(phases) if phases else None,
    )


def is_due(now: tuple[float, float], before: tuple[float, float] | None, total_kimg: float) -> bool:
    """Whether to print a warning that was printed before.

    Args:
        now: Severity of the finding, and thousands of images of the run.
        before: The same at the last warning, `None` if there was none.
        total_kimg: Thousands of images of the whole run.
    """
    if before is None:
        return True
    return now[0] >= WORSE * before[0] or now[1] - before[1] >= REPEAT_SHARE * total_kimg

"""Metrics during training: evaluated at snapshots; a failure does not end the run."""

from pathlib import Path
from typing import Any

import torch

from data import fingerprint
from dnnlib import errors
from metrics import lockstep, metric_main, metric_utils, records
from metrics.metric_utils import ProgressMonitor
from torch_utils import collectives, devices
from torch_utils.distributed import Worker
from training import memory
from training.config import TrainConfig

SMALLER_BATCHES = 4  # factor by which batches of metrics shrink when memory has run out


class SnapshotMetrics:
    """The metrics of a run. All processes construct this and evaluate together.

    The constructor looks for the feature networks, and downloads missing ones. Metrics whose
    network is unavailable are left out, with a warning before training starts.

    Attributes:
        names: The metrics that can be evaluated.
        has_failed: Whether the last evaluation lacks the values of a metric.

    Args:
        worker: This process.
        config: The run.
    """

    def __init__(self, worker: Worker, config: TrainConfig) -> None:
        self.worker = worker
        self.config = config
        self.has_failed = False
        self._is_memory_short = False  # whether a metric has run out of memory
        missing: dict[str, str] = {}
        if config.metrics and worker.is_main:
            print("Looking for the feature networks of the metrics...")
            missing = metric_main.find_missing(config.metrics, None, config.allow_untrusted)
        missing = collectives.broadcast(worker, missing)
        self.names = [name for name in config.metrics if name not in missing]
        if worker.is_main and missing:
            _warn_of_missing(missing)

    @property
    def title(self) -> str:
        """What an evaluation is called among other work, see `TimeLimit.measuring`."""
        return f"metrics {','.join(self.names)}"

    def recorded(self, snapshot_pkl: Path) -> dict[str, float] | None:
        """Values of all metrics for a snapshot from the records in the run's folder.

        Records that are older than the file speak of an earlier snapshot of this name.

        Returns:
            Values by name, as `evaluate` returned them; `None` if a metric has none.
        """
        values: dict[str, float] = {}
        written_at = snapshot_pkl.stat().st_mtime
        dataset = fingerprint.short(self.config.dataset_fingerprint)
        for name in self.names:
            path = snapshot_pkl.with_name(f"metric-{name}.jsonl")
            found = [
                record.results
                for record in (records.read(path).records if path.is_file() else ())
                if record.fields.get("snapshot_pkl") == snapshot_pkl.name
                and record.timestamp >= written_at
                and record.fields.get("dataset") in (None, dataset)
                and record.has_usual_settings
            ]
            if not found:
                return None
            values.update(found[0])
        return values

    def evaluate(self, G_ema: torch.nn.Module, snapshot_pkl: Path) -> dict[str, float]:
        """Compute all metrics and report those that succeed; random generators stay unchanged.

        A metric that runs out of memory is tried once more with smaller batches, in which later
        metrics of the run begin at once.

        Computes in float32 without TF32, as `calc_metrics.py` does, which shares the cache of
        features.

        Args:
            G_ema: The generator.
            snapshot_pkl: Pickle of the generator, which the report names.

        Returns:
            Values by name.
        """
        values = {}
        self.has_failed = False
        options = dict(
            G=G_ema,
            dataset_kwargs=self.config.training_set_kwargs,
            worker=self.worker,
            allow_untrusted=self.config.allow_untrusted,
            dataset_fingerprint=self.config.dataset_fingerprint,
        )
        options = self._with_batches(options, self.names)
        for idx, name in enumerate(self.names):
            if self.worker.is_main:
                print(f"Evaluating {name} ...")
            results = self._try(name, options, snapshot_pkl, is_last_try=self._is_memory_short)
            if results is None:
                self._is_memory_short = True
                options = self._with_batches(options, self.names[idx:])
                if self.worker.is_main:
                    print(f"Note: memory ran out; {name} begins again with smaller batches.")
                results = self._try(name, options, snapshot_pkl, is_last_try=True)
            values.update(results or {})
            self.has_failed |= not results
        return values

    def _with_batches(self, options: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """Options with a plan for these metrics, and with small batches if memory is short."""
        options = dict(options, passes=None)
        if self._is_memory_short:
            resolution = options["G"].img_resolution
            size = metric_utils.default_batch_gen(resolution, self.worker.device)
            options["batch_gen"] = max(1, size // SMALLER_BATCHES)
        options["passes"] = metric_main.plan(names, **options)
        return options

    def _try(
        self, name: str, options: dict[str, Any], snapshot_pkl: Path, is_last_try: bool
    ) -> dict[str, float] | None:
        """Values of a metric, empty if it fails; `None` if it is worth another try."""
        results: dict[str, float] | None = {}
        if "batch_gen" in options and not metric_main.get_metric(name).shares_images:
            options = {**options, "batch_gen": 1}  # these have small batches anyway
        try:
            with devices.using_tf32(False):
                results = self._evaluate(name, options, snapshot_pkl)
        except Exception as error:  # no failure of a metric may end the run
            if not is_last_try and self._has_memory_run_out(error):
                results = None
            elif self.worker.is_main:
                _warn_of_failure(name, error, snapshot_pkl)
        devices.free_memory(self.worker.device)  # training needs blocks of other sizes
        return results

    def _has_memory_run_out(self, error: Exception) -> bool:
        """Whether an error has this cause in one of the processes, which all have failed."""
        is_short = errors.is_out_of_memory(error)
        if self.worker.size == 1:
            return is_short
        # Another kind of error can be that of one process alone, while the others do not ask.
        is_common = lockstep.is_known_to_all(error)
        return is_common and memory.short_process(self.worker, is_short) is not None

    def _evaluate(self, name: str, options: dict[str, Any], snapshot_pkl: Path) -> dict[str, float]:
        result = metric_main.calc_metric(name, progress=ProgressMonitor(verbose=True), **options)
        if self.worker.is_main:
            metric_main.report_metric(
                result, run_dir=self.config.run_dir, snapshot_pkl=snapshot_pkl
            )
        return result.results


def _warn_of_missing(missing: dict[str, str]) -> None:
    for reason in dict.fromkeys(missing.values()):
        names = ", ".join(name for name in missing if missing[name] == reason)
        print(f"Warning: {names} will be missing from this run: {reason}.")
    print("Training goes on without; calc_metrics.py can compute them later.\n")


def _warn_of_failure(name: str, error: Exception, snapshot_pkl: Path) -> None:
    message = errors.message_of(error)
    if not errors.is_for_users(error):
        message = f"{type(error).__name__}: {message}"
    print(
        f"Warning: {name} could not be computed: {message}. Training goes on; calc_metrics.py "
        f"--network={snapshot_pkl} --metrics={name} tries again."
    )

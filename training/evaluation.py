"""Metrics during training: evaluated at snapshots; a failure does not end the run."""

from pathlib import Path
from typing import Any

import torch

from data import fingerprint
from dnnlib import errors
from metrics import metric_main, records
from metrics.metric_utils import ProgressMonitor
from torch_utils import collectives, devices
from torch_utils.distributed import Worker
from training.config import TrainConfig


class SnapshotMetrics:
    """The metrics of a run. All processes construct this and evaluate together.

    The constructor looks for the feature networks, and downloads missing ones. Metrics whose
    network is unavailable are left out, with a warning before training starts.

    Args:
        worker: This process.
        config: The run.
    """

    def __init__(self, worker: Worker, config: TrainConfig) -> None:
        self.worker = worker
        self.config = config
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

        Computes in float32 without TF32, as `calc_metrics.py` does, which shares the cache of
        features.

        Args:
            G_ema: The generator.
            snapshot_pkl: Pickle of the generator, which the report names.

        Returns:
            Values by name.
        """
        values = {}
        options = dict(
            G=G_ema,
            dataset_kwargs=self.config.training_set_kwargs,
            worker=self.worker,
            allow_untrusted=self.config.allow_untrusted,
            dataset_fingerprint=self.config.dataset_fingerprint,
        )
        options["passes"] = metric_main.plan(self.names, **options)
        for name in self.names:
            if self.worker.is_main:
                print(f"Evaluating {name} ...")
            try:
                with devices.using_tf32(False):
                    values.update(self._evaluate(name, options, snapshot_pkl))
            except Exception as error:  # no failure of a metric may end the run
                if self.worker.is_main:
                    _warn_of_failure(name, error, snapshot_pkl)
            if self.worker.device.type == "cuda":
                torch.cuda.empty_cache()  # training needs blocks of other sizes
        return values

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

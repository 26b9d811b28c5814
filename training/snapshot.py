"""Snapshots of a run: a sheet of generated images, a network pickle, and the metrics of both."""

import contextlib
import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from data.dataset import Dataset
from dnnlib import errors, heartbeat
from dnnlib.heartbeat import BeatingFile
from dnnlib.util import format_time, open_atomic
from torch_utils import collectives, devices
from torch_utils.distributed import Worker
from torch_utils.images import save_image_grid
from torch_utils.misc import are_finite, check_ddp_consistency, nonfinite_tensors
from training import checkpoint, diversity, memory, run_dirs
from training.best_snapshot import BestSnapshot
from training.config import TrainConfig
from training.evaluation import SnapshotMetrics
from training.log import RunLog
from training.snapshot_grid import setup_snapshot_image_grid
from training.thinning import KeptSnapshots
from training.time_limit import TimeLimit

# The parts of a snapshot, in the order in which they are made.
SHEET, NETWORKS, METRICS = "sheet", "networks", "metrics"


class Snapshots:
    """Writes the snapshots of a run. All processes construct this and save together.

    Args:
        worker: This process.
        config: The run.
        networks: `G`, `D`, `G_ema`, and `augment_pipe` if there is one.
        metrics: The metrics of the run.
        sheet: Sheet of images, in the main process.
        log: Log of the run, in the main process.
        limit: Time limit of the session.
    """

    def __init__(
        self,
        worker: Worker,
        config: TrainConfig,
        networks: dict[str, torch.nn.Module],
        metrics: SnapshotMetrics,
        sheet: "SampleSheet | None",
        log: RunLog | None,
        limit: TimeLimit,
    ) -> None:
        self.worker = worker
        self.config = config
        self.run_dir = Path(config.run_dir)
        self.limit = limit
        self.best = BestSnapshot(worker, self.run_dir, config.keep_best, metrics.names)
        self.networks = networks
        self.G_ema = networks["G_ema"]
        self.metrics = metrics
        self.sheet = sheet
        self.log = log
        self.missing: list[str] = []  # parts of the last snapshot that are still to be written
        self.kept = KeptSnapshots(self.run_dir, config.keep_snapshots)

    def plan(self, tick: int, is_last: bool) -> bool:
        """Decide which parts are due at the end of a tick; return whether the networks are due."""
        is_sheet_due = is_last or tick % self.config.image_snapshot_ticks == 0
        are_networks_due = is_last or tick % self.config.network_snapshot_ticks == 0
        self.missing = [SHEET] * is_sheet_due + [NETWORKS] * are_networks_due
        if are_networks_due and (tick > 0 or is_last):
            # Metrics of an untrained network are meaningless and slow.
            self.missing.append(METRICS)
        return are_networks_due

    def save(self, cur_nimg: int, is_last: bool) -> None:
        """Write the parts in `missing`; a failure ends the run only at its last snapshot.

        Parts for which the session has no time stay in `missing`.

        Raises:
            OSError: If the last snapshot cannot be written.
        """
        if self.missing and self._is_time_for(SHEET, NETWORKS):
            self._save(cur_nimg, is_last)

    def catch_up(self, cur_nimg: int, is_last: bool) -> None:
        """The same for a run that was continued, which takes the time in any case.

        Otherwise a run with a short time limit would never get any further. Parts that the run's
        folder has already are not written again.
        """
        self._find_missing(cur_nimg)
        self.best.restore(cur_nimg)
        if self.worker.is_main:
            self.kept.note_others()
        self._save(cur_nimg, is_last)

    def _save(self, cur_nimg: int, is_last: bool) -> None:
        todo, self.missing = self.missing, []
        if SHEET in todo:
            path = self.sheet_path(cur_nimg)
            with self.limit.measuring(SHEET) as attempt:
                attempt.is_complete = self._try_to_write(self.save_sheet, path, is_last)
                if attempt.is_complete and self.log is not None:
                    self.log.write_sheet("fakes", path, cur_nimg)
        path = self.network_path(cur_nimg)
        is_saved = True
        if NETWORKS in todo:
            with self.limit.measuring(NETWORKS) as attempt:
                is_saved = self._try_to_write(self.save_networks, path, is_last)
                attempt.is_complete = is_saved
            if is_saved:
                self.kept.add(cur_nimg)
        if METRICS in todo and is_saved:
            if not self._is_time_for(self.metrics.title):
                self.missing = [METRICS]
                self._drop_what_never_fits()
                return
            with self.limit.measuring(self.metrics.title) as attempt:
                metrics = self.metrics.evaluate(self.G_ema, path)
                attempt.is_complete = not self.metrics.has_failed
            if self.log is not None:
                self.log.write_metrics(metrics, cur_nimg)
            # The main process alone writes the values, and knows whether this has failed.
            self.best.update(collectives.broadcast(self.worker, metrics), cur_nimg)
        if self.worker.is_main:
            self.kept.delete_surplus(self.best.wanted)

    def state_dict(self) -> dict[str, Any]:
        """What a continued run needs to know about its snapshots."""
        return dict(
            missing=list(self.missing),
            kept_kimg=list(self.kept.kimg),
            best=self.best.state_dict(),
        )

    def load_state_dict(self, state: dict[str, Any], is_other_data: bool) -> None:
        """Continue from a state of the run.

        Args:
            state: Contains the result of `state_dict`; states of older versions lack parts of it.
            is_other_data: Whether the run goes on with other data than those of the state.
        """
        self.missing = state.get("missing") or []
        self.kept.load(state.get("kept_kimg") or [])
        self.best.load_state_dict(state.get("best"), is_other_data)

    def _find_missing(self, cur_nimg: int) -> None:
        """Remove from `missing` the parts that the run's folder has; all processes take part."""
        if not self.missing:
            return
        missing: list[str] = []
        recorded: dict[str, float] | None = None
        if self.worker.is_main:
            state_path = checkpoint.path_of(self.run_dir, cur_nimg)
            saved_at = state_path.stat().st_mtime_ns if state_path.exists() else 0

            def exists(path: Path) -> bool:
                # Older files were written before the run went back to an earlier state.
                return path.exists() and path.stat().st_mtime_ns >= saved_at

            path = self.network_path(cur_nimg)
            is_saved = exists(path)
            if is_saved and METRICS in self.missing:
                recorded = self.metrics.recorded(path)
            found = {
                SHEET: exists(self.sheet_path(cur_nimg)),
                NETWORKS: is_saved,
                METRICS: recorded is not None,
            }
            missing = [part for part in self.missing if not found[part]]
            if NETWORKS in self.missing and is_saved:
                self.kept.add(cur_nimg)
        self.missing, recorded = collectives.broadcast(self.worker, (missing, recorded))
        if recorded is not None:
            self.best.update(recorded, cur_nimg)

    def _is_time_for(self, *work: str) -> bool:
        """Whether the session has time for work, as the main process sees it."""
        if not self.limit.is_set:
            return True
        return collectives.broadcast(self.worker, self.limit.is_time_for(*work))

    def _drop_what_never_fits(self) -> None:
        """Leave out metrics for which the next session would not have the time, either."""
        if collectives.broadcast(self.worker, self.limit.fits_into_a_session(self.metrics.title)):
            return
        self.missing = []
        if self.worker.is_main:
            duration = format_time(self.limit.durations[self.metrics.title])
            print(
                f"Warning: --max-minutes={self.limit.minutes:g} leaves no time for the metrics, "
                f"which took {duration}; calc_metrics.py can compute them later."
            )

    def sheet_path(self, cur_nimg: int) -> Path:
        """Path of the sheet after `cur_nimg` images."""
        return self.run_dir / f"fakes{cur_nimg // 1000:06d}.png"

    def network_path(self, cur_nimg: int) -> Path:
        """Path of the network pickle after `cur_nimg` images."""
        return run_dirs.network_path(self.run_dir, cur_nimg)

    def save_sheet(self, path: Path) -> None:
        """Write the sheet of images."""
        if self.sheet is not None:
            self.sheet.save_fakes(self.G_ema, path)

    def save_networks(self, path: Path) -> None:
        """Write the network pickle; all processes take part."""
        save_network_pickle(
            self.worker,
            path,
            {name: self.networks.get(name) for name in ("G", "D", "G_ema", "augment_pipe")},
            self.config.training_set_kwargs,
            self.config.dataset_fingerprint,
        )

    def _try_to_write(self, write: Callable[[Path], None], path: Path, must_succeed: bool) -> bool:
        """Write a file of a snapshot; all processes learn whether it could be written."""
        failure = None
        try:
            write(path)
        except OSError as error:
            if must_succeed:
                raise
            failure = errors.message_of(error)
            if self.worker.is_main:
                print(f"Warning: {path.name} was not saved, and training goes on: {failure}")
        return collectives.broadcast(self.worker, failure) is None


class SampleSheet:
    """Images of the same latents and labels, drawn again and again while the generator learns.

    Args:
        training_set: Dataset that the labels are taken from.
        reals_path: Where to write the real images that belong to the labels; `None` writes none.
        z_dim: Size of the latents.
        batch_gpu: Images per pass.
        device: Device of the generator.
    """

    def __init__(
        self,
        training_set: Dataset,
        reals_path: Path | None,
        z_dim: int,
        batch_gpu: int,
        device: torch.device,
    ) -> None:
        self.reals_path = reals_path
        self.grid_size, real_images, labels = setup_snapshot_image_grid(training_set)
        if reals_path is not None:
            save_image_grid(real_images, reals_path, drange=(0, 255), grid_size=self.grid_size)
        self.z = torch.randn([len(labels), z_dim], device=device).split(batch_gpu)
        self.c = torch.from_numpy(labels).to(device).split(batch_gpu)
        # Positions whose images show how varied the whole is, and the real images there.
        self.chosen = diversity.choose(*self.grid_size)
        self.chosen_reals = torch.from_numpy(real_images[self.chosen])

    def save_fakes(self, G_ema: torch.nn.Module, path: Path) -> None:
        """Write the images that a generator makes of the latents, with constant noise.

        Pixels that are not finite become black, with a printed notice: a bad sheet does not end a
        run. If memory runs out, this and all later sheets are made in smaller batches.

        Raises:
            OSError: If the file cannot be written, or memory is not enough for a single image.
        """
        while (img := self._generate(G_ema, path.name)) is None:
            if len(self.z[0]) == 1:
                raise memory.file_error(path)
            self._halve_batches(path.name)
        if num_bad := len(img) - int(are_finite(img).count_nonzero()):
            print(
                f"Note: {num_bad} of {len(img)} images of {path.name} hold NaN or infinite values, "
                "which are black there."
            )
            img = img.nan_to_num(nan=-1, posinf=-1, neginf=-1)
        save_image_grid(img, path, drange=(-1, 1), grid_size=self.grid_size)

    @torch.no_grad()
    def _generate(self, G_ema: torch.nn.Module, name: str) -> Tensor | None:
        """All images, on the CPU; `None` if memory runs out.

        A sheet can hold a thousand images, so a terminal shows a progress bar.
        """
        batches = tqdm(
            zip(self.z, self.c, strict=True), name, len(self.z), leave=False, disable=None
        )
        parts: list[Tensor] = []
        try:
            with contextlib.closing(batches):
                for z, c in batches:
                    parts.append(G_ema(z, c, noise_mode="const").cpu())
                    heartbeat.beat()  # otherwise the watchdog would consider this process stuck
            return torch.cat(parts)
        except Exception as error:
            if not errors.is_out_of_memory(error):
                raise
            return None

    def _halve_batches(self, name: str) -> None:
        devices.free_memory(self.z[0].device)
        num = len(self.z[0]) // 2
        self.z, self.c = torch.cat(self.z).split(num), torch.cat(self.c).split(num)
        print(
            f"Note: memory ran out for {name}; the images of sheets are now made {num} at a time."
        )


def save_network_pickle(
    worker: Worker,
    path: Path,
    networks: dict[str, torch.nn.Module | None],
    training_set_kwargs: dict[str, Any],
    dataset_fingerprint: dict[str, Any] | None = None,
) -> None:
    """Write networks as a pickle that carries their source; all processes take part.

    Args:
        worker: This process; the main one writes.
        path: The pickle; the file appears when it is complete.
        networks: `G`, `D`, `G_ema` and `augment_pipe`, on any device; they stay unchanged.
        training_set_kwargs: How the dataset was constructed.
        dataset_fingerprint: Identifies the data, if it is known; see `data.fingerprint`.

    Raises:
        OSError: If the file cannot be written, or memory is not enough even after a second try.
        RuntimeError: If the processes' networks differ.
    """
    if worker.size > 1:
        for module in networks.values():
            if module is not None:
                check_ddp_consistency(module)
    if not worker.is_main:
        return
    data: dict[str, Any] | None = _copy_to_cpu(networks)
    if data is None:
        print(f"Note: memory ran out for {path.name}; trying again with all that can be freed.")
        devices.free_memory(worker.device)
        data = _copy_to_cpu(networks)
    if data is None:
        raise memory.file_error(path)
    damaged = {
        name: len(tensors)
        for name, module in data.items()
        if module is not None and (tensors := nonfinite_tensors(module))
    }
    if damaged:
        which = ", ".join(f"{name} ({num} tensors)" for name, num in damaged.items())
        print(f"Note: {path.name} has NaN or infinite values in {which}.")
    data["training_set_kwargs"] = dict(training_set_kwargs)
    if dataset_fingerprint is not None:
        # Not one of the kwargs: other programs construct the dataset with these.
        data["dataset_fingerprint"] = dict(dataset_fingerprint)
    with open_atomic(path) as f:
        pickle.dump(data, BeatingFile(f))


def _copy_to_cpu(networks: dict[str, torch.nn.Module | None]) -> dict[str, Any] | None:
    """Copies of networks, ready for use, on the CPU; `None` if memory runs out."""
    try:
        return {
            name: None
            if module is None
            else copy.deepcopy(module).eval().requires_grad_(False).cpu()
            for name, module in networks.items()
        }
    except Exception as error:
        if not errors.is_out_of_memory(error):
            raise
        return None

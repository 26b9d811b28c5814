"""The training algorithm: alternating phases, weight averaging, augmentation, snapshots."""

import contextlib
import copy
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dnnlib
from data import fingerprint
from data.batches import TrainingBatches
from dnnlib import errors, heartbeat
from dnnlib.errors import MachineError
from torch_utils import distributed, misc, training_stats, watchdog
from torch_utils.distributed import Worker
from torch_utils.images import save_image_grid as save_image_grid
from training import (
    checkpoint,
    ema,
    health,
    kernels,
    log,
    minibatch_groups,
    phases,
    random_state,
    resume,
    snapshot,
    transfer,
)
from training.ada import AdaptiveAugment
from training.config import TrainConfig
from training.evaluation import SnapshotMetrics
from training.health import Health
from training.progress import Progress
from training.snapshot_grid import setup_snapshot_image_grid as setup_snapshot_image_grid
from training.stop_request import StopRequest

# What a snapshot consists of.
SHEET, NETWORKS, METRICS = "sheet", "networks", "metrics"


def training_loop(
    worker: Worker, config: TrainConfig | None, state_path: Path | None = None
) -> None:
    """Train a generator and a discriminator; every process of a run calls this.

    Args:
        worker: This process.
        config: The run; its `run_dir` exists. What counts is that of the main process.
        state_path: Training state of the run to continue from; only the main process reads it.
    """
    config = distributed.broadcast(worker, config)
    log_file = Path(config.run_dir) / "log.txt" if worker.is_main else None
    with (
        dnnlib.util.Logger(log_file, file_mode="a"),
        StopRequest(worker.is_main) as stop_request,
        watchdog.watch(worker, config.watchdog_minutes * 60),
    ):
        state = checkpoint.load(state_path) if worker.is_main and state_path else None
        trainer = Trainer(worker, config, distributed.broadcast(worker, state))
        with contextlib.closing(trainer):
            trainer.train(stop_request)


class Trainer:
    """A run in progress.

    Args:
        worker: This process.
        config: The run.
        state: What `state_dict` of the main process returned, to continue from there.
    """

    def __init__(
        self, worker: Worker, config: TrainConfig, state: dict[str, Any] | None = None
    ) -> None:
        self.worker = worker
        self.config = config
        self.device = worker.device
        self.run_dir = Path(config.run_dir)
        self.start_time = time.monotonic()
        self.cur_nimg = 0
        self.batch_idx = 0
        self.tick = 0
        self.tick_start_nimg = 0
        self.progress = Progress(
            config.total_kimg * 1000,
            config.kimg_per_tick * 1000,
            config.network_snapshot_ticks,
            worker.is_main,
        )
        self.batches = self.log = None
        try:
            self._set_up(state)
        except BaseException:
            self.close()
            raise

    def _set_up(self, state: dict[str, Any] | None) -> None:
        self._set_up_torch()
        self._load_training_set(0 if state is None else state["batch_idx"])
        self.metrics = SnapshotMetrics(self.worker, self.config)
        kernels.compile_ahead(self.config, self.device, **network_kwargs(self.training_set))
        self._construct_networks(is_new=state is None)
        self._set_up_augmentation()
        self._set_up_phases()
        self._set_up_files(state)
        self.tick_start_time = time.monotonic()
        self.maintenance_sec = self.tick_start_time - self.start_time
        self.state_time = self.tick_start_time
        self.state_nimg = None  # where the last state was saved
        self.missing: list[str] = []  # what the last snapshot lacks, see `_save_snapshot`
        if state is not None:
            self.load_state_dict(state)

    def train(self, stop_request: StopRequest | None = None) -> None:
        """Train until the run has seen all its images, or is asked to stop.

        Raises:
            RuntimeError: If the device runs out of memory, or training has died; the message says
                what to do.
        """
        nothing_to_train = resume.nothing_to_train(self.cur_nimg, self.config.total_kimg)
        try:
            is_done = self._train(stop_request)
        except Exception as error:
            if not errors.is_out_of_memory(error):
                raise
            raise MachineError(_advice_on_memory(self.config)) from error
        if nothing_to_train is not None:
            self._print(nothing_to_train)
        elif is_done and self.health.is_sound():
            self._print("\nDone. The last snapshot is the trained network.")
        elif is_done:
            self._print("\nDone, but the last losses were not finite: take an earlier snapshot.")
        else:
            self._print(
                f"\nStopped at {self.cur_nimg / 1000:.1f} kimg. Continue with: "
                f"python train.py --resume={self.run_dir}"
            )

    def close(self) -> None:
        """End the processes that load images, and close the files; a second call does nothing."""
        for resource in (self.batches, self.log):
            if resource is not None:
                resource.close()

    def state_dict(self) -> dict[str, Any] | None:
        """All that the run consists of, for `checkpoint.save`; `None` but for the main process.

        All processes must call this.
        """
        # What was reported goes to the collectors, which are saved.
        self.stats.gather()
        ranks = distributed.gather(
            self.worker,
            dict(random=random_state.capture(self.device), loss=self.loss.state_dict()),
        )
        if not self.worker.is_main:
            return None
        now = time.monotonic()
        return dict(
            launch_id=distributed.launch_id(),
            options=dataclasses.asdict(self.config.options),
            training_set_kwargs=dict(self.config.training_set_kwargs),
            dataset_fingerprint=self.config.dataset_fingerprint,
            given=dict(self.config.given),
            cur_nimg=self.cur_nimg,
            batch_idx=self.batch_idx,
            tick=self.tick,
            tick_start_nimg=self.tick_start_nimg,
            total_sec=now - self.start_time,
            tick_sec=now - self.tick_start_time,
            networks={name: net.state_dict() for name, net in self._networks().items()},
            optimizers={
                phase.name: phase.optimizer.state_dict() for phase in self._phases_of_optimizers()
            },
            ada=None if self.ada is None else self.ada.signs.state_dict(),
            stats=self.stats.state_dict(),
            ranks=ranks,
            sheet_z=torch.cat(self.sheet.z).cpu(),
            missing=list(self.missing),
            stats_jsonl_bytes=self.log.num_bytes(),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; all processes must call this.

        With another number of processes the images come in the same batches, but random numbers
        are new ones.
        """
        for key in ("cur_nimg", "batch_idx", "tick", "tick_start_nimg"):
            setattr(self, key, state[key])
        now = time.monotonic()
        self.start_time = now - state["total_sec"]
        self.tick_start_time = now - state["tick_sec"]
        for name, net in self._networks().items():
            if name == "augment_pipe" and name not in state["networks"]:
                continue  # there was none as long as --p was 0
            net.load_state_dict(state["networks"][name])
        if self.augment_pipe is not None and self.ada is None:
            self.augment_pipe.p.fill_(self.config.augment_p)  # --p may have changed
        for phase in self._phases_of_optimizers():
            phases.load_optimizer(phase.optimizer, state["optimizers"][phase.name])
        if self.ada is not None:
            self.ada.signs.load_state_dict(state["ada"])
        self.stats.load_state_dict(state["stats"])
        ranks = state["ranks"]
        if len(ranks) == self.worker.size:
            rank_state = ranks[self.worker.rank]
            self.loss.load_state_dict(rank_state["loss"])
            random_state.restore(rank_state["random"], self.device)
        else:
            self._print(
                f"Note: saved by {len(ranks)} processes, continued by {self.worker.size}: the "
                "images come in the same order, random numbers are new ones."
            )
            self.loss.load_state_dict(ranks[0]["loss"])
            seed = self.config.random_seed * self.worker.size + self.worker.rank
            random_state.seed_all((seed + 1_000_003 * self.batch_idx) % 2**32)
        self.missing = state.get("missing") or []
        self._print(f"Continuing at {self.cur_nimg / 1000:.1f} kimg, tick {self.tick}.\n")

    def _train(self, stop_request: StopRequest | None) -> bool:
        """Train; returns whether the run is complete."""
        total_nimg = self.config.total_kimg * 1000
        if self.missing:  # the run may have ended while it saved the snapshot
            start_time = time.monotonic()
            self.missing = distributed.broadcast(self.worker, self._find_missing())
            self._save_snapshot(is_done=self.cur_nimg >= total_nimg)
            self.tick_start_time += time.monotonic() - start_time
        if self.cur_nimg >= total_nimg:
            return True
        self._print(f"Training for {self.config.total_kimg} kimg...\n")
        with self.progress.shown(self.cur_nimg, self.tick_start_nimg):
            while True:
                self._train_batch()
                self.progress.update(self.cur_nimg)
                is_done = self.cur_nimg >= total_nimg
                tick_nimg = self.cur_nimg - self.tick_start_nimg
                # The first tick ends with the first batch, to show early that things work.
                if is_done or self.tick == 0 or tick_nimg >= self.config.kimg_per_tick * 1000:
                    with self.progress.paused():
                        self._finish_tick(is_done)
                is_stopping, is_state_due = distributed.any_of(
                    self.worker,
                    stop_request is not None and stop_request.is_set,
                    time.monotonic() - self.state_time > self.config.state_minutes * 60,
                )
                if is_done:
                    return True
                if is_stopping or is_state_due:
                    with self.progress.paused():
                        self._save_state(must_succeed=is_stopping)
                if is_stopping:
                    return False

    def _set_up_torch(self) -> None:
        seed = self.config.random_seed * self.worker.size + self.worker.rank
        random_state.seed_all(seed)
        distributed.configure_backends(
            self.device, self.config.cudnn_benchmark, self.config.deterministic
        )
        training_stats.init_multiprocessing(
            self.worker.rank, self.device if self.worker.size > 1 else None
        )

    def _load_training_set(self, start: int) -> None:
        self._print("Loading training set...")
        # Not part of the kwargs, which go into pickles that other programs read.
        cache = {} if self.config.cache == "none" else {"cache": self.config.cache}
        self.training_set = dnnlib.util.construct_class_by_name(
            **self.config.training_set_kwargs, **cache
        )
        self._check_training_set()
        self.batches = TrainingBatches(
            self.worker,
            self.training_set,
            self.config.batch_size,
            self.config.random_seed,
            self.config.data_loader_kwargs,
            self.config.skip_damaged_images,
            start,
        )
        self._print(f"Num images:  {len(self.training_set)}")
        self._print(f"Image shape: {self.training_set.image_shape}")
        self._print(f"Label shape: {self.training_set.label_shape}\n")

    def _check_training_set(self) -> None:
        """Refuse other data than the main process has, which another machine can have at the path.

        Raises:
            RuntimeError: In all processes, so that none waits for another.
        """
        expected, found = self.config.dataset_fingerprint, []
        if expected is not None and not self.worker.is_main:
            found = fingerprint.differences(expected, self.training_set.fingerprint())
        by_rank = distributed.broadcast(self.worker, distributed.gather(self.worker, found))
        for rank, found in enumerate(by_rank):
            if found:
                raise MachineError(
                    f"--data: {self.config.training_set_kwargs['path']} is not the same on all "
                    f"machines: for process {rank} it has {' and '.join(found)}; copy that of the "
                    "first machine to the others"
                )

    def _construct_networks(self, is_new: bool) -> None:
        self._print("Constructing networks...")
        common = network_kwargs(self.training_set)
        G = dnnlib.util.construct_class_by_name(**self.config.G_kwargs, **common)
        D = dnnlib.util.construct_class_by_name(**self.config.D_kwargs, **common)
        self.G = G.train().requires_grad_(False).to(self.device)
        self.D = D.train().requires_grad_(False).to(self.device)
        self.G_ema = copy.deepcopy(self.G).eval()
        if self.config.resume_pkl is not None and is_new:
            self._print(f"Resuming from {self.config.resume_pkl}")
            if self.worker.is_main:
                self._copy_trained_networks()
        for module in (self.G, self.D, self.G_ema):
            distributed.broadcast_module(self.worker, module)
        if self.worker.is_main:
            z = torch.zeros([self.config.batch_gpu, self.G.z_dim], device=self.device)
            c = torch.zeros([self.config.batch_gpu, self.G.c_dim], device=self.device)
            with torch.no_grad():
                img = misc.print_module_summary(self.G, [z, c])
                misc.print_module_summary(self.D, [img, c])

    def _copy_trained_networks(self) -> None:
        data = transfer.load(self.config)
        for name, network in dict(G=self.G, D=self.D, G_ema=self.G_ema).items():
            if data[name] is None:
                self._print(f"Note: there is no {name} in the file; it starts from scratch.")
            else:
                self._print(transfer.table(name, network, transfer.copy(data[name], network)))

    def _set_up_augmentation(self) -> None:
        self.augment_pipe = self.ada = None
        if not self.config.is_augmented:
            self._print("Augmentation: off")
            return
        pipe = dnnlib.util.construct_class_by_name(**self.config.augment_kwargs)
        self.augment_pipe = pipe.train().requires_grad_(False).to(self.device)
        self.augment_pipe.p.fill_(self.config.augment_p)
        if self.config.ada_target is None:
            self._print(f"Augmentation: fixed, probability {self.config.augment_p:g}")
            return
        self._print(f"Augmentation: adaptive, target {self.config.ada_target:g}")
        self.ada = AdaptiveAugment(
            self.augment_pipe,
            target=self.config.ada_target,
            interval=self.config.ada_interval,
            kimg=self.config.ada_kimg,
        )

    def _set_up_phases(self) -> None:
        config = self.config
        self.loss = dnnlib.util.construct_class_by_name(
            device=self.device,
            G=self.G,
            D=self.D,
            augment_pipe=self.augment_pipe,
            **config.loss_kwargs,
        )
        self.phases = [
            *phases.make_phases("G", self.G, config.G_opt_kwargs, config.G_reg_interval),
            *phases.make_phases("D", self.D, config.D_opt_kwargs, config.D_reg_interval),
        ]
        self.health = Health(
            [phase.name for phase in self.phases], config.max_nan_steps, self.device
        )
        self._print(
            f"Processes: {self.worker.size} on {self.device.type}, "
            f"{config.batch_gpu} images per process and pass"
        )
        self._print("Phases: " + ", ".join(phase.name for phase in self.phases) + "\n")

    def _set_up_files(self, state: dict[str, Any] | None) -> None:
        self.stats = training_stats.Collector()
        if not self.worker.is_main:
            return
        self._print("Exporting sample images...")
        reals_path = self.run_dir / "reals.png"
        if state is not None and reals_path.exists():
            # It shows the data of the run, unless the run goes on with other data on purpose.
            saved = state.get("dataset_fingerprint")
            if not fingerprint.differences(saved, self.config.dataset_fingerprint):
                reals_path = None
        self.sheet = snapshot.SampleSheet(
            self.training_set,
            reals_path,
            self.G.z_dim,
            self.config.batch_gpu,
            self.device,
        )
        if state is None:
            self.sheet.save_fakes(self.G_ema, self.run_dir / "fakes_init.png")
            self.log = log.RunLog(self.run_dir)
        else:
            self.sheet.z = state["sheet_z"].to(self.device).split(self.config.batch_gpu)
            self.log = log.RunLog(self.run_dir, state["stats_jsonl_bytes"], state["cur_nimg"])

    def _networks(self) -> dict[str, torch.nn.Module]:
        networks = dict(G=self.G, D=self.D, G_ema=self.G_ema, augment_pipe=self.augment_pipe)
        return {name: net for name, net in networks.items() if net is not None}

    def _phases_of_optimizers(self) -> list[phases.Phase]:
        """One phase for each optimizer: several can share one."""
        return list({id(phase.optimizer): phase for phase in self.phases}.values())

    def _train_batch(self) -> None:
        """Run the phases that are due on one batch, then average weights and adapt augmentation."""
        real_img, real_c = self.batches.load()
        # Bytes travel, and become numbers there.
        real_img = real_img.to(self.device, non_blocking=True)
        real_img = real_img.to(torch.float32, memory_format=torch.contiguous_format) / 127.5 - 1
        real_c = real_c.to(self.device, non_blocking=True)
        batch_size = len(real_img)
        gen_z = torch.randn([len(self.phases), batch_size, self.G.z_dim], device=self.device)
        gen_c = self._draw_labels(len(self.phases) * batch_size).view(*gen_z.shape[:2], -1)
        for phase, phase_z, phase_c in zip(self.phases, gen_z, gen_c, strict=True):
            if self.batch_idx % phase.interval == 0:
                self._run_phase(phase, real_img, real_c, phase_z, phase_c)

        beta = ema.ema_beta(
            self.config.batch_size, self.cur_nimg, self.config.ema_kimg, self.config.ema_rampup
        )
        ema.update_ema(self.G_ema, self.G, beta)
        self.cur_nimg += self.config.batch_size
        self.batch_idx += 1
        if self.ada is not None:
            self.ada.after_batch(self.batch_idx, self.config.batch_size)
        if self.batch_idx % health.CHECK_INTERVAL == 0:
            self.health.check(self._networks())

    def _run_phase(
        self, phase: phases.Phase, real_img: Tensor, real_c: Tensor, gen_z: Tensor, gen_c: Tensor
    ) -> None:
        with torch.autograd.profiler.record_function(phase.name), phase.timer:
            phase.module.requires_grad_(True)
            passes = [t.split(self.config.batch_gpu) for t in (real_img, real_c, gen_z, gen_c)]
            for pass_real_img, pass_real_c, pass_gen_z, pass_gen_c in zip(*passes, strict=True):
                self.loss.accumulate_gradients(
                    phase=phase.name,
                    real_img=pass_real_img,
                    real_c=pass_real_c,
                    gen_z=pass_gen_z,
                    gen_c=pass_gen_c,
                    gain=phase.interval / len(passes[0]),
                    cur_nimg=self.cur_nimg,
                )
                heartbeat.beat()
            phase.module.requires_grad_(False)
            self._step(phase)
            phase.optimizer.zero_grad(set_to_none=True)  # not kept while the others run

    @torch.no_grad()
    def _step(self, phase: phases.Phase) -> None:
        """Average the gradients over the processes, make them finite, update the weights."""
        grads = [p.grad for p in phase.module.parameters() if p.grad is not None]
        if not grads:
            return  # a phase whose weight is zero
        distributed.average(self.worker, grads)
        self.health.make_finite(phase.name, grads)
        phase.optimizer.step()
        if phase.name in ("Dmain", "Dboth"):
            # The generator's moving averages (w_avg, magnitude_ema) were updated in this phase,
            # each process from its own samples; their mean is that of all samples.
            averages = [b for key, b in self.G.named_buffers() if key.endswith(("_avg", "_ema"))]
            distributed.average(self.worker, averages)

    def _draw_labels(self, num: int) -> Tensor:
        """Labels of random training images, `[num, label_dim]`."""
        if self.training_set.label_dim == 0:
            return torch.zeros([num, 0], device=self.device)
        indices = np.random.randint(len(self.training_set), size=num)
        labels = np.stack([self.training_set.get_label(idx) for idx in indices])
        labels = torch.from_numpy(labels)
        if self.device.type == "cuda":
            labels = labels.pin_memory()  # or the copy would wait for the work that is queued
        return labels.to(self.device, non_blocking=True)

    def _finish_tick(self, is_done: bool) -> None:
        """Print and log the tick that ends now; save snapshots when they are due."""
        distributed.synchronize(self.device)
        tick_end_time = time.monotonic()
        self.progress.finish_tick()
        augment_p = 0.0 if self.augment_pipe is None else float(self.augment_pipe.p)
        line = log.report_tick(
            tick=self.tick,
            cur_nimg=self.cur_nimg,
            total_sec=tick_end_time - self.start_time,
            tick_sec=tick_end_time - self.tick_start_time,
            tick_nimg=self.cur_nimg - self.tick_start_nimg,
            maintenance_sec=self.maintenance_sec,
            augment_p=augment_p,
            device=self.device,
            eta_sec=self.progress.eta_sec(),
        )
        self._print(line)
        self._print_troubles()
        is_image_due = is_done or self.tick % self.config.image_snapshot_ticks == 0
        is_network_due = is_done or self.tick % self.config.network_snapshot_ticks == 0
        self.missing = [SHEET] * is_image_due + [NETWORKS] * is_network_due
        if is_network_due and (self.tick > 0 or is_done):
            # Those of an untrained network would only keep everybody waiting.
            self.missing.append(METRICS)
        for phase in self.phases:
            if phase.timer.ms is not None:
                training_stats.report0(f"Timing/{phase.name}", phase.timer.ms)
        self.stats.update()
        if self.worker.is_main:
            self.log.write(self.stats.as_dict(), self.cur_nimg)
        self.tick += 1
        self.tick_start_nimg = self.cur_nimg
        self.tick_start_time = time.monotonic()
        if is_network_due:
            # First, because it is what the run cannot do without.
            self._save_state(must_succeed=is_done)
        self._save_snapshot(is_done)
        self.tick_start_time = time.monotonic()
        self.maintenance_sec = self.tick_start_time - tick_end_time

    def _save_snapshot(self, is_done: bool) -> None:
        """Save what `missing` lists, and is not there yet: a continued run finishes its snapshot.

        A snapshot is not worth the run, except at its end.

        Raises:
            OSError: If the last snapshot cannot be written.
        """
        todo, self.missing = self.missing, []
        if SHEET in todo:
            self._try_to_write(self._save_images, self._snapshot_path("fakes", ".png"), is_done)
        path = self._snapshot_path("network-snapshot-", ".pkl")
        is_saved = True
        if NETWORKS in todo:
            is_saved = self._try_to_write(self._save_networks, path, is_done)
        if METRICS in todo and is_saved:
            metrics = self.metrics.evaluate(self.G_ema, path)
            if self.worker.is_main:
                self.log.write_metrics(metrics, self.cur_nimg)

    def _find_missing(self) -> list[str]:
        """What of `missing` is not in the folder of the run."""
        if not self.worker.is_main:
            return []
        state_path = checkpoint.path_of(self.run_dir, self.cur_nimg)
        sheet = self._snapshot_path("fakes", ".png")
        networks = self._snapshot_path("network-snapshot-", ".pkl")

        saved_at = state_path.stat().st_mtime_ns if state_path.exists() else 0

        def is_there(path: Path) -> bool:
            # Older ones are from before the run went back to an earlier state.
            return path.exists() and path.stat().st_mtime_ns >= saved_at

        found = {
            SHEET: is_there(sheet),
            NETWORKS: is_there(networks),
            METRICS: is_there(networks) and self.metrics.has_evaluated(networks),
        }
        return [name for name in self.missing if not found[name]]

    def _snapshot_path(self, name: str, suffix: str) -> Path:
        return self.run_dir / f"{name}{self.cur_nimg // 1000:06d}{suffix}"

    def _try_to_write(self, write: Callable[[Path], None], path: Path, must_succeed: bool) -> bool:
        """Write a file of a snapshot; all processes learn whether it could be written."""
        failure = None
        try:
            write(path)
        except OSError as error:
            if must_succeed:
                raise
            failure = errors.message_of(error)
            self._print(f"Warning: {path.name} was not saved, and training goes on: {failure}")
        return distributed.broadcast(self.worker, failure) is None

    def _print_troubles(self) -> None:
        """What of this tick its line does not say."""
        if num := self.health.take_num_replaced():
            training_stats.report0("Progress/nonfinite_grads", num)
            self._print(f"Note: {num} gradients of this tick were not finite, and were replaced.")
        if num := self.batches.take_num_skipped():
            self._print(f"Note: {num} damaged images of this tick were skipped.")

    def _save_state(self, must_succeed: bool) -> None:
        """Save the state, unless it was saved just now, or would be that of a dying run."""
        if self.state_nimg == self.cur_nimg:
            return
        self.state_time = time.monotonic()
        if not self.health.is_sound():
            self._print("Note: the last losses were not finite; the state is not saved.")
            return
        state = self.state_dict()
        failure = None
        if self.worker.is_main:
            try:
                checkpoint.save(self.run_dir, state, self.cur_nimg, self.config.keep_states)
            except OSError as error:
                if must_succeed:
                    raise
                failure = errors.message_of(error)
                self._print(f"Warning: the state was not saved: {failure}")
        # All must agree on it, or some would wait for others at the next attempt.
        if distributed.broadcast(self.worker, failure) is None:
            self.state_nimg = self.cur_nimg

    def _save_images(self, path: Path) -> None:
        if self.worker.is_main:
            self.sheet.save_fakes(self.G_ema, path)

    def _save_networks(self, path: Path) -> None:
        snapshot.save_network_pickle(
            self.worker,
            path,
            dict(G=self.G, D=self.D, G_ema=self.G_ema, augment_pipe=self.augment_pipe),
            self.config.training_set_kwargs,
            self.config.dataset_fingerprint,
        )

    def _print(self, text: str) -> None:
        if self.worker.is_main:
            print(text)


def network_kwargs(training_set) -> dict[str, int]:
    """What the dataset decides about the networks."""
    return dict(
        c_dim=training_set.label_dim,
        img_resolution=training_set.resolution,
        img_channels=training_set.num_channels,
    )


def _advice_on_memory(config: TrainConfig) -> str:
    """What to do when a batch does not fit."""
    per_process = config.batch_size // config.num_gpus
    group_size = config.D_kwargs["epilogue_kwargs"]["mbstd_group_size"]
    smaller = minibatch_groups.smaller_batch_gpu(per_process, config.batch_gpu, group_size)
    advice = (
        "no smaller --batch-gpu is possible; use a smaller --batch, --cbase or --mbstd-group"
        if smaller is None
        else f"use --batch-gpu={smaller} (the batch then goes through in more passes)"
    )
    return f"out of memory with --batch-gpu={config.batch_gpu}: {advice}"

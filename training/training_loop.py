"""The training algorithm: alternating phases, weight averaging, augmentation, snapshots."""

import contextlib
import enum
import math
import time
from pathlib import Path

import torch
from torch import Tensor

import dnnlib
from dnnlib import errors
from dnnlib.errors import MachineError
from torch_utils import collectives, devices, training_stats, watchdog
from torch_utils.distributed import Worker
from torch_utils.images import save_image_grid as save_image_grid
from training import (
    advice,
    best_snapshot,
    checkpoint,
    ema,
    gradients,
    health,
    log,
    memory,
    phases,
    resume,
    training_data,
    wandb_log,
)
from training.agreement import Agreement
from training.build import network_kwargs as network_kwargs
from training.config import TrainConfig
from training.phases import Batch, Phase
from training.run import Run
from training.snapshot_grid import setup_snapshot_image_grid as setup_snapshot_image_grid
from training.stop_request import StopRequest
from training.time_limit import STATE, TimeLimit

STOP_SEC = 1  # most that several processes wait before they agree on a request to stop


class Ending(str, enum.Enum):
    """Why training ended."""

    COMPLETE = "all images seen"
    STOPPED = "asked to stop"
    TIME = "no time left"
    PATIENCE = "no better snapshot"


def training_loop(
    worker: Worker,
    config: TrainConfig | None,
    state_path: Path | None = None,
    session_start: float | None = None,
) -> Ending:
    """Train a generator and a discriminator; every process of a run calls this.

    Args:
        worker: This process.
        config: The run; its `run_dir` exists. All processes use the main process's configuration.
        state_path: Training state of the run to continue from; only the main process reads it.
        session_start: When the time limit began to run, as `time.time()`; `None` for now.
    """
    age_sec = 0.0 if session_start is None else max(time.time() - session_start, 0.0)
    config = collectives.broadcast(worker, config)
    closing_sec = 0 if config.wandb is None else wandb_log.MAX_ENDING_SEC
    limit = TimeLimit(config.max_minutes, age_sec, closing_sec)
    log_file = Path(config.run_dir) / "log.txt" if worker.is_main else None
    with (
        dnnlib.util.Logger(log_file, file_mode="a"),
        StopRequest(worker.is_main) as stop_request,
        watchdog.watch(worker, config.watchdog_minutes * 60),
    ):
        state = checkpoint.load(state_path) if worker.is_main and state_path else None
        trainer = Trainer(worker, config, collectives.broadcast(worker, state), limit)
        with contextlib.closing(trainer):
            return trainer.train(stop_request)


class Trainer(Run):
    """Trains a run; arguments as for `Run`."""

    def train(self, stop_request: StopRequest | None = None) -> Ending:
        """Train until the run has seen all its images, or ends earlier; return the reason.

        Raises:
            RuntimeError: If the device runs out of memory, or training has died; the message says
                what to do.
        """
        nothing_to_train = None
        if not self.snapshots.missing:
            nothing_to_train = resume.nothing_to_train(self.cur_nimg, self.config.total_kimg)
        try:
            ending = self._train(stop_request)
        except memory.ShortageError:
            self.state_nimg = None  # a state of this moment lacks the phases that have run since
            self._save_state(must_succeed=False)
            if self.state_nimg == self.cur_nimg:
                self.say(f"The state is saved in {self.run_dir}, to continue from this phase.")
            raise
        except Exception as error:
            if not errors.is_out_of_memory(error):
                raise
            raise MachineError(advice.on_memory(self.config)) from error
        if nothing_to_train is not None and ending == Ending.COMPLETE:
            self.say(nothing_to_train)
        else:
            self.say(f"\n{self._last_line(ending)}")
        return ending

    def _last_line(self, ending: Ending) -> str:
        """What came out, and how to go on."""
        if ending == Ending.COMPLETE:
            if self.health.is_sound():
                return "Done. The last snapshot is the trained network."
            return "Done, but the last losses were not finite: take an earlier snapshot."
        how = f"python train.py --resume={self.run_dir}"
        where = f"at {self.cur_nimg / 1000:.1f} kimg"
        if ending == Ending.PATIENCE:
            return (
                f"Ended {where} by --patience={self.config.patience}. "
                f"{self.snapshots.best.describe()}: {best_snapshot.PICKLE}. The state is saved; go "
                f"on with: {how} --patience=0"
            )
        if ending == Ending.TIME:
            where += f" by --max-minutes={self.limit.minutes:g}"
        return f"Stopped {where}. Continue with: {how}"

    def _train(self, stop_request: StopRequest | None) -> Ending:
        total_nimg = self.config.total_kimg * 1000
        start_time = time.monotonic()
        self.limit.finish_setup()
        if self.cur_nimg > 0:  # the run may have ended between a state and its snapshot
            self.snapshots.catch_up(self.cur_nimg, is_last=self.cur_nimg >= total_nimg)
            self.tick_start_time += time.monotonic() - start_time
        if (ending := self._ending_after_snapshot(self.cur_nimg >= total_nimg)) is not None:
            return ending
        state_sec = self.config.state_minutes * 60
        agreement = Agreement(self.worker, min(state_sec, STOP_SEC))
        delay_sec = 0 if self.worker.size == 1 else 2 * STOP_SEC
        if self.limit.is_set:
            self.say(
                f"Stops in time for --max-minutes={self.limit.minutes:g}, with its state saved."
            )
        self.say(f"Training for {self.config.total_kimg} kimg...\n")
        with self.progress.shown(self.cur_nimg, self.tick_start_nimg):
            while True:
                with self.limit.measuring_step():
                    self._train_batch()
                self.progress.update(self.cur_nimg)
                is_done = self.cur_nimg >= total_nimg
                tick_nimg = self.cur_nimg - self.tick_start_nimg
                # The first tick ends with the first batch, to show early that training works.
                if is_done or self.tick == 0 or tick_nimg >= self.config.kimg_per_tick * 1000:
                    with self.progress.paused():
                        self._finish_tick(is_done)
                        if (ending := self._ending_after_snapshot(is_done)) is not None:
                            return ending
                is_stopping, is_time_up, is_state_due = agreement.any_of(
                    stop_request is not None and stop_request.is_set,
                    self.worker.is_main and not self.limit.is_time_for_step(delay_sec),
                    time.monotonic() - self.state_time > state_sec,
                )
                is_ending = is_stopping or is_time_up
                if is_ending or is_state_due:
                    with self.progress.paused():
                        self._save_state(must_succeed=is_ending)
                if is_ending:
                    return Ending.STOPPED if is_stopping else Ending.TIME

    def _ending_after_snapshot(self, is_done: bool) -> Ending | None:
        """Whether training ends here, where a snapshot may just have been evaluated, and why."""
        patience = self.config.patience
        if self.snapshots.missing:
            ending = Ending.TIME
        elif is_done:
            return Ending.COMPLETE
        elif 0 < patience <= self.snapshots.best.standing.num_worse:
            ending = Ending.PATIENCE
        else:
            return None
        self._save_state(must_succeed=True)
        return ending

    def _train_batch(self) -> None:
        """Run the phases that are due on one batch, then average weights and adapt augmentation."""
        real_img, real_c = training_data.load_batch(self.batches, self.device)
        begun = self.begun_batch or self._begin_batch(len(real_img))
        self.begun_batch = begun
        for phase, gen_z, gen_c in zip(self.phases, begun.gen_z, begun.gen_c, strict=True):
            if self.batch_idx % phase.interval == 0 and phase.name not in begun.done:
                self._run_phase(phase, real_img, real_c, gen_z, gen_c)
                begun.done.append(phase.name)
        self.begun_batch = None

        beta = ema.ema_beta(
            self.config.batch_size, self.cur_nimg, self.config.ema_kimg, self.config.ema_rampup
        )
        ema.update_ema(self.G_ema, self.G, beta)
        self.cur_nimg += self.config.batch_size
        self.batch_idx += 1
        if self.ada is not None:
            self.ada.after_batch(self.batch_idx, self.config.batch_size)
        if self.batch_idx % health.CHECK_INTERVAL == 0:
            self.health.check(self.networks())

    def _begin_batch(self, num_samples: int) -> memory.BegunBatch:
        """Draw latents and labels for all phases of this process."""
        shape = [len(self.phases), num_samples]
        gen_z = torch.randn([*shape, self.G.z_dim], device=self.device)
        gen_c = training_data.draw_labels(self.training_set, math.prod(shape), self.device)
        return memory.BegunBatch(gen_z, gen_c.view(*shape, -1))

    def _run_phase(
        self, phase: Phase, real_img: Tensor, real_c: Tensor, gen_z: Tensor, gen_c: Tensor
    ) -> None:
        with torch.autograd.profiler.record_function(phase.name), phase.timer:
            phase.module.requires_grad_(True)
            self.undo.mark()
            batch = (real_img, real_c, gen_z, gen_c)
            while (short_process := self._accumulate(phase, batch)) is not None:
                self.undo.restore(phase)
                self._lower_batch_gpu(phase.name, short_process)
            phase.module.requires_grad_(False)
            self._step(phase)
            phase.optimizer.zero_grad(set_to_none=True)  # frees the memory for the other phases

    def _accumulate(self, phase: Phase, batch: Batch) -> int | None:
        """Compute the gradients of a phase; if memory runs out, return the rank of the process."""
        with training_stats.held() as reports:
            grads, is_short = None, False
            try:
                phases.accumulate_gradients(
                    self.loss, phase, batch, self.config.batch_gpu, self.cur_nimg
                )
                grads = self._join(phase)
            except Exception as error:
                if not errors.is_out_of_memory(error):
                    raise
                is_short = True
            # A process that lacks memory must tell the others before they exchange gradients.
            short_process = memory.short_process(self.worker, is_short)
            if short_process is not None:
                reports.clear()
                return short_process
        self._share(phase, grads)
        return None

    def _lower_batch_gpu(self, phase_name: str, short_process: int) -> None:
        """Make passes smaller, in all processes.

        Raises:
            ShortageError: If they cannot become smaller, or have become smaller too often.
        """
        devices.free_memory(self.device)
        before, smaller = self.config.batch_gpu, self.config.smaller_batch_gpu
        if smaller is None or self.num_lowered == memory.MAX_LOWERINGS:
            raise memory.ShortageError(advice.on_memory(self.config, self.pass_sizes[0]))
        self.num_lowered += 1
        self.config = self.config.with_batch_gpu(smaller)
        self.pass_sizes.append(smaller)
        where = f" of process {short_process}" if self.worker.size > 1 else ""
        with self.progress.paused():
            self.say(
                f"Note: the memory{where} was not enough for {phase_name}. --batch-gpu is lowered "
                f"from {before} to {smaller}, and {phase_name} begins again; this is time "
                f"{self.num_lowered} of at most {memory.MAX_LOWERINGS}."
            )

    @torch.no_grad()
    def _join(self, phase: Phase) -> Tensor | None:
        """All gradients in one tensor; `None` if there are none, or they stay where they are."""
        # A single process on the CPU knows at once whether it must replace gradients; if not, as in
        # nearly all steps, they stay where they are.
        is_alone = self.worker.size == 1 and self.device.type == "cpu"
        if is_alone and gradients.are_finite(phase.module):
            self.health.count_finite(phase.name)
            return None
        return gradients.join(phase.module)

    @torch.no_grad()
    def _share(self, phase: Phase, grads: Tensor | None) -> None:
        """Average the gradients of `_join` over the processes, and make them finite."""
        if grads is not None:
            collectives.average_one(self.worker, grads)
            gradients.replace(phase.module, self.health.make_finite(phase.name, grads))

    @torch.no_grad()
    def _step(self, phase: Phase) -> None:
        """Update the weights, and average what the processes have averaged on their own."""
        if not gradients.exist(phase.module):
            return  # a phase whose weight is zero
        phase.optimizer.step()
        if phase.name in ("Dmain", "Dboth"):
            # Each process has updated the generator's moving averages (w_avg, magnitude_ema) from
            # its own samples in this phase; their mean is the average over all samples.
            collectives.average(self.worker, self.averages)

    def _finish_tick(self, is_done: bool) -> None:
        """Print and log the tick that ends now; save snapshots when they are due."""
        devices.synchronize(self.device)
        tick_end_time = time.monotonic()
        self.progress.finish_tick()
        tick = log.Tick(
            idx=self.tick,
            cur_nimg=self.cur_nimg,
            num_img=self.cur_nimg - self.tick_start_nimg,
            total_sec=tick_end_time - self.start_time,
            tick_sec=tick_end_time - self.tick_start_time,
            maintenance_sec=self.maintenance_sec,
            augment_p=0.0 if self.augment_pipe is None else float(self.augment_pipe.p),
            eta_sec=self.progress.eta_sec(),
        )
        self.say(log.report_tick(tick, self.device))
        self._print_troubles()
        are_networks_due = self.snapshots.plan(self.tick, is_last=is_done)
        for phase in self.phases:
            if phase.timer.ms is not None:
                training_stats.report0(f"Timing/{phase.name}", phase.timer.ms)
        self.stats.update()
        if self.log is not None and self.watch is not None:
            self.watch.finish_tick(self.stats, self.cur_nimg)
            self.log.write({**self.stats.as_dict(), **self.watch.stats()}, self.cur_nimg)
        self.tick += 1
        self.tick_start_nimg = self.cur_nimg
        self.tick_start_time = time.monotonic()
        if are_networks_due:
            # The state comes first: without it the run could not be continued.
            self._save_state(must_succeed=is_done)
        self.snapshots.save(self.cur_nimg, is_last=is_done)
        if self.watch is not None:
            self.watch.finish_snapshot(self.cur_nimg)
        self.tick_start_time = time.monotonic()
        self.maintenance_sec = self.tick_start_time - tick_end_time

    def _print_troubles(self) -> None:
        """Print the problems of this tick; the status line does not show them."""
        if num := self.health.take_num_replaced():
            training_stats.report0("Progress/nonfinite_grads", num)
            self.say(f"Note: {num} gradients of this tick were not finite, and were replaced.")
        if num := self.batches.take_num_skipped():
            self.say(f"Note: {num} damaged images of this tick were skipped.")
        if num := len(self.pass_sizes) - 1:
            training_stats.report0("Progress/batch_gpu_lowered", num)

    def _save_state(self, must_succeed: bool) -> None:
        """Save the state, unless it was saved just now, or the losses have diverged."""
        if self.state_nimg == self.cur_nimg:
            return
        self.state_time = time.monotonic()
        if not self.health.is_sound():
            self.say("Note: the last losses were not finite; the state is not saved.")
            return
        failure = None
        try:
            with self.limit.measuring(STATE):
                state = self.state_dict()
                if state is not None:
                    checkpoint.save(self.run_dir, state, self.cur_nimg, self.config.keep_states)
        except OSError as error:
            if must_succeed:
                raise
            failure = errors.message_of(error)
            self.say(f"Warning: the state was not saved: {failure}")
        # All processes must agree, or some would wait for the others at the next attempt.
        if collectives.broadcast(self.worker, failure) is None:
            self.state_nimg = self.cur_nimg

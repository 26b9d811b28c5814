"""A training run: all its parts, constructed from a configuration and saved as a state."""

import contextlib
import copy
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch

from data import fingerprint
from torch_utils import collectives, devices, distributed, misc, training_stats
from torch_utils.distributed import Worker
from training import (
    build,
    kernels,
    memory,
    memory_trial,
    phases,
    precision,
    preflight,
    random_state,
    snapshot,
    training_data,
    transfer,
)
from training.ada import AdaptiveAugment
from training.config import TrainConfig
from training.evaluation import SnapshotMetrics
from training.health import Health
from training.log import RunLog
from training.options import AUTO
from training.progress import Progress
from training.time_limit import TimeLimit
from training.wandb_log import WandbLog
from training.watch import Watch


class Run:
    """Data, networks, optimizers, counters and files of a run; every process has its own.

    Args:
        worker: This process.
        config: The run.
        state: Result of `state_dict` in the main process, to continue from there.
        limit: Time limit of the session; `None` for none.
    """

    def __init__(
        self,
        worker: Worker,
        config: TrainConfig,
        state: dict[str, Any] | None = None,
        limit: TimeLimit | None = None,
    ) -> None:
        self.worker = worker
        self.config = config
        self.limit = TimeLimit() if limit is None else limit
        self.device = worker.device
        self.run_dir = Path(config.run_dir)
        self.start_time = time.monotonic()
        self.cur_nimg = 0
        self.batch_idx = 0
        self.tick = 0
        self.tick_start_nimg = 0
        self.begun_batch: memory.BegunBatch | None = None
        self.num_lowered = 0  # times, since the program was started
        self.progress = Progress(
            config.total_kimg * 1000,
            config.kimg_per_tick * 1000,
            config.network_snapshot_ticks,
            worker.is_main,
        )
        self._resources = contextlib.ExitStack()
        try:
            self._set_up(state)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes that load images, and close the files; a second call does nothing."""
        self._resources.close()

    def networks(self) -> dict[str, torch.nn.Module]:
        """`G`, `D`, `G_ema`, and `augment_pipe` if there is one."""
        networks = dict(G=self.G, D=self.D, G_ema=self.G_ema, augment_pipe=self.augment_pipe)
        return {name: net for name, net in networks.items() if net is not None}

    def say(self, text: str) -> None:
        """Print in the main process, to the console and the log."""
        if self.worker.is_main:
            print(text)

    def state_dict(self) -> dict[str, Any] | None:
        """The complete state of the run, for `checkpoint.save`; `None` in other processes.

        All processes must call this.
        """
        # Moves all reports to the collectors, whose state is saved.
        self.stats.gather()
        ranks = collectives.gather(
            self.worker,
            dict(
                random=random_state.capture(self.device),
                loss=self.loss.state_dict(),
                begun=None if self.begun_batch is None else dataclasses.asdict(self.begun_batch),
            ),
        )
        if self.log is None or self.sheet is None or self.watch is None:
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
            networks={name: net.state_dict() for name, net in self.networks().items()},
            optimizers={
                name: optimizer.state_dict()
                for name, optimizer in phases.optimizers(self.phases).items()
            },
            ada=None if self.ada is None else self.ada.signs.state_dict(),
            stats=self.stats.state_dict(),
            ranks=ranks,
            sheet_z=torch.cat(self.sheet.z).cpu(),
            pass_sizes=list(self.pass_sizes),
            stats_jsonl_bytes=self.log.num_bytes(),
            durations=dict(self.limit.durations),
            **self.snapshots.state_dict(),
            watch=self.watch.state_dict(),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; all processes must call this.

        With another number of processes the batches of images stay the same, but the random
        numbers are new.
        """
        for key in ("cur_nimg", "batch_idx", "tick", "tick_start_nimg"):
            setattr(self, key, state[key])
        now = time.monotonic()
        self.start_time = now - state["total_sec"]
        self.tick_start_time = now - state["tick_sec"]
        for name, net in self.networks().items():
            if name == "augment_pipe" and name not in state["networks"]:
                continue  # the state was saved with --p=0, and so without a pipe
            net.load_state_dict(state["networks"][name])
        if self.augment_pipe is not None and self.ada is None:
            self.augment_pipe.p.fill_(self.config.augment_p)  # --p may have changed
        for name, optimizer in phases.optimizers(self.phases).items():
            phases.load_optimizer(optimizer, state["optimizers"][name])
        if self.ada is not None:
            self.ada.signs.load_state_dict(state["ada"])
        self.stats.load_state_dict(state["stats"])
        self._load_state_of_process(state["ranks"])
        self._load_pass_sizes(state.get("pass_sizes") or [])
        self.limit.durations = dict(state.get("durations") or {})
        self.snapshots.load_state_dict(state, self._has_other_data(state))
        if self.watch is not None:
            self.watch.load_state_dict(state.get("watch"))
        self.say(f"Continuing at {self.cur_nimg / 1000:.1f} kimg, tick {self.tick}.\n")

    def _load_pass_sizes(self, pass_sizes: list[int]) -> None:
        """Take over that the run has lowered `--batch-gpu`, unless another value was given now."""
        if len(pass_sizes) < 2 or pass_sizes[-1] != self.config.batch_gpu:
            return
        self.pass_sizes = pass_sizes
        self.say(
            f"Note: memory was short, and the run has lowered --batch-gpu from {pass_sizes[0]} to "
            f"{pass_sizes[-1]}; it goes on with this, unless --batch-gpu is given."
        )

    def _load_state_of_process(self, ranks: list[dict[str, Any]]) -> None:
        if ranks[0].get("begun") is not None:
            self.begun_batch = memory.begun_batch([rank["begun"] for rank in ranks], self.worker)
        if len(ranks) == self.worker.size:
            rank_state = ranks[self.worker.rank]
            self.loss.load_state_dict(rank_state["loss"])
            random_state.restore(rank_state["random"], self.device)
            return
        self.say(
            f"Note: saved by {len(ranks)} processes, continued by {self.worker.size}: the "
            "images come in the same order, random numbers are new ones."
        )
        self.loss.load_state_dict(ranks[0]["loss"])
        random_state.seed_all((self._seed() + 1_000_003 * self.batch_idx) % 2**32)

    def _seed(self) -> int:
        return self.config.random_seed * self.worker.size + self.worker.rank

    def _set_up(self, state: dict[str, Any] | None) -> None:
        random_state.seed_all(self._seed())
        devices.configure_backends(
            self.device,
            self.config.cudnn_benchmark,
            self.config.deterministic,
            self.config.tf32,
        )
        for note in precision.notes(self.config, self.device):
            self.say(note)
        training_stats.init_multiprocessing(
            self.worker.rank, self.device if self.worker.size > 1 else None
        )
        self._set_up_data(0 if state is None else state["batch_idx"])
        self.metrics = SnapshotMetrics(self.worker, self.config)
        images = build.network_kwargs(self.training_set)
        kernels.compile_ahead(self.config, self.device, **images)
        if self.config.options.batch_gpu == AUTO:
            self.config = memory_trial.choose(self.worker, self.config, images, self.say)
            if self.worker.is_main:
                preflight.save_options(self.config)
        self.pass_sizes = [self.config.batch_gpu]  # grows when memory runs out
        self._set_up_networks(images, is_new=state is None)
        self._set_up_augmentation()
        self._set_up_phases()
        self._set_up_files(state)
        self.tick_start_time = time.monotonic()
        self.maintenance_sec = self.tick_start_time - self.start_time
        self.state_time = self.tick_start_time
        self.state_nimg: int | None = None  # where the last state was saved
        if state is not None:
            self.load_state_dict(state)

    def _set_up_data(self, start: int) -> None:
        self.say("Loading training set...")
        self.training_set = training_data.open_training_set(self.worker, self.config)
        self.batches = training_data.start_loading(
            self.worker, self.config, self.training_set, start
        )
        self._resources.callback(self.batches.close)
        self.say(f"Num images:  {len(self.training_set)}")
        self.say(f"Image shape: {self.training_set.image_shape}")
        self.say(f"Label shape: {self.training_set.label_shape}\n")

    def _set_up_networks(self, images: dict[str, int], is_new: bool) -> None:
        self.say("Constructing networks...")
        self.G = build.build_generator(self.config, images, self.device).requires_grad_(False)
        self.D = build.build_discriminator(self.config, images, self.device).requires_grad_(False)
        self.G_ema = copy.deepcopy(self.G).eval()
        if self.config.resume_pkl is not None and is_new:
            self.say(f"Resuming from {self.config.resume_pkl}")
            if self.worker.is_main:
                self._copy_trained_networks()
        for module in (self.G, self.D, self.G_ema):
            collectives.broadcast_module(self.worker, module)
        if self.worker.is_main:
            z = torch.zeros([self.config.batch_gpu, self.G.z_dim], device=self.device)
            c = torch.zeros([self.config.batch_gpu, self.G.c_dim], device=self.device)
            with torch.no_grad():
                img = misc.print_module_summary(self.G, [z, c])
                misc.print_module_summary(self.D, [img, c])

    def _copy_trained_networks(self) -> None:
        data = transfer.load(self.config)
        if data["G"] is None:
            self.say("Note: there is no G in the file; it starts with the weights of G_ema.")
            data["G"] = data["G_ema"]
        for name, network in dict(G=self.G, D=self.D, G_ema=self.G_ema).items():
            if data[name] is None:
                self.say(f"Note: there is no {name} in the file; it starts from scratch.")
            else:
                self.say(transfer.table(name, network, transfer.copy(data[name], network)))

    def _set_up_augmentation(self) -> None:
        config = self.config
        self.ada = None
        self.augment_pipe = build.build_augment_pipe(config, self.device)
        if self.augment_pipe is None:
            self.say("Augmentation: off")
        elif config.ada_target is None:
            self.say(f"Augmentation: fixed, probability {config.augment_p:g}")
        else:
            limit = "" if config.ada_max is None else f", strength up to {config.ada_max:g}"
            self.say(f"Augmentation: adaptive, target {config.ada_target:g}{limit}")
            self.ada = AdaptiveAugment(
                self.augment_pipe,
                config.ada_target,
                config.ada_interval,
                config.ada_kimg,
                config.ada_max,
            )

    def _set_up_phases(self) -> None:
        config = self.config
        self.loss = build.build_loss(config, self.device, self.G, self.D, self.augment_pipe)
        self.phases = [
            *phases.make_phases("G", self.G, config.G_opt_kwargs, config.G_reg_interval),
            *phases.make_phases("D", self.D, config.D_opt_kwargs, config.D_reg_interval),
        ]
        self.averages = [b for key, b in self.G.named_buffers() if key.endswith(("_avg", "_ema"))]
        self.undo = memory.PhaseUndo([*self.averages, self.loss.pl_mean], self.device)
        self.health = Health(
            [phase.name for phase in self.phases], config.max_nan_steps, self.device
        )
        self.say(
            f"Processes: {self.worker.size} on {self.device.type}, "
            f"{config.batch_gpu} images per process and pass"
        )
        self.say("Phases: " + ", ".join(phase.name for phase in self.phases) + "\n")

    def _set_up_files(self, state: dict[str, Any] | None) -> None:
        self.stats = training_stats.Collector()
        self.sheet: snapshot.SampleSheet | None = None
        self.log: RunLog | None = None
        self.watch: Watch | None = None
        if self.worker.is_main:
            self.sheet = self._make_sheet(state)
            wandb: WandbLog | None = None
            if self.config.wandb is not None:
                wandb = WandbLog(self.config.wandb, self.run_dir, self.config.to_dict())
            if state is None:
                self.sheet.save_fakes(self.G_ema, self.run_dir / "fakes_init.png")
                self.log = RunLog(self.run_dir, wandb=wandb)
            else:
                num_bytes, cur_nimg = state["stats_jsonl_bytes"], state["cur_nimg"]
                self.log = RunLog(self.run_dir, num_bytes, cur_nimg, wandb)
            self._resources.callback(self.log.close)
            if self.sheet.reals_path is not None:
                start = 0 if state is None else state["cur_nimg"]
                self.log.write_sheet("reals", self.sheet.reals_path, start)
        self.snapshots = snapshot.Snapshots(
            self.worker,
            self.config,
            self.networks(),
            self.metrics,
            self.sheet,
            self.log,
            self.limit,
        )
        if self.sheet is not None and self.log is not None:
            self.watch = Watch(
                self.config,
                self.metrics.names,
                self.networks(),
                self.sheet,
                self.log,
                self.snapshots.kept,
            )

    def _has_other_data(self, state: dict[str, Any]) -> bool:
        """Whether the user chose to continue with other data than those of a state."""
        saved = state.get("dataset_fingerprint")
        return bool(fingerprint.differences(saved, self.config.dataset_fingerprint))

    def _make_sheet(self, state: dict[str, Any] | None) -> snapshot.SampleSheet:
        self.say("Exporting sample images...")
        reals_path: Path | None = self.run_dir / "reals.png"
        has_reals = (self.run_dir / "reals.png").exists()
        if state is not None and has_reals and not self._has_other_data(state):
            reals_path = None  # the file shows the original data
        sheet = snapshot.SampleSheet(
            self.training_set, reals_path, self.G.z_dim, self.config.batch_gpu, self.device
        )
        if state is not None:
            sheet.z = state["sheet_z"].to(self.device).split(self.config.batch_gpu)
        return sheet

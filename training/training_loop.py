"""The training algorithm: alternating phases, weight averaging, augmentation, snapshots."""

import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import dnnlib
from dnnlib import cli
from torch_utils import distributed, misc, training_stats
from torch_utils.distributed import Worker
from torch_utils.images import save_image_grid as save_image_grid
from training import ema, log, phases, snapshot, transfer
from training.ada import AdaptiveAugment
from training.config import TrainConfig
from training.loader import BatchLoader
from training.snapshot_grid import setup_snapshot_image_grid as setup_snapshot_image_grid


def training_loop(worker: Worker, config: TrainConfig) -> None:
    """Train a generator and a discriminator; every process of a run calls this.

    Args:
        worker: This process.
        config: The run. Its `run_dir` exists.
    """
    log_file = Path(config.run_dir) / "log.txt" if worker.is_main else None
    with dnnlib.util.Logger(log_file, file_mode="a"):
        Trainer(worker, config).train()


class Trainer:
    """A run in progress.

    Args:
        worker: This process.
        config: The run.
    """

    def __init__(self, worker: Worker, config: TrainConfig) -> None:
        self.worker = worker
        self.config = config
        self.device = worker.device
        self.run_dir = Path(config.run_dir)
        self.start_time = time.time()
        self.cur_nimg = 0
        self.batch_idx = 0
        self.tick = 0
        self._set_up_torch()
        self._load_training_set()
        self._construct_networks()
        self._set_up_augmentation()
        self._set_up_phases()
        self._set_up_files()

    def train(self) -> None:
        """Train until the run has seen all its images."""
        total_nimg = self.config.total_kimg * 1000
        self._print(f"Training for {self.config.total_kimg} kimg...\n")
        self.tick_start_nimg = 0
        self.tick_start_time = time.time()
        self.maintenance_sec = self.tick_start_time - self.start_time
        # The bar shows on a terminal only.
        hide_progress = None if self.worker.is_main else True
        with tqdm(total=total_nimg, unit="img", leave=False, disable=hide_progress) as progress:
            while True:
                self._train_batch()
                progress.update(self.config.batch_size)
                is_done = self.cur_nimg >= total_nimg
                tick_nimg = self.cur_nimg - self.tick_start_nimg
                # The first tick ends with the first batch, to show early that things work.
                if is_done or self.tick == 0 or tick_nimg >= self.config.kimg_per_tick * 1000:
                    with progress.external_write_mode():
                        self._finish_tick(is_done)
                if is_done:
                    break
        if self.worker.is_main:
            self.log.close()
        self._print("\nDone. The last snapshot is the trained network.")

    def _set_up_torch(self) -> None:
        seed = self.config.random_seed * self.worker.size + self.worker.rank
        np.random.seed(seed)
        torch.manual_seed(seed)
        distributed.configure_backends(self.device, self.config.cudnn_benchmark)
        training_stats.init_multiprocessing(
            self.worker.rank, self.device if self.worker.size > 1 else None
        )

    def _load_training_set(self) -> None:
        self._print("Loading training set...")
        # Not part of the kwargs, which go into pickles that other programs read.
        cache = {} if self.config.cache == "none" else {"cache": self.config.cache}
        self.training_set = dnnlib.util.construct_class_by_name(
            **self.config.training_set_kwargs, **cache
        )
        sampler = misc.InfiniteSampler(
            self.training_set,
            rank=self.worker.rank,
            num_replicas=self.worker.size,
            seed=self.config.random_seed,
        )
        loader_kwargs = dict(self.config.data_loader_kwargs)
        loader_kwargs["pin_memory"] &= self.device.type == "cuda"
        self.batches = BatchLoader(
            self.training_set,
            sampler,
            batch_size=self.config.batch_size // self.worker.size,
            **loader_kwargs,
        )
        self._print(f"Num images:  {len(self.training_set)}")
        self._print(f"Image shape: {self.training_set.image_shape}")
        self._print(f"Label shape: {self.training_set.label_shape}\n")

    def _construct_networks(self) -> None:
        self._print("Constructing networks...")
        common = network_kwargs(self.training_set)
        G = dnnlib.util.construct_class_by_name(**self.config.G_kwargs, **common)
        D = dnnlib.util.construct_class_by_name(**self.config.D_kwargs, **common)
        self.G = G.train().requires_grad_(False).to(self.device)
        self.D = D.train().requires_grad_(False).to(self.device)
        self.G_ema = copy.deepcopy(self.G).eval()
        if self.config.resume_pkl is not None:
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
        if self.config.augment_kwargs is None:
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
        self._print(
            f"Processes: {self.worker.size} on {self.device.type}, "
            f"{config.batch_gpu} images per process and pass"
        )
        self._print("Phases: " + ", ".join(phase.name for phase in self.phases) + "\n")

    def _set_up_files(self) -> None:
        self.stats = training_stats.Collector()
        if self.worker.is_main:
            self._print("Exporting sample images...")
            self.sheet = snapshot.SampleSheet(
                self.training_set,
                self.run_dir / "reals.png",
                self.G.z_dim,
                self.config.batch_gpu,
                self.device,
            )
            self.sheet.save_fakes(self.G_ema, self.run_dir / "fakes_init.png")
            self.log = log.RunLog(self.run_dir)

    def _train_batch(self) -> None:
        """Run the phases that are due on one batch, then average weights and adapt augmentation."""
        real_img, real_c = self._load_batch()
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

    def _load_batch(self) -> tuple[Tensor, Tensor]:
        try:
            return next(self.batches)
        except (OSError, AssertionError, ValueError, RuntimeError) as error:
            # What a loading process raised arrives with its traceback; the message comes last.
            message = cli.message_of(error).strip().splitlines()[-1]
            raise RuntimeError(f"loading training images failed: {message}") from error

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
        for grad in grads:
            torch.nan_to_num(grad, nan=0, posinf=1e5, neginf=-1e5, out=grad)
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
        tick_end_time = time.time()
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
        )
        self._print(line)
        if is_done or self.tick % self.config.image_snapshot_ticks == 0:
            self._save_images()
        if is_done or self.tick % self.config.network_snapshot_ticks == 0:
            self._save_networks()
        for phase in self.phases:
            if phase.timer.ms is not None:
                training_stats.report0(f"Timing/{phase.name}", phase.timer.ms)
        self.stats.update()
        if self.worker.is_main:
            self.log.write(self.stats.as_dict(), self.cur_nimg)
        self.tick += 1
        self.tick_start_nimg = self.cur_nimg
        self.tick_start_time = time.time()
        self.maintenance_sec = self.tick_start_time - tick_end_time

    def _save_images(self) -> None:
        if self.worker.is_main:
            path = self.run_dir / f"fakes{self.cur_nimg // 1000:06d}.png"
            self.sheet.save_fakes(self.G_ema, path)

    def _save_networks(self) -> None:
        snapshot.save_network_pickle(
            self.worker,
            self.run_dir / f"network-snapshot-{self.cur_nimg // 1000:06d}.pkl",
            dict(G=self.G, D=self.D, G_ema=self.G_ema, augment_pipe=self.augment_pipe),
            self.config.training_set_kwargs,
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

"""Adversarial loss, R1 and path length regularisation, and the blur at the start of config R."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from torch_utils import training_stats
from torch_utils.layers import MappedGenerator
from torch_utils.ops import conv2d_gradfix, upfirdn2d

PHASES = ("Gmain", "Greg", "Gboth", "Dmain", "Dreg", "Dboth")


class StyleGAN2Loss:
    """Non-saturating logistic loss with lazy regularisation (Karras et al. 2020, Secs. 2 and 3.1).

    Args:
        device: Device of the networks.
        G: Generator.
        D: Discriminator.
        augment_pipe: Applied to all images that the discriminator sees; `None` for none.
        r1_gamma: Weight of the R1 penalty, 0 to leave it out.
        style_mixing_prob: Probability of taking the styles of later layers from a second latent.
        pl_weight: Weight of the path length penalty, 0 to leave it out.
        pl_batch_shrink: Measure the path length on the batch divided by this number.
        pl_decay: Decay of the moving average of the path length.
        pl_no_weight_grad: Treat kernels as constants when the path length is differentiated. This
            only matters for kernels that depend on the styles; ours do not.
        blur_init_sigma: Standard deviation of the blur at the start, in pixels.
        blur_fade_kimg: Thousands of images until the blur is gone.
    """

    def __init__(
        self,
        device: torch.device,
        G: MappedGenerator,
        D: torch.nn.Module,
        augment_pipe: torch.nn.Module | None = None,
        r1_gamma: float = 10,
        style_mixing_prob: float = 0,
        pl_weight: float = 0,
        pl_batch_shrink: int = 2,
        pl_decay: float = 0.01,
        pl_no_weight_grad: bool = False,
        blur_init_sigma: float = 0,
        blur_fade_kimg: float = 0,
    ) -> None:
        self.device = device
        self.G = G
        self.D = D
        self.augment_pipe = augment_pipe
        self.r1_gamma = r1_gamma
        self.style_mixing_prob = style_mixing_prob
        self.pl_weight = pl_weight
        self.pl_batch_shrink = pl_batch_shrink
        self.pl_decay = pl_decay
        self.pl_no_weight_grad = pl_no_weight_grad
        self.pl_mean = torch.zeros([], device=device)
        self.blur_init_sigma = blur_init_sigma
        self.blur_fade_kimg = blur_fade_kimg

    def state_dict(self) -> dict[str, Tensor]:
        """The moving average of the path length of this process, on the CPU."""
        return {"pl_mean": self.pl_mean.cpu()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from a `state_dict()`."""
        self.pl_mean.copy_(state["pl_mean"])

    def accumulate_gradients(
        self,
        phase: str,
        real_img: Tensor,
        real_c: Tensor,
        gen_z: Tensor,
        gen_c: Tensor,
        gain: float,
        cur_nimg: int,
    ) -> None:
        """Add the gradients of one training phase to the network that the phase trains.

        Args:
            phase: One of `PHASES`: network, and main loss, regularisation or both.
            real_img: Real images `[N, C, H, W]` in [-1, 1].
            real_c: Their labels `[N, c_dim]`.
            gen_z: Latents for the generator `[N, z_dim]`.
            gen_c: Labels for the generator `[N, c_dim]`.
            gain: Factor on the loss: the interval of a lazy phase.
            cur_nimg: Images seen so far.

        Raises:
            ValueError: If the phase is unknown.
        """
        if phase not in PHASES:
            raise ValueError(f"`phase` must be one of {PHASES}, got {phase!r}")
        is_main = phase.endswith(("main", "both"))
        is_reg = phase.endswith(("reg", "both"))
        blur_sigma = self.blur_sigma(cur_nimg)
        if phase.startswith("G"):
            if is_main:
                self._generator_loss(gen_z, gen_c, blur_sigma, gain)
            if is_reg and self.pl_weight != 0:
                self._path_length(gen_z, gen_c, gain)
        else:
            is_reg = is_reg and self.r1_gamma != 0
            fake_loss = self._fake_loss(gen_z, gen_c, blur_sigma, gain) if is_main else None
            if is_main or is_reg:
                self._real_loss(real_img, real_c, blur_sigma, gain, fake_loss, is_reg)

    def blur_sigma(self, cur_nimg: int) -> float:
        """Standard deviation of the blur after `cur_nimg` images, in pixels (config R)."""
        if self.blur_fade_kimg <= 0:
            return 0.0
        return max(1 - cur_nimg / (self.blur_fade_kimg * 1e3), 0) * self.blur_init_sigma

    def _generator_loss(self, gen_z: Tensor, gen_c: Tensor, blur_sigma: float, gain: float) -> None:
        with torch.autograd.profiler.record_function("Gmain_forward"):
            img, _ = self._run_G(gen_z, gen_c)
            logits = self._run_D(img, gen_c, blur_sigma)
            _report_scores("fake", logits)
            loss = F.softplus(-logits)  # -log(sigmoid(D(G(z))))
            training_stats.report("Loss/G/loss", loss)
        with torch.autograd.profiler.record_function("Gmain_backward"):
            loss.mean().mul(gain).backward()

    def _path_length(self, gen_z: Tensor, gen_c: Tensor, gain: float) -> None:
        """Path length regularisation (Karras et al. 2020, Sec. 3.2, Eq. 4)."""
        with torch.autograd.profiler.record_function("Gpl_forward"):
            batch_size = max(gen_z.shape[0] // self.pl_batch_shrink, 1)
            img, ws = self._run_G(gen_z[:batch_size], gen_c[:batch_size])
            noise = torch.randn_like(img) / np.sqrt(img.shape[2] * img.shape[3])
            with conv2d_gradfix.no_weight_gradients(self.pl_no_weight_grad):
                (grads,) = torch.autograd.grad((img * noise).sum(), ws, create_graph=True)
            lengths = grads.square().sum(dim=2).mean(dim=1).sqrt()
            mean = self.pl_mean.lerp(lengths.mean(), self.pl_decay)
            self.pl_mean.copy_(mean.detach())
            penalty = (lengths - mean).square()
            training_stats.report("Loss/pl_penalty", penalty)
            loss = penalty * self.pl_weight
            training_stats.report("Loss/G/reg", loss)
        with torch.autograd.profiler.record_function("Gpl_backward"):
            loss.mean().mul(gain).backward()

    def _fake_loss(self, gen_z: Tensor, gen_c: Tensor, blur_sigma: float, gain: float) -> Tensor:
        with torch.autograd.profiler.record_function("Dgen_forward"):
            with torch.no_grad():
                img, _ = self._run_G(gen_z, gen_c, update_emas=True)
            logits = self._run_D(img, gen_c, blur_sigma, update_emas=True)
            _report_scores("fake", logits)
            loss = F.softplus(logits)  # -log(1 - sigmoid(D(G(z))))
        with torch.autograd.profiler.record_function("Dgen_backward"):
            loss.mean().mul(gain).backward()
        return loss.detach()

    def _real_loss(
        self,
        real_img: Tensor,
        real_c: Tensor,
        blur_sigma: float,
        gain: float,
        fake_loss: Tensor | None,
        is_reg: bool,
    ) -> None:
        """Loss on real images if `fake_loss` is given, plus the R1 penalty if `is_reg`."""
        with torch.autograd.profiler.record_function("Dreal_forward"):
            real_img = real_img.detach().requires_grad_(is_reg)
            logits = self._run_D(real_img, real_c, blur_sigma)
            _report_scores("real", logits)
            loss = torch.zeros([], device=self.device)
            if fake_loss is not None:
                loss = F.softplus(-logits)  # -log(sigmoid(D(x)))
                training_stats.report("Loss/D/loss", fake_loss + loss.detach())
            if is_reg:
                # R1 (Mescheder et al. 2018, Sec. 4.1).
                (grads,) = torch.autograd.grad(logits.sum(), real_img, create_graph=True)
                penalty = grads.square().sum(dim=[1, 2, 3])
                r1_loss = penalty * (self.r1_gamma / 2)
                training_stats.report("Loss/r1_penalty", penalty)
                training_stats.report("Loss/D/reg", r1_loss)
                loss = loss + r1_loss[:, None]
        with torch.autograd.profiler.record_function("Dreal_backward"):
            loss.mean().mul(gain).backward()

    def _run_G(self, z: Tensor, c: Tensor, update_emas: bool = False) -> tuple[Tensor, Tensor]:
        ws = self.G.mapping(z, c, update_emas=update_emas)
        if self.style_mixing_prob > 0:
            num_ws = ws.shape[1]
            cutoff = torch.empty([], dtype=torch.int64, device=ws.device).random_(1, num_ws)
            is_mixed = torch.rand([], device=ws.device) < self.style_mixing_prob
            other_ws = self.G.mapping(torch.randn_like(z), c)
            # Selecting by a mask leaves the random numbers on the device.
            from_other = (torch.arange(num_ws, device=ws.device) >= cutoff) & is_mixed
            ws = torch.where(from_other[:, None], other_ws, ws)
        return self.G.synthesis(ws, update_emas=update_emas), ws

    def _run_D(
        self, img: Tensor, c: Tensor, blur_sigma: float, update_emas: bool = False
    ) -> Tensor:
        reach = int(np.floor(blur_sigma * 3))
        if reach > 0:
            taps = torch.arange(-reach, reach + 1, device=img.device, dtype=torch.float32)
            taps = taps.div(blur_sigma).square().neg().exp2()
            img = upfirdn2d.filter2d(img, taps / taps.sum())
        if self.augment_pipe is not None:
            img = self.augment_pipe(img)
        return self.D(img, c, update_emas=update_emas)


def _report_scores(kind: str, logits: Tensor) -> None:
    training_stats.report(f"Loss/scores/{kind}", logits)
    training_stats.report(f"Loss/signs/{kind}", logits.sign())

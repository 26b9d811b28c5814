"""Equivariance of generators to translation and rotation (EQ-T, EQ-T_frac, EQ-R).

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", App. E.
"""

import math

import torch
from torch import Tensor

from dnnlib.errors import InputError
from metrics import lockstep, metric_utils
from metrics.dataset import RandomLabels
from metrics.options import MetricOptions
from torch_utils import latents
from torch_utils.image_transforms import (
    apply_affine_transformation,
    apply_fractional_pseudo_rotation,
    apply_fractional_rotation,
    apply_fractional_translation,
    apply_integer_translation,
    construct_affine_bandlimit_filter,
    lanczos_window,
    rotation_matrix,
    sinc,
)

__all__ = [
    "Comparison",
    "apply_affine_transformation",
    "apply_fractional_pseudo_rotation",
    "apply_fractional_rotation",
    "apply_fractional_translation",
    "apply_integer_translation",
    "compute_equivariance_metrics",
    "construct_affine_bandlimit_filter",
    "lanczos_window",
    "psnr",
    "rotation_matrix",
    "sinc",
]

PEAK = 2  # images range from -1 to 1


def compute_equivariance_metrics(
    opts: MetricOptions,
    num_samples: int,
    batch_size: int,
    translate_max: float = 0.125,
    rotate_max: float = 1,
    compute_eqt_int: bool = False,
    compute_eqt_frac: bool = False,
    compute_eqr: bool = False,
) -> float | tuple[float, ...]:
    """Compare images of transformed content with transformed images.

    Each batch has one translation and one angle.

    Args:
        opts: Options of the metric; the network must have an input transform.
        num_samples: Images to generate, rounded up to whole batches.
        batch_size: Images per batch.
        translate_max: Largest translation, relative to the image size.
        rotate_max: Largest angle, 1 for all directions.
        compute_eqt_int: Measure EQ-T: translation by whole pixels.
        compute_eqt_frac: Measure EQ-T_frac: translation by fractions of pixels.
        compute_eqr: Measure EQ-R: rotation.

    Returns:
        Those of EQ-T, EQ-T_frac and EQ-R that are chosen, as peak signal-to-noise ratios in dB. A
        single metric is returned as a number.

    Raises:
        ValueError: If no metric is chosen, the network has no input transform, its images are not
            finite, or no pixels are left to compare.
    """
    with lockstep.in_step(opts.worker):
        labels = RandomLabels(opts)
        which = compute_eqt_int, compute_eqt_frac, compute_eqr
        compare = Comparison(opts, batch_size, translate_max, rotate_max, *which)

    def compute(idx: int) -> Tensor:
        return compare(labels.get(idx * batch_size, (idx + 1) * batch_size))

    totals = []
    progress = opts.progress.sub(tag="eq sampling", num_items=num_samples)
    num_batches = math.ceil(num_samples / batch_size)
    # Some devices have no float64.
    dtype = torch.float32 if opts.device.type == "mps" else torch.float64
    for of_batch in metric_utils.run_batches(opts, num_batches, compute, dtype):
        totals.append(of_batch)
        if len(totals) == 1:
            _check_sums(of_batch)  # an error now saves hours
        progress.update(min(len(totals) * batch_size, num_samples))

    total = torch.stack(totals).sum(0)
    _check_sums(total)
    values = tuple(psnr(*of_metric) for of_metric in total.tolist())
    return values[0] if len(values) == 1 else values


class Comparison:
    """Compares images of transformed content with transformed images, one batch at a time.

    The arguments are those of `compute_equivariance_metrics`. The network is copied.
    """

    def __init__(
        self,
        opts: MetricOptions,
        batch_size: int,
        translate_max: float,
        rotate_max: float,
        compute_eqt_int: bool,
        compute_eqt_frac: bool,
        compute_eqr: bool,
    ) -> None:
        if not (compute_eqt_int or compute_eqt_frac or compute_eqr):
            raise InputError(
                "compute_equivariance_metrics: choose one or more of `compute_eqt_int`, "
                "`compute_eqt_frac`, `compute_eqr`"
            )
        G = metric_utils.prepare_generator(opts)
        transform = latents.transform_buffer(G)
        if transform is None:
            raise InputError(
                "Equivariance needs a generator with an input transform, such as StyleGAN3's; "
                f"{type(G).__name__} has no `synthesis.input.transform`"
            )
        self.G = G
        self._transform = transform
        self.synthesis_kwargs = {**opts.G_kwargs, "noise_mode": "const"}
        self.device = opts.device
        self.batch_size = batch_size
        self.translate_max = translate_max
        self.rotate_max = rotate_max
        self.compute_eqt_int = compute_eqt_int
        self.compute_eqt_frac = compute_eqt_frac
        self.compute_eqr = compute_eqr

    @torch.no_grad()
    def __call__(self, c: Tensor) -> Tensor:
        """Draw latents, translations and an angle, and compare.

        Args:
            c: Labels `[batch_size, c_dim]`.

        Returns:
            For each metric the sum of the squared errors, and their number: `[num_metrics, 2]`.
        """
        for name, buffer in self.G.named_buffers():
            if name.endswith(".noise_const"):
                buffer.copy_(torch.randn_like(buffer))
        z = torch.randn([self.batch_size, self.G.z_dim], device=self.device)
        # The CPU needs these numbers. They are drawn before the network starts, because reading
        # from a GPU waits for all queued work.
        eqt_shift = self._draw(2, self.translate_max) if self.compute_eqt_int else None
        eqt_frac_shift = self._draw(2, self.translate_max) if self.compute_eqt_frac else None
        angle = self._draw([], self.rotate_max * math.pi) if self.compute_eqr else None

        ws = self.G.mapping(z=z, c=c)
        original = self._synthesize(ws, torch.eye(3))
        errors = []
        if eqt_shift is not None:
            shift = (eqt_shift * self.G.img_resolution).round() / self.G.img_resolution
            moved = self._synthesize(ws, _translation(-shift))
            reference, mask = apply_integer_translation(original, *shift)
            errors.append(_squared_error(moved, reference, mask))
        if eqt_frac_shift is not None:
            moved = self._synthesize(ws, _translation(-eqt_frac_shift))
            reference, mask = apply_fractional_translation(original, *eqt_frac_shift)
            errors.append(_squared_error(moved, reference, mask))
        if angle is not None:
            turned = self._synthesize(ws, rotation_matrix(-angle))
            reference, mask = apply_fractional_rotation(original, angle)
            turned, pseudo_mask = apply_fractional_pseudo_rotation(turned, angle)
            errors.append(_squared_error(turned, reference, mask * pseudo_mask))
        return torch.stack(errors)

    def _draw(self, shape: int | list[int], limit: float) -> Tensor:
        """Uniform in [-limit, limit), on the CPU."""
        return ((torch.rand(shape, device=self.device) * 2 - 1) * limit).cpu()

    def _synthesize(self, ws: Tensor, inverse: Tensor) -> Tensor:
        """Images with transformed content; `inverse` is the inverse transform, `[3, 3]`."""
        self._transform.copy_(inverse)
        return self.G.synthesis(ws=ws, **self.synthesis_kwargs)


def _check_sums(sums: Tensor) -> None:
    """Refuse sums of errors and of pixels, `[num_metrics, 2]`, that give no finite ratio."""
    if not sums.isfinite().all():
        raise InputError(
            "equivariance: the network's images hold NaN or infinite values; it is damaged, "
            "use an earlier snapshot"
        )
    if (sums[:, 1] == 0).any():
        raise InputError(
            "equivariance: no pixels are left to compare; the images are smaller than the filters "
            "that turn or shift them"
        )


def psnr(squared_error: float, num: float) -> float:
    """Peak signal-to-noise ratio in dB; NaN if nothing was compared."""
    if num == 0:
        return math.nan
    if squared_error == 0:
        return math.inf
    return 10 * math.log10(PEAK**2 * num / squared_error)


def _translation(shift: Tensor) -> Tensor:
    matrix = torch.eye(3)
    matrix[:2, 2] = shift
    return matrix


def _squared_error(x: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Sum of the squared error where the mask is 1, and of the mask, `[2]`."""
    error = ((x - reference) * mask).square()
    # Some devices have no float64.
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    return torch.stack([error.sum(dtype=dtype), mask.sum(dtype=dtype)])

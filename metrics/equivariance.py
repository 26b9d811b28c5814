"""Equivariance of generators to translation and rotation (EQ-T, EQ-T_frac, EQ-R).

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", Sec. 2.2 and App. E.
"""

import copy
import math

import torch
from torch import Tensor

from torch_utils.resample import (
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
    "apply_affine_transformation",
    "apply_fractional_pseudo_rotation",
    "apply_fractional_rotation",
    "apply_fractional_translation",
    "apply_integer_translation",
    "compute_equivariance_metrics",
    "construct_affine_bandlimit_filter",
    "lanczos_window",
    "rotation_matrix",
    "sinc",
]

PEAK = 2  # images range from -1 to 1


@torch.no_grad()
def compute_equivariance_metrics(
    opts,
    num_samples: int,
    batch_size: int,
    translate_max: float = 0.125,
    rotate_max: float = 1,
    compute_eqt_int: bool = False,
    compute_eqt_frac: bool = False,
    compute_eqr: bool = False,
) -> float | tuple[float, ...]:
    """Compare images of transformed content with transformed images (Eq. 1 and App. E).

    Each batch has one translation and one angle. Over several processes, each draws its own.

    Args:
        opts: `metrics.metric_utils.MetricOptions`, with a network that has an input transform.
        num_samples: Images to generate, rounded up to whole batches in every process.
        batch_size: Images per batch.
        translate_max: Largest translation, relative to the image size.
        rotate_max: Largest angle, 1 for all directions.
        compute_eqt_int: Measure EQ-T: translation by whole pixels.
        compute_eqt_frac: Measure EQ-T_frac: translation by fractions of pixels.
        compute_eqr: Measure EQ-R: rotation.

    Returns:
        The chosen of EQ-T, EQ-T_frac and EQ-R, in this order: peak signal-to-noise ratios in dB.
        One that is alone comes as a number.

    Raises:
        ValueError: If nothing is to be measured, or the network has no input transform.
    """
    if not (compute_eqt_int or compute_eqt_frac or compute_eqr):
        raise ValueError(
            "compute_equivariance_metrics: choose one or more of `compute_eqt_int`, "
            "`compute_eqt_frac`, `compute_eqr`"
        )
    if not isinstance(getattr(getattr(opts.G.synthesis, "input", None), "transform", None), Tensor):
        raise ValueError(
            "Equivariance needs a generator with an input transform, such as StyleGAN3's; "
            f"{type(opts.G).__name__} has no `synthesis.input.transform`"
        )
    G = copy.deepcopy(opts.G).eval().requires_grad_(False).to(opts.device)
    transform = G.synthesis.input.transform
    noise_buffers = [buf for name, buf in G.named_buffers() if name.endswith(".noise_const")]
    labels = _random_labels(opts, G.c_dim, batch_size)

    def synthesize(ws: Tensor, matrix: Tensor | None = None) -> Tensor:
        transform.copy_(torch.eye(3) if matrix is None else matrix)
        return G.synthesis(ws=ws, **{**opts.G_kwargs, "noise_mode": "const"})

    totals = []  # per batch and metric: squared error, pixels compared
    num_batches = math.ceil(num_samples / (batch_size * opts.num_gpus))
    progress = opts.progress.sub(tag="eq sampling", num_items=num_samples)
    for batch_idx in range(num_batches):
        progress.update(min(batch_idx * batch_size * opts.num_gpus, num_samples))

        # Draw everything before the network starts: reading from a GPU waits for it.
        for buffer in noise_buffers:
            buffer.copy_(torch.randn_like(buffer))
        z = torch.randn([batch_size, G.z_dim], device=opts.device)
        c = next(labels)
        shifts = []
        for is_chosen in (compute_eqt_int, compute_eqt_frac):
            if is_chosen:
                shifts.append((torch.rand([2], device=opts.device) * 2 - 1) * translate_max)
        if compute_eqr:
            angle = (torch.rand([], device=opts.device) * 2 - 1) * (rotate_max * math.pi)
            angle = angle.cpu()
        shifts = [shift.cpu() for shift in shifts]

        ws = G.mapping(z=z, c=c)
        original = synthesize(ws)
        of_batch = []
        if compute_eqt_int:
            shift = shifts.pop(0)
            shift = (shift * G.img_resolution).round() / G.img_resolution
            moved = synthesize(ws, _translation(-shift))
            reference, mask = apply_integer_translation(original, *shift)
            of_batch.append(_squared_error(moved, reference, mask))
        if compute_eqt_frac:
            shift = shifts.pop(0)
            moved = synthesize(ws, _translation(-shift))
            reference, mask = apply_fractional_translation(original, *shift)
            of_batch.append(_squared_error(moved, reference, mask))
        if compute_eqr:
            turned = synthesize(ws, rotation_matrix(-angle))
            reference, mask = apply_fractional_rotation(original, angle)
            turned, pseudo_mask = apply_fractional_pseudo_rotation(turned, angle)
            of_batch.append(_squared_error(turned, reference, mask * pseudo_mask))
        totals.append(torch.stack(of_batch))
    progress.update(num_samples)

    total = torch.stack(totals).sum(0)
    if opts.num_gpus > 1:
        torch.distributed.all_reduce(total)
    values = tuple(_psnr(*of_metric) for of_metric in total.tolist())
    return values[0] if len(values) == 1 else values


def _random_labels(opts, c_dim: int, batch_size: int):
    """Endless batches of labels `[batch_size, c_dim]`."""
    if c_dim > 0:
        from metrics.metric_utils import iterate_random_labels  # which needs the dataset

        yield from iterate_random_labels(opts, batch_size)
    while True:
        yield torch.zeros([batch_size, 0], device=opts.device)


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


def _psnr(squared_error: float, num: float) -> float:
    """Peak signal-to-noise ratio in dB; NaN if nothing was compared."""
    if num == 0:
        return math.nan
    if squared_error == 0:
        return math.inf
    return 10 * math.log10(PEAK**2 * num / squared_error)

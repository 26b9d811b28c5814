"""Inputs of a generator: latents of seeds, labels of classes, transforms of the content."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError


def z_from_seeds(seeds: Sequence[int], z_dim: int) -> Tensor:
    """One latent per seed, float64 on the CPU, `[N, z_dim]`.

    A seed gives the same latent everywhere: NumPy's legacy generator, `RandomState(seed).randn`.
    """
    rows = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(rows) if rows else np.empty([0, z_dim]))


def z_from_seed(seed: int, z_dim: int) -> Tensor:
    """The latent of one seed, `[1, z_dim]`; see `z_from_seeds`."""
    return z_from_seeds([seed], z_dim)


def label_from_class(
    class_idx: int | None,
    c_dim: int,
    num: int = 1,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The one-hot label of a class, repeated `num` times: float32, `[num, c_dim]`.

    A network without classes (`c_dim` 0) gets its empty label, whatever `class_idx` is.

    Raises:
        InputError: If the network has classes and `class_idx` is `None` or not one of them.
    """
    label = torch.zeros([num, c_dim], device=device)
    if c_dim == 0:
        return label
    if class_idx is None:
        raise InputError(f"this network is conditional: choose a --class from 0 to {c_dim - 1}")
    if not 0 <= class_idx < c_dim:
        raise InputError(f"--class {class_idx} does not exist: choose one from 0 to {c_dim - 1}")
    label[:, class_idx] = 1
    return label


def make_transform(translate: tuple[float, float], angle: float) -> np.ndarray:
    """The 3x3 matrix that moves image content by `translate` and rotates it by `angle` degrees.

    `translate` is in fractions of the image. The generator takes the inverse of the matrix.
    """
    if not np.isfinite([*translate, angle]).all():
        raise InputError(f"--translate and --rotate must be finite, got {translate} and {angle}")
    sin, cos = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    tx, ty = translate
    return np.array([[cos, sin, tx], [-sin, cos, ty], [0, 0, 1]], dtype=np.float64)


def have_inverse(matrices: np.ndarray) -> np.ndarray:
    """Which transforms `[..., 3, 3]` can be inverted: booleans `[...]`.

    Content that shrinks to a thousandth cannot.
    """
    return np.abs(np.linalg.det(matrices)) >= 1e-6


def transform_buffer(G: torch.nn.Module) -> Tensor | None:
    """The buffer of `G` with the inverse of the content's transform; `None` if it has none."""
    return getattr(getattr(G.synthesis, "input", None), "transform", None)


@contextmanager
def content_transform(G: torch.nn.Module, matrix: np.ndarray) -> Iterator[None]:
    """Inside the context, `G` transforms its image content by `matrix`, if it can."""
    buffer = transform_buffer(G)
    if buffer is None:
        yield
        return
    original = buffer.clone()
    buffer.copy_(torch.from_numpy(np.linalg.inv(matrix)))
    try:
        yield
    finally:
        buffer.copy_(original)


@contextmanager
def mean_input_transform(G: torch.nn.Module) -> Iterator[None]:
    """Inside the context, the input of StyleGAN3 is moved by the mean style in place of its own.

    Each style shifts and turns the Fourier features (Karras et al. 2021, Sec. 3.2). With the
    transform of the mean style, content stays in its place while styles change.

    Raises:
        InputError: If the network has no such transform, or no mean style.
    """
    affine = getattr(getattr(G.synthesis, "input", None), "affine", None)
    w_avg = getattr(G.mapping, "w_avg", None)
    if affine is None or w_avg is None:
        raise InputError(
            "--stabilize is for StyleGAN3: this network has no input transform that depends on "
            "styles, or no mean style"
        )
    with torch.no_grad():
        mean = affine(w_avg[None])  # [1, 4]

    def replace(module: torch.nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        return mean.to(output).expand_as(output)

    # A hook leaves the parameters alone, and serves networks that bring their own code as well.
    hook = affine.register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()

"""Directions in W along which images change in one respect, and the file format of directions.

A file is `.npz` with `directions` `[K, 1 or num_ws, w_dim]` (length 1), `scales` `[K]` (how far an
amount of 1 goes), `names` `[K]`, `method`, a sentence, and `reach`, the amount that a sheet shows.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.atomic_file import open_atomic
from dnnlib.errors import InputError, MachineError
from torch_utils import latents, npz
from torch_utils.networks import Generator, device_of

BATCH = 10_000  # styles at once
NUM_FOR_SCALES = 10_000
NUM_DEVIATIONS = 3.0  # of W, which a sheet shows to both sides


@dataclass(frozen=True)
class Directions:
    """Directions in W.

    Attributes:
        vectors: Directions of length 1, `[K, 1 or num_ws, w_dim]`, float32; with `num_ws` styles,
            layers that a direction leaves alone are zero, and the length is that of one layer.
        scales: How far an amount of 1 goes, `[K]`: a standard deviation of W along the direction,
            or the whole way from one mean to another.
        names: A name for each direction; scripts take `FILE:NAME=AMOUNT`.
        method: How the directions were found, for people.
        reach: Amounts to both sides that are worth a look.

    Raises:
        InputError: If names are empty, not different, or hold `:` or `=`.
    """

    vectors: np.ndarray
    scales: np.ndarray
    names: tuple[str, ...]
    method: str
    reach: float = NUM_DEVIATIONS

    def __post_init__(self) -> None:
        for name in self.names:
            if not name or ":" in name or "=" in name or self.names.count(name) > 1:
                raise InputError(
                    f"{name!r} cannot name a direction: names differ from one another, and have "
                    "neither ':' nor '='"
                )

    def __len__(self) -> int:
        return len(self.vectors)

    def offset(self, name: str, amount: float, num_ws: int) -> Tensor:
        """What to add to styles to go `amount` scales along a direction.

        Returns:
            Float32 `[num_ws, w_dim]`.

        Raises:
            InputError: If there is no such direction.
        """
        if name not in self.names:
            raise InputError(f"there is no direction {name!r}; there are: {', '.join(self.names)}")
        idx = self.names.index(name)
        vector = np.broadcast_to(self.vectors[idx], (num_ws, self.vectors.shape[2]))
        return torch.from_numpy(vector * (amount * self.scales[idx])).to(torch.float32)


def load(path: str | os.PathLike) -> Directions:
    """Read a file of directions; `scales` and `names` may be missing.

    Raises:
        OSError: If the file cannot be read.
        InputError: If the file is not of this format.
    """
    names = npz.names(path)
    if "directions" not in names:
        raise InputError(f"{path} has no array 'directions'; directions.py writes such files")
    vectors = npz.read_array(path, "directions")
    if vectors.dtype.kind != "f" or vectors.ndim != 3 or not np.isfinite(vectors).all():
        raise InputError(
            f"{path}: 'directions' must be finite floating-point numbers [K, 1 or num_ws, w_dim], "
            f"not {vectors.dtype.name} {list(vectors.shape)}"
        )
    num = len(vectors)
    scales = npz.read_array(path, "scales") if "scales" in names else np.ones(num)
    texts = npz.read_array(path, "names") if "names" in names else np.arange(num)
    if scales.shape != (num,) or texts.shape != (num,):
        raise InputError(f"{path}: 'scales' and 'names' must be as many as the {num} directions")
    if scales.dtype.kind not in "fiu" or not np.isfinite(scales).all():
        raise InputError(f"{path}: 'scales' must be finite numbers")
    method = str(npz.read_array(path, "method")) if "method" in names else ""
    reach = _read_reach(path) if "reach" in names else NUM_DEVIATIONS
    given = vectors.astype(np.float32), scales.astype(np.float64), tuple(map(str, texts))
    try:
        return Directions(*given, method, reach)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_reach(path: str | os.PathLike) -> float:
    reach = npz.read_array(path, "reach")
    if reach.dtype.kind not in "fiu" or reach.size != 1 or not 0 < reach.item() < np.inf:
        raise InputError(
            f"{path}: 'reach' must be one finite number above 0, not {reach.ravel()[:3].tolist()}"
        )
    return float(reach.item())


def save(path: str | os.PathLike, found: Directions) -> None:
    """Write a file of directions; it appears complete or not at all."""
    with open_atomic(path) as f:
        np.savez(
            f,
            directions=found.vectors.astype(np.float32),
            scales=found.scales,
            names=np.array(found.names),
            method=np.array(found.method),
            reach=np.array(found.reach),
        )


def check(found: Directions, G: Generator, origin: str) -> None:
    """Refuse directions that do not fit a network.

    Raises:
        InputError: If the shapes differ.
    """
    if found.vectors.shape[1] not in (1, G.num_ws) or found.vectors.shape[2] != G.w_dim:
        raise InputError(
            f"{origin}: directions have shape {list(found.vectors.shape)}, "
            f"but this network takes [K, 1 or {G.num_ws}, {G.w_dim}]"
        )


def load_offset(path: str | os.PathLike, name: str, amount: float, G: Generator) -> Tensor:
    """What to add to styles to go `amount` scales along a direction of a file, `[num_ws, w_dim]`.

    Raises:
        OSError: If the file cannot be read.
        InputError: If the file does not fit the network, or has no such direction.
    """
    found = load(path)
    check(found, G, str(path))
    return found.offset(name, amount, G.num_ws)


def find_pca(
    G: Generator, num: int, num_samples: int, *, class_idx: int | None = None, seed: int = 0
) -> Directions:
    """Directions of the largest variation of W (Härkönen et al. 2020, "GANSpace", Sec. 2.1).

    Args:
        G: The generator.
        num: Number of directions.
        num_samples: Styles to look at.
        class_idx: Class of the styles; `None` draws classes at random.
        seed: Random seed.
    """
    _check_num(num, G)
    covariance, _ = _moments(G, num_samples, class_idx, seed)
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-values)[:num]
    return Directions(
        _oriented(vectors[:, order].T)[:, None].astype(np.float32),
        np.sqrt(values[order].clip(min=0)),
        tuple(f"pc{i}" for i in range(len(order))),
        f"principal components of {num_samples} styles",
    )


def find_weights(
    G: Generator,
    num: int,
    layers: Sequence[int] | None = None,
    *,
    class_idx: int | None = None,
    seed: int = 0,
) -> Directions:
    """Directions to which the weights respond most (Shen & Zhou 2021, "SeFa", Eq. 7).

    The affine layers that turn styles into factors of feature maps are stacked; each row is scaled
    to length 1, as the program of the paper does. Directions are eigenvectors of `A.T @ A`.

    Args:
        G: The generator.
        num: Number of directions.
        layers: Layers whose weights count, and which the directions change; `None` for all.
        class_idx: Class of the styles from which the scales are estimated.
        seed: Random seed of these styles.
    """
    _check_num(num, G)
    by_layer = affine_weights(G)
    chosen = range(G.num_ws) if layers is None else layers
    rows = [weight for layer in chosen for weight in by_layer[layer]]
    if not rows:
        raise InputError(
            "the chosen layers have no weights that styles go into; layer 0 of StyleGAN3 is "
            "its input"
        )
    A = torch.cat(rows).cpu().double().numpy()
    A /= np.linalg.norm(A, axis=1, keepdims=True).clip(min=1e-12)
    values, vectors = np.linalg.eigh(A.T @ A)
    order = np.argsort(-values)[:num]
    found = _oriented(vectors[:, order].T)
    which = "all layers" if layers is None else f"layers {', '.join(map(str, layers))}"
    return Directions(
        _in_layers(found, G, layers),
        _scales(G, found, class_idx, seed),
        tuple(f"weights{i}" for i in range(len(order))),
        f"eigenvectors of the style affines of {which}",
    )


def find_classes(G: Generator, num_samples: int, seed: int = 0) -> Directions:
    """From the mean of all classes to the mean of each class, for conditional networks.

    The scale of a direction is the whole way, so an amount of 1 leads from the one to the other.

    Raises:
        InputError: If the network has no classes.
    """
    if G.c_dim == 0:
        raise InputError("the network has no classes; give a table of labels, or use pca")
    classes = tqdm(range(G.c_dim), unit="class", disable=None)
    means = np.stack([_moments(G, num_samples, idx, seed)[1] for idx in classes])
    names = [f"class{idx}" for idx in range(G.c_dim)]
    differences = means - means.mean(axis=0)
    return _from_differences(differences, names, f"means of {num_samples} styles of each class")


def find_labels(
    G: Generator, labels: Mapping[int, str], class_idx: int | None = None
) -> Directions:
    """Normals of linear classifiers (logistic regression) of labelled seeds, one for each label.

    Args:
        G: The generator.
        labels: Label of each seed.
        class_idx: Class of the images that were labelled.

    Raises:
        InputError: If there are fewer than two labels.
        MachineError: If scikit-learn is missing.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MachineError(
            "directions from labels take scikit-learn: pip install scikit-learn"
        ) from error
    kinds = sorted(set(labels.values()))
    if len(kinds) < 2:
        raise InputError(f"the table has {len(kinds)} different labels; a direction needs two")
    ws = _styles_of_seeds(G, list(labels), class_idx)
    mean, deviation = ws.mean(axis=0), ws.std(axis=0).clip(min=1e-8)
    vectors = []
    for kind in kinds:
        is_kind = np.array([label == kind for label in labels.values()])
        model = LogisticRegression(C=0.1, max_iter=1000).fit((ws - mean) / deviation, is_kind)
        vectors.append(model.coef_[0] / deviation)  # normal of the plane in W
    found = np.stack(vectors)
    found /= np.linalg.norm(found, axis=1, keepdims=True).clip(min=1e-12)
    return Directions(
        found[:, None].astype(np.float32),
        ((ws - mean) @ found.T).std(axis=0),
        tuple(kinds),
        f"logistic regression of {len(labels)} labelled seeds",
    )


def find_difference(without: Tensor, with_: Tensor, name: str = "difference") -> Directions:
    """From the mean of some styles to the mean of others, such as two folders of projections.

    Args:
        without: Styles `[N, num_ws, w_dim]`.
        with_: Styles of images that show what the others do not, `[M, num_ws, w_dim]`.
        name: Name of the direction.

    Raises:
        InputError: If there are no styles, or the means are equal.
    """
    if min(len(without), len(with_)) == 0:
        raise InputError("a mean takes at least one style")
    difference = (with_.mean(dim=0) - without.mean(dim=0)).double().numpy()  # [num_ws, w_dim]
    if np.allclose(difference, difference[:1]):
        difference = difference[:1]
    return _from_differences(
        difference[None], [name], f"difference of {len(with_)} and {len(without)} styles"
    )


def affine_weights(G: Generator) -> list[list[Tensor]]:
    """Weights of the affine layers that each style of `ws` goes into, `[out, w_dim]` each."""
    names: list[str] = []
    weights: dict[str, Tensor] = {}
    for name, module in G.synthesis.named_modules():
        if name.endswith("affine") and not name.startswith("input."):
            names.append(name)
            weights[name] = module.weight.detach()
    if len(names) == G.num_ws - 1:  # StyleGAN3: the first style is that of the input
        return [[], *([weights[name]] for name in names)]
    # StyleGAN2: ToRGB shares its style with the first convolution of the next block.
    by_layer: list[list[Tensor]] = [[] for _ in range(G.num_ws)]
    layer = 0
    for name in names:
        by_layer[min(layer, G.num_ws - 1)].append(weights[name])
        layer += 0 if "torgb" in name else 1
    return by_layer


def _from_differences(differences: np.ndarray, names: Sequence[str], method: str) -> Directions:
    if differences.ndim == 2:
        differences = differences[:, None]
    # The length of one layer: a direction that moves some layers moves each as far.
    lengths = np.linalg.norm(differences, axis=2).max(axis=1)
    if not (lengths >= 1e-8).all():
        raise InputError("two means are equal, so there is no direction between them")
    vectors = (differences / lengths[:, None, None]).astype(np.float32)
    return Directions(vectors, lengths, tuple(names), method, reach=1)


def _moments(
    G: Generator, num_samples: int, class_idx: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Covariance `[w_dim, w_dim]` and mean `[w_dim]` of W, float64."""
    total, products = np.zeros(G.w_dim), np.zeros([G.w_dim, G.w_dim])
    shift = None
    for w in _sample(G, num_samples, class_idx, seed):
        shift = w.mean(axis=0) if shift is None else shift  # keeps the products small
        total += (w - shift).sum(axis=0)
        products += (w - shift).T @ (w - shift)
    assert shift is not None
    mean = total / num_samples
    return products / num_samples - np.outer(mean, mean), mean + shift


@torch.no_grad()
def _sample(G: Generator, num: int, class_idx: int | None, seed: int) -> Iterator[np.ndarray]:
    """Batches of random styles, float64 `[N, w_dim]`; a progress bar if there are many."""
    if num < 2:
        raise InputError(f"{num} styles are too few; take thousands")
    rng, device = np.random.RandomState(seed), device_of(G)
    for start in tqdm(
        range(0, num, BATCH), unit_scale=BATCH, disable=None if num > BATCH else True
    ):
        size = min(BATCH, num - start)
        z = torch.from_numpy(rng.randn(size, G.z_dim)).to(torch.float32).to(device)
        if class_idx is None and G.c_dim > 0:
            c = torch.eye(G.c_dim, device=device)[rng.randint(G.c_dim, size=size)]
        else:
            c = latents.label_from_class(class_idx, G.c_dim, size, device)
        yield G.mapping(z, c)[:, 0].cpu().double().numpy()


@torch.no_grad()
def _styles_of_seeds(G: Generator, seeds: Sequence[int], class_idx: int | None) -> np.ndarray:
    z = latents.z_from_seeds(seeds, G.z_dim).to(torch.float32).to(device_of(G))
    c = latents.label_from_class(class_idx, G.c_dim, len(seeds), device_of(G))
    return G.mapping(z, c)[:, 0].cpu().double().numpy()


def _scales(G: Generator, vectors: np.ndarray, class_idx: int | None, seed: int) -> np.ndarray:
    covariance, _ = _moments(G, NUM_FOR_SCALES, class_idx, seed)
    return np.sqrt(np.einsum("ki,ij,kj->k", vectors, covariance, vectors).clip(min=0))


def _in_layers(vectors: np.ndarray, G: Generator, layers: Sequence[int] | None) -> np.ndarray:
    if layers is None:
        return vectors[:, None].astype(np.float32)
    whole = np.zeros([len(vectors), G.num_ws, G.w_dim], np.float32)
    whole[:, list(layers)] = vectors[:, None]
    return whole


def _oriented(vectors: np.ndarray) -> np.ndarray:
    """Give eigenvectors `[K, w_dim]` a sign that does not depend on the library."""
    largest = np.abs(vectors).argmax(axis=1)
    return vectors * np.sign(vectors[np.arange(len(vectors)), largest])[:, None]


def _check_num(num: int, G: Generator) -> None:
    if not 1 <= num <= G.w_dim:
        raise InputError(f"--num {num}: choose 1 to {G.w_dim} directions, the size of a style")

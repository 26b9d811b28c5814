"""Vision transformers as feature networks, through the library transformers: DINOv2 and CLIP.

Only data are read: numbers and words of `config.json`, and the weights, a safetensors file or a
state dict of `torch.save`. No code of a model's folder or repository runs, so no model needs trust.
The library is imported when a metric needs it, which takes seconds.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnnlib.errors import InputError, MachineError, UserError
from dnnlib.text import one_line
from metrics import model_files, pillow_resize, published, state_dicts
from metrics.model_files import ModelFiles
from metrics.state_dicts import list_names

SIZES = {  # width and layers -> name
    (384, 12): "ViT-S",
    (768, 12): "ViT-B",
    (1024, 24): "ViT-L",
    (1280, 32): "ViT-H",
    (1536, 40): "ViT-g",
}
SETTINGS = (  # what is read of config.json; the rest does not change features
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
    "layer_norm_eps",
    "image_size",
    "patch_size",
)
DINOV2_RESOLUTION = 224  # of Stein et al.; the model was trained with more pixels
POSITION_OFFSET = 0.1  # patches; see `resample_positions`
MAX_LAYERS = 1000


class Features(nn.Module):
    """A model and its preprocessing: images in, features out.

    Args:
        model: A model of the library.
        resolution: Images are resized to this size, whatever their shape.
        mean: Of red, green and blue in the model's training data, on a scale from 0 to 1.
        std: Their standard deviations.
        description: Name of the model and its weights, for the record of a metric.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        resolution: int,
        mean: Iterable[float],
        std: Iterable[float],
        description: str,
    ) -> None:
        super().__init__()
        self.model = model
        self.resolution = resolution
        self.register_buffer("mean", torch.tensor(list(mean))[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(list(std))[:, None, None], persistent=False)
        self.description = description

    def preprocess(self, img: Tensor) -> Tensor:
        """Input of the model `[N, 3, resolution, resolution]` for uint8 images `[N, 3, H, W]`.

        The images are resized by Pillow's bicubic filter. Pillow itself also rounds to whole
        numbers after each of two passes, which is left out.
        """
        x = pillow_resize.resize(img, self.resolution).clamp(0, 255) / 255
        return (x - self.mean) / self.std

    def forward(self, img: Tensor) -> Tensor:
        """Features `[N, num_features]` of uint8 images `[N, 3, H, W]`."""
        raise NotImplementedError


class Dinov2(Features):
    """The class token after the last normalisation (Oquab et al. 2023, "DINOv2")."""

    def forward(self, img: Tensor) -> Tensor:
        """Features `[N, width]` of uint8 images `[N, 3, H, W]`."""
        return self.model(pixel_values=self.preprocess(img)).last_hidden_state[:, 0]


class Clip(Features):
    """The embedding, of length 1, that is compared with texts (Radford et al. 2021, "CLIP")."""

    def forward(self, img: Tensor) -> Tensor:
        """Features `[N, projection_dim]` of uint8 images `[N, 3, H, W]`."""
        return F.normalize(self.model(pixel_values=self.preprocess(img)).image_embeds)


@dataclass(frozen=True)
class Kind:
    """A kind of vision transformers.

    Attributes:
        title: Its name for readers.
        repository: The model that is used by default.
        short_names: Other models that need no `OWNER/`.
        features: Class of its feature networks.
        classes: Names of the library's classes for the configuration and for the model.
        settings: What is read of `config.json` beside `SETTINGS`.
        model_types: Values of `model_type` in `config.json` that are of this kind.
        ignored: Beginnings of the names of weights that images do not need.
        mean, std: See `Features`.
    """

    title: str
    repository: str
    short_names: Mapping[str, str]
    features: type[Features]
    classes: tuple[str, str]
    settings: tuple[str, ...]
    model_types: tuple[str, ...]
    ignored: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


KINDS = {
    "dinov2": Kind(
        title="DINOv2",
        repository="facebook/dinov2-large",
        short_names={
            name: f"facebook/dinov2-{size}"
            for size in ("small", "base", "large", "giant")
            for name in (size, f"vit{size[0]}14")
        },
        features=Dinov2,
        classes=("Dinov2Config", "Dinov2Model"),
        settings=("mlp_ratio", "qkv_bias", "use_swiglu_ffn", "use_mask_token"),
        model_types=("dinov2",),
        ignored=(),
        mean=(0.485, 0.456, 0.406),  # of ImageNet
        std=(0.229, 0.224, 0.225),
    ),
    "clip": Kind(
        title="CLIP",
        repository="openai/clip-vit-large-patch14-336",
        short_names={},
        features=Clip,
        classes=("CLIPVisionConfig", "CLIPVisionModelWithProjection"),
        settings=("intermediate_size", "projection_dim"),
        model_types=("clip", "clip_vision_model"),
        ignored=("text_model.", "text_projection.", "logit_scale"),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
}


def repository(name: str, location: str | None) -> str | None:
    """Name of the repository that a location means; `None` if it means none.

    Args:
        name: A key of `KINDS`.
        location: A short name or `OWNER/NAME`; `None` for the default model.
    """
    kind = KINDS[name]
    if location is None:
        return kind.repository
    found = kind.short_names.get(location, location)
    return found if model_files.is_repository(found) else None


def find(name: str, location: str | None) -> ModelFiles:
    """Find the files of a model; make sure that the library and `config.json` can be used.

    Args:
        name: A key of `KINDS`.
        location: A folder, which comes first, or as for `repository`.

    Raises:
        RuntimeError: If the library is missing.
        ValueError: If there is no such folder, or its files are of another kind.
        OSError: If the files of a repository cannot be downloaded.
    """
    library, kind = _library(name), KINDS[name]
    if location is not None and os.path.isdir(location):
        files = model_files.in_folder(Path(location))
    elif (found := repository(name, location)) is not None:
        files = model_files.in_repository(found)
    else:
        names = "".join(f"{short}, " for short in kind.short_names)
        raise InputError(
            f"{name}={location} is no folder; name one that holds {model_files.NEEDED}, or "
            f"a model: {names}or OWNER/NAME of a repository, such as {kind.repository}"
        )
    with _explained(kind, files):
        _read_config(library, kind, files.config)
    return files


def identity(name: str, files: ModelFiles) -> str:
    """Identity of a model: a hash of its two files, and the kind."""
    digests = [published.sha256_of(path) for path in (files.config, files.weights)]
    return f"sha256:{hashlib.sha256(''.join(digests).encode()).hexdigest()}/{name}"


def load(name: str, files: ModelFiles) -> Features:
    """Load a model in float32 on the CPU.

    Raises:
        RuntimeError: If the library is missing.
        ValueError: If the files are damaged, or do not fit together; the message names them.
    """
    library, kind = _library(name), KINDS[name]
    with _explained(kind, files), torch.no_grad():
        config = _read_config(library, kind, files.config)
        weights = _read_weights(files.weights, kind)
        model = _build(library, kind, config, weights)
        resolution = config.image_size
        if name == "dinov2":
            resolution = DINOV2_RESOLUTION
            if resolution % config.patch_size:
                raise InputError(
                    f"patches of {config.patch_size} pixels do not divide {resolution}"
                )
            positions = model.embeddings.position_embeddings
            positions.data = resample_positions(positions.data, resolution // config.patch_size)
    size = config.hidden_size, config.num_hidden_layers
    title = SIZES.get(size, f"{size[1]} layers of {size[0]}")
    description = (
        f"{kind.title} {title}/{config.patch_size}, {resolution}x{resolution}, "
        f"weights {published.sha256_of(files.weights)[:12]}"
    )
    return kind.features(model, resolution, kind.mean, kind.std, description)


def resample_positions(positions: Tensor, size: int) -> Tensor:
    """Resample the position embeddings of DINOv2 to `size` by `size` patches.

    The published network samples them bicubically at steps of old / (size + 0.1). The library
    would take steps of old / size, which gives other features.

    Args:
        positions: Embedding of the class token, then those of the patches, `[1, 1 + old^2, width]`.
        size: New number of patches along a side.

    Returns:
        `[1, 1 + size^2, width]`.
    """
    old = math.isqrt(positions.shape[1] - 1)
    if old == size:
        return positions
    grid = positions[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(size + POSITION_OFFSET) / old, mode="bicubic")
    return torch.cat([positions[:, :1], grid.flatten(2).mT], dim=1)


def _library(name: str) -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise MachineError(
            f"the feature network {name!r} needs the package transformers ({error}): "
            "pip install -r requirements-metrics.txt"
        ) from error
    return transformers


@contextlib.contextmanager
def _explained(kind: Kind, files: ModelFiles) -> Iterator[None]:
    """Turn errors of reading and building into errors that name the folder or repository."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # damaged files can raise anything
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"{files.origin} holds no {kind.title} model: {one_line(' '.join(reason.split()))}"
        ) from error


def _read_config(library: ModuleType, kind: Kind, path: Path) -> Any:
    """The configuration of the part that sees images."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("model_type") not in kind.model_types:
        found = content.get("model_type") if isinstance(content, dict) else None
        types = " or ".join(map(repr, kind.model_types))
        raise InputError(f"`model_type` in {path.name} is {found!r}, not {types}")
    if "vision_config" in content:  # of a whole CLIP, with texts
        content = {**content["vision_config"], "projection_dim": content.get("projection_dim")}
    names = (*SETTINGS, *kind.settings)
    settings = {key: content[key] for key in names if content.get(key) is not None}
    for key in ("image_size", "patch_size"):
        if not isinstance(settings.get(key), int):
            raise InputError(f"`{key}` in {path.name} is {settings.get(key)!r}, not a number")
    if not 1 <= settings.get("num_hidden_layers", 1) <= MAX_LAYERS:
        raise InputError(f"`num_hidden_layers` in {path.name} is not between 1 and {MAX_LAYERS}")
    with _quiet(library):
        return getattr(library, kind.classes[0])(**settings)


def _read_weights(path: Path, kind: Kind) -> dict[str, Tensor]:
    """The weights by name, without those that images do not need."""

    def is_needed(name: str) -> bool:
        # Files of old versions hold `position_ids`, which merely count.
        return not name.startswith(kind.ignored) and not name.endswith(".position_ids")

    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in filter(is_needed, file.keys())}
    state_dicts.check(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: x for name, x in state.items() if is_needed(name) and isinstance(x, Tensor)}


def _build(library: ModuleType, kind: Kind, config: Any, weights: dict[str, Tensor]) -> Any:
    """The model with these weights; all of them must be there, and no others."""
    model_class = getattr(library, kind.classes[1])
    with torch.device("meta"):
        needed = sum(x.numel() for x in model_class(config).parameters())
    given = sum(x.numel() for x in weights.values())
    if needed > given:  # without this, a small file could ask for any amount of memory
        raise InputError(
            f"{model_files.CONFIG} describes a model of {needed} numbers, and the weights have "
            f"{given}"
        )
    with _quiet(library):
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are refused here, all at once
            output_loading_info=True,
        )
    differences = [
        *list_names("lack", report["missing_keys"]),
        *list_names("have unknown", report["unexpected_keys"]),
        *list_names("have other shapes of", [name for name, *_ in report["mismatched_keys"]]),
        *report["error_msgs"],
    ]
    if differences:
        raise InputError(f"the weights do not fit {model_files.CONFIG}: {', '.join(differences)}")
    return model.eval().requires_grad_(False)


@contextlib.contextmanager
def _quiet(library: ModuleType) -> Iterator[None]:
    """Silence the library's progress bars and reports; what is wrong is found without them."""
    log = library.utils.logging
    verbosity, has_bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if has_bars:
            log.enable_progress_bar()

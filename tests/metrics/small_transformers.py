"""Small vision transformers with random weights, in the library's layout of files."""

from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs requirements-metrics.txt")
SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, patch_size=14)


def save_models(folder: Path) -> dict[str, Path]:
    """Write one of each kind; gives their folders by name."""
    return dict(
        dinov2=save(build_dinov2(), folder / "dinov2"), clip=save(build_clip(), folder / "clip")
    )


def build_dinov2(image_size: int = 224) -> torch.nn.Module:
    torch.manual_seed(0)
    model = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, image_size=image_size))
    return model.eval()


def build_clip() -> torch.nn.Module:
    """A whole CLIP, with texts."""
    torch.manual_seed(1)
    vision = dict(**SMALL, intermediate_size=48, image_size=56)
    text = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    tokens = dict(vocab_size=20, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    config = transformers.CLIPConfig(
        vision_config=vision, text_config={**text, **tokens}, projection_dim=20
    )
    return transformers.CLIPModel(config).eval()


def save(model: torch.nn.Module, folder: Path) -> Path:
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    transformers.utils.logging.enable_progress_bar()
    return folder

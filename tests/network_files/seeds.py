"""Small files that load: what hostile ones are made of. More kinds of files go into `all_seeds`."""

import copy
import functools
import io
import pickle
import re

import torch

from network_files import safetensors_file
from tests import golden
from torch_utils import persistence
from training import augment, networks_stylegan2, networks_stylegan3

SIZES = {"c_dim": 0, "img_resolution": 16, "img_channels": 1}
SMALL = {"channel_base": 32, "channel_max": 2}


@functools.cache
def networks() -> dict[str, object]:
    """StyleGAN3 with everything that a snapshot holds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G = networks_stylegan3.Generator(
            z_dim=2, w_dim=2, mapping_kwargs={"num_layers": 1}, num_layers=3, **SIZES, **SMALL
        )
        D = networks_stylegan2.Discriminator(**SIZES, **SMALL)
    pipe = augment.AugmentPipe(xflip=1)
    kwargs = {"class_name": "training.dataset.ImageFolderDataset", "path": "x.zip"}
    return {"G": G, "D": D, "G_ema": G, "augment_pipe": pipe, "training_set_kwargs": kwargs}


def generator(**kwargs) -> torch.nn.Module:
    """A StyleGAN2 generator, the smallest there is."""
    options = {"mapping_kwargs": {"num_layers": 1}, **SIZES, "img_resolution": 4, **SMALL}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return networks_stylegan2.Generator(z_dim=2, w_dim=2, **{**options, **kwargs})


def dumps(data: object, protocol: int = 4) -> bytes:
    """Pickle, without the addresses that PyTorch uses as names of storages."""
    return without_addresses(pickle.dumps(data, protocol))


def without_addresses(data: bytes) -> bytes:
    """The same pickle with other names of storages, which are the same every time."""
    pattern = re.compile(rb"(?<=X.\0\0\0)\d{12,20}", re.DOTALL)
    return pattern.sub(lambda match: b"1" * len(match[0]), data)


class Persistent:
    """Pickles as a call of the function that rebuilds persistent objects."""

    def __init__(self, **meta) -> None:
        self.meta = meta

    def __reduce__(self):
        return persistence._reconstruct_persistent_obj, (self.meta,)


def record(module: torch.nn.Module | None = None, **meta) -> Persistent:
    """A small network as its pickle describes it; its state can be changed."""
    own = (generator() if module is None else module).__reduce_ex__(4)[1][0]
    return Persistent(**{**own, "state": copy.deepcopy(own["state"]), **meta})


def ada_pickle() -> bytes:
    """As StyleGAN2-ADA writes it: options within options, and a source that is not known here."""
    G = generator(num_fp16_res=0, conv_clamp=None)
    G._init_kwargs["synthesis_kwargs"] = {
        key: G._init_kwargs.pop(key) for key in ("channel_base", "channel_max")
    }
    return with_other_source(dumps({"G_ema": G}, protocol=3))


def with_other_source(data: bytes) -> bytes:
    """A pickle whose embedded source ends differently."""
    text = persistence._texts[networks_stylegan2.__name__].encode()
    assert text in data
    return data.replace(text, text[:-1] + b"#")


def safetensors_data() -> bytes:
    """A safetensors file."""
    buffer = io.BytesIO()
    safetensors_file.save(buffer, {"G_ema": generator(), "training_set_kwargs": {"path": "x.zip"}})
    return buffer.getvalue()


def tensorflow_pickle() -> bytes:
    """The smallest of the reference files that convert."""
    return (golden.DATA_DIR / "legacy_tf" / "tf_v4_toplevel_torgb_lod_8.pkl").read_bytes()


@functools.cache
def all_seeds() -> dict[str, bytes]:
    """Files that load, by name."""
    return {
        "stylegan3": dumps(networks()),
        "stylegan2": dumps({"G_ema": generator()}, protocol=2),
        "ada": ada_pickle(),
        "safetensors": safetensors_data(),
        "tensorflow": tensorflow_pickle(),
    }

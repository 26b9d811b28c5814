"""Networks in memory, for the renderers that show them; each network is there once."""

import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dnnlib.errors import InputError
from dnnlib.text import printable
from generation.latent_files import network_hash
from network_files.load import load_network
from torch_utils import latents
from torch_utils.networks import Generator
from viz.class_names import find_class_names
from viz.reasons import explain
from viz.view import LayerInfo, NetworkInfo


@dataclass(frozen=True)
class LoadedNetwork:
    """A network and facts about its file.

    Attributes:
        name: Path or URL; None for a generator that the caller gave.
        version: Version of the loaded file; None for a URL.
        G: The network.
        info: Facts about the network.
        layers: Layers by `force_fp32`; filled when the network first runs.
        refused_version: Version of a file in the same place that could not be loaded.
        notice: The reason of the refusal, for the user.
    """

    name: str | None
    version: tuple[int, int] | None
    G: Generator
    info: NetworkInfo
    layers: dict[bool, tuple[LayerInfo, ...]]
    refused_version: tuple[int, int] | None = None
    notice: str | None = None


@dataclass(frozen=True, eq=False)
class Reader:
    """How a renderer reads networks.

    Attributes:
        device: Where the networks shall be.
        allow_untrusted: As for `network_files.load.load_network_pkl`.
        tell: Called with a line for the user when loading begins, and with None at its end.
        let_go: Called when the network that the renderer shows is to leave the memory.
        dataset_dirs: Where names of classes may be read, see `class_names`; None for everywhere.
    """

    device: torch.device
    allow_untrusted: bool | None
    tell: Callable[[str | None], None]
    let_go: Callable[[], None]
    dataset_dirs: Sequence[Path] | None = None

    def read(self, network: str, version: tuple[int, int] | None) -> LoadedNetwork:
        """Read a network from a path or URL."""
        if os.path.isdir(network):
            raise InputError(f"{network} is a folder; choose a network in it, such as a .pkl file")
        self.tell(f"loading {network} …")
        try:
            data = load_network(network, allow_untrusted=self.allow_untrusted)
            G = data["G_ema"].eval().requires_grad_(False).to(self.device)
            class_names = find_class_names(data["training_set_kwargs"], G.c_dim, self.dataset_dirs)
        finally:
            self.tell(None)
        return LoadedNetwork(network, version, G, _network_info(G, class_names), {})


class LoadedNetworks:
    """What each renderer shows. A network leaves the memory when no renderer shows it any longer.

    Renderers share a network if they read it alike: onto the same device, with the same trust. A
    renderer that is garbage shows nothing. Only one thread may use the renderers of a store.
    """

    def __init__(self) -> None:
        self._shown: weakref.WeakKeyDictionary[Reader, LoadedNetwork] = weakref.WeakKeyDictionary()

    def show(self, reader: Reader, network: str) -> LoadedNetwork:
        """The network of a path or URL, which the renderer of a reader is to show.

        A file that has changed is read again, for all renderers that show it. If it is missing or
        cannot be loaded now, they keep the network as it was.

        Raises:
            ValueError: If the file holds no generator, see `load_network_pkl`.
            OSError: If it cannot be read.
        """
        version, loaded = _file_version(network), self._find(reader, network)
        if loaded is not self._shown.get(reader):
            self._let_go(reader)  # two networks may not fit into memory
        if loaded is None:
            self._shown[reader] = loaded = reader.read(network, version)
            return loaded
        self._shown[reader] = loaded
        if version == loaded.version:
            if loaded.notice is None:
                return loaded
            return self._replace(loaded, replace(loaded, refused_version=None, notice=None))
        if version in (None, loaded.refused_version):
            return loaded
        try:
            return self._replace(loaded, reader.read(network, version))
        except Exception as error:  # training may be writing the file
            reason = explain(error, reader.device)[0].removeprefix(f"{network}: ")
            notice = (
                f"{printable(os.path.basename(network))} has changed and cannot be loaded"
                f" ({reason}); this is the network as it was"
            )
            return self._replace(loaded, replace(loaded, refused_version=version, notice=notice))

    def give(self, reader: Reader, G: Generator) -> LoadedNetwork:
        """A generator of the caller, which the renderer of a reader is to show."""
        loaded = self._shown.get(reader)
        if loaded is None or loaded.G is not G:
            self._let_go(reader)
            self._shown[reader] = loaded = LoadedNetwork(None, None, G, _network_info(G, ()), {})
        return loaded

    def _find(self, reader: Reader, network: str) -> LoadedNetwork | None:
        """The network, if a renderer that reads alike shows it."""
        how = (reader.device, reader.allow_untrusted)
        for other, loaded in self._shown.items():
            if loaded.name == network and (other.device, other.allow_untrusted) == how:
                return loaded
        return None

    def _let_go(self, reader: Reader) -> None:
        reader.let_go()
        self._shown.pop(reader, None)

    def _replace(self, before: LoadedNetwork, after: LoadedNetwork) -> LoadedNetwork:
        """Put a network in the place of another, for all renderers."""
        for reader in [reader for reader, loaded in self._shown.items() if loaded is before]:
            if after.G is not before.G:
                reader.let_go()
            self._shown[reader] = after
        return after


def _network_info(G: Generator, class_names: tuple[str, ...]) -> NetworkInfo:
    return NetworkInfo(
        img_resolution=G.img_resolution,
        img_channels=G.img_channels,
        z_dim=G.z_dim,
        c_dim=G.c_dim,
        num_ws=G.num_ws,
        has_transform=latents.transform_buffer(G) is not None,
        has_noise=any(name.endswith("noise_const") for name, _ in G.synthesis.named_buffers()),
        class_names=class_names,
        hash=network_hash(G),
    )


def _file_version(network: str) -> tuple[int, int] | None:
    try:
        status = os.stat(network)
    except OSError:  # a URL, or a missing file, which loading will report
        return None
    return status.st_mtime_ns, status.st_size

"""Every hostile file by its name, `mechanism: what it does`; and mutations of them."""

import functools
import warnings
from collections.abc import Callable

import numpy as np
import torch

from tests.attack import archives, pickled
from tests.network_files import fuzz, seeds, test_hostile

Content = bytes | Callable[[], bytes]
MUTATION = "mutation: "


@functools.cache
def all_files() -> dict[str, Content]:
    """The files, or what makes them: those of the loader's tests, and ours."""
    tests_of_loader = {case.id: case.values[0] for case in test_hostile.cases()}
    ours = {
        f"{group}: {key}": content
        for module in (pickled, archives)
        for group, files in module.groups().items()
        for key, content in files.items()
    }
    truncated = {
        f"truncated: {key}, {percent} %": data[: len(data) * percent // 100]
        for key, data in seeds.all_seeds().items()
        for percent in (5, 50, 99)
    }
    both = tests_of_loader.keys() & ours.keys()
    assert not both, f"two files have one name: {both}"
    return {**tests_of_loader, **ours, **truncated}


def content_of(name: str) -> bytes:
    """The bytes of a file, or of a mutation.

    Raises:
        KeyError: If there is no such file.
    """
    if name.startswith(MUTATION):
        return mutation(int(name.removeprefix(MUTATION)))
    content = all_files()[name]
    if not callable(content):
        return content
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(0)
        warnings.simplefilter("ignore")  # of names that are there twice, say, which is on purpose
        return seeds.without_addresses(content())


def mutation(number: int) -> bytes:
    """The damaged file with this number: of a sound network, or of a hostile file."""
    rng = np.random.default_rng(number)
    if rng.random() < 0.3:
        return fuzz.mutant(number)
    data = bytearray(content_of(list(all_files())[int(rng.integers(len(all_files())))]))
    for _ in range(int(rng.integers(1, 6))):
        start = int(rng.integers(len(data) + 1))
        kind = rng.integers(4)
        if kind == 0:
            del data[start : start + int(rng.integers(1, 40))]
        elif kind == 1:
            data[start:start] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 2:
            data[start:start] = data[start : start + int(rng.integers(1, 400))]
        else:
            data[start : start + 1] = rng.bytes(1)
    return bytes(data)

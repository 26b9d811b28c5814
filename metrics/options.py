"""Options of a metric."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dnnlib.errors import InputError
from dnnlib.util import EasyDict
from metrics.progress import ProgressMonitor
from torch_utils import devices
from torch_utils.distributed import Worker
from torch_utils.networks import Generator


@dataclass
class MetricOptions:
    """The network and data of a metric, and settings of its evaluation.

    Attributes:
        G: Generator.
        G_kwargs: Keyword arguments of its synthesis; a copy.
        dataset_kwargs: How to construct the dataset; needs `class_name`; a copy.
        worker: This process; by default the only one, on a GPU if there is one.
        progress: Where to report progress; silent except on rank 0.
        cache: Keep the dataset's features in files.
        seed: Seed of all random numbers. They depend on the number of the sample or batch, so
            neither the number of processes nor the device matters. `None` draws from the global
            generators.
        num: Number of samples instead of the metric's own.
        batch_gen: Images to generate at once.
        detectors: Name of a feature network -> path or URL to use instead.
        allow_untrusted: Load feature networks from pickles of any origin.
        dataset_fingerprint: Refuse a dataset with another fingerprint, see `data.fingerprint`.
    """

    G: Generator | None = None
    G_kwargs: EasyDict = field(default_factory=EasyDict)
    dataset_kwargs: EasyDict = field(default_factory=EasyDict)
    worker: Worker = field(default_factory=lambda: Worker(device=devices.resolve_device()))
    progress: ProgressMonitor = field(default_factory=ProgressMonitor)
    cache: bool = True
    seed: int | None = None
    num: int | None = None
    batch_gen: int | None = None
    detectors: Mapping[str, str] = field(default_factory=dict)
    allow_untrusted: bool = False
    dataset_fingerprint: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self.G_kwargs = EasyDict(self.G_kwargs)
        self.dataset_kwargs = EasyDict(self.dataset_kwargs)
        self.progress = self.progress.sub() if self.worker.is_main else ProgressMonitor()

    @property
    def generator(self) -> Generator:
        """The generator.

        Raises:
            ValueError: If there is none.
        """
        if self.G is None:
            raise InputError("this metric needs a generator: `G` is missing")
        return self.G

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.worker.rank

    @property
    def num_gpus(self) -> int:
        """Number of processes."""
        return self.worker.size

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.worker.device

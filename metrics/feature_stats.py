"""Statistics of many feature vectors: all vectors, or their mean and covariance."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from dnnlib.util import open_atomic
from metrics import feature_file
from torch_utils import misc


class FeatureStats:
    """Collects feature vectors that arrive in batches.

    Moments accumulate in float64 on the device of the features (on the CPU for MPS, which has no
    float64). Kept features are copied to the CPU while a GPU goes on computing. If `max_items` is
    known, they lie in one array, and no vector is ever in memory twice.

    Args:
        capture_all: Keep every vector.
        capture_mean_cov: Accumulate the moments.
        max_items: Number of vectors after which further vectors are ignored.
    """

    def __init__(
        self,
        capture_all: bool = False,
        capture_mean_cov: bool = False,
        max_items: int | None = None,
    ) -> None:
        self.capture_all = capture_all
        self.capture_mean_cov = capture_mean_cov
        self.max_items = max_items
        self.num_items = 0
        self.num_features: int | None = None  # known when the first features arrive
        self._chunks: list[np.ndarray] = []
        self._whole: np.ndarray | None = None  # the array that all chunks are parts of, in order
        self._arriving: tuple[Tensor, torch.cuda.Event, np.ndarray] | None = None
        self._sum: Tensor | None = None  # [num_features]
        self._outer_sum: Tensor | None = None  # [num_features, num_features]
        self._num_nonfinite: int | Tensor = 0  # counted on the device of the features

    @property
    def all_features(self) -> list[np.ndarray]:
        """The kept batches of vectors, float32 `[N, num_features]` each, as they arrived."""
        self._finish_arrival()
        return self._chunks

    @property
    def raw_mean(self) -> np.ndarray:
        """Sum of all vectors, float64 `[num_features]`; zeros unless moments are accumulated."""
        return _to_numpy(self._sum, [self.num_features or 0])

    @property
    def raw_cov(self) -> np.ndarray:
        """Sum of all outer products, float64 `[num_features, num_features]`."""
        return _to_numpy(self._outer_sum, [self.num_features or 0] * 2)

    @property
    def num_nonfinite(self) -> int:
        """Vectors with NaN or infinite values. Waits for the device."""
        return int(self._num_nonfinite)

    def check_finite(self, kind: str) -> None:
        """Refuse vectors that are not finite: their statistics are meaningless.

        Args:
            kind: Kind of the images, for the message: `"generated"` or `"real"`.

        Raises:
            ValueError: If a vector is not finite.
        """
        if num := self.num_nonfinite:
            raise InputError(
                f"{num} of {self.num_items} {kind} images hold NaN or infinite values, or their "
                "features do: there is nothing to measure; the network is damaged (use an earlier "
                "snapshot), or the feature network (--detector)"
            )

    def is_full(self) -> bool:
        """Whether further vectors would be ignored."""
        return self.max_items is not None and self.num_items >= self.max_items

    def append(self, x: np.ndarray | Tensor) -> None:
        """Add a batch `[N, num_features]`, converted to float32.

        Raises:
            ValueError: If the shape is wrong.
        """
        x = torch.as_tensor(x).detach().to(torch.float32)
        if x.ndim != 2 or self.num_features not in (None, x.shape[1]):
            expected = "num_features" if self.num_features is None else self.num_features
            raise InputError(f"features have the shape {list(x.shape)}, not [N, {expected}]")
        self.num_features = x.shape[1]
        if self.max_items is not None:
            if self.is_full():
                return
            x = x[: self.max_items - self.num_items]
        self.num_items += len(x)
        self._num_nonfinite = self._num_nonfinite + (~misc.are_finite(x)).sum()
        if self.capture_all:
            self._keep(x)
        if self.capture_mean_cov:
            self._accumulate(x)

    def append_torch(self, x: Tensor) -> None:
        """The same as `append`."""
        self.append(x)

    def get_all(self) -> np.ndarray:
        """All vectors, float32 `[N, num_features]`: where possible, the kept ones and no copy.

        Other metrics may get the same array: nobody may change it.

        Raises:
            ValueError: If the vectors were not kept, or are not finite.
        """
        if not self.capture_all:
            raise InputError("FeatureStats: get_all() needs capture_all=True")
        self._refuse_nonfinite()
        chunks = self.all_features
        return np.concatenate(chunks) if self._whole is None else self._whole[: self.num_items]

    def get_all_torch(self) -> Tensor:
        """All vectors as a tensor on the CPU."""
        return torch.from_numpy(self.get_all())

    def get_mean_cov(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean `[num_features]` and (biased) covariance `[num_features, num_features]`.

        Raises:
            ValueError: If the moments were not accumulated, or are not finite.
        """
        if not self.capture_mean_cov:
            raise InputError("FeatureStats: get_mean_cov() needs capture_mean_cov=True")
        self._refuse_nonfinite()
        mean = self.raw_mean / self.num_items
        cov = self.raw_cov / self.num_items - np.outer(mean, mean)
        return mean, cov

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as numbers and arrays."""
        return dict(
            capture_all=self.capture_all,
            capture_mean_cov=self.capture_mean_cov,
            max_items=self.max_items,
            num_items=self.num_items,
            num_features=self.num_features,
            all_features=self.all_features,
            raw_mean=self.raw_mean,
            raw_cov=self.raw_cov,
        )

    def save(self, pkl_file: str | os.PathLike, **more: Any) -> None:
        """Write `state_dict()` and `more` to a file, which appears when it is complete.

        Args:
            pkl_file: Path. The argument has its old name; see `feature_file` for the format.
            **more: Texts, numbers, None, and lists and dictionaries of them.
        """
        with open_atomic(pkl_file) as f:
            feature_file.write(f, self.state_dict(), more)

    @staticmethod
    def load(pkl_file: str | os.PathLike) -> "FeatureStats":
        """Read a file that `save` wrote; nothing in it is executed.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If the file is damaged or holds something else.
        """
        return FeatureStats.from_state(feature_file.read(pkl_file))

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "FeatureStats":
        """Reverse `state_dict`."""
        stats = FeatureStats(state["capture_all"], state["capture_mean_cov"], state["max_items"])
        stats.num_items = state["num_items"]
        stats.num_features = state["num_features"]
        stats._chunks = list(state["all_features"])
        stats._whole = state.get("whole")
        if stats.capture_mean_cov and stats.num_features is not None:
            stats._sum = torch.from_numpy(np.array(state["raw_mean"]))
            stats._outer_sum = torch.from_numpy(np.array(state["raw_cov"]))
        return stats

    def _refuse_nonfinite(self) -> None:
        if num := self.num_nonfinite:
            raise InputError(f"{num} of {self.num_items} feature vectors are not finite")

    def _keep(self, x: Tensor) -> None:
        self._finish_arrival()
        chunk = self._new_chunk(len(x))
        if x.device.type != "cuda":
            chunk[:] = x.cpu().numpy()
            return
        # The copy waits for this batch. We wait for the copy when the next batch is queued.
        host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        host.copy_(x, non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(x.device))
        self._arriving = host, event, chunk

    def _new_chunk(self, num: int) -> np.ndarray:
        """Memory for the last `num` vectors, `[num, num_features]`."""
        start, width = self.num_items - num, self.num_features
        assert width is not None
        if self.max_items is not None and start == 0:
            self._whole = np.empty([self.max_items, width], np.float32)
        if self._whole is not None and self.num_items <= len(self._whole):
            chunk = self._whole[start : self.num_items]
        else:
            self._whole = None  # if there was one, it was loaded, and is full
            chunk = np.empty([num, width], np.float32)
        self._chunks.append(chunk)
        return chunk

    def _finish_arrival(self) -> None:
        if self._arriving is not None:
            host, event, chunk = self._arriving
            event.synchronize()
            chunk[:] = host.numpy()  # pinned memory is scarce
            self._arriving = None

    def _accumulate(self, x: Tensor) -> None:
        x = (x.cpu() if x.device.type == "mps" else x).to(torch.float64)
        total, outer = x.sum(dim=0), x.T @ x
        self._sum = total if self._sum is None else self._sum.to(total.device) + total
        if self._outer_sum is None:
            self._outer_sum = outer
        else:
            self._outer_sum = self._outer_sum.to(outer.device).add_(outer)


def _to_numpy(moment: Tensor | None, shape: list[int]) -> np.ndarray:
    return np.zeros(shape) if moment is None else moment.cpu().numpy().copy()

"""Watches gradients: counts those that are not finite, and stops a run that has died.

A loss of NaN makes all gradients of its phase NaN, in this step and all later ones. A few gradients
that overflow in float16 now and then are harmless.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dnnlib.errors import MachineError
from torch_utils import misc

CHECK_INTERVAL = 16  # batches between two checks, each of which waits for the device


class TrainingDiedError(MachineError):
    """The losses have not been finite for many steps."""


class Health:
    """Counters of one run.

    Args:
        phase_names: The phases of training.
        max_bad_steps: Stop after this many consecutive steps of a phase with mostly bad gradients.
        device: Device of the gradients, and of the counters, so that counting never waits.
    """

    def __init__(
        self, phase_names: Sequence[str], max_bad_steps: int, device: torch.device
    ) -> None:
        self.max_bad_steps = max_bad_steps
        self._num_steps = dict.fromkeys(phase_names, 0)
        # Number of the last step in which at least half of the gradients were finite.
        self._last_good = {
            name: torch.zeros([], dtype=torch.int64, device=device) for name in phase_names
        }
        self._num_replaced = torch.zeros([], dtype=torch.int64, device=device)

    def make_finite(self, phase_name: str, grads: Tensor) -> Tensor:
        """Copy gradients with 0 for NaN and 1e5 or -1e5 for infinities, and count these.

        Args:
            phase_name: Phase of the gradients.
            grads: All gradients of the phase `[number]`.

        Returns:
            The finite gradients `[number]`.
        """
        finite = grads.nan_to_num(nan=0, posinf=1e5, neginf=-1e5)
        num_bad = (finite != grads).sum()
        self._num_replaced += num_bad
        self._num_steps[phase_name] += 1
        is_good = num_bad <= 0.5 * grads.numel()
        self._last_good[phase_name].masked_fill_(is_good, self._num_steps[phase_name])
        return finite

    def count_finite(self, phase_name: str) -> None:
        """Count a step of a phase whose gradients were all finite, as `make_finite` would."""
        self._num_steps[phase_name] += 1
        self._last_good[phase_name].fill_(self._num_steps[phase_name])

    def take_num_replaced(self) -> int:
        """Number of gradients replaced since the last call. Waits for the device."""
        num = int(self._num_replaced)
        self._num_replaced.zero_()
        return num

    def is_sound(self) -> bool:
        """Whether the last step of every phase had finite gradients. Waits for the device."""
        return not any(self._read())

    def check(self, networks: dict[str, torch.nn.Module]) -> None:
        """Read the counters. Waits for the device.

        Args:
            networks: Networks whose weights the message describes.

        Raises:
            TrainingDiedError: If a phase has reached its limit of bad steps; the message names the
                phase, and the networks whose weights are not finite.
        """
        bad_steps = self._read()
        worst = max(bad_steps)
        if worst < self.max_bad_steps:
            return
        names = [name for name, num in zip(self._num_steps, bad_steps, strict=True) if num == worst]
        bad_networks = [name for name, net in networks.items() if misc.nonfinite_tensors(net)]
        weights = (
            f"the weights of {' and '.join(bad_networks)} are not finite"
            if bad_networks
            else "all weights are still finite"
        )
        raise TrainingDiedError(
            f"the losses of {' and '.join(names)} have not been finite for {worst} steps; "
            f"{weights}. The saved states are from before: continue with --resume=latest and a "
            f"lower --glr and --dlr, or another --gamma (--max-nan-steps sets the limit)"
        )

    def _read(self) -> list[int]:
        """Number of the latest consecutive bad steps of each phase."""
        last_good = torch.stack(list(self._last_good.values())).tolist()
        return [num - good for num, good in zip(self._num_steps.values(), last_good, strict=True)]

"""What the device of a run makes of `--precision` and `--tf32`."""

from collections.abc import Iterator

import torch

from training.config import TrainConfig

AMPERE = (8, 0)  # compute capability of the first GPUs that have TF32 and bfloat16


def notes(config: TrainConfig, device: torch.device) -> Iterator[str]:
    """Differences between what the user asked for and what the device does, line by line.

    Nothing is said of float16 as the default, which becomes float32 on devices without CUDA.
    """
    name, has_ampere = f"--device={device.type}", False
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        name, has_ampere = "this GPU (sm_{}{})".format(*capability), capability >= AMPERE
    if config.tf32 and not has_ampere:
        yield f"Note: --tf32=1 has no effect: {name} has no TF32; GPUs from sm_80 on have it."
    if config.options.precision == "fp16" and device.type != "cuda":
        yield f"Note: --precision=fp16: {name} computes in float32; float16 needs CUDA."
    if config.options.precision != "bf16":
        return
    if device.type == "cuda" and not has_ampere:
        yield (
            f"Note: --precision=bf16: {name} can only emulate bfloat16, which is slow; GPUs from "
            "sm_80 on compute in bfloat16, and all GPUs in float16 (--precision=fp16)."
        )
    elif device.type not in ("cuda", "cpu"):
        yield f"Note: --precision=bf16: {name} computes in float32; CUDA and CPUs take bfloat16."

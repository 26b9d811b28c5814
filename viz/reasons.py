"""What the viewer says about an error."""

import traceback

import torch

from dnnlib import errors


def explain(error: Exception, device: torch.device) -> tuple[str, str | None]:
    """One line for the user, and the traceback of an unexpected error.

    After a lack of memory, the memory that PyTorch keeps of the device is freed.
    """
    if errors.is_out_of_memory(error):
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return f"out of memory: {str(error).partition(chr(10))[0]}", None
    if errors.is_for_users(error):
        return errors.message_of(error), None
    return f"{type(error).__name__}: {error}", traceback.format_exc()

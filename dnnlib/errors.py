"""Errors for users: the message says what is wrong and what to do.

Code raises one of them where it finds wrong input, and `dnnlib.cli.Command` prints the message as
one `Error:` line. Any other exception is a bug of the program and keeps its traceback.
"""

import errno

from dnnlib.text import printable


class UserError(Exception):
    """An error that only the user can correct. Raise one of the two subclasses."""


class InputError(UserError, ValueError):
    """An option, an argument, or a file is wrong."""


class MachineError(UserError, RuntimeError):
    """The machine lacks something: a package, a device, a process that has died."""


# Texts of PyTorch's errors of other classes: of CPUs, the CUDA driver, cuBLAS, cuDNN, Apple's GPUs.
_NO_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


def is_for_users(error: BaseException) -> bool:
    """Whether the message of an error is enough for a user.

    This holds for `UserError`, for all `OSError`s, whose messages name the file, and for a lack of
    memory.
    """
    if isinstance(error, OSError):
        return error.errno != errno.EPIPE  # click itself ends quietly on a closed pipe
    return isinstance(error, UserError) or is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the computer or of a GPU is used up."""
    # PyTorch's class is matched by name because this package does not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


def message_of(error: BaseException) -> str:
    """The message of an error for a user.

    Names from files are made printable where they enter a message. This function is the last line
    of defence: it escapes everything but line ends, which messages of PyTorch contain.
    """
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {printable(str(error.filename))}"
    if is_out_of_memory(error):
        text = str(error).partition("\n")[0]
        return f"out of memory; a smaller batch may help. {printable(text)}"
    return printable_lines(str(error)) or type(error).__name__


def printable_lines(text: str) -> str:
    """`printable`, line by line."""
    return "\n".join(printable(line) for line in text.split("\n"))

"""Compiles kernels in the background before they are launched.

`launcher.launch` takes kernels that are being compiled from here, and itself compiles kernels that
are still queued.
"""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch_utils.ops.cuda import compiler, cubin
from torch_utils.ops.cuda.recorder import Kernel, LaunchRecorder

_futures: dict[tuple[str, str, str], Future] = {}  # (source, specialisation, architecture) -> Cubin


def compile_ahead(run: Callable[[], None], what: str, arch: str, num_threads: int) -> None:
    """Compile the kernels that a function launches on the meta device, during and after its run.

    Failures are ignored here; `launch` reports them. Once all kernels are in the cache, a marker
    file says so, and later calls return at once.

    Args:
        run: The function.
        what: Everything else that the launches depend on, besides the kernel sources.
        arch: Architecture of the GPU, as in `"sm_90"`.
        num_threads: How many kernels to compile at a time.
    """
    with contextlib.suppress(Exception), ThreadPoolExecutor(num_threads) as pool:
        folder = cubin.cache_dir()
        mark = folder and folder / f"complete-{compiler.key_of_all(what, arch)}"
        if mark and mark.exists():
            return
        futures: list[Future] = []

        def submit(kernel: Kernel) -> None:
            key = (*kernel, arch)
            _futures[key] = future = pool.submit(compiler.compile_cubin, *key)
            futures.append(future)

        with LaunchRecorder(on_new=submit).activate():
            run()
        if all(future.cancelled() or future.result() for future in futures) and mark:
            mark.touch()


def take(source: str, specialisation: str, arch: str) -> cubin.Cubin:
    """Get a kernel that is being compiled ahead; compile it here if it is still queued."""
    future = _futures.pop((source, specialisation, arch), None)
    if future is None or future.cancel():
        return compiler.compile_cubin(source, specialisation, arch)
    return future.result()

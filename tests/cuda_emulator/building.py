"""Compiles CUDA kernels for the CPU, with the accesses to memory instrumented."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cuda_emulator.translation import translate

HERE = Path(__file__).parent
RUNTIME = ("scheduler.cpp", "memory.cpp")
FLAGS = ["-std=gnu++20", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-U_FORTIFY_SOURCE"]
KERNEL_FLAGS = [*FLAGS, "-O1", "-g1", "-w", "-fsanitize=thread", "-fsanitize=alignment,bounds"]
RUNTIME_FLAGS = [*FLAGS, "-O2"]


class EmulatorError(RuntimeError):
    """A kernel did what a GPU would not survive, or only by luck."""


def build(path: Path, specialisations: Sequence[str]) -> Path:
    """Compile kernels to a library, unless there is one already.

    Raises:
        EmulatorError: If they do not compile.
    """
    headers = {
        file.name: f'#line 1 "{file}"\n{translate(file.read_text())}'
        for file in sorted(path.parent.glob("*.cuh"))
        if not (HERE / file.name).exists()
    }
    ours = [*HERE.glob("*.h"), *HERE.glob("*.cuh"), *HERE.glob("*.cpp")]
    contents = [*headers.values(), *(file.read_text() for file in sorted(ours))]
    text = _text(path, specialisations)
    target = _cached(f"{path.stem}-", ".so", text, *KERNEL_FLAGS, *contents)
    if target.exists():
        return target
    objects = [_build_runtime(HERE / name) for name in RUNTIME]
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        for header, content in headers.items():
            (folder / header).write_text(content)
        flags = [*KERNEL_FLAGS, f"-I{HERE}", f"-I{folder}"]
        # A file of the kernel's own name: compilers write the name where addr2line reads it.
        source = folder / path.name
        source.write_text(text)
        _compile(flags, source, folder / "kernels.o", f"{path.name}, {specialisations}")
        # Without -fsanitize, so that the instrumentation calls the runtime and no other library.
        files = [folder / "kernels.o", *objects, "-o", folder / "kernels.so"]
        subprocess.run(["g++", "-shared", "-Wl,-z,defs", *files], check=True)
        os.replace(folder / "kernels.so", target)
    return target


def source_lines(library: Path, addresses: Sequence[str]) -> list[str]:
    """File and line of addresses in a library, in hexadecimal."""
    command = ["addr2line", "-e", str(library), *addresses]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    return [line.rpartition("/")[2].partition(" ")[0] for line in lines[: len(addresses)]]


def _build_runtime(path: Path) -> Path:
    headers = [file.read_text() for file in sorted(HERE.glob("*.h"))]
    text = path.read_text()
    target = _cached(f"{path.stem}-", ".o", text, *RUNTIME_FLAGS, *headers)
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            output = Path(name) / "runtime.o"
            _compile([*RUNTIME_FLAGS, f"-I{HERE}"], path, output, path.name)
            os.replace(output, target)
    return target


def _cached(prefix: str, suffix: str, *contents: str) -> Path:
    """Path for what is built from these contents, in a folder that exists."""
    folder = os.environ.get("STYLEGAN3_KERNEL_CACHE_DIR") or tempfile.gettempdir()
    folder = Path(folder) / "cuda_emulator"
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256("\0".join(contents).encode()).hexdigest()
    return folder / f"{prefix}{key[:24]}{suffix}"


def _compile(flags: Sequence[str], source: Path, output: Path, what: str) -> None:
    command = ["g++", *flags, "-x", "c++", "-c", str(source), "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise EmulatorError(f"{what}:\n{result.stderr[-4000:]}")


def _text(path: Path, specialisations: Sequence[str]) -> str:
    """C++ source of a library."""
    table = "".join(
        f"case {i}: return emulator::visit<&{s}>(visitor);\n" for i, s in enumerate(specialisations)
    )
    return f"""\
#include "cuda_emulator.h"
#line 1 "{path}"
{translate(path.read_text())}
#line 1 "kernels"
namespace emulator {{
template <auto kernel, class Visitor> auto visit(Visitor visitor) {{
    return visitor.template operator()<kernel>();
}}
template <class Visitor> auto with_kernel(int index, Visitor visitor) {{
    switch (index) {{
        default:
        {table}
    }}
}}
}}  // namespace emulator
#define EXPORT extern "C" __attribute__((visibility("default")))
EXPORT int emulator_argument_sizes(int index, int* sizes) {{
    return emulator::with_kernel(
        index, [=]<auto kernel>() {{ return emulator::argument_sizes(kernel, sizes); }});
}}
EXPORT const char* emulator_launch(int index, void** args, dim3 grid, dim3 block,
                                   size_t shared_bytes, uint32_t seed,
                                   const emulator::Mutation* mutation) {{
    return emulator::with_kernel(index, [=]<auto kernel>() {{
        return emulator::launch(emulator::call<kernel>, args, grid, block, shared_bytes, seed,
                                *mutation);
    }});
}}
EXPORT const emulator::SharedArray* emulator_shared_array(size_t index) {{
    return emulator::shared_array(index);
}}
"""

"""What a bug report needs to say of the installation, the machine, threads and the cache."""

import os
import platform
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding
import numba
from threadpoolctl import threadpool_info

from fastem.kernels.runtime import compiling
from fastem.kernels.runtime.threads import get_num_threads
from fastem.kernels.vectors.machine import CPU_FEATURES, VECTOR_BYTES

# What vector code is chosen by, or may be one day.
_FEATURES = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vnni",
    "avxvnni",
    "neon",
    "dotprod",
)


def run(arguments: Namespace) -> None:
    """Print it."""
    for heading, lines in (
        ("Versions", _versions()),
        ("CPU", _cpu()),
        ("Threads", _threads()),
        ("Cache of compiled kernels", cache_lines()),
    ):
        print(heading, *(f"    {line}" for line in lines), sep="\n")


def _versions() -> Iterator[str]:
    package = Path(__file__).resolve().parents[1]
    yield f"fastem {version('fastem')} in {package}"
    yield f"Python {platform.python_version()}, {platform.platform()}"
    for name in ("numpy", "numba", "llvmlite", "scikit-learn", "scipy"):
        yield f"{name} {version(name)}"


def _cpu() -> Iterator[str]:
    yield f"{platform.machine()}, {llvmlite.binding.get_host_cpu_name()}"
    for name in ("CPU_NAME", "CPU_FEATURES"):
        value = getattr(numba.config, name)
        if value is not None:
            yield f"compiled for another: NUMBA_{name}={value}"
    yield f"vectors of {VECTOR_BYTES} bytes"
    features = [name for name in _FEATURES if f"+{name}" in CPU_FEATURES]
    yield f"features: {', '.join(features) or 'none that matter'}"


def _threads() -> Iterator[str]:
    yield f"{get_num_threads()} threads, the least of:"
    yield f"CPUs: {os.cpu_count()}, of which this process may use {_usable_cpus()}"
    given = "from the environment" if "NUMBA_NUM_THREADS" in os.environ else "by default the CPUs"
    yield f"NUMBA_NUM_THREADS: {numba.config.NUMBA_NUM_THREADS}, {given}"
    for library in threadpool_info():
        if library["user_api"] == "fastem":
            yield f"threadpoolctl's limit: {library['num_threads']}"


def _usable_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cache_lines() -> Iterator[str]:
    """Where compiled kernels are kept, and how much they take."""
    if compiling.cache is None:
        yield f"none: it doesn't know Numba {numba.__version__}"
        return
    for folder in compiling.cache.entry_folders():
        sizes = [path.stat().st_size for path in folder.glob("*.kernel")]
        writable = "writable" if _can_be_written(folder) else "not writable"
        yield f"{folder}: {writable}, {len(sizes)} kernels, {sum(sizes) / 2**20:.1f} MiB"


def _can_be_written(folder: Path) -> bool:
    """Whether the folder is, or could be made, writable."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)

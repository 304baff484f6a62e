"""What a bug report needs to say of the installation, the machine, threads and the cache."""

import os
import platform
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import llvmlite.binding
import numba
import scipy.linalg  # noqa: F401, so that SciPy's BLAS is loaded
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
_PACKAGES = ("numpy", "numba", "llvmlite", "scikit-learn", "scipy", "joblib", "threadpoolctl")
# Told elsewhere.
_TOLD = {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR"}


def run(arguments: Namespace) -> None:
    """Print it."""
    for heading, lines in (
        ("Versions", _versions()),
        ("CPU", _cpu()),
        ("Threads", _threads()),
        ("Numba's settings", _settings()),
        ("Cache of compiled kernels", cache_lines()),
    ):
        print(heading, *(f"    {line}" for line in lines), sep="\n")


def _versions() -> Iterator[str]:
    package = Path(__file__).resolve().parents[1]
    yield f"fastem {version('fastem')} in {package}"
    yield f"Python {platform.python_version()}, {platform.platform()}"
    for name in _PACKAGES:
        yield f"{name} {version(name)}"
    for library in threadpool_info():
        if library["user_api"] == "blas":
            folder = Path(library["filepath"]).parent.name
            yield f"BLAS: {library['internal_api']} {library['version']} in {folder}"


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


def _settings() -> Iterator[str]:
    """What the environment says to Numba, beside what is told of the CPU, threads and the cache."""
    yield f"threading layer of fastem.kernels.parallel: {numba.config.THREADING_LAYER}"
    for name in sorted(set(os.environ) - _TOLD):
        if name.startswith("NUMBA_"):
            yield f"{name}={os.environ[name]}"
    if numba.config.DISABLE_JIT:
        yield "NUMBA_DISABLE_JIT must be unset: nothing can be compiled"


def _usable_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cache_lines() -> Iterator[str]:
    """Where compiled kernels are kept, and how much they take."""
    if compiling.cache is None:
        yield f"none: it doesn't know Numba {numba.__version__}"
        return
    for folder in compiling.cache.entry_folders():
        sizes = [path.stat().st_size for path in folder.glob("*.kernel")]
        writable = "writable" if can_be_written(folder) else "not writable"
        yield f"{folder}: {writable}, {len(sizes)} kernels, {sum(sizes) / 2**20:.1f} MiB"


def can_be_written(folder: Path) -> bool:
    """Whether the folder is, or could be made, writable: by trying where it is or would be."""
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with TemporaryDirectory(dir=folder):
            return True
    except OSError:
        return False

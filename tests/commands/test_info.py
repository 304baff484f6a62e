import os
import re
import subprocess
import sys
from importlib.metadata import version

import numba
import numpy as np
import pytest
import scipy.linalg  # noqa: F401, which loads a BLAS
from processes import PACKAGE
from threadpoolctl import threadpool_info

from fastem.kernels.vectors.machine import VECTOR_BYTES


@pytest.fixture
def info():
    """Runs ``python -m fastem info``; returns {heading: lines}."""

    def run(**environment):
        done = subprocess.run(
            [sys.executable, "-m", "fastem", "info"],
            cwd=PACKAGE.parent,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        sections = re.split(r"^(\w.*)\n", done.stdout, flags=re.MULTILINE)[1:]
        return {
            heading: [line.strip() for line in text.splitlines()]
            for heading, text in zip(sections[::2], sections[1::2], strict=True)
        }

    return run


def test_versions_and_machine(info):
    said = info()
    assert list(said) == [
        "Versions",
        "CPU",
        "Threads",
        "Numba's settings",
        "Cache of compiled kernels",
    ]
    assert f"fastem {version('fastem')} in {PACKAGE}" in said["Versions"]
    assert f"numba {numba.__version__}" in said["Versions"]
    assert f"numpy {np.__version__}" in said["Versions"]
    for name in ("joblib", "threadpoolctl"):
        assert f"{name} {version(name)}" in said["Versions"]
    assert f"vectors of {VECTOR_BYTES} bytes" in said["CPU"]


def test_blas(info):
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    said = [line for line in info()["Versions"] if line.startswith("BLAS: ")]
    assert len(said) == len(libraries)
    for library in libraries:
        begin = f"BLAS: {library['internal_api']} {library['version']} in "
        assert any(line.startswith(begin) for line in said)


def test_settings_of_numba(info):
    given = {"NUMBA_OPT": "2", "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    said = info(**given)["Numba's settings"]
    assert said[0] == "threading layer of fastem.kernels.parallel: workqueue"
    assert "NUMBA_OPT=2" in said
    assert not any("NUM_THREADS" in line for line in said)  # which is told of threads


def test_without_a_compiler(info):
    said = info(NUMBA_DISABLE_JIT="1")["Numba's settings"]
    assert said[-1] == "NUMBA_DISABLE_JIT must be unset: nothing can be compiled"


def test_threads(info):
    said = info(NUMBA_NUM_THREADS="3")["Threads"]
    assert said[0].startswith("3 threads")
    assert "NUMBA_NUM_THREADS: 3, from the environment" in said


def test_another_cpu(info):
    said = info(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")["CPU"]
    assert "compiled for another: NUMBA_CPU_NAME=generic" in said
    assert "vectors of 16 bytes" in said


def test_cache(info, tmp_path):
    folder = tmp_path / "cache"
    (said,) = info(NUMBA_CACHE_DIR=str(folder))["Cache of compiled kernels"]
    place, said = said.split(": ")
    assert said == "writable, 0 kernels, 0.0 MiB"
    assert not folder.exists()
    os.makedirs(place)
    for name in ("a.kernel", "b.kernel", "c.tmp"):
        with open(os.path.join(place, name), "wb") as file:
            file.truncate(1 << 20)
    (said,) = info(NUMBA_CACHE_DIR=str(folder))["Cache of compiled kernels"]
    assert said == f"{place}: writable, 2 kernels, 2.0 MiB"


def test_a_cache_that_cannot_be_written(info, tmp_path):
    (tmp_path / "file").touch()
    (said,) = info(NUMBA_CACHE_DIR=str(tmp_path / "file" / "folder"))["Cache of compiled kernels"]
    assert "not writable, 0 kernels" in said


def test_a_cache_that_no_user_can_make(info):
    # Root may write anywhere, but for such a place.
    (said,) = info(NUMBA_CACHE_DIR="/dev/null/cache")["Cache of compiled kernels"]
    assert "not writable, 0 kernels" in said


def test_no_command():
    done = subprocess.run(
        [sys.executable, "-m", "fastem"], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "info" in done.stderr

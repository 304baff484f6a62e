"""Users' compiled code calls kernels by address, in this process and from Numba's cache."""

import numpy as np
import pytest
from numba import njit, prange
from processes import LISTEN, copy_package, run_script

from fastem.kernels import nearest

MODULE = """
from numba import njit
from fastem.kernels import cholesky


@njit(cache=True)
def twice(A):
    return cholesky(A) + cholesky(A)
"""

SCRIPT = f"""
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
{LISTEN}
import users

print(users.twice(4 * np.eye(2)).tolist())
try:
    users.twice(np.zeros((2, 3)))
except ValueError as error:
    print(error)
print("twice" in compiled, len(compiled) == 0)
"""

RESULTS = [
    "[[4.0, 0.0], [0.0, 4.0]]",
    "A must be a square matrix or a stack of them",
]


def lines(folder, cache, path=None):
    return run_script(SCRIPT, folder, path=path, NUMBA_CACHE_DIR=cache).splitlines()


def test_callers_from_numbas_cache(tmp_path):
    (tmp_path / "users.py").write_text(MODULE)
    cache = tmp_path / "cache"
    assert lines(tmp_path, cache) == [*RESULTS, "True False"]
    # Another process, which has another address for the kernel, compiles nothing.
    assert lines(tmp_path, cache) == [*RESULTS, "False True"]


def test_callers_are_compiled_anew_after_the_kernel_has_changed(tmp_path):
    (tmp_path / "users.py").write_text(MODULE)
    package = copy_package(tmp_path / "site")
    cache = tmp_path / "cache"
    assert lines(tmp_path, cache, package.parent) == [*RESULTS, "True False"]
    source = package / "kernels" / "linalg" / "cholesky.py"
    text = source.read_text()
    assert "root = math.sqrt(pivot)" in text
    source.write_text(text.replace("root = math.sqrt(pivot)", "root = 2 * math.sqrt(pivot)"))
    changed = lines(tmp_path, cache, package.parent)
    assert changed[0] == "[[2.0, 0.0], [0.0, 2.0]]"  # 4 / (2 * 2), twice
    assert changed[2] == "True False"


@njit(parallel=True)
def in_parallel(X, Y):
    labels = np.empty((8, len(X)), np.int32)
    for i in prange(8):
        found, _ = nearest(X, Y)
        for row in range(len(X)):
            labels[i, row] = found[row]
    return labels


def test_in_a_parallel_region():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(700, 5)), rng.normal(size=(9, 5))
    labels = in_parallel(X, Y)
    np.testing.assert_array_equal(labels, np.tile(nearest(X, Y)[0], (8, 1)))


@pytest.mark.parametrize("change", [np.asfortranarray, np.int64, np.float32])
def test_layouts_and_dtypes(change):
    near = njit(lambda X, Y: nearest(X, Y))
    X, Y = np.arange(60).reshape(20, 3) % 7, np.arange(12).reshape(4, 3)
    X, Y = (change(array.astype(np.float64)) for array in (X, Y))
    for ours, expected in zip(near(X, Y), nearest(X, Y), strict=True):
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(ours, expected)

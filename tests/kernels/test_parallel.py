"""The public kernels on Numba's threads: the same results as on fastem's own."""

import signal

import numba
import numpy as np
import pytest
import reference
from numba import njit, prange
from numba.core.errors import TypingError
from processes import LISTEN, run_script, start

from fastem import kernels
from fastem.kernels import parallel


def same(ours, expected):
    ours, expected = (found if isinstance(found, tuple) else (found,) for found in (ours, expected))
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one.view(np.uint8), other.view(np.uint8))


def arguments(name, dtype):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(9000, 5)).astype(dtype), rng.normal(size=(70, 5)).astype(dtype)
    matrices = np.stack([np.cov(rng.normal(size=(5, 20))) for _ in range(12)])
    return {
        "nearest": (X, Y),
        "squared_euclidean": (X, Y),
        "manhattan": (X, Y),
        "cluster_medians": (X, rng.integers(9, size=len(X)), 9),
        "cholesky": (matrices.astype(dtype),),
        "normalize_responsibilities": (X,),
        "gaussian_log_density": (X, Y.astype(np.float64), np.tile(1.5 * np.eye(5), (70, 1, 1))),
        "bernoulli_log_density": ((X > 0).astype(dtype), np.full((70, 5), 0.3)),
    }[name]


@njit
def gaussian(X, means, factors):
    return kernels.gaussian_log_density(X, means, factors)


@njit
def bernoulli(X, probabilities):
    return kernels.bernoulli_log_density(X, probabilities)


# Whose sums have another order from Python.
COMPILED = {"gaussian_log_density": gaussian, "bernoulli_log_density": bernoulli}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", parallel.__all__)
def test_same_bits_for_any_number_of_threads(name, dtype):
    given = arguments(name, dtype)
    expected = COMPILED.get(name, getattr(kernels, name))(*given)
    before = numba.get_num_threads()
    try:
        for n_threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(n_threads)
            same(getattr(parallel, name)(*given), expected)
    finally:
        numba.set_num_threads(before)


def test_weighted_medians_and_one_matrix():
    X, labels, n_clusters = arguments("cluster_medians", np.float64)
    weights = np.random.default_rng(1).random(len(X))
    medians = parallel.cluster_medians(X, labels, n_clusters, weights)
    same(medians, kernels.cluster_medians(X, labels, n_clusters, weights))
    matrix = arguments("cholesky", np.float64)[0][0]
    same(parallel.cholesky(matrix), kernels.cholesky(matrix))


@njit
def medians_from_compiled_code(X, labels, n_clusters, weights):
    unweighted = parallel.cluster_medians(X, labels, n_clusters)
    return unweighted, parallel.cluster_medians(X, labels, n_clusters, weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("label_dtype", [np.int32, np.int64, np.uint8, np.uint64])
def test_medians_of_rows_in_many_chunks(dtype, label_dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(70_001, 2)).astype(dtype)
    X[[5, 40_000, 70_000], [0, 1, 0]] = np.nan
    labels = rng.integers(7, size=len(X))
    labels[labels == 3] = 4  # a cluster without rows
    weights = rng.integers(3, size=len(X)).astype(np.float64)
    weights[40_000] = 0.0
    once = reference.cluster_medians(X, labels, 7)
    repeats = weights.astype(int)
    weighted = reference.cluster_medians(X.repeat(repeats, axis=0), labels.repeat(repeats), 7)
    labels = labels.astype(label_dtype)
    for array in (X, labels, weights):
        array.flags.writeable = False
    from_compiled = medians_from_compiled_code(X, labels, 7, weights)
    for medians in (kernels.cluster_medians, parallel.cluster_medians):
        np.testing.assert_array_equal(medians(X, labels, 7), once)
        np.testing.assert_array_equal(medians(X, labels, 7, weights), weighted)
    np.testing.assert_array_equal(from_compiled[0], once)
    np.testing.assert_array_equal(from_compiled[1], weighted)


@pytest.mark.parametrize("n_rows", [0, 1, 1000])
def test_medians_of_more_clusters_than_rows(n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 3))
    labels = 2 * np.arange(n_rows)
    expected = np.full((2001, 3), np.nan)
    expected[labels] = X
    from_compiled = medians_from_compiled_code(X, labels, 2001, np.ones(n_rows))
    for medians in (parallel.cluster_medians(X, labels, 2001), *from_compiled):
        np.testing.assert_array_equal(medians, expected)


def test_medians_in_compiled_code_check_labels():
    for label in (-1, 2, 2**32):
        labels = np.array([0, 1, label])
        with pytest.raises(ValueError, match="from 0 to n_clusters - 1"):
            medians_from_compiled_code(np.ones((3, 1)), labels, 2, np.ones(3))
    labels = np.array([0, 1, 2**64 - 1], np.uint64)
    with pytest.raises(ValueError, match="from 0 to n_clusters - 1"):
        medians_from_compiled_code(np.ones((3, 1)), labels, 2, np.ones(3))


def test_from_compiled_code():
    near = parallel.nearest

    @njit
    def from_serial(X, Y):
        return near(X, Y)

    @njit(parallel=True)
    def from_parallel(X, Y):
        labels, distances = near(X, Y)
        for row in prange(len(X)):
            distances[row] += 1.0
        return labels, distances

    X, Y = arguments("nearest", np.float64)
    labels, distances = kernels.nearest(X, Y)
    same(from_serial(X, Y), (labels, distances))
    same(from_parallel(X, Y), (labels, distances + 1.0))


def test_refusals():
    with pytest.raises(ValueError, match="same number of features"):
        parallel.nearest(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="at least one row"):
        parallel.nearest(np.ones((3, 2)), np.ones((0, 2)))
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        parallel.cholesky(np.stack([np.eye(2), -np.eye(2)]))
    with pytest.raises(ValueError, match="from 0 to n_clusters - 1"):
        parallel.cluster_medians(np.ones((2, 1)), np.array([0, 3]), 2)
    with pytest.raises(ValueError, match="must be positive"):
        parallel.gaussian_log_density(np.ones((2, 1)), np.ones((1, 1)), -np.ones((1, 1, 1)))
    with pytest.raises(ValueError, match="zeros and ones only"):
        parallel.bernoulli_log_density(np.full((2, 1), 2.0), np.full((1, 1), 0.5))


def flattened(name, arguments):
    """The arguments with one dimension less than rows have."""
    first = arguments[0][0, 0] if name == "cholesky" else arguments[0][0]
    return first, *arguments[1:]


def in_float64(argument):
    """An argument of Python's as compiled code takes it."""
    argument = np.asarray(argument)
    return argument.astype(np.float64) if argument.ndim > 1 else argument


@pytest.mark.parametrize("name", parallel.__all__)
def test_lists_and_half_precision_from_python(name):
    X, *others = arguments(name, np.float64)
    if name == "cluster_medians":
        labels, n_clusters = others
        cases = (X[:7].tolist(), labels[:7].tolist(), n_clusters), (np.float16(X), *others)
    else:
        halves = np.tile(np.eye(5, dtype=np.float16), (3, 1, 1)) if X.ndim == 3 else np.float16(X)
        cases = (X[:7].tolist(), *others), (halves, *others)
    for case in cases:
        as_arrays = [in_float64(argument) for argument in case]
        if name == "cluster_medians":
            as_arrays[2] = n_clusters
        expected = COMPILED.get(name, getattr(kernels, name))(*as_arrays)
        same(getattr(parallel, name)(*case), expected)


@pytest.mark.parametrize("name", parallel.__all__)
def test_python_is_refused_what_the_serial_kernel_refuses(name):
    given = arguments(name, np.float64)
    messages = []
    for wrong in (flattened(name, given), (given[0].astype(complex), *given[1:])):
        for function in (getattr(kernels, name), getattr(parallel, name)):
            with pytest.raises(ValueError) as refusal:
                function(*wrong)
            messages.append(str(refusal.value))
    assert messages[::2] == messages[1::2]


def called(function):
    return njit(lambda arguments: function(*arguments))


@pytest.mark.parametrize("name", parallel.__all__)
def test_compiled_code_is_refused_what_the_serial_kernel_refuses(name):
    given = arguments(name, np.float64)
    halves = given[0].astype(np.float16), *given[1:]
    cases = [
        (flattened(name, given), f"{name} takes .*2-D"),
        (halves, f"{name} takes real numbers, .* not float16"),
    ]
    for function in (getattr(kernels, name), getattr(parallel, name)):
        compiled = called(function)
        for wrong, message in cases:
            with pytest.raises(TypingError, match=message):
                compiled(wrong)


SCRIPT = f"""
import sys
{LISTEN}
import numpy as np
from fastem import kernels
from fastem.kernels import parallel

X = np.random.default_rng(0).normal(size=(4000, 3))
for _ in range(2):
    found = parallel.squared_euclidean(X, X)
expected = kernels.squared_euclidean(X, X)
print(found.tobytes() == expected.tobytes(), sys.argv[1] == "first" or compiled == [])
"""


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_another_process_compiles_nothing(layer, tmp_path):
    for turn in ("first", "second"):
        said = run_script(SCRIPT, turn, NUMBA_CACHE_DIR=tmp_path, NUMBA_THREADING_LAYER=layer)
        assert said.strip() == "True True"


ALONE = """
import sys
import numpy as np
from fastem.kernels import parallel

X = np.ones((50, 2))
print(getattr(parallel, sys.argv[1])(X, X).sum())
"""


def test_a_kernel_compiled_where_the_threads_loop_was_loaded(tmp_path):
    """What Numba's threads need is there when another process loads such a kernel."""
    for name in ("manhattan", "squared_euclidean", "squared_euclidean"):
        assert run_script(ALONE, name, NUMBA_CACHE_DIR=tmp_path).strip() == "0.0"


USE = """
import ctypes
import importlib.metadata
import os
import sys
import threading

import numba
import numpy as np
from numba import njit, prange

from fastem import kernels
from fastem.kernels import parallel

name, case = sys.argv[1:]
if name == "tbb":  # the wheel's library is not where the loader looks
    for file in importlib.metadata.files("tbb"):
        if file.name.startswith(("libtbb.so.", "tbb12.dll", "libtbb.12")):
            ctypes.CDLL(str(file.locate()))
numba.config.THREADING_LAYER = name

X = np.random.default_rng(0).normal(size=(4000, 3))
Y = X[:50].copy()
expected = kernels.squared_euclidean(X, Y)


def right():
    return parallel.squared_euclidean(X, Y).tobytes() == expected.tobytes()


@njit(parallel=True)
def nested(X, Y, found):
    for i in prange(4):
        rows = slice(1000 * i, 1000 * (i + 1))
        found[rows] = parallel.squared_euclidean(X[rows], Y)


def inside_a_loop():
    found = np.empty_like(expected)
    nested(X, Y, found)
    return found.tobytes() == expected.tobytes()


def on_python_threads():
    results = []
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        results.extend(right() for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(results) == 200 and all(results)


def in_a_child():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if right() else 1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        print("the child is ended")
    return right() and (os.WIFSIGNALED(status) or status == 0)


assert right()
print(numba.threading_layer(), flush=True)
assert globals()[case]()
print("right")
"""


def end_of(layer, case):
    """How a script ends that uses a layer: its exit code and lines; None if it can't be used."""
    process = start(USE, layer, case, NUMBA_NUM_THREADS=2)
    said, errors = process.communicate(timeout=100)
    if layer != "workqueue" and not said:
        assert "No threading layer could be loaded" in errors or "PackageNotFoundError" in errors
        return None
    assert said.splitlines()[0] == layer, errors
    return process.returncode, said.splitlines()[1:]


RIGHT = 0, ["right"]
ABORTED = -signal.SIGABRT, []  # Numba's rule for workqueue


@pytest.mark.parametrize("layer", ["omp", "tbb", "workqueue"])
def test_inside_a_parallel_loop(layer):
    wanted = {"workqueue": [ABORTED]}.get(layer, [RIGHT, None])
    assert end_of(layer, "inside_a_loop") in wanted


@pytest.mark.parametrize("layer", ["omp", "tbb", "workqueue"])
def test_on_several_threads_at_once(layer):
    wanted = {"workqueue": [ABORTED, RIGHT]}.get(layer, [RIGHT, None])  # unless they never meet
    assert end_of(layer, "on_python_threads") in wanted


def test_in_a_forked_process():
    # GNU OpenMP's rule: the child is ended. The parent goes on, and nobody waits for ever.
    assert end_of("omp", "in_a_child") in (RIGHT, (0, ["the child is ended", "right"]), None)
    assert end_of("tbb", "in_a_child") in (RIGHT, None)
    assert end_of("workqueue", "in_a_child") == RIGHT

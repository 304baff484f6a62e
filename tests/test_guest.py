"""fastem as a guest in the user's process: whatever happens there, the same result to the last bit.

Every circumstance is a process of its own; what it computes is compared with a plain run on one
thread.
"""

import os
import stat

import pytest
from processes import copy_package, finish, run_script, start

# The work that is done in every circumstance, as functions that return arrays.
WORK = """
import numpy as np

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run

N_CHUNKS, CHUNK_ROWS = 39, 517


@kernel
def chunk_sums(tickets, n_chunks, rows, sums):
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        sums[chunk] = 0
        start = chunk * CHUNK_ROWS
        for row in range(start, min(start + CHUNK_ROWS, rows.shape[0])):
            for column in range(rows.shape[1]):
                sums[chunk, column] += rows[row, column]


def sum_rows(run=run):
    rows = np.random.default_rng(0).standard_normal((20_000, 5))
    history = []
    for _ in range(20):
        sums = np.empty((N_CHUNKS, rows.shape[1]))
        run(chunk_sums, N_CHUNKS, rows, sums)
        total = sums.sum(axis=0)
        rows -= total / len(rows)
        history.append(total)
    return [rows, np.array(history)]


def kmeans():
    from fastem import KMeans  # imported, like all else, in the circumstances under test

    rows = np.random.default_rng(0).standard_normal((20_000, 5))
    model = KMeans(n_clusters=7, random_state=0).fit(rows)
    return [model.cluster_centers_, model.labels_, np.float64(model.inertia_)]


WORKS = [sum_rows, kmeans]
"""

N_WORKS = 2

# What the scripts have at hand beside the work.
TOOLS = """
import ctypes
import hashlib
import importlib.metadata
import os
import threading

import numba
import numpy as np
from numba import njit, prange

from work import WORKS


def digest(work):
    state = hashlib.sha256()
    for array in work():
        state.update(repr((array.dtype, array.shape)).encode() + array.tobytes())
    return state.hexdigest()


def digests(_=None):
    return [digest(work) for work in WORKS]


def show(all_digests):
    for one in all_digests:
        print("digests", *one, flush=True)


@njit(parallel=True)
def users_own(values):
    total = 0.0
    for i in prange(values.shape[0]):
        total += values[i]
    return total


def use_layer(name):
    '''Have Numba launch a threading layer, as the user's own parallel code does.'''
    if name == "tbb":
        # The wheel's library is not where the loader looks.
        for file in importlib.metadata.files("tbb"):
            if file.name.startswith(("libtbb.so.", "tbb12.dll", "libtbb.12")):
                ctypes.CDLL(str(file.locate()))
    numba.config.THREADING_LAYER = name
    assert users_own(np.ones(1000)) == 1000
    assert numba.threading_layer() == name


def on_threads(n_threads):
    '''Every work on so many Python threads at once.'''
    barrier = threading.Barrier(n_threads)
    results = []

    def target():
        one = []
        for work in WORKS:
            barrier.wait()
            one.append(digest(work))
        results.append(one)

    threads = [threading.Thread(target=target) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    """Runs a script; returns its lines, those with digests replaced by whether they are right."""
    folder = tmp_path_factory.mktemp("guest")
    (folder / "work.py").write_text(WORK)
    (folder / "tools.py").write_text(TOOLS)
    header = f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom tools import *\n"
    # One thread, and for the kernel not even `run`.
    script = (
        "import work\n"
        "def plain(body, n_chunks, *args):\n"
        "    body(np.zeros(1, np.int64), n_chunks, *args)\n"
        "print(*[digest(lambda: work.sum_rows(plain)), *digests()[1:]])"
    )
    expected = run_script(header + script, NUMBA_NUM_THREADS=1).split()
    assert len(expected) == N_WORKS

    def run(script, *arguments, **options):
        lines = []
        for line in run_script(header + script, *arguments, **options).splitlines():
            if line.startswith("digests"):
                lines.append(line.split()[1:] == expected)
            else:
                lines.append(line)
        return lines

    return run


@pytest.fixture(scope="module")
def layers(guest):
    """Numba's threading layers that this machine has."""
    script = """
for name in ("omp", "tbb", "workqueue"):
    pid = os.fork() if hasattr(os, "fork") else 0
    if pid == 0:
        try:
            use_layer(name)
            print(name, flush=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
"""
    names = guest(script)
    assert "workqueue" in names
    return names


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
def test_numba_num_threads(guest, n_threads):
    assert guest("show([digests()])", NUMBA_NUM_THREADS=n_threads) == [True]


def test_set_num_threads(guest):
    script = """
from fastem.kernels.runtime import parallel

for n_threads in (7, 2, 1, 5):
    numba.set_num_threads(n_threads)
    show([digests()])
    assert numba.get_num_threads() == parallel.get_num_threads() == n_threads
    # The setting is the calling thread's own.
    show(on_threads(2))
    assert numba.get_num_threads() == parallel.get_num_threads() == n_threads
"""
    assert guest(script, NUMBA_NUM_THREADS=7) == [True] * 12


def test_layer_that_does_not_load(guest):
    script = """
show([digests()])
try:
    numba.get_num_threads()
except ValueError as error:
    print("refused")
show([digests()])
"""
    lines = guest(script, NUMBA_THREADING_LAYER="no_such_layer", NUMBA_NUM_THREADS=3)
    assert lines == [True, "refused", True]


def test_layer_is_never_launched(guest):
    script = """
show([digests()])
try:
    print(numba.threading_layer())
except ValueError:
    print("none")
"""
    assert guest(script, NUMBA_NUM_THREADS=3) == [True, "none"]


def test_python_threads(guest, layers):
    # The very first use is on all threads at once.
    script = """
use_layer(sys.argv[1])
show(on_threads(8))
"""
    for layer in layers:
        assert guest(script, layer) == [True] * 8, layer


def test_inside_a_parallel_region(guest, layers):
    # The user's region calls back into Python on each of its threads.
    script = """
results = []

@ctypes.CFUNCTYPE(None, ctypes.c_long)
def call(i):
    results.append(digests())

@njit(parallel=True, nogil=True)
def region(n):
    for i in prange(n):
        call(i)

use_layer(sys.argv[1])
numba.set_num_threads(2)
region(4)
show(results)
"""
    for layer in layers:
        assert guest(script, layer, NUMBA_NUM_THREADS=3) == [True] * 4, layer


def test_nested_run(guest):
    script = """
from fastem.kernels.runtime.parallel import run

results = []
barrier = threading.Barrier(3)

def body(tickets, n_chunks):
    barrier.wait(60)
    results.append(digests())

run(body, 3)
show(results)
"""
    assert guest(script, NUMBA_NUM_THREADS=3) == [True] * 3


FORK = """
import multiprocessing

context = multiprocessing.get_context("fork")

def in_children():
    with context.Pool(2) as pool:
        return pool.map_async(digests, range(2), chunksize=1).get(60)

def in_child(fork=os.fork):
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        status = 1
        try:
            os.write(writer, " ".join(digests()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        result = file.read().split()
    assert os.waitpid(pid, 0)[1] == 0
    return result
"""


def test_fork(guest, layers):
    # Before first use and after; with GNU OpenMP a child that used the layer would be killed.
    script = """
use_layer(sys.argv[1])
show(in_children())
show([digests()])
show(in_children())
show([digests()])
"""
    for layer in layers:
        assert guest(FORK + script, layer, NUMBA_NUM_THREADS=3) == [True] * 6, layer


def test_fork_while_threads_are_at_work(guest):
    # What another thread holds or waits for at that moment, the child must do without.
    script = """
from fastem.kernels.runtime import parallel

stop = threading.Event()

def forever():
    while not stop.is_set():
        digests()

threads = [threading.Thread(target=forever) for _ in range(2)]
show([digests()])
for thread in threads:
    thread.start()
show([in_child() for _ in range(10)])
stop.set()
for thread in threads:
    thread.join()

def fork_with_the_lock_held():
    with parallel._pool._lock:
        return os.fork()

show([in_child(fork_with_the_lock_held)])
show([digests()])
"""
    assert guest(FORK + script, NUMBA_NUM_THREADS=3) == [True] * 13


def test_joblib(guest):
    # By itself loky gives its processes one thread.
    script = """
import joblib

with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=3):
    show(joblib.Parallel()(joblib.delayed(digests)() for _ in range(4)))
with joblib.parallel_config("threading", n_jobs=4):
    show(joblib.Parallel()(joblib.delayed(digests)() for _ in range(4)))
"""
    assert guest(script) == [True] * 8


def test_read_only_installation(guest, tmp_path):
    package = copy_package(tmp_path / "site")
    # The superuser may write anywhere, but not below a file.
    for folder, _, _ in list(os.walk(package)):
        with open(os.path.join(folder, "__pycache__"), "w"):
            pass
    paths = [package, *package.rglob("*")]
    nowhere = package / "__init__.py" / "folder"
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), nowhere)
    script = """
import fastem
print(fastem.__file__)
show([digests()])
"""
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        lines = guest(
            script, path=package.parent, NUMBA_NUM_THREADS=3, NUMBA_CACHE_DIR=None, **places
        )
        assert lines == [str(package / "__init__.py"), True]
    finally:
        for path in paths:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    assert sorted(paths) == sorted([package, *package.rglob("*")])


def test_little_memory(guest):
    # Once all that is needed is loaded, a fit ends or says that there's no memory; it never ends
    # the process, as OpenBLAS does, nor hangs.
    script = """
import resource
from fastem import KMeans

model = KMeans(20, n_init=1, random_state=0, max_iter=3)
rows = np.random.default_rng(0).normal(size=(20_000, 300))
model.fit(rows[:4000])
for mib in (2, 4, 8, 16, 32, 64):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            pages = int(open("/proc/self/statm").read().split()[0])
            limit = pages * resource.getpagesize() + (mib << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            model.fit(rows)
            status = 0
        except MemoryError:
            status = 0
        finally:
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert guest(script, NUMBA_NUM_THREADS=3) == ["0"] * 6


@pytest.mark.parametrize("name", ["fastem.KMeans", "fastem.kernels.nearest", "fastem.em.fit"])
def test_without_the_compiler(name):
    script = f"""
import fastem
try:
    {name}
except ImportError as error:
    print(error)
"""
    assert "NUMBA_DISABLE_JIT has switched off" in finish(start(script, NUMBA_DISABLE_JIT=1))

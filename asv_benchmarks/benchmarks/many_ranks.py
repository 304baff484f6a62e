"""Iterations on MPI's ranks beside those of one process with as many threads.

Its own program, too: ``mpiexec -n 2 python -m asv_benchmarks.benchmarks.many_ranks full 1000000``
prints the seconds of an iteration, the bytes that a rank sends in it, and the seconds of a fit of
five iterations; only the last with a further argument.
"""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import measure
from .models import Size

MODULE = "asv_benchmarks.benchmarks.many_ranks"
N_RANKS = 2
FEW, MANY = 2, 12
LEAST_REPEATS, MOST_REPEATS, SECONDS = 3, 12, 4.0


class Case(NamedTuple):
    model: str
    size: Size
    dtype: str = "float64"


CASES = {
    "kmeans": Case("kmeans", Size(1_000_000, 16, 32)),
    "full": Case("full", Size(1_000_000, 16, 32)),
    "bernoulli": Case("bernoulli", Size(1_000_000, 16, 32)),
    "kmedians": Case("kmedians", Size(1_000_000, 16, 20)),
    "kmeans, many rows": Case("kmeans", Size(10_000_000, 16, 32)),
    # A hundredth of what dislib's authors ran on 896 cores of MareNostrum 5.
    "kmeans, dislib's": Case("kmeans", Size(3_000_000, 100, 500), "float32"),
    "full, dislib's": Case("full", Size(1_000_000, 100, 50), "float32"),
}
EMPTY = Case("nothing", Size(1000, 16, 32))


class _Nothing:
    """An iteration whose pass does nothing: an E-step of some kilobytes of statistics."""

    def fit(self, rows, max_iter):
        from fastem import em

        class Model(em.Model):
            warns = False

            def start(self, rows, random_state):
                return np.zeros(EMPTY.size[:0:-1])

            def e_step(self, rows, parameters):
                return rows.reduce(_same, parameters)

            def m_step(self, rows, statistics, parameters):
                return parameters

            def objective(self, statistics, parameters):
                return 0.0

            def converged(self, step):
                return False

        em.fit(Model(), rows, max_iter=max_iter)


def _same(part, array):
    return array


def rows_of(case, n_rows, rank=0, n_ranks=1):
    """A rank's rows: those of its own blocks."""
    n_features, n_clusters = case.size[1:]
    centers = np.random.default_rng(0).normal(size=(n_clusters, n_features), scale=2.0)
    blocks = []
    for block in np.array_split(np.arange(32), n_ranks)[rank]:
        rng = np.random.default_rng([1, block])
        X = rng.standard_normal(size=(n_rows // 32, n_features), dtype=case.dtype)
        X += centers[rng.integers(n_clusters, size=len(X))]
        blocks.append(X > 0.0 if case.model == "bernoulli" else X)
    return np.concatenate(blocks).astype(case.dtype, copy=False)


def estimator_of(case):
    """From the same start everywhere, and without an end."""
    import fastem

    model, (_, n_features, n_clusters), _ = case
    init = rows_of(case, 32 * n_clusters)[:n_clusters]
    weights = np.full(n_clusters, 1.0 / n_clusters)
    if model == "kmeans":
        return fastem.KMeans(n_clusters, init=init, n_init=1, tol=0.0)
    if model == "kmedians":
        return fastem.KMedians(n_clusters, init=init, n_init=1, tol=0.0)
    if model == "bernoulli":
        return fastem.BernoulliMixture(
            n_clusters, weights_init=weights, probabilities_init=0.8 * init + 0.1, tol=0.0
        )
    precisions = np.tile(np.eye(n_features), (n_clusters, 1, 1))
    return fastem.GaussianMixture(
        n_clusters, weights_init=weights, means_init=init, precisions_init=precisions, tol=0.0
    )


def repeats_for(seconds):
    """How often to time what takes so long."""
    return int(np.clip(SECONDS / seconds, LEAST_REPEATS, MOST_REPEATS))


def seconds_of_iteration(fit, agree=repeats_for):
    """What one iteration takes, by fits of many and few: of quick ones by more of them."""
    fit(FEW)
    started = time.perf_counter()
    fit(MANY)
    repeats = agree(time.perf_counter() - started)
    taken = {FEW: np.inf, MANY: np.inf}
    for _ in range(repeats):
        for max_iter in taken:
            started = time.perf_counter()
            fit(max_iter)
            taken[max_iter] = min(taken[max_iter], time.perf_counter() - started)
    return (taken[MANY] - taken[FEW]) / (MANY - FEW)


def fit_of(case, rows):
    """A fit of so many iterations to rows."""
    estimator = _Nothing() if case is EMPTY else estimator_of(case)

    def fit(max_iter):
        if case is EMPTY:
            estimator.fit(rows, 50 * max_iter)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.set_params(max_iter=max_iter).fit(rows)

    return fit


class _Counting:
    """A communicator that counts what a rank sends."""

    def __init__(self, comm):
        self._comm = comm
        self.rank, self.size = comm.rank, comm.size
        self.n_bytes = 0

    def Allgather(self, sent, received):
        self.n_bytes += len(sent)
        self._comm.Allgather(sent, received)


def main(name, n_rows, whole=False):
    import numba
    from mpi4py import MPI

    from fastem.rows import mpi_rows

    world = MPI.COMM_WORLD
    comm = _Counting(world)
    numba.set_num_threads(max(1, measure.N_THREADS // comm.size))
    case = CASES.get(name, EMPTY)
    fit = fit_of(case, mpi_rows(rows_of(case, n_rows, comm.rank, comm.size), comm))
    steps = 50 if case is EMPTY else 1
    seconds = n_bytes = np.nan
    if whole:
        fit(1)  # compiles
    else:
        seconds = seconds_of_iteration(fit, lambda taken: world.bcast(repeats_for(taken))) / steps
        sent = {}
        for max_iter in (FEW, MANY):
            before = comm.n_bytes
            fit(max_iter)
            sent[max_iter] = comm.n_bytes - before
        n_bytes = (sent[MANY] - sent[FEW]) / (MANY - FEW) / steps
    started = time.perf_counter()
    fit(5)
    if comm.rank == 0:
        print(f"{seconds} {n_bytes} {time.perf_counter() - started}")


def on_ranks(name, n_rows, n_ranks=N_RANKS, whole=False):
    """What the program prints on so many ranks."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [mpiexec, "-n", str(n_ranks), sys.executable, "-m", MODULE, name, str(n_rows)]
    command += ["whole"] if whole else []
    environment = os.environ | {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=900
    )
    return tuple(map(float, done.stdout.split()[-3:]))


class Ranks:
    """Two ranks of half the threads beside one of all."""

    params = measure.some(list(CASES)[:4])
    param_names = ("model",)
    timeout = 900

    def setup(self, model):
        if not measure.installed("mpi4py"):
            raise NotImplementedError("mpi4py is not installed")
        self.n_rows = measure.fewer(CASES[model].size.rows)

    def track_speed_of_memory(self, model):
        return on_ranks(model, self.n_rows, 1)[0] / on_ranks(model, self.n_rows)[0]

    track_speed_of_memory.unit = "of the speed in memory"

    def track_bytes(self, model):
        return on_ranks(model, measure.fewer(self.n_rows))[1]

    track_bytes.unit = "bytes a rank and iteration"


class EmptyIteration:
    """An iteration without work, on as many ranks as CPUs and on twice as many."""

    params = [1, 2]
    param_names = ("ranks a CPU",)
    timeout = 300

    def track_milliseconds(self, ranks_a_cpu):
        if not measure.installed("mpi4py"):
            raise NotImplementedError("mpi4py is not installed")
        return (
            1e3 * on_ranks("nothing", EMPTY.size.rows, max(2, ranks_a_cpu * measure.N_THREADS))[0]
        )

    track_milliseconds.unit = "ms"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3)

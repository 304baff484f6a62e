"""Fits to Dask's collections: on two workers of one thread, and streamed through one process."""

from pathlib import Path

import numpy as np
import psutil

from . import measure
from .many_ranks import CASES, FEW, MANY, estimator_of, fit_of, rows_of

N_WORKERS, N_CHUNKS = 2, 8
# Several processes are more easily held up than one.
REPEATS = 3 if measure.QUICK else 6
# Where this package is found, which has another name under airspeed velocity.
ROOT = str(Path(__file__).parents[__name__.count(".")])


class Workers:
    """A cluster of workers of one thread; a context that ends with it."""

    def __enter__(self):
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(
            n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=None
        )
        self._client = Client(self._cluster)
        self._client.run(exec, f"import sys; sys.path.insert(0, {ROOT!r})")
        return self

    def __exit__(self, *raised):
        self._client.close()
        self._cluster.close()

    def rows(self, case, n_rows):
        """Rows that the workers make, in their memory."""
        import dask.array as da
        from distributed import wait

        n_features = case.size.features
        blocks = self._client.map(_block, range(N_CHUNKS), case=case, n_rows=n_rows)
        wait(blocks)
        shape = (32 // N_CHUNKS * (n_rows // 32), n_features)
        meta = np.empty((0, n_features), case.dtype)
        return da.concatenate([da.from_delayed(block, shape, meta=meta) for block in blocks])


def _block(number, case, n_rows):
    return rows_of(case, n_rows, number, N_CHUNKS)


def sent():
    """Bytes sent so far between processes of this machine, where the system tells."""
    network = psutil.net_io_counters(pernic=True)
    return network["lo"].bytes_sent if "lo" in network else np.nan


def compared(workers, name, n_rows):
    """The seconds of an iteration there and in memory, and the bytes that connections move in it.

    Both take turns, with as many threads in all.
    """
    case = CASES[name]
    there = fit_of(case, workers.rows(case, n_rows))
    fits = {"memory": fit_of(case, rows_of(case, n_rows)), "there": there}
    with measure.threads(N_WORKERS):
        seconds = measure.seconds_an_iteration(
            {place: (fit, FEW, MANY - FEW) for place, fit in fits.items()}, REPEATS
        )
    moved = {}
    for max_iter in (FEW, MANY):
        before = sent()
        there(max_iter)
        moved[max_iter] = sent() - before
    return seconds, (moved[MANY] - moved[FEW]) / (MANY - FEW)


def milliseconds_of_nothing(workers):
    """A pass that does nothing, again and again."""
    from fastem.rows.choice import count_positive  # which without weights does nothing
    from fastem.rows.dask import dask_rows

    rows = dask_rows(workers.rows(CASES["kmeans"], 8000))
    rows.reduce(count_positive)
    runs = {"steps": lambda: [rows.reduce(count_positive) for _ in range(20)]}
    return 50 * measure.median(measure.in_turns(runs, 5)["steps"][0])


class OnWorkers:
    """The same rows in memory and on workers with as many threads in all."""

    params = measure.some(list(CASES)[:4])
    param_names = ("model",)
    timeout = 900

    def setup(self, model):
        self.workers = Workers().__enter__()

    def teardown(self, model):
        if hasattr(self, "workers"):  # asv tears down what could not be set up, too
            self.workers.__exit__()

    def track_speed_in_memory(self, model):
        """How fast an iteration on the workers is, as a share of one in memory."""
        n_rows = measure.fewer(CASES[model].size.rows)
        seconds, _ = compared(self.workers, model, n_rows)
        return 100 * seconds["memory"] / seconds["there"]

    track_speed_in_memory.unit = "%"


class EmptyIteration:
    timeout = 300

    def track_milliseconds(self):
        with Workers() as workers:
            return milliseconds_of_nothing(workers)

    track_milliseconds.unit = "ms"


class BesideDaskML:
    """20 iterations of both libraries' K-means from the same centres."""

    timeout = 900

    def setup(self):
        if not measure.installed("dask_ml"):
            raise NotImplementedError("dask-ml is not installed")

    def track_ratio_to_dask_ml(self):
        with Workers() as workers:
            return ratio_to_dask_ml(workers, measure.fewer(CASES["kmeans"].size.rows))

    track_ratio_to_dask_ml.unit = "x"


def ratio_to_dask_ml(workers, n_rows):
    """How many times longer dask-ml's 20 iterations take."""
    from dask_ml.cluster import KMeans

    from fastem import KMeans as Ours

    rows = workers.rows(CASES["kmeans"], n_rows)
    init = estimator_of(CASES["kmeans"]).init
    options = {"n_clusters": len(init), "init": init, "max_iter": 20, "tol": 0.0}
    runs = {
        "dask-ml": lambda: KMeans(**options).fit(rows),
        "fastem": lambda: Ours(**options).fit(rows),
    }
    for run in runs.values():
        run()
    timed = measure.in_turns(runs, 3)
    return measure.median(timed["dask-ml"][0]) / measure.median(timed["fastem"][0])


class Streamed:
    """What a small block costs an iteration of K-means beyond being read."""

    def track_microseconds_a_block(self):
        with measure.threads(1):
            return microseconds_a_block()

    track_microseconds_a_block.unit = "us"


def microseconds_a_block(n_blocks=400):
    """What K-means on streamed blocks of 64 rows takes beyond the same blocks in memory."""
    from fastem.clustering.model import assign
    from fastem.kernels.clusters import Frame
    from fastem.kernels.kmeans.hamerly import Hamerly
    from fastem.rows import LocalRows, Part
    from fastem.rows.stream import StreamedRows, streamed_parts

    X = np.random.default_rng(0).normal(size=(n_blocks * 64, 16))
    blocks = np.array_split(X, n_blocks)
    parts = streamed_parts([block.view for block in blocks], [64] * n_blocks)
    homes = {
        "streamed": StreamedRows(parts, 16, X.dtype, False),
        "memory": LocalRows([Part(block, None, i * 64, i) for i, block in enumerate(blocks)]),
    }
    step = assign, Hamerly, 8, Frame(np.zeros(16), 1.0), X[:8]
    for rows in homes.values():
        rows.reduce(*step)
    timed = measure.in_turns(
        {name: lambda rows=rows: rows.reduce(*step) for name, rows in homes.items()}, 15
    )
    seconds = {name: measure.median(times) for name, (times, _) in timed.items()}
    return 1e6 * (seconds["streamed"] - seconds["memory"]) / n_blocks

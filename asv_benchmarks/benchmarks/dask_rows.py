"""Fits to Dask's collections: on two workers of one thread, and streamed through one process."""

import importlib.util
import warnings

import numpy as np

from . import data, measure

N_WORKERS = 2
SHAPE = (1_000_000, 16, 32)
CHUNKS = 8
MODELS = {"KMeans": {"init": "random", "tol": 0}, "GaussianMixture": {"tol": 0}}


def make_model(name, k, max_iter):
    import fastem

    options = {"max_iter": max_iter, "random_state": 0, **MODELS[name]}
    if name == "GaussianMixture":
        options["init_params"] = "random_from_data"
    return getattr(fastem, name)(k, n_init=1, **options)


class Workers:
    """Two workers, and rows on them."""

    timeout = 900
    client = cluster = None

    def setup(self, *parameters):
        import dask.array as da
        from distributed import Client, LocalCluster

        warnings.simplefilter("ignore")  # the iterations end early
        self.cluster = LocalCluster(
            n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=None
        )
        self.client = Client(self.cluster)
        n_rows = measure.fewer(SHAPE[0])
        self.X = data.make_rows(data.Cell(n_rows, *SHAPE[1:], "overlapping", "float64"))
        chunks = da.from_array(self.X, chunks=(-(-n_rows // CHUNKS), -1))
        self.on_workers = self.client.persist(chunks)

    def teardown(self, *parameters):
        for opened in (self.client, self.cluster):
            if opened is not None:  # asv tears down what could not be set up, too
                opened.close()


class OnWorkers(Workers):
    """The same rows in memory and on workers with as many threads in all."""

    params = (list(MODELS),)
    param_names = ("model",)

    def _seconds(self, model, first, more, repeats):
        def fit(X, max_iter):
            make_model(model, SHAPE[2], max_iter).fit(X)

        fits = {
            "memory": (lambda max_iter: fit(self.X, max_iter), first, more),
            "workers": (lambda max_iter: fit(self.on_workers, max_iter), first, more),
        }
        with measure.threads(N_WORKERS):
            return measure.seconds_an_iteration(fits, repeats)

    def track_speed_in_memory(self, model):
        """How fast an iteration on the workers is, as a share of one in memory."""
        seconds = self._seconds(model, 2, 20 if model == "KMeans" else 6, 3)
        return 100 * seconds["memory"] / seconds["workers"]

    track_speed_in_memory.unit = "%"


class EmptyIteration(Workers):
    def track_milliseconds(self):
        from fastem.rows.choice import count_positive  # which without weights does nothing
        from fastem.rows.dask import dask_rows

        rows = dask_rows(self.on_workers)
        rows.reduce(count_positive)
        runs = {"steps": lambda: [rows.reduce(count_positive) for _ in range(20)]}
        return 50 * measure.median(measure.in_turns(runs)["steps"][0])

    track_milliseconds.unit = "ms"


class BesideDaskML(Workers):
    """20 iterations of both libraries' K-means from the same centres."""

    def setup(self):
        if not importlib.util.find_spec("dask_ml"):
            raise NotImplementedError("dask-ml is not installed")
        super().setup()

    def track_ratio_to_dask_ml(self):
        from dask_ml.cluster import KMeans

        from fastem import KMeans as Ours

        init = data.starting_centers(self.X, SHAPE[2])
        options = {"n_clusters": SHAPE[2], "init": init, "max_iter": 20, "tol": 0.0}
        runs = {
            "dask-ml": lambda: KMeans(**options).fit(self.on_workers),
            "fastem": lambda: Ours(**options).fit(self.on_workers),
        }
        for run in runs.values():
            run()
        timed = measure.in_turns(runs, 3)
        return measure.median(timed["dask-ml"][0]) / measure.median(timed["fastem"][0])

    track_ratio_to_dask_ml.unit = "x"


class Streamed:
    """What a small block costs an iteration of K-means beyond being read."""

    def setup(self):
        measure.pin_threads(1)
        self.X = np.random.default_rng(0).normal(size=(400 * 64, 16))

    def track_microseconds_a_block(self):
        from fastem.clustering.model import assign
        from fastem.kernels.clusters import Frame
        from fastem.kernels.kmeans.hamerly import Hamerly
        from fastem.rows import LocalRows, Part
        from fastem.rows.stream import StreamedRows, streamed_parts

        blocks = np.array_split(self.X, 400)
        parts = streamed_parts([block.view for block in blocks], [64] * 400)
        homes = {
            "streamed": StreamedRows(parts, 16, self.X.dtype, False),
            "memory": LocalRows([Part(block, None, i * 64, i) for i, block in enumerate(blocks)]),
        }
        step = assign, Hamerly, 8, Frame(np.zeros(16), 1.0), self.X[:8]
        for rows in homes.values():
            rows.reduce(*step)
        timed = measure.in_turns(
            {name: lambda rows=rows: rows.reduce(*step) for name, rows in homes.items()}
        )
        seconds = {name: measure.median(times) for name, (times, _) in timed.items()}
        return 1e6 * (seconds["streamed"] - seconds["memory"]) / 400

    track_microseconds_a_block.unit = "us"

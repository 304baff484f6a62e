"""Rows on a Dask cluster with two worker processes."""

import itertools
import os
import signal
import sys
import threading
import time

import cloudpickle
import dask
import dask.array as da
import dask.dataframe as dd
import homes
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from distributed import Client, KilledWorker, LocalCluster, Status, worker_client
from distributed.utils import get_mp_context
from homes import PoissonMixture, assert_same_fit
from processes import interruptible
from sklearn.exceptions import NotFittedError

from fastem import BernoulliMixture, GaussianMixture, KMeans, KMedians
from fastem.clustering.euclidean.seeding import STRATEGIES
from fastem.clustering.manhattan import medians
from fastem.rows import LocalRows, Part
from fastem.rows.dask import cluster as on_workers
from fastem.rows.dask import dask_rows, placing

LENGTHS = (300, 0, 1, 450, 0, 249)
N_ROWS = sum(LENGTHS)

pytestmark = pytest.mark.filterwarnings("ignore:.*did not converge")

# Workers can't import these modules.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(homes)


# Imported once, in the process that workers are forked from: they start within a moment.
PRELOADED = [
    "pandas",
    "distributed",
    "sklearn.cluster",
    "fastem.rows.dask.cluster",
    "fastem.clustering.kmeans",
    "fastem.clustering.kmedians",
    "fastem.mixtures.gaussian.estimator",
    "fastem.mixtures.bernoulli.estimator",
]


@pytest.fixture(scope="module")
def cluster():
    options = {
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.deploy.lost-worker-timeout": "5m",
        "distributed.nanny.pre-spawn-environ.NUMBA_NUM_THREADS": "2",
    }
    with dask.config.set(options):
        get_mp_context().set_forkserver_preload(PRELOADED)
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def blobs(dtype=np.float64, n_features=4):
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(4, n_features), scale=4.0)
    X = centers[rng.integers(4, size=N_ROWS)] + rng.normal(size=(N_ROWS, n_features))
    return X.astype(dtype)


def some_weights():
    return np.random.default_rng(2).integers(0, 3, N_ROWS) * 0.5


def chunked(X):
    array = da.from_array(X if isinstance(X, np.ndarray) else X.toarray(), chunks=(LENGTHS, -1))
    return array if isinstance(X, np.ndarray) else array.map_blocks(type(X))


def in_memory(X, sample_weight=None):
    ends = np.cumsum([0, *LENGTHS])
    return LocalRows(
        [
            Part(X[a:b], None if sample_weight is None else sample_weight[a:b], int(a), number)
            for number, (a, b) in enumerate(itertools.pairwise(ends))
        ]
    )


def fitted(estimator):
    """The fitted attributes as bytes."""
    return {
        name: np.asarray(value).tobytes()
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_")
    }


def assert_same(make, X, sample_weight=None, weights=None):
    """To the bit as the same parts in one process, and but for rounding as the array."""
    model = make().fit(chunked(X), sample_weight=sample_weight if weights is None else weights)
    assert fitted(model) == fitted(make().fit(in_memory(X, sample_weight)))
    assert_same_fit(model, make().fit(X, sample_weight=sample_weight))


MODELS = {
    **{
        f"kmeans {init}": lambda init=init: KMeans(4, init=init, random_state=0)
        for init in STRATEGIES
    },
    "kmedians": lambda: KMedians(4, random_state=0),
    **{
        f"gaussian {kind}": lambda kind=kind: GaussianMixture(
            3, covariance_type=kind, random_state=0
        )
        for kind in ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", "VEV")
    },
    "squarem": lambda: GaussianMixture(3, random_state=0, accelerate="squarem"),
    "hard": lambda: GaussianMixture(3, random_state=0, assignment="hard"),
    "bernoulli": lambda: BernoulliMixture(3, random_state=0, binarize=1.0),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_fits_are_those_in_memory(client, model, weighted):
    assert_same(MODELS[model], blobs(), some_weights() if weighted else None)


@pytest.mark.parametrize("model", ["kmeans k-means++", "gaussian full"])
def test_float32(client, model):
    X = blobs(np.float32)
    model, expected = MODELS[model]().fit(chunked(X)), MODELS[model]().fit(in_memory(X))
    assert fitted(model) == fitted(expected)


@pytest.mark.parametrize("in_workers", [True, False])
def test_gaps(client, in_workers, monkeypatch):
    if not in_workers:  # the blocks are read anew for each pass, and the start takes few of these
        monkeypatch.setattr(placing, "_MOST_MEMORY", 0.0)
        monkeypatch.setattr(LocalRows, "outgrow_memory", lambda rows: True)
    X = blobs()
    X[np.random.default_rng(8).random(X.shape) < 0.1] = np.nan
    assert_same(lambda: GaussianMixture(2, missing="em", max_iter=5, random_state=0), X)


@pytest.mark.parametrize("model", ["kmeans k-means++", "bernoulli"])
def test_matrices(client, model):
    assert_same(MODELS[model], sp.csr_array(blobs() * (blobs() > 1)), some_weights())


def test_mixtures_of_the_users_own(client):
    X = np.random.default_rng(3).poisson(2.0, (N_ROWS, 2)) * 1.0
    assert_same(lambda: PoissonMixture(2, random_state=0, max_iter=5), X)


def test_lengths_that_are_not_known(client):
    X, weights = blobs(), some_weights()
    frame = pd.DataFrame(np.column_stack([X, weights]), columns=[*"abcd", "weight"])
    collection = dd.from_pandas(frame, npartitions=3)
    collection = collection[collection["a"] > -1e9]
    model = KMeans(4, random_state=0).fit(collection[list("abcd")], None, collection["weight"])
    expected = KMeans(4, random_state=0).fit(frame[list("abcd")], sample_weight=weights)
    assert_same_fit(model, expected)
    assert model.labels_.chunks == (tuple(map(len, collection.partitions)),)
    filtered = chunked(X)
    filtered = filtered[filtered[:, 0] > -1e9]
    assert np.isnan(filtered.shape[0])
    assert_same_fit(KMeans(4, random_state=0).fit(filtered), KMeans(4, random_state=0).fit(X))


@pytest.mark.parametrize("kind", ["array", "in other chunks", "series"])
def test_weights_alongside(client, kind):
    weights = some_weights()
    collection = {
        "array": weights,
        "in other chunks": da.from_array(weights, chunks=170),
        "series": dd.from_dask_array(da.from_array(weights, chunks=(LENGTHS,))),
    }[kind]
    assert_same(MODELS["gaussian full"], blobs(), weights, collection)


def test_labels_stay_on_the_workers_in_the_rows_order(client):
    X = blobs()
    kmeans = KMeans(4, random_state=0).fit(chunked(X))
    assert isinstance(kmeans.labels_, da.Array)
    assert kmeans.labels_.dtype == np.int32 and kmeans.labels_.shape == (N_ROWS,)
    expected = KMeans(4, random_state=0).fit(X).labels_
    np.testing.assert_array_equal(kmeans.labels_.compute(), expected)
    np.testing.assert_array_equal(kmeans.labels_[301:].compute(), expected[301:])


@pytest.mark.parametrize("model", ["kmeans random", "gaussian full", "kmedians"])
def test_rows_that_the_cluster_cannot_hold(client, model, monkeypatch):
    """They are read anew in each pass, of which k-means++ would take too many."""
    monkeypatch.setattr(placing, "_MOST_MEMORY", 0.0)
    monkeypatch.setattr(LocalRows, "outgrow_memory", lambda rows: True)
    assert_same(MODELS[model], blobs(), some_weights())


def test_two_fits_at_once(client):
    X = blobs()
    makes = [MODELS["kmeans random"], MODELS["gaussian full"], MODELS["gaussian diag"]]
    expected = [fitted(make().fit(in_memory(X))) for make in makes]
    found = [None] * len(makes)

    def run(number):
        found[number] = fitted(makes[number]().fit(chunked(X)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(makes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert found == expected


def test_workers_are_asked_without_tasks_once_they_know_their_parts(client, monkeypatch):
    rounds, finish = [], on_workers.finish

    def counted(client, futures):
        rounds.append(len(futures))
        return finish(client, futures)

    monkeypatch.setattr(on_workers, "finish", counted)
    model = GaussianMixture(4, tol=0, random_state=0, max_iter=30).fit(chunked(blobs()))
    assert model.n_iter_ == 30
    assert len(rounds) <= 5  # the first pass, once more after the start, and the labels
    assert max(rounds) <= 3


LONG = {
    "kmeans": lambda: KMeans(12, tol=0, random_state=0, max_iter=12, n_init=2),
    "kmedians": lambda: KMedians(3, tol=0, random_state=0, max_iter=4),
    "gaussian": lambda: GaussianMixture(4, tol=0, random_state=0, max_iter=25),
    "bernoulli": lambda: BernoulliMixture(4, tol=0, random_state=0, max_iter=25),
}


def pids(client):
    """The workers' processes, once all that were killed have been replaced."""
    for _ in range(300):
        client.wait_for_workers(2)
        try:
            return list(client.run(os.getpid).values())
        except OSError:  # one is gone, and the scheduler doesn't know yet
            time.sleep(0.1)
    raise TimeoutError("a worker doesn't answer")


def kill_one(cluster, rng):
    """Kill any worker that lives: also the only one, while the other is being replaced."""
    for _ in range(3000):
        alive = [nanny.pid for nanny in cluster.workers.values() if nanny.pid is not None]
        if alive:
            os.kill(int(rng.choice(alive)), signal.SIGKILL)
            return
        time.sleep(0.01)
    raise TimeoutError("no worker is started anew")


def test_workers_killed_at_random_moments(cluster, client, monkeypatch):
    """Twenty of them: each costs time, and not a bit of the answer."""
    # So that intervals around medians are followed among so few rows, too.
    monkeypatch.setattr(medians, "_KEPT_SHARE", 1.0)
    assert medians.JointMedians(3).capacity(dask_rows(chunked(np.ones((N_ROWS, 3))))) > 0
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))
    X = rng.uniform(size=(N_ROWS, 3)) - 0.5
    expected, seconds = {}, {}
    for name, make in LONG.items():
        make().fit(chunked(X))
        start = time.perf_counter()
        make().fit(chunked(X))
        seconds[name] = time.perf_counter() - start
        expected[name] = fitted(make().fit(in_memory(X)))
    for number in range(20):
        name = list(LONG)[number % len(LONG)]
        killer = threading.Timer(rng.uniform(0, seconds[name]), kill_one, (cluster, rng))
        killer.start()
        model = LONG[name]().fit(chunked(X))
        killer.join()
        assert fitted(model) == expected[name], (name, number)


def test_labels_outlive_their_worker(client):
    kmeans = KMeans(12, tol=0, random_state=0).fit(chunked(blobs()))
    expected = kmeans.labels_.compute()
    for pid in pids(client):
        os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(kmeans.labels_.compute(), expected)


def leftovers(cluster):
    """The scheduler's tasks, once those that nobody wants any longer are gone."""
    deadline = time.monotonic() + 20
    while cluster.scheduler.tasks and time.monotonic() < deadline:
        time.sleep(0.1)
    return list(cluster.scheduler.tasks)


def test_fits_leave_no_tasks_behind(cluster, client):
    model = GaussianMixture(3, random_state=0).fit(chunked(blobs()))
    assert model.converged_
    assert leftovers(cluster) == []


def test_interrupted_fits_leave_no_tasks_behind(cluster, client):
    kmeans = KMeans(12, tol=0, random_state=0, max_iter=10**6, n_init=10**6)
    timer = threading.Timer(1.0, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with interruptible(), pytest.raises(KeyboardInterrupt):
        kmeans.fit(chunked(blobs()))
    assert leftovers(cluster) == []
    with pytest.raises(NotFittedError):
        kmeans.predict(blobs())


def test_a_client_that_is_closed(cluster):
    with Client(cluster):
        rows = dask_rows(chunked(blobs()))
    with pytest.raises(RuntimeError, match="client of the rows is closed"):
        KMeans(3).fit(rows)


def test_a_client_that_is_closed_meanwhile(cluster):
    with Client(cluster) as client:
        kmeans = KMeans(12, tol=0, random_state=0, max_iter=10**6, n_init=10**6)
        threading.Timer(1.0, client.close).start()
        with pytest.raises(RuntimeError, match="Dask c"):
            kmeans.fit(chunked(blobs()))
        assert not hasattr(kmeans, "cluster_centers_")


def test_a_scheduler_that_is_restarted(client):
    kmeans = KMeans(12, tol=0, random_state=0, max_iter=10**6, n_init=10**6)
    timer = threading.Timer(1.0, client.restart)
    timer.start()
    with pytest.raises(RuntimeError, match="cluster has lost the rows"):
        kmeans.fit(chunked(blobs()))
    timer.join()
    assert not hasattr(kmeans, "cluster_centers_")


def pause(dask_worker):
    """As a worker does whose memory is full."""
    dask_worker.status = Status.paused


LEAVE = {
    # It hands over what it has, but a holder's copy holds nothing.
    "leave for good": lambda client, workers: client.retire_workers(workers),
    # What it has can be asked for, but it computes no more.
    "pause": lambda client, workers: client.run(pause, workers=workers),
}


@pytest.mark.parametrize("leave", LEAVE)
def test_workers_that(cluster, leave):
    """In mid-fit, which changes nothing."""
    X = blobs()
    expected = fitted(LONG["gaussian"]().fit(in_memory(X)))
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None
        ) as own,
        Client(own) as client,
    ):
        LONG["gaussian"]().fit(chunked(X))  # compiles
        first = next(iter(client.scheduler_info()["workers"]))
        timer = threading.Timer(0.2, LEAVE[leave], (client, [first]))
        timer.start()
        model = LONG["gaussian"]().fit(chunked(X))
        timer.join()
        assert fitted(model) == expected
        assert fitted(LONG["gaussian"]().fit(chunked(X))) == expected


def test_a_worker_that_pauses_with_a_task_that_waits(cluster, monkeypatch):
    monkeypatch.setattr(on_workers, "_PATIENCE", 0.2)
    with (
        dask.config.set({"distributed.scheduler.work-stealing": False}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None
        ) as own,
        Client(own) as client,
    ):
        model = LONG["gaussian"]().fit(chunked(blobs()))
        first = next(iter(client.scheduler_info()["workers"]))
        # Its only thread is taken, so that what it is asked waits until it pauses.
        taken = client.submit(time.sleep, 3, workers=[first])
        tasks = []

        def pause_first():
            tasks.extend(task.key for task in own.scheduler.workers[first].processing)
            client.run(pause, workers=[first])

        timer = threading.Timer(1.0, pause_first)
        timer.start()
        assert fitted(LONG["gaussian"]().fit(chunked(blobs()))) == fitted(model)
        timer.join()
        assert taken.key in tasks
        assert len(tasks) >= 2


@pytest.mark.parametrize("weighted", [False, True])
def test_a_worker_that_pauses_once_it_has_the_rows(cluster, monkeypatch, weighted):
    """When they are counted, then or once the weights are there."""
    monkeypatch.setattr(on_workers, "_PATIENCE", 0.2)
    X = blobs()
    weight = np.random.default_rng(0).uniform(size=len(X)) if weighted else None
    expected = fitted(LONG["gaussian"]().fit(in_memory(X, weight)))
    with (
        dask.config.set({"distributed.scheduler.work-stealing": False}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None
        ) as own,
        Client(own) as client,
    ):
        settle, timers, tasks = placing.settle, [], []

        def pause_it(worker):
            tasks.extend(task.key for task in own.scheduler.workers[worker].processing)
            client.run(pause, workers=[worker])

        def settle_and_take(client, futures):
            settle(client, futures)
            if len(timers) == weighted:
                first = client.who_has(futures)[futures[0].key][0]
                timers.append(threading.Timer(0.5, pause_it, (first,)))
                client.submit(time.sleep, 3, workers=[first], pure=False)
                timers[-1].start()
            else:
                timers.append(threading.Timer(0.0, int))

        monkeypatch.setattr(placing, "settle", settle_and_take)
        chunked_weight = da.from_array(weight, chunks=250) if weighted else None
        model = LONG["gaussian"]().fit(chunked(X), sample_weight=chunked_weight)
        timers[-1].join()
        assert len(tasks) >= 2
        assert fitted(model) == expected


def test_workers_that_have_all_paused(cluster, monkeypatch):
    monkeypatch.setattr(on_workers, "_PATIENCE", 0.2)
    kmeans = KMeans(12, tol=0, random_state=0, max_iter=10**6, n_init=10**6)
    # Without a limit of memory nothing wakes them.
    with (
        LocalCluster(n_workers=1, memory_limit=0, dashboard_address=None) as own,
        Client(own) as client,
    ):
        timer = threading.Timer(1.0, client.run, (pause,))
        timer.start()
        with pytest.raises(RuntimeError, match="no workers that compute"):
            kmeans.fit(chunked(blobs()))
        timer.join()
    assert not hasattr(kmeans, "cluster_centers_")


def test_rows_that_were_scattered_cannot_be_made_again(cluster, client):
    X = blobs()
    blocks = client.scatter([X[:500], X[500:]])
    array = da.concatenate(
        [da.from_delayed(block, (500, 4), meta=np.empty((0, 0))) for block in blocks]
    )
    kmeans = KMeans(12, tol=0, random_state=0, max_iter=10**6, n_init=10**6)
    for pid in pids(client):
        threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(RuntimeError, match="cluster has lost the rows"):
        kmeans.fit(array)
    assert leftovers(cluster) == []


def test_a_block_that_kills_its_workers(cluster, client, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 1)
    array = chunked(blobs()).map_blocks(
        lambda block: os._exit(1) if len(block) == 450 else block, meta=np.empty((0, 0))
    )
    with pytest.raises(KilledWorker):
        KMeans(3).fit(array)


def test_blocks_of_another_width(client):
    array = chunked(blobs()).map_blocks(
        lambda block: block[:, :2] if len(block) == 450 else block, meta=np.empty((0, 0))
    )
    for estimator in (KMeans(3), GaussianMixture(3)):
        with pytest.raises(ValueError, match=r"Partition 3 has shape \(450, 2\).*4 features"):
            estimator.fit(array)


def test_blocks_of_another_dtype(client):
    """They are what the collection says, as one array of them is."""
    X = blobs()
    array = chunked(X).map_blocks(
        lambda block: block.astype(np.float32) if len(block) == 450 else block,
        meta=np.empty((0, 0)),
    )
    X[301:751] = X[301:751].astype(np.float32)
    assert_same_fit(KMeans(4, random_state=0).fit(array), KMeans(4, random_state=0).fit(X))


def test_fits_inside_a_task(client):
    """By the task's own client, while it lets others have its thread."""
    X = blobs()

    def inside():
        with worker_client():
            return KMeans(4, random_state=0).fit(chunked(X)).inertia_

    assert client.submit(inside).result(100) == KMeans(4, random_state=0).fit(in_memory(X)).inertia_


def test_fewer_rows_than_clusters(client):
    with pytest.raises(ValueError, match="n_samples=1000 should be >= n_clusters=1001"):
        KMeans(1001).fit(chunked(blobs()))


def test_a_cluster_without_workers(monkeypatch):
    monkeypatch.setattr(on_workers, "_PATIENCE", 0.1)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        Client(cluster),
        pytest.raises(RuntimeError, match="no workers that compute"),
    ):
        KMeans(3).fit(chunked(blobs()))


@pytest.mark.parametrize("model", ["kmeans random", "gaussian full", "bernoulli"])
def test_values_that_are_not_finite(client, model):
    X = blobs()
    X[500, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN in row 199 of part 3 \(row 500 of all\)"):
        MODELS[model]().fit(chunked(X))


def test_an_error_of_a_users_function_is_raised_here(client):
    array = chunked(blobs()).map_blocks(
        lambda block: 1 / 0 if len(block) == 450 else block, meta=np.empty((0, 0))
    )
    with pytest.raises(ZeroDivisionError):
        KMeans(3).fit(array)


def test_predictions_are_lazy(client):
    X = blobs()
    kmeans, mixture = KMeans(4, random_state=0).fit(X), GaussianMixture(3, random_state=0).fit(X)
    array = chunked(X)
    for lazy, expected in [
        (kmeans.predict(array), kmeans.predict(X)),
        (kmeans.transform(array), kmeans.transform(X)),
        (mixture.predict_proba(array), mixture.predict_proba(X)),
        (mixture.score_samples(array), mixture.score_samples(X)),
    ]:
        assert isinstance(lazy, da.Array)
        np.testing.assert_array_equal(lazy.compute(), expected)

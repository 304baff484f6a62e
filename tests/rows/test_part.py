import itertools
import pickle
import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from homes import assert_same_fit
from sklearn.base import clone
from sklearn.utils import check_random_state

from fastem import GaussianMixture, KMeans, KMedians, em
from fastem.clustering import scalable
from fastem.clustering.euclidean.frame import measure_spread
from fastem.clustering.euclidean.model import KMeansModel
from fastem.clustering.euclidean.seeding import STRATEGIES
from fastem.clustering.labels import labels_of
from fastem.kernels.kmeans import ALGORITHMS, choose
from fastem.rows import LocalRows, Part, Slot, add, array_rows, local, reading


class Sums(NamedTuple):
    total: np.ndarray
    count: int


def count(part, factor):
    return Sums(np.asarray(part.X.sum(axis=0)).ravel() * factor, part.n_rows)


def row_numbers(part):
    return np.arange(part.offset, part.offset + part.n_rows)


def split(X, sample_weight, bounds):
    edges = [0, *bounds, X.shape[0]]
    return LocalRows(
        [
            Part(X[a:b], None if sample_weight is None else sample_weight[a:b], a)
            for a, b in itertools.pairwise(edges)
        ]
    )


class PickledRows(LocalRows):
    """Sends steps, arguments and results through pickle, as rows in other processes would."""

    def each(self, step, *args):
        return (self._remote(part, step, args) for part in self.parts)

    def _remote(self, part, step, args):
        step, args = pickle.loads(pickle.dumps((step, args)))
        return pickle.loads(pickle.dumps(part.call(step, *args)))


def fit(rows, init, n_clusters, n_init=1, max_iter=50, algorithm="auto"):
    """What KMeans.fit does with rows wherever they are."""
    rows, (frame, variance, squares, _) = measure_spread(rows)
    shape = rows.n_rows, rows.n_features
    model = KMeansModel(
        STRATEGIES[init],
        n_clusters,
        choose(algorithm, *shape, n_clusters, rows.dtype, rows.sparse),
        frame,
        rows.dtype,
        1e-4 * variance,
        squares,
    )
    best = em.fit(model, rows, max_iter=max_iter, n_init=n_init, random_state=check_random_state(0))
    return rows.collect(labels_of), model.public(best.parameters), best


def test_passes_over_parts_add_up():
    X = np.arange(21.0).reshape(7, 3)
    rows = split(X, None, [2, 3])
    total = rows.reduce(count, 2.0)
    assert isinstance(total, Sums)
    assert total.count == 7
    np.testing.assert_array_equal(total.total, 2 * X.sum(axis=0))
    assert [sums.count for sums in rows.map(count, 1.0)] == [2, 1, 4]
    np.testing.assert_array_equal(rows.collect(row_numbers), np.arange(7))
    assert (rows.n_rows, rows.n_features, rows.dtype, rows.sparse) == (7, 3, X.dtype, False)


def test_add_takes_plain_tuples_and_numbers():
    assert add((1, Sums(2, 3)), (10, Sums(20, 30))) == (11, Sums(22, 33))
    assert add(1.5, 2.5) == 4.0


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("bounds", [[], [4], [1, 5]])
def test_take_gives_dense_rows_in_the_order_asked(container, bounds):
    X = np.arange(16, dtype=np.float32).reshape(8, 2)
    taken = split(container(X), None, bounds).take([7, 0, 4, 4])
    assert type(taken) is np.ndarray
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, X[[7, 0, 4, 4]])


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", STRATEGIES)
def test_rows_in_two_parts_give_the_same_kmeans(container, weighted, init):
    rng = np.random.default_rng(5)
    X = container(rng.normal(size=(407, 5)) + rng.integers(3, size=(407, 1)))
    sample_weight = rng.uniform(size=407) if weighted else None
    expected = fit(array_rows(X, sample_weight), init, 6, n_init=3)
    parts = split(X, sample_weight, [150]).parts
    labels, centers, run = fit(PickledRows(parts), init, 6, n_init=3)
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_allclose(centers, expected[1], rtol=1e-12, atol=1e-13)
    assert run.n_iter == expected[2].n_iter
    np.testing.assert_allclose(run.objective, expected[2].objective, rtol=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_empty_clusters_are_filled_across_parts(algorithm):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    X[[3, 41, 55]] += [[60, 0], [0, 50], [-40, 0]]

    def start(rows, n_clusters, frame, random_state):
        return np.arange(2.0 * n_clusters).reshape(n_clusters, 2) + 300

    results = []
    for bounds in ([], [40, 50]):
        rows = split(X, None, bounds)
        _, (frame, _, squares, _) = measure_spread(rows)
        model = KMeansModel(start, 4, ALGORITHMS[algorithm], frame, X.dtype, 0.0, squares)
        run = em.fit(model, rows, max_iter=20)
        results.append((rows.collect(labels_of), run.parameters))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-12)
    assert len(np.unique(results[0][0])) == 4


TOTAL: Slot[float] = Slot("total")


def run_up(part, value):
    return part.keep(TOTAL, part.kept(TOTAL, float) * 2 + value * part.n_rows)


def forget_total(part):
    part.drop(TOTAL)


def test_what_a_part_keeps_can_be_made_again_from_a_log_of_calls():
    calls = [(run_up, (1.0,)), (forget_total, ()), (run_up, (2.0,)), (run_up, (5.0,))]
    part = Part(np.zeros((3, 1)))
    results = [part.call(step, *args) for step, args in calls]
    assert results == [3.0, None, 6.0, 27.0]
    assert (part.n_calls, part.keeps) == (4, {"total"})
    lost = Part(np.zeros((3, 1)))
    lost.replay(calls[:2])
    assert (lost.n_calls, lost.keeps) == (2, set())
    lost.replay(calls)
    assert (lost.n_calls, lost.kept(TOTAL)) == (4, 27.0)


def test_a_call_that_fails_does_not_count():
    part = Part(np.zeros((3, 1)))
    with pytest.raises(KeyError):
        part.call(Part.kept, TOTAL)
    assert part.n_calls == 0


def test_scaled_rows_are_a_copy_that_keeps_the_same_things():
    X = np.arange(6.0).reshape(3, 2)
    rows = split(X, None, [1])
    assert rows.scaled(1.0) is rows
    scaled = rows.scaled(0.5)
    np.testing.assert_array_equal(scaled.take([0, 1, 2]), X / 2)
    np.testing.assert_array_equal(rows.take([0, 1, 2]), X)
    scaled.map(run_up, 1.0)
    assert rows.map(run_up, 0.0) == [2.0, 4.0]
    assert [part.n_calls for part in scaled.parts] == [part.n_calls for part in rows.parts]


def test_memory_map_is_used_in_place(tmp_path):
    shape = (60_000, 16)
    X = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=shape)
    X[:] = np.random.default_rng(0).normal(size=shape)
    X.flush()
    expected = KMeans(4, random_state=0, max_iter=5).fit(np.array(X))
    X = np.memmap(tmp_path / "rows", dtype=np.float64, mode="r", shape=shape)
    assert np.shares_memory(array_rows(X).parts[0].X, X)
    tracemalloc.start()
    mapped = KMeans(4, random_state=0, max_iter=5).fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 4
    np.testing.assert_array_equal(mapped.labels_, expected.labels_)
    np.testing.assert_array_equal(mapped.cluster_centers_, expected.cluster_centers_)


STARTS = {
    "kmeans": lambda seed: KMeans(12, random_state=seed),
    "kmedians": lambda seed: KMedians(12, random_state=seed),
    "mixture": lambda seed: GaussianMixture(12, random_state=seed),
    "mixture of seeds": lambda seed: GaussianMixture(
        12, covariance_type="tied", init_params="k-means++", random_state=seed
    ),
}


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "auto"])
def test_a_memory_map_with_gaps_is_filled_block_by_block(init_params, tmp_path, monkeypatch):
    shape = (200_000, 16)
    rng = np.random.default_rng(0)
    X = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=shape)
    X[:] = 5 * rng.normal(size=(3, 16))[rng.integers(3, size=len(X))] + rng.normal(size=shape)
    X[rng.random(len(X)) < 0.2, :3] = np.nan
    mixture = GaussianMixture(3, init_params=init_params, missing="em", random_state=0, max_iter=2)
    expected = clone(mixture).fit(np.array(X))
    monkeypatch.setattr(local, "_BLOCK_VALUES", 1 << 16)
    mixture.fit(X)  # compiles
    tracemalloc.start()
    mixture.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 3
    np.testing.assert_allclose(mixture.means_, expected.means_, rtol=1e-9)
    np.testing.assert_allclose(mixture.lower_bound_, expected.lower_bound_, rtol=1e-9)


def test_filled_rows_of_a_memory_map_are_those_of_an_array(tmp_path, monkeypatch):
    X = np.memmap(tmp_path / "rows", dtype=np.float32, mode="w+", shape=(11, 3))
    X[:] = np.arange(33).reshape(11, 3)
    X[2:5, 1] = X[9, 2] = np.nan
    w = np.arange(11.0)
    monkeypatch.setattr(local, "_BLOCK_VALUES", 4 * 3)
    values = np.array([0.0, -1.0, -2.0])
    expected = split(np.array(X), w, [6]).filled(values)
    rows = split(X, w, [6]).filled(values)
    assert [part.n_rows for part in rows.parts] == [4, 2, 4, 1]
    np.testing.assert_array_equal(rows.take(np.arange(11)), expected.take(np.arange(11)))
    np.testing.assert_array_equal(np.concatenate(rows.map(row_numbers)), np.arange(11))
    np.testing.assert_array_equal(np.concatenate([part.sample_weight for part in rows.parts]), w)
    assert np.isnan(X).sum() == 4


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("make", STARTS.values(), ids=STARTS)
def test_a_file_larger_than_the_memory_is_read_three_times_for_a_start(make, tmp_path, monkeypatch):
    shape = (20_000, 3)
    rng = np.random.default_rng(0)
    X = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=shape)
    X[:] = 9 * rng.normal(size=(12, 3))[rng.integers(12, size=len(X))] + rng.normal(size=shape)
    exact = [make(seed).fit(X) for seed in range(6)]
    compared = []
    approach = scalable._approach

    def counted(part, new, *args):
        compared.append(len(new))
        return approach(part, new, *args)

    monkeypatch.setattr(scalable, "_approach", counted)
    assert_same_fit(make(0).fit(X), exact[0])
    assert not compared  # it fits
    monkeypatch.setattr(reading, "memory", lambda: X.nbytes - 1)
    assert_same_fit(make(0).fit(np.array(X)), exact[0])
    assert not compared  # it's no file
    found = [make(seed).fit(X[:]) for seed in range(6)]  # a view is as good
    assert len(compared) == 3 * len(found)
    cost = np.array([[-fit.score(X) for fit in fits] for fits in (found, exact)])
    assert cost[0].mean() <= 1.03 * cost[1].mean()


def test_gaps_are_filled_in_a_copy():
    X = np.array([[1.0, np.nan], [np.nan, 2.0], [3.0, 4.0]], np.float32)
    rows = LocalRows([Part(X[:2], np.array([1.0, 2.0]), 0), Part(X[2:], np.array([3.0]), 2)])
    rows.map(keep_a_thing)
    filled = rows.filled(np.array([5.0, 6.0]))
    np.testing.assert_array_equal(filled.take(np.arange(3)), [[1, 6], [5, 2], [3, 4]])
    assert filled.dtype == np.float32
    assert [part.offset for part in filled.parts] == [0, 2]
    assert filled.parts[1].sample_weight is rows.parts[1].sample_weight
    assert not filled.parts[0].keeps  # and what is complete is not copied
    assert filled.parts[1].X is rows.parts[1].X
    assert np.isnan(X).sum() == 2


def keep_a_thing(part):
    part.keep(Slot("thing"), 1)

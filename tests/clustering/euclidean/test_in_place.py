"""Large centres of CSR rows, which are written where they were: against plain iterations."""

import tracemalloc

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from sklearn.pipeline import make_pipeline
from threads import on_threads
from watchers import Watching

from fastem import KMeans
from fastem.clustering.euclidean import in_place
from fastem.clustering.euclidean.frame import measure_spread
from fastem.clustering.euclidean.in_place import InPlace, writes_in_place
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import Lloyd, Sparse
from fastem.kernels.vectors.machine import WIDENS_HALVES
from fastem.rows import array_rows

DTYPES = ("float32", "float64")


@pytest.fixture
def steps(monkeypatch):
    """What the iterations in place have returned."""
    found, step = [], InPlace.step

    def noted(self):
        found.append(step(self))
        return found[-1]

    monkeypatch.setattr(InPlace, "step", noted)
    return found


def texts(dtype="float64", shape=(500, 700), topics=5, seed=0):
    """Rows of few values, each topic with columns of its own."""
    rng = np.random.default_rng(seed)
    topic = np.arange(shape[0]) % topics
    own = rng.integers(0, shape[1] // topics, (shape[0], 8)) ** 2 % (shape[1] // topics)
    columns = own + (topic * (shape[1] // topics))[:, np.newaxis]
    columns[:, 6:] = rng.integers(0, shape[1], (shape[0], 2))
    row = np.repeat(np.arange(shape[0]), 8)
    X = sp.csr_matrix((rng.uniform(0.5, 2, row.size), (row, columns.ravel())), shape)
    return X.astype(dtype)


def starts(X, n_clusters, seed=0):
    rows = np.random.default_rng(seed).choice(X.shape[0], n_clusters, replace=False)
    return X[rows].toarray()


def check_by_plain_iterations(model, X, *args):
    """What a fit has come to against the reference's, which takes the rest of the arguments."""
    labels, centers, inertia, n_iter = reference.lloyd(X.toarray(), *args)
    np.testing.assert_array_equal(model.labels_, labels)
    tolerance = 1e-10 if X.dtype == "float64" else 1e-5
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(model.inertia_, inertia, rtol=tolerance)
    assert model.n_iter_ == n_iter
    assert model.cluster_centers_.dtype == X.dtype


def test_which_rows():
    X = texts()
    rows, many = array_rows(X), array_rows(texts(shape=(5000, 100)))
    assert writes_in_place(rows, Sparse, 5)
    assert not writes_in_place(array_rows(X.toarray()), Lloyd, 5)
    # Of 8 values and 4 bytes each beside: 12 bytes, or 8, a quarter of which centres take at least.
    least = texts().nnz * 12 / 4 / (8 * 700)
    assert writes_in_place(rows, Sparse, int(np.ceil(least)))
    assert not writes_in_place(rows, Sparse, int(least) - 1)
    assert not writes_in_place(many, Sparse, 5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_iter", [1, 2, 100])
def test_fits_from_given_centers(max_iter, weighted, dtype, steps):
    X = texts(dtype)
    weight = np.random.default_rng(1).uniform(0.5, 2, 500) if weighted else None
    start = starts(X, 8)
    model = KMeans(8, init=start, max_iter=max_iter, tol=0).fit(X, sample_weight=weight)
    assert len(steps) == model.n_iter_
    check_by_plain_iterations(model, X, start, weight, 0, max_iter)
    assert (np.diff(model.inertias_) <= 1e-9 * model.inertias_[0]).all()
    assert model.inertia_ <= model.inertias_[-1] * (1 + 1e-9)
    np.testing.assert_array_equal(model.predict(X), model.labels_)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("init", ["k-means++", "random", "random_partition", "k-means||"])
def test_as_when_somebody_watches(init, dtype, steps, capsys):
    X = texts(dtype)
    options = {"init": init, "n_init": 2, "random_state": 3}
    model = KMeans(8, **options).fit(X)
    assert None not in steps
    n_steps = len(steps)
    assert n_steps > 2
    watched = KMeans(8, verbose=1, **options).fit(X)
    assert len(steps) == n_steps
    assert "converged" in capsys.readouterr().out.lower()
    np.testing.assert_array_equal(model.labels_, watched.labels_)
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(
        model.cluster_centers_, watched.cluster_centers_, rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(model.inertias_, watched.inertias_, rtol=1e-10)
    np.testing.assert_allclose(model.inertia_, watched.inertia_, rtol=1e-10)
    assert model.n_iter_ == watched.n_iter_


class Keeps(Watching):
    """The centres as they were and are."""

    def __init__(self):
        self.kept = []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "iteration":
            centers = fitted_estimator.cluster_centers_
            self.kept.append((centers, centers.copy()))


def test_callbacks_see_centers_that_stay(steps):
    X, keeps = texts(), Keeps()
    model = KMeans(8, init=starts(X, 8), tol=0).set_callbacks(keeps).fit(X)
    assert steps == []
    assert len(keeps.kept) == model.n_iter_ > 2
    for centers, copy in keeps.kept:
        np.testing.assert_array_equal(centers, copy)


def test_a_search_goes_on_with_sums(steps):
    X = texts()
    start = starts(X, 8)
    found = KMeans(8, init=start, search="breathing", random_state=0).fit(X)
    assert steps == []
    assert found.inertia_ <= KMeans(8, init=start).fit(X).inertia_ * (1 + 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_clusters(dtype, steps):
    """Two centres that no row is near: the iterations go on in other arrays."""
    X = texts(dtype)
    start = starts(X, 8)
    start[[2, 5]] = 50
    model = KMeans(8, init=start, tol=0).fit(X)
    assert steps == [None]
    check_by_plain_iterations(model, X, start)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cluster_that_loses_its_rows_later(dtype, steps):
    """The second centre is near a row at first, and near none after one iteration."""
    X = np.array([[-8, -5], [-6, -9], [-5, -1], [-2, -7], [2, 6], [8, 4]], dtype)
    start = np.array([[3, 2], [8, 5], [-6, 5]], dtype)
    model = KMeans(3, init=start, tol=0).fit(sp.csr_matrix(X))
    assert [step is None for step in steps] == [False, True]
    labels, centers, inertia, _ = reference.lloyd(X, start)
    np.testing.assert_array_equal(model.labels_, labels)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=3 * np.finfo(dtype).eps)
    np.testing.assert_allclose(model.inertia_, inertia, rtol=1e-6)
    assert (np.diff(model.inertias_) <= 1e-9 * model.inertias_[0]).all()


def test_no_inertia_is_below_zero(steps):
    """Each row is a cluster: what weighted means are rounded by is all that there is."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        X = sp.csr_matrix(rng.normal(size=(7, 64)))
        weight = rng.uniform(0.5, 2.0, 7)
        model = KMeans(7, init=X.toarray(), tol=0, max_iter=3).fit(X, sample_weight=weight)
        assert min(model.inertias_) >= 0.0
        assert model.inertias_[0] == 0.0
    assert len(steps) > 30


def test_rows_without_weight_leave_a_cluster_empty(steps):
    X = texts()
    start, weight = starts(X, 4), np.ones(500)
    nearest = reference.squared_distances(X.toarray(), start).argmin(axis=1)
    weight[nearest == 1] = 0.0
    model = KMeans(4, init=start, max_iter=1).fit(X, sample_weight=weight)
    assert steps == [None]
    centers = reference.lloyd(X.toarray(), start, weight, 0, 1)[1]
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inertia_far_below_the_sum_of_squares(dtype, steps):
    """Differences of sums have no digits left of it."""
    rng = np.random.default_rng(0)
    places = 100 * sp.random(6, 600, 0.05, "csr", random_state=0)
    X = places[np.arange(300) % 6].copy()
    X.data *= 1 + 1e-4 * rng.normal(size=X.nnz)
    X = X.astype(dtype)
    start = X[:6].toarray()
    model = KMeans(6, init=start, tol=0).fit(X)
    dense = X.toarray().astype(float)
    before = ((dense - start[np.arange(300) % 6]) ** 2).sum()
    assert 1e5 * before < (dense**2).sum()
    np.testing.assert_allclose(model.inertias_[0], before, rtol=1e-8)
    after = ((dense - model.cluster_centers_[model.labels_]) ** 2).sum()
    np.testing.assert_allclose(model.inertias_[1:], after, rtol=1e-8)
    np.testing.assert_allclose(model.inertia_, after, rtol=1e-8)
    assert len(steps) == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 3, 40])
def test_inertia_is_summed_in_float64(n_features, dtype, steps, monkeypatch):
    """Of centres in float32, too, where a sum over the rows is taken."""
    monkeypatch.setattr(in_place, "_LEAST_SHARE", 0.0)
    rng = np.random.default_rng(n_features)
    X = (1 + 0.1 * rng.random((400, n_features))).astype(dtype)
    model = KMeans(5, max_iter=5, random_state=0).fit(sp.csr_matrix(X))
    assert len(steps) == model.n_iter_
    made = Sparse(sp.csr_matrix(X), None, 5, Frame(np.zeros(n_features), 1.0))
    made.label_rows(model.cluster_centers_.astype(float))
    distances = reference.squared_distances(X, model.cluster_centers_)
    expected = distances.min(axis=1).sum()
    assert 100 * expected < (X.astype(float) ** 2).sum()
    for inertia in (model.inertia_, made.inertia(model.cluster_centers_)):
        np.testing.assert_allclose(inertia, expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sparse_start", [False, True])
@pytest.mark.parametrize("n_steps", [0, 1, 3])
def test_the_best_centers_come_back(n_steps, sparse_start, dtype):
    """As if rounding had made all later ones worse."""
    X = texts(dtype)
    start = sp.csr_matrix(starts(X, 8)) if sparse_start else starts(X, 8)
    rows, (frame, _, squares, _) = measure_spread(array_rows(X))
    run = InPlace(rows, frame, squares, start)
    noted, note = [], run._note
    run._note = lambda inertia: (note(-1.0 if len(noted) == n_steps else inertia), noted.append(1))
    best = run.centers.copy()
    for number in range(5):
        best = run.centers.copy() if number == n_steps else best
        run.step()
    assert (run.centers != best).any()
    inertia = run.finish()
    np.testing.assert_array_equal(run.centers, best)
    distances = reference.squared_distances(X.toarray(), best)
    np.testing.assert_array_equal(run._made.labels, distances.argmin(axis=1))
    np.testing.assert_allclose(inertia, distances.min(axis=1).sum(), rtol=1e-10)


def test_nothing_of_the_users_is_written_to(steps):
    X = texts("float32")
    start = starts(X, 8)
    copies = X.copy(), start.copy()
    model = KMeans(8, init=start).fit(X)
    assert len(steps) > 0
    np.testing.assert_array_equal(start, copies[1])
    assert (X != copies[0]).nnz == 0
    assert not np.shares_memory(model.cluster_centers_, start)

    def given(X, n_clusters, random_state):
        return start

    called = KMeans(8, init=given, n_init=2).fit(X)
    np.testing.assert_array_equal(start, copies[1])
    np.testing.assert_array_equal(called.cluster_centers_, model.cluster_centers_)


def test_labels_go_with_the_last_centers():
    """With ``max_iter`` spent, the labels go with the centres, and these are one M-step's."""
    X = texts()
    start = starts(X, 8)
    model = KMeans(8, init=start, max_iter=1).fit(X)
    distances = reference.squared_distances(X.toarray(), model.cluster_centers_)
    np.testing.assert_array_equal(model.labels_, distances.argmin(axis=1))
    np.testing.assert_allclose(model.inertia_, distances.min(axis=1).sum(), rtol=1e-10)


def test_any_number_of_threads(steps):
    X = texts(shape=(4000, 3000))

    def fitted():
        model = KMeans(20, random_state=0).fit(X)
        return model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertias_

    first, *others = on_threads([1, 2, 3], fitted)
    assert len(steps) > 0
    assert all(other == first for other in others)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_rows_out_of_range(factor):
    X = factor * texts("float32").astype("float64")
    start = starts(X, 8)
    scaled = KMeans(8, init=start / factor).fit(X / factor)
    model = KMeans(8, init=start).fit(X)
    np.testing.assert_array_equal(model.labels_, scaled.labels_)
    np.testing.assert_allclose(model.cluster_centers_, factor * scaled.cluster_centers_, rtol=1e-9)


def peak_of(call):
    """What the call holds at most, in bytes, and its result."""
    call()  # compiled
    tracemalloc.start()
    result = call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, result


# What a table of float32 values takes more than one of 16-bit floats, in arrays of centres.
MORE = 0.0 if WIDENS_HALVES else 0.6


@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize("init, most", [("k-means++", 2.2), ("random", 2.2), ("given", 4.0)])
def test_centers_are_there_once(init, most, pipeline, steps):
    """Beside the centres that the user gets, there are a table, and a start that is given."""
    X = texts("float32", (2000, 40_000))
    init = X[:40].toarray() if init == "given" else init
    model = KMeans(40, init=init, n_init=1, max_iter=3, random_state=0)
    fitted = make_pipeline("passthrough", model) if pipeline else model
    peak, _ = peak_of(lambda: fitted.fit(X))
    assert len(steps) == 2 * model.n_iter_  # nobody watches in a pipeline, either
    assert peak < (most + MORE) * model.cluster_centers_.nbytes


def test_centers_of_tight_clusters_are_there_once(steps):
    """The inertia is summed over the rows, whose centres are read as they are."""
    X = sp.vstack([texts("float32", (40, 40_000))] * 50, "csr")
    X.data *= (1 + 1e-4 * np.random.default_rng(0).normal(size=X.nnz)).astype("float32")
    model = KMeans(40, init=X[:40].toarray(), max_iter=3)
    peak, _ = peak_of(lambda: model.fit(X))
    assert len(steps) == 2 * model.n_iter_
    assert 1e5 * model.inertias_[0] < X.multiply(X).sum()
    assert peak < (4.0 + MORE) * model.cluster_centers_.nbytes


def test_share_of_the_rows(monkeypatch):
    """The rule's own number, not what is computed, decides."""
    X = texts()
    start = starts(X, 8)
    usual = KMeans(8, init=start).fit(X)
    monkeypatch.setattr(in_place, "_LEAST_SHARE", np.inf)
    model = KMeans(8, init=start).fit(X)
    np.testing.assert_array_equal(model.labels_, usual.labels_)
    np.testing.assert_allclose(model.cluster_centers_, usual.cluster_centers_, atol=1e-12)

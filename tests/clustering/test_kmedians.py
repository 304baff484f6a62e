import warnings

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run_script
from scipy.spatial.distance import cdist
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import v_measure_score

from fastem import KMeans, KMedians


def test_parameters_are_those_of_kmeans():
    ours, theirs = KMedians().get_params(), KMeans().get_params()
    del theirs["algorithm"], theirs["copy_x"]
    assert ours == theirs


# The same results as the textbook's.


def assert_plain(model, X, init, sample_weight=None, max_iter=300):
    """The model is what plain NumPy finds from the same start."""
    labels, centers, history, n_iter = reference.kmedians(X, init, sample_weight, max_iter)
    np.testing.assert_array_equal(model.labels_, labels)
    np.testing.assert_array_equal(model.cluster_centers_, centers)
    assert model.labels_.dtype == np.int32
    assert model.cluster_centers_.dtype == X.dtype
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    inertia = weights @ reference.l1_distances(X, centers)[np.arange(len(X)), labels]
    np.testing.assert_allclose(model.inertia_, inertia, rtol=1e-11, atol=1e-300)
    assert type(model.inertia_) is float
    np.testing.assert_allclose(model.inertias_, history, rtol=1e-11, atol=1e-300)
    slack = 1e-12 * model.inertias_[0]
    assert (np.diff(model.inertias_) <= slack).all()
    assert model.inertia_ <= model.inertias_[-1] + slack
    assert model.n_iter_ == len(model.inertias_) == n_iter


def problem(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_features = int(rng.integers(1, 400)), int(rng.integers(1, 9))
    n_clusters = int(rng.integers(1, min(n_rows, 15) + 1))
    X = rng.normal(size=(n_rows, n_features))
    kind = rng.choice(["plain", "far", "blobs", "integers", "outliers"])
    if kind == "far":
        X += 1e3
    elif kind == "blobs":
        X += 10 * rng.integers(3, size=(n_rows, 1))
    elif kind == "integers":
        X = np.round(2 * X)
    elif kind == "outliers":
        X[rng.uniform(size=n_rows) < 0.1] *= 1e6
    weights = {
        "none": None,
        "any": rng.uniform(0.1, 2, size=n_rows),
        "tenths": np.full(n_rows, 0.1),
        "some zero": rng.permutation(np.arange(n_rows) % 3).astype(float) + (n_rows < 2),
    }[rng.choice(["none", "any", "tenths", "some zero"])]
    # A wide start leaves clusters empty.
    init = np.median(X, axis=0) + rng.normal(size=(n_clusters, n_features)) * rng.choice([1, 20])
    return X, init, weights


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", range(60))
def test_given_start(seed, dtype):
    X, init, sample_weight = problem(seed)
    X, init = X.astype(dtype), init.astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMedians(len(init), init=init, tol=0).fit(X, sample_weight=sample_weight)
    assert_plain(model, X, init, sample_weight)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    distances = cdist(X.astype(float), model.cluster_centers_, "cityblock")
    single = 1e-5 * np.abs(X).max(initial=1.0)
    np.testing.assert_allclose(
        model.transform(X), distances, rtol=1e-12, atol=0 if dtype is np.float64 else single
    )
    assert model.transform(X).dtype == dtype
    np.testing.assert_allclose(
        model.score(X, sample_weight=sample_weight), -model.inertia_, rtol=1e-11
    )


@pytest.mark.parametrize("n_clusters", [1, 2, 3, 7, 63, 64, 65, 129])
@pytest.mark.parametrize("n_features", [1, 2, 3, 7, 63, 64, 65, 129])
def test_odd_shapes(n_features, n_clusters):
    rng = np.random.default_rng(n_features)
    n_rows = n_clusters + int(rng.choice([0, 1, 63, 200]))
    X = rng.normal(size=(n_rows, n_features))
    init = X[:n_clusters] + 0.1
    assert_plain(KMedians(n_clusters, init=init, tol=0).fit(X), X, init)


def blobs(rng):
    return rng.normal(size=(3000, 6)) + 4 * rng.normal(size=(12, 6))[rng.integers(12, size=3000)]


def noise(rng):
    return rng.uniform(size=(4000, 3))


def pixels(rng):
    """Colours of a smooth picture, in 256 steps: many duplicates and ties."""
    x, y = np.meshgrid(np.linspace(0, 3, 60), np.linspace(0, 2, 45))
    waves = np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y)], axis=-1).reshape(-1, 3)
    return np.round(127 + 100 * waves + 5 * rng.normal(size=waves.shape)).clip(0, 255)


@pytest.mark.parametrize("n_clusters", [2, 11, 130])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("data", [blobs, noise, pixels])
def test_whole_fits(data, dtype, n_clusters):
    X = data(np.random.default_rng(0)).astype(dtype)
    init = X[np.random.default_rng(1).choice(len(X), n_clusters, replace=False)]
    # The reference takes a while.
    model = KMedians(n_clusters, init=init, tol=0, max_iter=12).fit(X)
    assert model.n_iter_ > 4
    assert_plain(model, X, init, max_iter=12)


@pytest.mark.parametrize("load", [load_iris, load_digits])
def test_real_data(load):
    X = load().data
    init = X[:: len(X) // 9]
    assert_plain(KMedians(len(init), init=init, tol=0).fit(X), X, init)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_grids(data):
    """Full of ties, duplicates and empty clusters; half integers make all sums exact."""
    n_rows = data.draw(st.integers(1, 150))
    n_features = data.draw(st.integers(1, 3))
    n_clusters = data.draw(st.integers(1, min(n_rows, 9)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    X = rng.integers(0, data.draw(st.sampled_from([2, 4, 16])), size=(n_rows, n_features)) * 1.0
    init = rng.integers(0, 16, size=(n_clusters, n_features)) * 1.0
    weights = rng.integers(0, 3, size=n_rows) * 1.0 if data.draw(st.booleans()) else None
    if weights is not None:
        weights[0] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMedians(n_clusters, init=init, tol=0).fit(X, sample_weight=weights)
    assert_plain(model, X, init, weights)


@pytest.mark.parametrize("init", ["k-means++", "random_partition"])
def test_integer_weights_are_repetitions(init):
    """Up to 100 rows also the drawing is the same; the partition isn't, but it is random."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    weights = rng.integers(0, 3, size=60)
    repeated = np.repeat(X, weights, axis=0)
    start = init if init == "k-means++" else X[:5]
    weighted = KMedians(5, init=start, random_state=0).fit(X, sample_weight=weights)
    plain = KMedians(5, init=start, random_state=0).fit(repeated)
    np.testing.assert_array_equal(weighted.cluster_centers_, plain.cluster_centers_)
    np.testing.assert_allclose(weighted.inertia_, plain.inertia_, rtol=1e-12)
    np.testing.assert_array_equal(np.repeat(weighted.labels_, weights), plain.labels_)


def test_equal_weights_are_none():
    X = np.random.default_rng(0).normal(size=(3000, 4))
    plain = KMedians(6, init=X[:6], tol=0).fit(X)
    for weight in (0.1, 1, 3.7):
        weighted = KMedians(6, init=X[:6], tol=0).fit(X, sample_weight=np.full(3000, weight))
        np.testing.assert_array_equal(weighted.labels_, plain.labels_)
        np.testing.assert_array_equal(weighted.cluster_centers_, plain.cluster_centers_)
        np.testing.assert_allclose(weighted.inertia_, weight * plain.inertia_, rtol=1e-12)


def test_an_outlier_does_not_move_a_center():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(100, 2)), 9 + rng.normal(size=(101, 2))])
    X[-1] = 1e6
    model = KMedians(2, init=[[0, 0], [9, 9]]).fit(X)
    np.testing.assert_allclose(model.cluster_centers_, [[0, 0], [9, 9]], atol=0.5)


def test_more_clusters_than_different_rows_warn():
    X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 0]])
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(3\) found") as record:
        model = KMedians(4, init=X).fit(X)
    assert record[0].filename == __file__
    np.testing.assert_array_equal(model.labels_, [0, 1, 2, 2])
    assert model.inertia_ == 0


def test_empty_clusters_get_the_farthest_rows():
    X = np.array([[0.0], [1], [2], [50], [100]])
    model = KMedians(3, init=[[1.0], [1e3], [2e3]], tol=0).fit(X)
    np.testing.assert_array_equal(np.sort(model.cluster_centers_, axis=0), [[1], [50], [100]])
    # A row without weight is no place for a cluster.
    weights = np.array([1.0, 1, 1, 1, 0])
    model = KMedians(2, init=[[1.0], [1e3]], tol=0).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(model.cluster_centers_, [[1], [50]])


# Extreme numbers.


@pytest.mark.parametrize("factor", [1e8, 1e30, 1e300])
def test_a_row_far_beyond_all_others(factor):
    """Comparisons in float32 see no difference to it, or none but to it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    X[[7, 300]] = [[factor], [-factor]]
    init = X[[7, 1, 2, 3, 4, 5]]
    assert_plain(KMedians(6, init=init, tol=0).fit(X), X, init)


def test_new_rows_far_from_the_centers():
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = KMedians(3, random_state=0).fit(X)
    for factor in (1e10, 1e200, 2.0**1020):
        far = X * factor
        expected = reference.l1_distances(far / 2**10, model.cluster_centers_ / 2**10)
        np.testing.assert_array_equal(model.predict(far), expected.argmin(axis=1))
        np.testing.assert_allclose(model.transform(far) / 2**10, expected, rtol=1e-12)


# Starts and ends.


def test_greedy_seeds_are_far_apart():
    """One of each of well separated blobs."""
    rng = np.random.default_rng(0)
    truth = rng.integers(12, size=3000)
    X = rng.normal(size=(3000, 4)) + 100 * np.arange(12)[truth][:, np.newaxis]
    for dtype in (np.float32, np.float64):
        model = KMedians(12, random_state=0, max_iter=1).fit(X.astype(dtype))
        assert len(set(zip(truth.tolist(), model.labels_.tolist(), strict=True))) == 12


def test_random_partition_of_few_rows():
    """Clusters that get no row start from random ones."""
    X = np.arange(12.0).reshape(6, 2)
    for seed in range(9):
        model = KMedians(6, init="random_partition", n_init=1, random_state=seed).fit(X)
        assert np.isfinite(model.cluster_centers_).all()


def test_tolerance_ends_a_run():
    X = np.random.default_rng(0).uniform(size=(5000, 2))
    patient = KMedians(20, init=X[:20], tol=0).fit(X)
    hasty = KMedians(20, init=X[:20], tol=1).fit(X)
    assert hasty.n_iter_ < patient.n_iter_
    np.testing.assert_array_equal(hasty.predict(X), hasty.labels_)
    np.testing.assert_allclose(hasty.score(X), -hasty.inertia_)
    # Neither do outliers loosen it.
    X[:10] *= 1e9
    init = X[10:30]
    outliers = KMedians(20, init=init, tol=1e-4).fit(X)
    assert outliers.n_iter_ > 5


def test_verbose(capsys):
    X = np.random.default_rng(0).normal(size=(60, 2))
    model = KMedians(3, init=X[:3], verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Initialization complete"
    assert [float(line.split()[-1].rstrip(".")) for line in lines[1:-1]] == model.inertias_
    assert lines[-1] == f"Converged at iteration {model.n_iter_ - 1}: strict convergence."


def test_a_memory_map_is_read_in_place(tmp_path):
    X = np.random.default_rng(0).normal(size=(3000, 5))
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    expected = KMedians(7, random_state=0).fit(X)
    model = KMedians(7, random_state=0).fit(mapped)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    np.testing.assert_array_equal(model.predict(mapped), expected.labels_)


def test_callbacks_see_every_iteration():
    X = np.random.default_rng(0).normal(size=(200, 2))
    truth = (X[:, 0] > 0).astype(int)  # only the monitor looks at it
    monitor = ScoringMonitor(scoring="v_measure_score")
    model = KMedians(4, init=X[:4], tol=0).set_callbacks(monitor).fit(X, truth)
    rows = monitor.get_logs(select="most_recent").data
    scores = [row["v_measure_score"] for row in rows if row["task_name"] == "iteration"]
    assert len(scores) == model.n_iter_ > 2
    assert scores[-1] == pytest.approx(v_measure_score(truth, model.labels_))


def test_any_number_of_threads_gives_the_same_bits():
    script = """
        import hashlib
        import numba
        import numpy as np
        from fastem import KMedians
        for n_threads in (1, 2, 3):
            numba.set_num_threads(n_threads)
            digest = hashlib.sha256()
            for dtype, n_features in ((np.float32, 3), (np.float64, 9)):
                rng = np.random.default_rng(0)
                X = rng.normal(size=(9000, n_features)).astype(dtype)
                for weights in (None, rng.uniform(size=len(X))):
                    for init in ("k-means++", "random_partition"):
                        model = KMedians(40, init=init, n_init=1, random_state=0, max_iter=20)
                        model.fit(X, sample_weight=weights)
                        digest.update(model.labels_.tobytes() + model.cluster_centers_.tobytes())
                        digest.update(np.array(model.inertias_ + [model.inertia_]).tobytes())
            print(digest.hexdigest())
    """
    digests = run_script(script, NUMBA_NUM_THREADS=3).split()
    assert len(digests) == 3
    assert len(set(digests)) == 1

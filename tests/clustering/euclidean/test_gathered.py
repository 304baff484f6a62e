"""Few rows are gathered for a search: the answer is that of going step by step."""

import numpy as np
import pytest
from sklearn.callback import ProgressBar

from fastem import KMeans
from fastem.clustering.euclidean.gathered import GatheredRows, gathered, order_on_curve
from fastem.kernels.clusters import Frame
from fastem.rows import LocalRows, Part, array_rows


@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_on_the_curve_are_near_those_before(n_features, dtype):
    X = np.random.default_rng(0).uniform(size=(4000, n_features)).astype(dtype)
    X[:, 0] = X[:, 0] if n_features != 5 else 3.0  # which tells nothing
    order = order_on_curve(X)
    np.testing.assert_array_equal(np.sort(order), np.arange(4000))
    ways = [np.abs(np.diff(rows, axis=0)).sum(axis=1).mean() for rows in (X, X[order])]
    assert ways[1] < 0.6 * ways[0]


def test_the_curves_cells_take_turns():
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.4, 0.4]])
    assert order_on_curve(X).tolist() == [0, 4, 1, 2, 3]


def test_which_rows_are_gathered():
    frame = Frame(np.zeros(2), 1.0)
    X = np.random.default_rng(0).normal(size=(1000, 2))
    weights = np.arange(1000.0)
    rows = gathered(array_rows(X, weights), 10, frame)
    assert isinstance(rows, GatheredRows)
    part = rows.parts[0]
    assert not np.array_equal(part.X, X)
    np.testing.assert_array_equal(X[part.sample_weight.astype(int)], part.X)
    others = [
        array_rows(np.zeros((1 << 20, 2))),
        array_rows(np.zeros((1 << 19, 2))),
        LocalRows([Part(X[:300]), Part(X[300:], None, 300)]),
    ]
    for rows in others:
        assert gathered(rows, 10, frame) is rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3000, 2, 30), (800, 3, 20), (500, 12, 15)])
@pytest.mark.parametrize("weighted", [False, True])
def test_as_when_a_callback_watches_every_step(shape, dtype, weighted, capsys):
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(n_rows)
    X = (rng.normal(size=(n_rows, n_features)) + 3).astype(dtype)
    sample_weight = rng.uniform(0.5, 2, size=n_rows) if weighted else None
    model = KMeans(n_clusters, random_state=0, search="breathing")
    found = model.fit(X, sample_weight=sample_weight)
    inertia, n_iter = found.inertia_, found.n_iter_
    watched = model.set_callbacks(ProgressBar()).fit(X, sample_weight=sample_weight)
    np.testing.assert_allclose(
        inertia, watched.inertia_, rtol=1e-5 if dtype == np.float32 else 1e-9
    )
    assert n_iter == watched.n_iter_
    assert "run #0" in capsys.readouterr().out

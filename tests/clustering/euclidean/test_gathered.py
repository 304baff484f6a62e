"""Few rows are gathered for a search: the answer is that of going step by step."""

import numpy as np
import pytest
from sklearn.callback import ProgressBar

from fastem import KMeans
from fastem.clustering.euclidean.frame import measure_spread
from fastem.clustering.euclidean.gathered import are_gathered, gathered
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans.boxes.regions import regions_of
from fastem.kernels.kmeans.settling import Settling
from fastem.rows import LocalRows, Part, array_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_search_among_rows_of_which_a_column_is_all_but_constant(dtype):
    X = np.random.default_rng(0).uniform(-1, 1, size=(300, 2)).astype(dtype)
    X[:, 1] = np.where(np.arange(300) % 2, 9 * np.finfo(dtype).smallest_subnormal, 0)
    plain = KMeans(4, random_state=0).fit(X)
    searched = KMeans(4, random_state=0, search="breathing").fit(X)
    assert searched.inertia_ <= plain.inertia_


def test_tiles_of_subnormal_squares_leave_out_no_nearest_centre():
    """Rows of no weight so far away that the others' squares are subnormal in the frame's scale."""
    n_moved = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        far = 10.0 ** rng.uniform(18, 24) * (1 + rng.uniform(size=(64, 1)))
        X = np.concatenate([far, np.sort(rng.normal(size=(448, 1)), axis=0)])
        weights = np.repeat([0.0, 1.0], [64, 448])
        centers = X[rng.choice(np.arange(64, 512), 12, replace=False)]
        _, spread = measure_spread(array_rows(X, weights))
        regions = regions_of(X, spread.frame)
        found = Settling(X, weights, 12, spread.frame, regions)
        n_iter, *_ = found.settle(
            centers, spread.squares, 1e300, False, 1.0, 0.5, 1e-3, 1, np.inf, np.inf
        )
        distances = np.abs(X[64:] - centers.T)
        own = distances[np.arange(448), found.labels[64:]]
        np.testing.assert_array_equal(own, distances.min(axis=1))
        n_moved += n_iter
    assert n_moved > 0  # some have settled


def test_which_rows_are_gathered():
    frame = Frame(np.zeros(2), 1.0)
    X = np.random.default_rng(0).normal(size=(1000, 2))
    weights = np.arange(1000.0)
    rows = gathered(array_rows(X, weights), 10, frame)
    assert are_gathered(rows)
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

"""What exact K-medians algorithms are tested for besides the passes: how medians follow moves."""

import numpy as np
import pytest
from clustering_passes import DTYPES, KMEDIANS, WILD, check_pass, drifting, frame_for
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import cluster_medians

from fastem.kernels.kmedians import Bounded, Plain


@pytest.mark.parametrize("algorithm", KMEDIANS)
def test_ties_of_decimals_are_those_of_plain_float64(algorithm):
    """0.1 and its like are rounded: only the same differences in the same order tie the same."""
    rng = np.random.default_rng(0)
    X = rng.integers(-30, 30, (900, 3)) / 10
    tested = algorithm(X, None, 25, frame_for(algorithm, X))
    labels = tested.labels.copy()
    centers = rng.integers(-30, 30, (25, 3)) / 10
    for _ in range(5):
        labels = check_pass(tested, X, None, centers, labels)
        centers = centers + rng.integers(-1, 2, centers.shape) / 10


# Medians that follow the rows


@pytest.mark.parametrize("kind", ["normal", "integers", "mostly zero", "far apart"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_rows", "n_clusters"), [(3000, 2), (9000, 12), (2000, 30)])
def test_medians_follow_moves(n_rows, n_clusters, dtype, kind):
    rng = np.random.default_rng(n_rows)
    X = rng.normal(size=(n_rows, 4))
    if kind == "integers":
        X = np.round(4 * X)
    elif kind == "mostly zero":
        X *= rng.uniform(size=X.shape) < 0.4
    elif kind == "far apart":
        X *= 10.0 ** rng.integers(-8, 8, size=X.shape)
    X = X.astype(dtype)
    tested = Bounded(X, None, n_clusters, frame_for(Bounded, X))
    labels = tested.labels.copy()
    n_moved = []
    for size in (0.005, 0.02, 0.1):
        for centers in drifting(rng, X, n_clusters, 20, size):
            before = labels
            labels = check_pass(tested, X, None, centers, labels)
            n_moved.append(int((labels != before).sum()))
    # Otherwise nothing was followed.
    assert sum(0 < n < n_rows // 8 for n in n_moved) > 10


def test_passes_for_the_labels_only_in_between():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 3))
    tested = Plain(X, None, 5, frame_for(Plain, X))
    for i, centers in enumerate(drifting(rng, X, 5, 12, 0.02)):
        if i % 3 == 1:
            tested.label_rows(centers)
            continue
        statistics = tested.assign(centers)
        expected = cluster_medians(X, tested.labels, 5)
        np.testing.assert_array_equal(statistics.medians, expected)


@settings(deadline=None, max_examples=60)
@given(
    st.data(), st.integers(1, 4), st.integers(1, 100), st.integers(1, 9), st.sampled_from(DTYPES)
)
def test_wild_numbers(data, n_features, n_rows, n_clusters, dtype):
    X = data.draw(arrays(dtype, (n_rows, n_features), elements=WILD, fill=WILD))
    sequence = [
        data.draw(arrays(np.float64, (n_clusters, n_features), elements=WILD, fill=WILD))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    for algorithm in KMEDIANS:
        tested = algorithm(X, None, n_clusters, frame_for(algorithm, X))
        labels = tested.labels.copy()
        for centers in sequence:
            labels = check_pass(tested, X, None, centers, labels)

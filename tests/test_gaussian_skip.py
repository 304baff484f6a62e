"""Skipping must change nothing but the time: every pass is compared with one that skips nothing."""

import tracemalloc

import numba
import numpy as np
import pytest
from gaussian_passes import log_joint_of

from fastem.kernels.gaussian import Parameters, visiting
from fastem.kernels.gaussian.full import FullPass
from fastem.kernels.simd import TILE

DTYPES = [np.float32, np.float64]


@pytest.fixture(autouse=True)
def small_data_are_worth_it(monkeypatch):
    monkeypatch.setattr(visiting, "_LEAST_WORK", 0)


def mixture(n, d, k, gap, seed=0, dtype=np.float64):
    """Rows of ``k`` unit normal components some ``gap`` apart, and parameters near theirs."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(k, d)) * gap / np.sqrt(2 * d)
    X = (means[rng.integers(0, k, n)] + rng.normal(size=(n, d))).astype(dtype)
    factors = np.stack([np.triu(np.eye(d) + 0.1 * rng.normal(size=(d, d))) for _ in range(k)])
    return X, Parameters(np.full(k, -np.log(k)), means + 0.2 * rng.normal(size=(k, d)), factors)


def constants_of(parameters):
    """Log-densities at the means, weights included."""
    factors = parameters.precisions_cholesky
    log_determinants = np.log(np.einsum("kii->ki", factors)).sum(axis=1)
    return parameters.log_weights + log_determinants - 0.5 * factors.shape[1] * np.log(2 * np.pi)


def m_step(statistics, parameters):
    counts = statistics.counts + 1e-14
    delta = statistics.sums / counts[:, np.newaxis]
    covariances = statistics.scatter / counts[:, np.newaxis, np.newaxis]
    covariances = covariances - delta[:, :, np.newaxis] * delta[:, np.newaxis]
    covariances += 1e-6 * np.eye(delta.shape[1])
    factors = np.linalg.inv(np.linalg.cholesky(covariances)).swapaxes(1, 2)
    return Parameters(
        np.log(counts / counts.sum()), parameters.means + delta, np.ascontiguousarray(factors)
    )


class Watched(FullPass):
    """Notes which share of its work each skipping pass does."""

    def __init__(self, X, sample_weight, n_components):
        super().__init__(X, sample_weight, n_components)
        self.shares = []
        learn = self._visitor.learn
        pairs = -(-len(X) // TILE) * n_components

        def note(counted):
            self.shares.append(tuple(counted / pairs))
            learn(counted)

        self._visitor.learn = note


def assert_same(skipping, plain, dtype=np.float64, weights=0.0):
    """``weights`` are the components' before, of which a share may be missing, too."""
    loose = dtype is np.float32
    rtol = 1e-6 if loose else 1e-13
    np.testing.assert_allclose(skipping.objective, plain.objective, rtol=rtol)
    # Each component's own statistics: also where it has next to nothing.
    rtol = 2e-5 if loose else 1e-11
    missing = np.abs(skipping.counts - plain.counts)
    assert (missing <= rtol * (plain.counts + weights) + 1e-290).all()
    size = np.sqrt(np.einsum("kii->ki", plain.scatter) + np.reshape(weights, (-1, 1)))
    bound = rtol * np.sqrt(plain.counts + weights)[:, np.newaxis] * size + 1e-290
    assert (np.abs(skipping.sums - plain.sums) <= bound).all()
    bound = rtol * size[:, :, np.newaxis] * size[:, np.newaxis] + 1e-290
    assert (np.abs(skipping.scatter - plain.scatter) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "d", "k"), [(5000, 4, 16), (4000, 7, 5), (3001, 16, 20), (9000, 14, 65), (2000, 24, 129)]
)
def test_separated_components(n, d, k, dtype):
    X, parameters = mixture(n, d, k, 60.0 if d < 5 else 40.0, dtype=dtype)
    passes = Watched(X, None, k)
    for _ in range(6):
        statistics = passes.step(parameters)
        assert_same(statistics, passes.step(parameters, skip=False), dtype)
        parameters = m_step(statistics, parameters)
    assert passes._visitor.skips
    evaluated, added = passes.shares[-1]
    # At best each tile has one component; few rows have tiles of two and more.
    assert max(evaluated, added) < 2 / k + 2 / (n / TILE)


@pytest.mark.parametrize("hard", [False, True])
def test_weights_and_hard_assignments_and_other_centers(hard):
    X, parameters = mixture(4000, 4, 12, 25.0)
    weights = np.random.default_rng(1).integers(0, 3, len(X)) * 0.7
    passes = Watched(X, weights, 12)
    for _ in range(5):
        centers = parameters.means + 3
        for options in ({}, {"centers": centers}):
            statistics = passes.step(parameters, hard=hard, **options)
            plain = passes.step(parameters, hard=hard, skip=False, **options)
            assert_same(statistics, plain)
        parameters = m_step(passes.step(parameters, hard=hard), parameters)
    assert min(passes.shares)[0] < 0.5


def test_leaps_and_returns():
    """Parameters that move a little, a lot, not at all, trade places, explode and come back."""
    rng = np.random.default_rng(0)
    X, first = mixture(3000, 3, 10, 40.0)
    passes = Watched(X, None, 10)
    sequence = [first] * 4
    for size in (1e-6, 1e-3, 0.03, 0.3, 3.0):
        means = first.means + size * rng.normal(size=first.means.shape)
        factors = first.precisions_cholesky + size / 10 * np.eye(3)
        sequence += [first._replace(means=means, precisions_cholesky=factors), first]
    permuted = rng.permutation(10)
    sequence += [Parameters(*(array[permuted] for array in first)), first]
    sequence += [first._replace(means=first.means + 1e8), first]
    sequence += [first._replace(precisions_cholesky=first.precisions_cholesky * 1e-8), first]
    sequence += [first._replace(precisions_cholesky=first.precisions_cholesky * 1e3), first, first]
    for parameters in sequence:
        assert_same(passes.step(parameters), passes.step(parameters, skip=False))
    assert len(passes.shares) > len(sequence) - 5
    assert min(passes.shares)[0] < 0.5


def test_component_with_hardly_any_weight():
    """What is negligible is so relative to the component's own mass."""
    X, parameters = mixture(4000, 2, 8, 40.0)
    log_weights = parameters.log_weights.copy()
    log_weights[3] = np.log(1e-25)
    log_weights[5] = -np.inf
    means = parameters.means.copy()
    means[3] = means[4] + 6
    parameters = Parameters(log_weights, means, parameters.precisions_cholesky)
    passes = Watched(X, None, 8)
    for _ in range(5):
        statistics = passes.step(parameters)
        plain = passes.step(parameters, skip=False)
        assert 0 < plain.counts[3] < 1e-15
        assert plain.counts[5] == statistics.counts[5] == 0
        assert_same(statistics, plain, weights=len(X) * np.exp(log_weights))
    assert min(passes.shares)[0] < 0.6


@pytest.mark.parametrize("dtype", DTYPES)
def test_outliers(dtype):
    X, parameters = mixture(4000, 6, 9, 40.0, dtype=dtype)
    X[::500] *= dtype(1e5)
    passes = Watched(X, None, 9)
    for _ in range(5):
        assert_same(passes.step(parameters), passes.step(parameters, skip=False), dtype)
    assert min(passes.shares)[0] < 0.9


def test_overlapping_components_are_not_sorted():
    X, parameters = mixture(4000, 4, 8, 1.0)
    passes = Watched(X, None, 8)
    for _ in range(9):
        parameters = m_step(passes.step(parameters), parameters)
    assert passes.shares == []


def test_gives_up_where_it_does_not_pay(monkeypatch):
    monkeypatch.setattr(visiting, "_UNPROFITABLE", 0.0)
    X, parameters = mixture(4000, 4, 8, 30.0)
    passes = Watched(X, None, 8)
    for _ in range(9):
        assert_same(passes.step(parameters), FullPass(X, None, 8).step(parameters, skip=False))
    # Tried in four passes, of which two were looked at, and not again at once.
    assert len(passes.shares) == 4
    assert not passes._visitor.skips


def test_bounds_hold():
    X, parameters = mixture(6000, 5, 8, 20.0)
    passes = Watched(X, None, 8)
    visitor = passes._visitor
    for _ in range(8):
        statistics = passes.step(parameters)
        if visitor.skips:
            rows = np.arange(len(X)) // visitor._block_rows * visitor._block_rows + visitor._order
            np.testing.assert_array_equal(np.sort(rows), np.arange(len(X)))
            log_joint = log_joint_of(X, parameters, "full")
            gaps = (log_joint.max(axis=1, keepdims=True) - log_joint)[rows]
            least = np.minimum.reduceat(gaps, np.arange(0, len(X), TILE))
            peaks = constants_of(parameters)
            bounds = visitor._bounds.reshape(visitor._n_tiles, -1)[:, :8].astype(float)
            proven = visitor._least[:, np.newaxis] - peaks + bounds**2 / 2
            assert (proven <= least).all()
        parameters = m_step(statistics, parameters)
    assert np.median((least - proven)[least < 100]) < 2


def test_rows_are_sorted_anew_when_components_trade_rows():
    rng = np.random.default_rng(0)
    X, first = mixture(24_000, 2, 6, 60.0)
    passes = Watched(X, None, 6)
    for _ in range(4):
        passes.step(first)
    before = passes._visitor._order.copy()
    # Other components, whose parts of the rows cut across those of the first.
    means = X[rng.choice(len(X), 6, replace=False)]
    other = first._replace(means=means, precisions_cholesky=first.precisions_cholesky / 3)
    for _ in range(6):
        assert_same(passes.step(other), passes.step(other, skip=False))
    assert (passes._visitor._order != before).any()


def test_outputs_stay_in_the_order_of_the_rows():
    X, parameters = mixture(3000, 3, 8, 40.0)
    passes = FullPass(X, None, 8)
    labels, later = np.empty((2, len(X)), np.int32)
    passes.evaluate(parameters, labels=labels)
    for _ in range(4):
        passes.step(parameters)
    assert passes._visitor.skips
    passes.evaluate(parameters, labels=later)
    np.testing.assert_array_equal(labels, later)


def test_same_for_any_number_of_threads():
    X, first = mixture(8000, 3, 8, 20.0)

    def run():
        parameters, passes, results = first, FullPass(X, None, 8), []
        for _ in range(6):
            statistics = passes.step(parameters)
            results += statistics
            parameters = m_step(statistics, parameters)
        assert passes._visitor.skips
        return results

    expected = run()
    try:
        for n_threads in range(1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(n_threads)
            for a, b in zip(run(), expected, strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def test_memory_is_a_fraction_of_the_data():
    X, parameters = mixture(150_000, 16, 32, 60.0)
    FullPass(X[:4000], None, 32).step(parameters)  # compiles
    tracemalloc.start()
    passes = Watched(X, None, 32)
    for _ in range(4):
        passes.step(parameters)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert passes.shares[-1][0] < 0.1
    assert peak < X.nbytes / 4


def test_narrow_rows_are_not_sorted_where_bounds_would_take_too_much_memory():
    X, parameters = mixture(4000, 2, 300, 300.0)
    passes = Watched(X, None, 300)
    for _ in range(4):
        passes.step(parameters)
    assert passes.shares == []

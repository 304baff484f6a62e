"""Skipping must change nothing but the time: every pass is compared with one that skips nothing."""

import tracemalloc

import numba
import numpy as np
import pytest
from gaussian_passes import log_joint_of
from threads import on_threads

from fastem.kernels.gaussian import PASSES, GaussianComponents
from fastem.kernels.gaussian.skip import visiting
from fastem.kernels.vectors.machine import TILE
from fastem.mixtures.gaussian.covariances import COVARIANCES

DTYPES = [np.float32, np.float64]
OTHERS = [name for name in PASSES if name != "full"]


@pytest.fixture(autouse=True)
def small_data_are_worth_it(monkeypatch):
    monkeypatch.setattr(visiting, "_LEAST_WORK", 0)
    monkeypatch.setattr(visiting, "_OVERHEAD", 0)


def mixture(n, d, k, gap, seed=0, dtype=np.float64, covariance_type="full"):
    """Rows of ``k`` unit normal components some ``gap`` apart, and parameters near theirs."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(k, d)) * gap / np.sqrt(2 * d)
    X = (means[rng.integers(0, k, n)] + rng.normal(size=(n, d))).astype(dtype)
    factors = {
        "full": np.stack([np.triu(np.eye(d) + 0.1 * rng.normal(size=(d, d))) for _ in range(k)]),
        "tied": np.triu(np.eye(d) + 0.1 * rng.normal(size=(d, d))),
        "diag": rng.uniform(0.8, 1.2, size=(k, d)),
        "spherical": rng.uniform(0.8, 1.2, size=k),
        "tied_diag": rng.uniform(0.8, 1.2, size=d),
        "tied_spherical": np.array(0.9),
    }[covariance_type]
    return X, GaussianComponents(
        np.full(k, -np.log(k)), means + 0.2 * rng.normal(size=(k, d)), factors
    )


def constants_of(parameters):
    """Log-densities at the means, weights included."""
    factors = parameters.precisions_cholesky
    log_determinants = np.log(np.einsum("kii->ki", factors)).sum(axis=1)
    return parameters.log_weights + log_determinants - 0.5 * factors.shape[1] * np.log(2 * np.pi)


def m_step(statistics, parameters, covariance_type="full"):
    kind = COVARIANCES[covariance_type]
    _, counts, sums, scatter, _ = statistics
    counts = counts + 1e-14
    means = parameters.means + sums / counts[:, np.newaxis]
    covariances = kind.estimate(
        counts, sums, scatter, means, parameters.means, counts, reg_covar=1e-6
    )
    return GaussianComponents(np.log(counts / counts.sum()), means, kind.factor(covariances))


class Watched:
    """A pass that notes which share of its work each skipping pass does."""

    def __init__(self, X, sample_weight, n_components, covariance_type="full"):
        self._pass = PASSES[covariance_type](X, sample_weight, n_components)
        self.shares = []
        learn = self.sweep.visitor.learn
        pairs = -(-len(X) // TILE) * n_components

        def note(counted):
            self.shares.append(tuple(counted / pairs))
            learn(counted)

        self.sweep.visitor.learn = note

    def __getattr__(self, name):
        return getattr(self._pass, name)


def deviations(statistics):
    """Roots of each component's scatter along each feature, or of its part of all scatter."""
    _, counts, sums, scatter, _ = statistics
    if np.shape(scatter) == (*sums.shape, sums.shape[1]):
        return np.sqrt(np.einsum("kii->ki", scatter))
    if np.shape(scatter) == sums.shape:
        return np.sqrt(scatter)
    if np.shape(scatter) == counts.shape:
        return np.sqrt(np.broadcast_to(scatter[:, np.newaxis], sums.shape))
    variances = np.diagonal(scatter) if np.ndim(scatter) == 2 else scatter
    return np.sqrt(np.outer(counts / counts.sum(), np.broadcast_to(variances, sums.shape[1])))


def assert_same(skipping, plain, dtype=np.float64, weights=0.0):
    """``weights`` are the components' before, of which a share may be missing, too."""
    loose = dtype is np.float32
    rtol = 1e-6 if loose else 1e-13
    np.testing.assert_allclose(skipping.objective, plain.objective, rtol=rtol)
    # Each component's own statistics: also where it has next to nothing.
    full = plain.scatter.ndim == 3
    rtol = (2e-5 if loose else 1e-11) * (1 if full else 10)
    missing = np.abs(skipping.counts - plain.counts)
    assert (missing <= rtol * (plain.counts + weights) + 1e-290).all()
    size = np.sqrt(deviations(plain) ** 2 + np.reshape(weights, (-1, 1)))
    bound = rtol * np.sqrt(plain.counts + weights)[:, np.newaxis] * size + 1e-290
    assert (np.abs(skipping.sums - plain.sums) <= bound).all()
    if full:
        bound = rtol * size[:, :, np.newaxis] * size[:, np.newaxis] + 1e-290
    else:
        bound = rtol * np.abs(plain.scatter).max() + 1e-290
    assert (np.abs(skipping.scatter - plain.scatter) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "d", "k"), [(5000, 4, 16), (4000, 7, 5), (3001, 16, 20), (9000, 14, 65), (2000, 24, 129)]
)
def test_separated_components(n, d, k, dtype):
    X, parameters = mixture(n, d, k, 60.0 if d < 5 else 40.0, dtype=dtype)
    passes = Watched(X, None, k)
    for _ in range(6):
        statistics = passes.e_step(parameters)
        assert_same(statistics, passes.e_step(parameters, skip=False), dtype)
        parameters = m_step(statistics, parameters)
    assert passes.sweep.visitor.skips
    evaluated, added = passes.shares[-1]
    # At best each tile has one component; few rows have tiles of two and more.
    assert max(evaluated, added) < 2 / k + 2 / (n / TILE)


@pytest.mark.parametrize("covariance_type", OTHERS)
@pytest.mark.parametrize(("n", "d", "k"), [(3001, 16, 20), (9000, 13, 65), (4000, 3, 16)])
def test_separated_components_of_other_types(n, d, k, covariance_type):
    X, parameters = mixture(n, d, k, 60.0 if d < 5 else 40.0, covariance_type=covariance_type)
    passes = Watched(X, None, k, covariance_type)
    for _ in range(6):
        statistics = passes.e_step(parameters)
        assert_same(statistics, passes.e_step(parameters, skip=False))
        parameters = m_step(statistics, parameters, covariance_type)
    assert passes.sweep.visitor.skips
    assert max(passes.shares[-1]) < 2 / k + 2 / (n / TILE)


def test_separated_components_of_other_types_in_float32():
    X, parameters = mixture(3001, 16, 20, 30.0, dtype=np.float32, covariance_type="diag")
    passes = Watched(X, None, 20, "diag")
    for _ in range(6):
        statistics = passes.e_step(parameters)
        assert_same(statistics, passes.e_step(parameters, skip=False), np.float32)
        parameters = m_step(statistics, parameters, "diag")
    assert max(passes.shares[-1]) < 0.3


@pytest.mark.parametrize("covariance_type", PASSES)
@pytest.mark.parametrize("hard", [False, True])
def test_weights_and_hard_assignments(hard, covariance_type):
    X, parameters = mixture(4000, 4, 16, 30.0, covariance_type=covariance_type)
    weights = np.random.default_rng(1).integers(0, 3, len(X)) * 0.7
    passes = Watched(X, weights, 16, covariance_type)
    for _ in range(5):
        statistics = passes.e_step(parameters, hard=hard)
        assert_same(statistics, passes.e_step(parameters, hard=hard, skip=False))
        parameters = m_step(statistics, parameters, covariance_type)
    assert min(passes.shares)[0] < 0.5


def test_other_centers():
    X, parameters = mixture(4000, 4, 12, 25.0)
    passes = Watched(X, None, 12)
    for _ in range(5):
        statistics = passes.e_step(parameters, centers=parameters.means + 3)
        plain = passes.e_step(parameters, centers=parameters.means + 3, skip=False)
        assert_same(statistics, plain)
    assert min(passes.shares)[0] < 0.5


@pytest.mark.parametrize("covariance_type", PASSES)
def test_leaps_and_returns(covariance_type):
    """Parameters that move a little, a lot, not at all, trade places, explode and come back."""
    rng = np.random.default_rng(0)
    X, first = mixture(3000, 3, 16, 90.0, covariance_type=covariance_type)
    passes = Watched(X, None, 16, covariance_type)
    factors = first.precisions_cholesky
    sequence = [first] * 4
    for size in (1e-6, 1e-3, 0.03, 0.3, 3.0):
        means = first.means + size * rng.normal(size=first.means.shape)
        moved = factors * (1 + size / 10)
        sequence += [first._replace(means=means, precisions_cholesky=moved), first]
    permuted = rng.permutation(16)
    own = len(factors) == 16 if np.ndim(factors) else False
    sequence.append(
        GaussianComponents(
            first.log_weights[permuted],
            first.means[permuted],
            factors[permuted] if own else factors,
        )
    )
    sequence += [first, first._replace(means=first.means + 1e8), first]
    sequence += [first._replace(precisions_cholesky=factors * 1e-8), first]
    sequence += [first._replace(precisions_cholesky=factors * 1e3), first, first]
    for parameters in sequence:
        skipping, plain = passes.e_step(parameters), passes.e_step(parameters, skip=False)
        if covariance_type == "full":
            assert_same(skipping, plain)
        else:  # without skipping, the extremes lose more digits
            np.testing.assert_allclose(skipping.objective, plain.objective, rtol=1e-11)
            np.testing.assert_allclose(skipping.counts, plain.counts, rtol=1e-7, atol=1e-7)
    assert min(passes.shares)[0] < 0.5


@pytest.mark.parametrize("covariance_type", PASSES)
def test_duplicated_rows_and_a_component_that_dies(covariance_type):
    X, parameters = mixture(40, 4, 16, 40.0, covariance_type=covariance_type)
    X = np.repeat(X, 100, axis=0)
    passes = Watched(X, None, 16, covariance_type)
    for step in range(7):
        statistics = passes.e_step(parameters)
        weights = len(X) * np.exp(parameters.log_weights)
        assert_same(statistics, passes.e_step(parameters, skip=False), weights=weights)
        log_weights = parameters.log_weights.copy()
        log_weights[2] -= 4.0 * step**2  # until nothing is left
        means = parameters.means + 1e-3 * step
        parameters = parameters._replace(log_weights=log_weights, means=means)
    assert min(passes.shares)[0] < 0.5


def test_component_with_hardly_any_weight():
    """What is negligible is so relative to the component's own mass."""
    X, parameters = mixture(4000, 2, 8, 40.0)
    log_weights = parameters.log_weights.copy()
    log_weights[3] = np.log(1e-25)
    log_weights[5] = -np.inf
    means = parameters.means.copy()
    means[3] = means[4] + 6
    parameters = GaussianComponents(log_weights, means, parameters.precisions_cholesky)
    passes = Watched(X, None, 8)
    for _ in range(5):
        statistics = passes.e_step(parameters)
        plain = passes.e_step(parameters, skip=False)
        assert 0 < plain.counts[3] < 1e-15
        assert plain.counts[5] == statistics.counts[5] == 0
        assert_same(statistics, plain, weights=len(X) * np.exp(log_weights))
    assert min(passes.shares)[0] < 0.6


@pytest.mark.parametrize(
    ("covariance_type", "dtype"),
    [("full", np.float32), *((covariance_type, np.float64) for covariance_type in PASSES)],
)
def test_outliers(covariance_type, dtype):
    X, parameters = mixture(4000, 6, 16, 40.0, dtype=dtype, covariance_type=covariance_type)
    X[::500] *= dtype(1e4)
    passes = Watched(X, None, 16, covariance_type)
    for _ in range(5):
        assert_same(passes.e_step(parameters), passes.e_step(parameters, skip=False), dtype)
    assert min(passes.shares)[0] < 0.9


def test_overlapping_components_are_not_sorted():
    X, parameters = mixture(4000, 4, 8, 1.0)
    passes = Watched(X, None, 8)
    for _ in range(9):
        parameters = m_step(passes.e_step(parameters), parameters)
    assert passes.shares == []


def test_gives_up_where_it_does_not_pay(monkeypatch):
    X, parameters = mixture(4000, 4, 8, 30.0)
    passes = Watched(X, None, 8)
    passes.e_step(parameters)
    monkeypatch.setattr(passes.sweep.visitor, "_most_pairs", 0.0)
    for _ in range(8):
        assert_same(
            passes.e_step(parameters), PASSES["full"](X, None, 8).e_step(parameters, skip=False)
        )
    # Tried in four passes, of which two were looked at, and not again at once.
    assert len(passes.shares) == 4
    assert not passes.sweep.visitor.skips


def test_gives_up_where_every_look_has_all_rows_sorted_anew():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 4))
    passes = Watched(X, None, 8)

    def components(precision):
        means, factors = rng.normal(size=(8, 4)), np.full((8, 4, 4), precision * np.eye(4))
        return GaussianComponents(np.full(8, -np.log(8)), means, factors)

    passes.e_step(components(50.0))  # each row in one of them, so that skipping is tried
    assert passes.sweep.visitor.skips
    for _ in range(6):
        overlapping = components(0.5)  # by which every row is another one's in every pass
        skipping = passes.e_step(overlapping)
        assert_same(skipping, PASSES["full"](X, None, 8).e_step(overlapping, skip=False))
    assert len(passes.shares) == 5
    assert not passes.sweep.visitor.skips


def test_bounds_hold():
    X, parameters = mixture(6000, 5, 8, 20.0)
    passes = Watched(X, None, 8)
    visitor = passes.sweep.visitor
    for _ in range(8):
        statistics = passes.e_step(parameters)
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
        passes.e_step(first)
    before = passes.sweep.visitor._order.copy()
    # Other components, whose parts of the rows cut across those of the first.
    means = X[rng.choice(len(X), 6, replace=False)]
    other = first._replace(means=means, precisions_cholesky=first.precisions_cholesky / 3)
    for _ in range(6):
        assert_same(passes.e_step(other), passes.e_step(other, skip=False))
    assert (passes.sweep.visitor._order != before).any()


@pytest.mark.parametrize("covariance_type", PASSES)
def test_outputs_stay_in_the_order_of_the_rows(covariance_type):
    X, parameters = mixture(3000, 3, 16, 90.0, covariance_type=covariance_type)
    passes = PASSES[covariance_type](X, None, 16)

    def outputs():
        labels, responsibilities = np.empty(len(X), np.int32), np.empty((len(X), 16))
        passes.evaluate(parameters, labels=labels, responsibilities=responsibilities)
        return labels, responsibilities

    before = outputs()
    for _ in range(4):
        passes.e_step(parameters)
    assert passes.sweep.visitor.skips
    for earlier, later in zip(before, outputs(), strict=True):
        np.testing.assert_array_equal(earlier, later)


def test_same_for_any_number_of_threads():
    X, first = mixture(8000, 3, 8, 20.0)

    def run():
        parameters, passes, results = first, PASSES["full"](X, None, 8), []
        for _ in range(6):
            statistics = passes.e_step(parameters)
            results += statistics
            parameters = m_step(statistics, parameters)
        assert passes.sweep.visitor.skips
        return results

    expected = run()
    for found in on_threads(range(1, numba.config.NUMBA_NUM_THREADS), run):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_memory_is_a_fraction_of_the_data():
    X, parameters = mixture(150_000, 16, 32, 60.0)
    PASSES["full"](X[:4000], None, 32).e_step(parameters)  # compiles
    tracemalloc.start()
    passes = Watched(X, None, 32)
    for _ in range(4):
        passes.e_step(parameters)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert passes.shares[-1][0] < 0.1
    assert peak < X.nbytes / 4


def test_narrow_rows_are_not_sorted_where_bounds_would_take_too_much_memory():
    X, parameters = mixture(4000, 2, 300, 300.0)
    passes = Watched(X, None, 300)
    for _ in range(4):
        passes.e_step(parameters)
    assert passes.shares == []

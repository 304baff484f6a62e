"""The textbooks' cases, against enumeration, plain formulas and SciPy."""

import itertools
import warnings

import numpy as np
import pytest
from reference import gaussian_em, gaussian_log_joint
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning

from fastem import GaussianMixture, KMeans, kl_gaussian, kmeans_plusplus

# The corners of a rectangle: width W = 1 and height H > W. Two clusters of a short side each cost
# W**2, the least there is; Lloyd's iterations also stop at those of a long side each, for H**2.
HEIGHTS = (1.5, 2.0, 5.0)


def corners(height):
    return np.array([[0.0, 0], [1, 0], [0, height], [1, height]])


def cost(X, init):
    return KMeans(2, init=np.array(init)).fit(X).inertia_


def least_cost(X):
    """Over all partitions into two."""
    costs = []
    for labels in itertools.product([0, 1], repeat=len(X)):
        parts = [X[np.array(labels) == k] for k in set(labels)]
        costs.append(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))
    return min(costs)


@pytest.mark.parametrize("height", HEIGHTS)
def test_lloyd_can_stop_at_a_minimum_worse_by_the_square_of_the_sides_ratio(height):
    X = corners(height)
    assert least_cost(X) == pytest.approx(1.0)
    best = KMeans(2, init=X[::2]).fit(X)
    assert best.inertia_ == pytest.approx(1.0)
    stuck = KMeans(2, init=X[:2]).fit(X)
    assert stuck.inertia_ == pytest.approx(height**2)
    np.testing.assert_array_equal(stuck.labels_, [0, 1, 0, 1])
    # It is a fixed point, and how the distances are skipped makes no difference.
    for algorithm in ("lloyd", "elkan", "hamerly"):
        again = KMeans(2, init=stuck.cluster_centers_, tol=0, algorithm=algorithm).fit(X)
        np.testing.assert_array_equal(again.cluster_centers_, stuck.cluster_centers_)
    # Hard and soft EM with one small known variance stop there, too.
    for assignment in ("hard", "soft"):
        model = GaussianMixture(
            2,
            covariance_type="tied_spherical",
            fixed=("weights", "covariances"),
            weights_init=[0.5, 0.5],
            means_init=X[:2],
            precisions_init=1e4,
            assignment=assignment,
        ).fit(X)
        np.testing.assert_allclose(model.means_, stuck.cluster_centers_, atol=1e-12)


def seeds_by_probability(X, power):
    """All pairs of seeds, the second drawn by a power of the distance."""
    for first in X:
        others = [x for x in X if (x != first).any()]
        chances = np.array([np.linalg.norm(other - first) ** power for other in others])
        for second, chance in zip(others, chances / chances.sum(), strict=True):
            yield chance / len(X), (first, second)


def potential(X, seeds):
    return np.min([((X - seed) ** 2).sum(axis=1) for seed in seeds], axis=0).sum()


def greedy_seeds_by_probability(X):
    """The second seed is the better of two drawn."""
    for first in X:
        chances = ((X - first) ** 2).sum(axis=1)
        chances = chances / chances.sum()
        for a, b in itertools.product(range(len(X)), repeat=2):
            seeds = min([(first, X[a]), (first, X[b])], key=lambda pair: potential(X, pair))
            if chances[a] * chances[b] > 0:
                yield chances[a] * chances[b] / len(X), seeds


def partitions_by_probability(X):
    """Every row in a random cluster; a random row stands for a cluster without rows."""
    for labels in itertools.product([0, 1], repeat=len(X)):
        labels, chance = np.array(labels), 0.5 ** len(X)
        if len(set(labels)) == 2:
            yield chance, [X[labels == k].mean(axis=0) for k in (0, 1)]
            continue
        for row in X:
            pair = [X.mean(axis=0), row]
            yield chance / len(X), pair if labels[0] == 0 else pair[::-1]


def plain(X, n_clusters, random_state):
    return kmeans_plusplus(X, n_clusters, random_state=random_state, n_local_trials=1)[0]


INITS = {
    "random points": ("random", lambda X: seeds_by_probability(X, 0)),
    "random partition": ("random_partition", partitions_by_probability),
    "k-means++": (plain, lambda X: seeds_by_probability(X, 2)),
    "greedy k-means++": ("k-means++", greedy_seeds_by_probability),
}


def expected_cost(X, name):
    pairs = list(INITS[name][1](X))
    assert sum(chance for chance, _ in pairs) == pytest.approx(1.0)
    return sum(chance * cost(X, seeds) for chance, seeds in pairs)


@pytest.mark.parametrize("height", [*HEIGHTS, 100.0])
def test_kmeans_plusplus_costs_at_most_one_and_a_half_of_the_least(height):
    """On average, however long the rectangle; other starts' averages grow with it."""
    X, H = corners(height), height**2
    assert expected_cost(X, "random points") == pytest.approx((2 + H) / 3)
    expected = expected_cost(X, "k-means++")
    assert expected == pytest.approx((3 * H + 1) / (2 * H + 2))
    assert 1 < expected < 1.5
    # Two candidates are both bad by the square of one's probability, 1 / (2 + 2 H).
    expected = expected_cost(X, "greedy k-means++")
    assert expected == pytest.approx(1 + (H - 1) / (2 + 2 * H) ** 2)
    if height == 2:
        # The two partitions into the long sides end there, the fourteen others at the least.
        assert expected_cost(X, "random partition") == pytest.approx((14 + 2 * H) / 16)
    # Before Lloyd's iterations the seeds alone cost at most three times the least.
    pairs = list(seeds_by_probability(X, 2))
    seeding = sum(chance * potential(X, seeds) for chance, seeds in pairs)
    assert seeding == pytest.approx((3 * H + 1) / (H + 1))


@pytest.mark.parametrize("name", INITS)
def test_runs_cost_what_their_starts_probabilities_say(name):
    X = corners(2.0)
    init = INITS[name][0]
    runs = [KMeans(2, init=init, n_init=1, random_state=run).fit(X).inertia_ for run in range(800)]
    assert np.isclose(runs, 1).sum() + np.isclose(runs, 4).sum() == 800
    expected = expected_cost(X, name)
    p = (expected - 1) / 3  # of ending at 4
    assert np.mean(runs) == pytest.approx(expected, abs=4 * 3 * np.sqrt(p * (1 - p) / 800))
    assert KMeans(2, init=init, n_init=20, random_state=0).fit(X).inertia_ == pytest.approx(1)


# The divergence of two Gaussians.


@pytest.mark.parametrize(("variance", "known"), [(1.0, 0.5), (100.0, 0.005)])
def test_means_one_apart_differ_the_less_the_more_they_scatter(variance, known):
    assert kl_gaussian(0.0, variance, 1.0, variance) == pytest.approx(known, rel=1e-14)
    p, q = norm(0, variance**0.5), norm(1, variance**0.5)
    range_ = -12 * variance**0.5, 12 * variance**0.5
    integral, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), *range_)
    assert integral == pytest.approx(known, rel=1e-8)


# 50 points of 0.3 N(-0.8, 0.52) + 0.7 N(1.2, 0.35).


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    first = rng.random(50) < 0.3
    x = np.where(first, rng.normal(-0.8, 0.52**0.5, 50), rng.normal(1.2, 0.35**0.5, 50))
    return x[:, np.newaxis]


START = np.array([0.5, 0.5]), np.array([[0.0], [1.0]]), np.array([1.0, 1.0])


def after(n_rounds, X, **options):
    weights, means, variances = START
    model = GaussianMixture(
        2,
        covariance_type="spherical",
        weights_init=weights,
        means_init=means,
        precisions_init=1 / variances,
        reg_covar=0.0,
        max_iter=n_rounds,
        **{"tol": 0.0, **options},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


@pytest.mark.parametrize("n_rounds", [0, 1, 2, 5, 20])
def test_rounds_of_em_on_fifty_points(n_rounds, points):
    model = after(n_rounds, points)
    (weights, means, variances), history = gaussian_em(points, START, "spherical", n_rounds)
    np.testing.assert_allclose(model.weights_, weights, rtol=1e-9)
    np.testing.assert_allclose(model.means_, means, rtol=1e-9)
    np.testing.assert_allclose(model.covariances_, variances, rtol=1e-9)
    np.testing.assert_allclose(model.lower_bounds_, history, rtol=1e-12)
    grid = np.linspace(-4, 5, 50)[:, np.newaxis]
    log_joint = gaussian_log_joint(grid, weights, means, variances[:, np.newaxis, np.newaxis])
    np.testing.assert_allclose(model.score_samples(grid), logsumexp(log_joint, axis=1), rtol=1e-9)


def test_fifty_points_are_fitted_better_than_by_the_truth(points):
    model = after(10_000, points, tol=1e-13)
    assert model.converged_
    assert (np.diff(model.lower_bounds_) >= -1e-14).all()
    truth = GaussianMixture.from_parameters(
        [0.3, 0.7], [[-0.8], [1.2]], [0.52, 0.35], covariance_type="spherical"
    )
    assert model.score(points) > truth.score(points)
    density = 0.3 * norm.pdf(points, -0.8, 0.52**0.5) + 0.7 * norm.pdf(points, 1.2, 0.35**0.5)
    assert truth.score(points) == pytest.approx(np.log(density).mean())
    # Where EM ends, the likelihood has no slope: each parameter but the weights, which sum to one.
    parameters = model.weights_, model.means_, model.covariances_
    for which in (1, 2):
        for k in (0, 1):
            scores = []
            for step in (-1e-4, 1e-4):
                moved = [np.array(parameter) for parameter in parameters]
                moved[which][k] += step
                one = GaussianMixture.from_parameters(*moved, covariance_type="spherical")
                scores.append(one.score(points))
            assert abs(scores[1] - scores[0]) / 2e-4 < 1e-5
            assert max(scores) < model.score(points)


# A local maximum.


def test_restarts_escape_a_local_maximum():
    rng = np.random.default_rng(3)
    X = np.vstack([place + rng.normal(size=(100, 2)) for place in ([0, 0], [3.2, 0], [8, 5])])
    stuck = GaussianMixture(
        3,
        weights_init=[1 / 3] * 3,
        means_init=[[1.6, 0], [7.5, 5], [8.5, 5]],
        precisions_init=[np.eye(2)] * 3,
        tol=1e-10,
        max_iter=2000,
    ).fit(X)
    assert stuck.converged_
    # It has two components for one group and one for two.
    groups = stuck.predict(X).reshape(3, 100)
    assert set(groups[0]) == set(groups[1]) == {0}
    assert np.isin(groups[2], [1, 2]).mean() > 0.95
    options = {"init_params": "random_from_data", "tol": 1e-6, "max_iter": 2000}
    single = [GaussianMixture(3, random_state=run, **options).fit(X) for run in range(8)]
    assert min(model.lower_bound_ for model in single) < stuck.lower_bound_ + 1e-5
    best = GaussianMixture(3, n_init=8, random_state=0, **options).fit(X)
    assert best.lower_bound_ > stuck.lower_bound_ + 0.02
    gaps = best.means_[:, np.newaxis] - X.reshape(3, 100, 2).mean(axis=1)
    assert np.linalg.norm(gaps, axis=2).min(axis=0).max() < 0.2


# The sum of two independent variables.


def test_the_sum_of_two_mixtures_is_their_convolution():
    first = [0.6, 0.4], [-2.0, 2.5], [0.3, 0.8]
    second = [0.5, 0.2, 0.3], [0.0, 7.0, 16.0], [0.4, 0.1, 1.5]
    p, q = (
        GaussianMixture.from_parameters(
            weights, np.reshape(means, (-1, 1)), variances, covariance_type="spherical"
        )
        for weights, means, variances in (first, second)
    )
    total = p.convolve(q)
    assert len(total.weights_) == 6

    def density(x, weights, means, variances):
        return np.dot(weights, norm.pdf(x, means, np.sqrt(variances)))

    for x in (-2.0, 1.0, 4.4, 9.0, 14.5, 19.0):
        integral, _ = quad(
            lambda y, x=x: density(y, *first) * density(x - y, *second), -8, 9, epsabs=1e-12
        )
        assert np.exp(total.score_samples([[x]])[0]) == pytest.approx(integral, rel=1e-7)
    # A histogram of sums: each count is binomial.
    n_draws, edges = 40_000, np.linspace(-7, 25, 41)
    rng = np.random.default_rng(2)
    drawn = [
        rng.permutation(mixture.set_params(random_state=seed).sample(n_draws)[0].ravel())
        for seed, mixture in enumerate((p, q))
    ]
    counts, _ = np.histogram(drawn[0] + drawn[1], edges)
    spread = np.sqrt(total.covariances_)
    below = norm.cdf(edges[:, np.newaxis], total.means_.ravel(), spread) @ total.weights_
    expected = np.diff(below)
    assert expected.sum() == pytest.approx(1, abs=1e-3)
    error = np.sqrt(n_draws * expected * (1 - expected)) + 1
    assert (np.abs(counts - n_draws * expected) < 4.5 * error).all()

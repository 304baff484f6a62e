"""A uniform noise component beside the Gaussian ones."""

import pickle

import numpy as np
import pytest
from reference import gaussian_em, gaussian_log_joint
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from fastem import CriterionSearch, GaussianMixture, kl_divergence
from fastem.mixtures.gaussian.covariances import COVARIANCES

TYPES = [name for name, kind in COVARIANCES.items() if name == kind.name]
PLAIN_TYPES = [name for name in TYPES if name.islower()]
every_type = pytest.mark.parametrize("covariance_type", TYPES)


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def three_groups(n_rows=600, share=0.2, seed=0):
    """Rows of three groups, and of a square around them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_rows)
    means = np.array([[0.0, 0.0], [5.0, 1.0], [1.0, 6.0]])
    X = means[y] + rng.normal(size=(n_rows, 2)) * [0.5, 0.4]
    noise = rng.uniform(size=n_rows) < share
    X[noise] = rng.uniform(-12, 15, size=(noise.sum(), 2))
    return X, np.where(noise, -1, y)


def fitted(X, sample_weight=None, **options):
    options = {
        "noise_component": "auto", "tol": 1e-9, "max_iter": 300, "random_state": 0, **options
    }  # fmt: skip
    return GaussianMixture(3, **options).fit(X, sample_weight=sample_weight)


def start_of(covariance_type):
    means = np.array([[0.5, 0.0], [4.0, 1.0], [1.0, 5.0]])
    covariances = {
        "full": np.stack([2 * np.eye(2)] * 3),
        "tied": 2 * np.eye(2),
        "diag": np.full((3, 2), 2.0),
        "spherical": np.full(3, 2.0),
        "tied_diag": np.full(2, 2.0),
        "tied_spherical": np.array(2.0),
    }[covariance_type]
    return np.array([0.3, 0.3, 0.3, 0.1]), means, covariances


def test_groups_are_found_amid_noise():
    X, y = three_groups()
    mixture = fitted(X)
    labels = mixture.predict(X)
    assert adjusted_rand_score(y, labels) > 0.9
    # The most probable labels of the density that the rows were drawn from do hardly better.
    assert (labels == -1).mean() == pytest.approx((y == -1).mean(), abs=0.03)
    assert mixture.noise_weight_ == pytest.approx(0.2, abs=0.05)
    np.testing.assert_allclose(
        np.sort(mixture.means_, axis=0), np.sort([[0, 0], [5, 1], [1, 6]], axis=0), atol=0.15
    )
    variances = np.einsum("kii->ki", mixture.covariances_)
    np.testing.assert_allclose(variances, [[0.25, 0.16]] * 3, rtol=0.3)
    plain = GaussianMixture(3, random_state=0, n_init=5).fit(X)
    assert adjusted_rand_score(y, plain.predict(X)) < 0.7
    assert np.einsum("kii->ki", plain.covariances_).max() > 10


@pytest.mark.parametrize("covariance_type", ["full", "tied", "spherical", "EVI"])
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data"])
def test_any_start_copes(init_params, covariance_type):
    X, y = three_groups()
    options = {"init_params": init_params, "covariance_type": covariance_type}
    mixture = fitted(X, n_init=10, tol=1e-6, **options)
    assert adjusted_rand_score(y, mixture.predict(X)) > 0.9


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", PLAIN_TYPES)
def test_steps_are_those_of_the_twin(covariance_type, weighted, hard):
    X, _ = three_groups()
    sample_weight = np.random.default_rng(1).uniform(size=len(X)) if weighted else None
    start = start_of(covariance_type)
    expected, history = gaussian_em(
        X, start, covariance_type, 5, sample_weight, 0.01, hard, noise=-6.5
    )
    invert = np.linalg.inv if covariance_type in ("full", "tied") else np.reciprocal
    mixture = GaussianMixture(
        3,
        covariance_type=covariance_type,
        weights_init=start[0][:3],
        means_init=start[1],
        precisions_init=invert(start[2]),
        reg_covar=0.01,
        max_iter=5,
        tol=0.0,
        assignment="hard" if hard else "soft",
        noise_component=-6.5,
    ).fit(X, sample_weight=sample_weight)
    np.testing.assert_allclose(mixture.lower_bounds_, history, rtol=1e-10)
    np.testing.assert_allclose(mixture.weights_, expected[0][:3], rtol=1e-9)
    np.testing.assert_allclose(mixture.noise_weight_, expected[0][3], rtol=1e-9)
    np.testing.assert_allclose(mixture.means_, expected[1], rtol=1e-9)
    np.testing.assert_allclose(mixture.covariances_, expected[2], rtol=1e-9, atol=1e-12)
    assert mixture.noise_log_density_ == -6.5
    assert mixture.noise_box_ is None


@every_type
@pytest.mark.parametrize("options", [{}, {"accelerate": "squarem"}, {"assignment": "hard"}])
def test_the_objective_never_falls(covariance_type, options):
    X, _ = three_groups(400)
    for prior in (None, "conjugate"):
        if prior and "assignment" in options:
            continue
        mixture = fitted(
            X, covariance_type=covariance_type, max_iter=60, prior=prior, reg_covar=0.0, **options
        )
        assert (np.diff(mixture.lower_bounds_) > -1e-11).all()
        assert mixture.lower_bounds_[-1] > mixture.lower_bounds_[0]
        assert mixture.weights_.sum() + mixture.noise_weight_ == pytest.approx(1.0, abs=1e-12)


@every_type
def test_outliers_are_noise(covariance_type):
    X, _ = three_groups()
    mixture = fitted(X, covariance_type=covariance_type)
    for dtype in (np.float32, np.float64):
        far = np.array([[100.0, -100.0], [0.0, 1e8]], dtype)
        np.testing.assert_array_equal(mixture.predict(far), -1)
        np.testing.assert_allclose(mixture.predict_proba(far), [[0, 0, 0, 1]] * 2, atol=1e-12)
        log_noise = np.log(mixture.noise_weight_) + mixture.noise_log_density_
        np.testing.assert_allclose(mixture.score_samples(far), log_noise, rtol=1e-6)


@pytest.mark.parametrize("covariance_type", PLAIN_TYPES)
def test_every_method_counts_the_noise(covariance_type):
    X, _ = three_groups(200)
    mixture = fitted(X, covariance_type=covariance_type)
    matrices = np.broadcast_to(np.eye(2), (3, 2, 2))
    covariances = mixture.covariances_
    if covariance_type in ("full", "tied"):
        matrices = np.broadcast_to(covariances, (3, 2, 2))
    else:
        scale = covariances[:, np.newaxis] if covariance_type == "spherical" else covariances
        matrices = np.broadcast_to(scale, (3, 2))[:, :, np.newaxis] * np.eye(2)
    log_joint = gaussian_log_joint(X, mixture.weights_, mixture.means_, matrices)
    noise = np.log(mixture.noise_weight_) + mixture.noise_log_density_
    log_joint = np.column_stack([log_joint, np.full(200, noise)])
    log_density = logsumexp(log_joint, axis=1)
    posterior = np.exp(log_joint - log_density[:, np.newaxis])
    np.testing.assert_allclose(mixture.score_samples(X), log_density, rtol=1e-10)
    np.testing.assert_allclose(mixture.score(X), log_density.mean(), rtol=1e-12)
    np.testing.assert_allclose(mixture.predict_proba(X), posterior, rtol=1e-8, atol=1e-13)
    labels = mixture.predict(X)
    best = log_joint.argmax(axis=1)
    np.testing.assert_array_equal(labels, np.where(best == 3, -1, best))
    assert -1 in labels
    total = log_density.sum()
    complete = log_joint[np.arange(200), labels].sum()
    assert mixture.complete_log_likelihood(X, labels) == pytest.approx(complete, rel=1e-12)
    expected = (posterior * log_joint).sum()
    assert mixture.expected_complete_log_likelihood(X) == pytest.approx(expected, rel=1e-10)
    assert mixture.elbo(X) == pytest.approx(total, rel=1e-12)
    q = np.random.default_rng(0).dirichlet(np.ones(4), size=200)
    bound, gap = mixture.elbo(X, q), mixture.posterior_kl(X, q)
    assert bound == pytest.approx((q * (log_joint - np.log(q))).sum(), rel=1e-10)
    assert bound + gap == pytest.approx(total, rel=1e-10)
    n_parameters = COVARIANCES[covariance_type].n_parameters(3, 2) + 6 + 2 + 2
    assert mixture.bic(X) == pytest.approx(-2 * total + n_parameters * np.log(200), rel=1e-12)
    assert mixture.aic(X) == pytest.approx(-2 * total + 2 * n_parameters, rel=1e-12)
    greatest = log_joint.max(axis=1).sum()
    assert mixture.icl(X) == pytest.approx(-2 * greatest + n_parameters * np.log(200), rel=1e-12)
    with pytest.raises(ValueError, match=r"responsibilities.*shape of \(200, 4\)"):
        mixture.elbo(X, q[:, :3])
    with pytest.raises(ValueError, match=r"range \[-1, 2\]"):
        mixture.complete_log_likelihood(X, labels + 4)


def test_a_given_density_is_no_parameter():
    X, _ = three_groups(200)
    measured = fitted(X)
    given = fitted(X, noise_component=measured.noise_log_density_)
    np.testing.assert_array_equal(given.means_, measured.means_)
    assert given.noise_box_ is None
    assert measured.bic(X) - given.bic(X) == pytest.approx(np.log(200))
    kept = fitted(X, fixed=("weights",))
    assert measured.bic(X) - measured._n_parameters() * np.log(200) == pytest.approx(
        -2 * measured.score_samples(X).sum()
    )
    assert measured._n_parameters() - kept._n_parameters() == 3
    assert kept.noise_weight_ == 0.05
    plain = GaussianMixture(3, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"range \[0, 2\]"):
        plain.complete_log_likelihood(X, np.full(200, -1))


def volume_of(X):
    """As mclust's hypvol: the lesser of two boxes."""
    axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2]
    return min(np.prod(np.ptp(X, axis=0)), np.prod(np.ptp(X @ axes.T, axis=0)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_density_is_one_over_the_lesser_volume(dtype):
    rng = np.random.default_rng(0)
    square = rng.uniform(size=(500, 2))
    square[:4] = [[0, 0], [0, 1], [1, 0], [1, 1]]
    long = rng.normal(size=(500, 3)) * [10.0, 1.0, 0.1]
    turned = long @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 100.0
    for X in (square, long, turned, rng.normal(size=(500, 1))):
        X = X.astype(dtype)
        mixture = GaussianMixture(1, noise_component="auto", max_iter=2).fit(X)
        volume = volume_of(X.astype(np.float64))
        assert mixture.noise_log_density_ == pytest.approx(-np.log(volume), rel=1e-5)
        corner, edges = mixture.noise_box_[0], mixture.noise_box_[1:]
        assert abs(np.linalg.det(edges)) == pytest.approx(volume, rel=1e-4)
        within = (X - corner) @ np.linalg.inv(edges)
        assert within.min() > -1e-3
        assert within.max() < 1 + 1e-3
    weight = np.ones(500)
    square[4] = 50.0
    weight[4] = 0.0
    mixture = GaussianMixture(1, noise_component="auto").fit(square, sample_weight=weight)
    assert mixture.noise_log_density_ == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("turned", [False, True])
def test_rows_are_drawn_from_the_box(turned):
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(300, 2)), rng.uniform(-20, 20, size=(200, 2)) * [1.0, 0.2]])
    if turned:
        X = X @ [[0.8, 0.6], [-0.6, 0.8]]
    mixture = GaussianMixture(1, noise_component="auto", random_state=0, tol=1e-8).fit(X)
    rows, labels = mixture.sample(20_000)
    assert set(labels) == {0, -1}
    assert (labels == -1).mean() == pytest.approx(mixture.noise_weight_, abs=0.02)
    np.testing.assert_array_equal(labels, np.sort(labels % 2) * -1)  # component by component
    drawn = (rows[labels == -1] - mixture.noise_box_[0]) @ np.linalg.inv(mixture.noise_box_[1:])
    assert drawn.min() >= -1e-12
    assert drawn.max() <= 1 + 1e-12
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(2) / 12, atol=0.003)
    # What comes out of it, goes in again.
    again = GaussianMixture(1, noise_component="auto", random_state=0, tol=1e-8).fit(rows)
    assert again.noise_weight_ == pytest.approx(mixture.noise_weight_, abs=0.03)
    given = GaussianMixture(1, noise_component=-7.0, random_state=0).fit(X)
    with pytest.raises(ValueError, match="no rows can be drawn"):
        given.sample(1)


def test_what_needs_a_distribution_refuses():
    X, _ = three_groups(200)
    mixture = fitted(X)
    other = GaussianMixture.from_parameters(
        mixture.weights_ / mixture.weights_.sum(), mixture.means_, mixture.covariances_
    )
    for call in (
        mixture.mean,
        mixture.covariance,
        lambda: mixture.marginal(0),
        lambda: mixture.condition(0, 1.0),
        lambda: mixture.convolve(other),
        lambda: other.convolve(mixture),
        lambda: kl_divergence(mixture, other),
        lambda: kl_divergence(other, mixture, method="variational"),
    ):
        with pytest.raises(ValueError, match="noise component"):
            call()
    with pytest.raises(ValueError, match="no noise component"):
        mixture.to_sklearn()
    assert np.isfinite(other.mean()).all()
    assert mixture.decomposition().volume.shape == (3,)


@pytest.mark.parametrize("value", ["uniform", True, np.True_, np.nan, np.inf, -np.inf, [1.0], 1j])
def test_only_densities(value):
    X, _ = three_groups(50)
    mixture = GaussianMixture(3, noise_component=value)
    with pytest.raises(ValueError, match="The 'noise_component' parameter of GaussianMixture must"):
        mixture.fit(X)
    assert not hasattr(mixture, "means_")


@pytest.mark.parametrize("kind", ["constant", "dependent", "rounded", "few"])
def test_rows_without_a_volume(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) + 1e3
    if kind == "constant":
        X[:, 1] = 7.0
    elif kind == "dependent":
        X[:, 2] = X[:, 0] + X[:, 1]
    elif kind == "rounded":
        X[:, 2] = X[:, 0] / 3
    else:
        X = X[:3]
    with pytest.raises(ValueError, match="fill a volume"):
        GaussianMixture(2, noise_component="auto").fit(X)
    assert GaussianMixture(2, noise_component=-9.0).fit(X).noise_weight_ > 0


def test_weights_leave_some_to_the_noise():
    X, _ = three_groups(200)
    start = {"weights_init": [0.3, 0.2, 0.1], "means_init": [[0, 0], [5, 1], [1, 6]]}
    mixture = fitted(X, **start, fixed=("weights",))
    np.testing.assert_allclose(mixture.weights_, [0.3, 0.2, 0.1])
    assert mixture.noise_weight_ == pytest.approx(0.4)
    for wrong in ([0.5, 0.3, 0.2], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="should sum to less than one"):
            fitted(X, weights_init=wrong)
    with pytest.raises(ValueError, match="should be normalized"):
        fitted(X, weights_init=[0.3, 0.3, 0.3], noise_component=None)
    # A fit's own weights are a start.
    found = fitted(X)
    again = fitted(X, weights_init=found.weights_, means_init=found.means_, max_iter=1)
    assert again.noise_weight_ == pytest.approx(found.noise_weight_, abs=0.05)


def test_weights_count_rows():
    X, _ = three_groups(150)
    weight = np.random.default_rng(2).integers(0, 4, size=len(X)).astype(float)
    start = {
        "weights_init": [0.3, 0.3, 0.3],
        "means_init": [[0, 0], [5, 1], [1, 6]],
        "precisions_init": [np.eye(2)] * 3,
        "max_iter": 20,
        "tol": 0.0,
    }
    repeated = fitted(np.repeat(X, weight.astype(int), axis=0), **start)
    for factor in (1.0, 1e-30, 1e30):
        weighted = fitted(X, weight * factor, **start)
        np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-9)
        np.testing.assert_allclose(weighted.noise_weight_, repeated.noise_weight_, rtol=1e-7)
        assert weighted.noise_log_density_ == pytest.approx(repeated.noise_log_density_, rel=1e-9)
    scores = (
        weighted.bic(X, sample_weight=weight),
        repeated.bic(np.repeat(X, weight.astype(int), 0)),
    )
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "VEV"])
def test_single_precision(covariance_type):
    X, _ = three_groups(600)
    single = fitted(X.astype(np.float32), covariance_type=covariance_type, tol=1e-6)
    double = fitted(X, covariance_type=covariance_type, tol=1e-6)
    assert single.means_.dtype == np.float32
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, abs=1e-4)
    assert single.noise_weight_ == pytest.approx(double.noise_weight_, abs=1e-3)
    rows, labels = single.sample(50)
    assert rows.shape == (50, 2)
    assert set(labels) <= {-1, 0, 1, 2}
    assert (np.diff(single.lower_bounds_) > -1e-6).all()


def test_a_fit_in_parts():
    X, _ = three_groups(300)
    for component in ("auto", -6.0):
        options = {"noise_component": component, "tol": 0.0}
        whole = fitted(X, max_iter=9, **options)
        parts = fitted(X, max_iter=4, warm_start=True, **options)
        history = parts.lower_bounds_ + parts.set_params(max_iter=5).fit(X).lower_bounds_
        np.testing.assert_allclose(history, whole.lower_bounds_, rtol=1e-12)


def test_noise_comes_and_goes():
    X, _ = three_groups(300)
    mixture = fitted(X, noise_component=None, warm_start=True)
    assert mixture.predict_proba(X).shape == (300, 3)
    mixture.set_params(noise_component="auto", max_iter=1, tol=0.0).fit(X)
    assert mixture.predict_proba(X).shape == (300, 4)
    assert mixture.weights_.sum() + mixture.noise_weight_ == pytest.approx(1.0)
    mixture.set_params(noise_component=-3.0).fit(X)
    assert mixture.noise_log_density_ == -3.0
    assert mixture.noise_box_ is None
    before = mixture.weights_ / mixture.weights_.sum()
    mixture.set_params(noise_component=None, fixed=("weights",)).fit(X)
    np.testing.assert_allclose(mixture.weights_, before)
    assert not hasattr(mixture, "noise_weight_")
    assert mixture.to_sklearn().weights_.sum() == pytest.approx(1.0)
    # Without a warm start, too, and a fit that fails changes nothing.
    mixture.set_params(noise_component="auto", warm_start=False, fixed=()).fit(X)
    state = pickle.dumps(vars(mixture))
    with pytest.raises(ValueError, match="NaN"):
        mixture.set_params(noise_component=None).fit([[np.nan, 1.0]] * 9)
    mixture.set_params(noise_component="auto")
    assert pickle.dumps(vars(mixture)) == state
    mixture.set_params(noise_component=None).fit(X)
    assert not hasattr(mixture, "noise_box_")


def test_parameters_set_by_hand():
    X, _ = three_groups(100)
    source = fitted(X)
    mixture = GaussianMixture(3)
    for name in ("weights_", "means_", "covariances_", "noise_weight_"):
        setattr(mixture, name, getattr(source, name))
    with pytest.raises(ValueError, match="'noise_log_density_'"):
        mixture.predict(X)
    mixture.noise_log_density_ = source.noise_log_density_
    np.testing.assert_allclose(mixture.predict_proba(X), source.predict_proba(X), atol=1e-9)
    with pytest.raises(ValueError, match="no rows can be drawn"):
        mixture.sample(3)
    for name, wrong in (
        ("noise_weight_", 0.0), ("noise_weight_", 1.5), ("noise_weight_", np.nan),
        ("noise_weight_", [0.1]), ("noise_log_density_", np.inf), ("noise_log_density_", "low"),
        ("noise_box_", np.eye(2)),
    ):  # fmt: skip
        other = pickle.loads(pickle.dumps(source))
        setattr(other, name, wrong)
        with pytest.raises(ValueError, match=f"The attribute '{name}'"):
            other.predict(X)


@pytest.mark.parametrize("log_density", [50.0, 1e3])
def test_noise_may_take_every_row(log_density):
    X, _ = three_groups(100)
    mixture = GaussianMixture(2, noise_component=log_density, random_state=0).fit(X)
    assert mixture.noise_weight_ == 1.0
    assert (mixture.predict(X) == -1).all()
    np.testing.assert_allclose(mixture.score_samples(X), log_density, rtol=1e-12)
    mixture.set_params(warm_start=True).fit(X)
    assert mixture.lower_bound_ == pytest.approx(log_density, rel=1e-12)


def test_as_an_estimator():
    X, y = three_groups(300)
    mixture = fitted(X, noise_component=-6.0)
    assert clone(mixture).get_params()["noise_component"] == -6.0
    assert "noise_component=-6.0" in repr(mixture)
    copy = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(copy.predict(X), mixture.predict(X))
    np.testing.assert_array_equal(clone(mixture).fit_predict(X), mixture.predict(X))
    grid = {"noise_component": [None, "auto"], "n_components": [1, 2, 3, 4]}
    grid["init_params"] = ["kmeans"]  # a better start finds a fourth component in the noise
    search = CriterionSearch(GaussianMixture(random_state=0, n_init=2), grid).fit(X)
    best = {"noise_component": "auto", "n_components": 3, "init_params": "kmeans"}
    assert search.best_params_ == best
    assert adjusted_rand_score(y, search.best_estimator_.predict(X)) > 0.9


@every_type
def test_every_type_finds_the_groups(covariance_type):
    X, y = three_groups()
    mixture = fitted(X, covariance_type=covariance_type, n_init=10, tol=1e-6)
    assert adjusted_rand_score(y, mixture.predict(X)) > 0.85
    assert mixture.noise_weight_ == pytest.approx(0.2, abs=0.08)

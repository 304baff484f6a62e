"""mclust's fourteen covariance models in Gaussian mixtures."""

import itertools
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_iris

from fastem import GaussianMixture

# Log-likelihoods of three components, and numbers of parameters, as mclust and pymclustR end from
# the species; nine of the first also as norMmix maximises the likelihood directly.
IRIS = {
    "EII": (-401.8022, 15),
    "VII": (-384.3141, 17),
    "EEI": (-361.4255, 18),
    "VEI": (-339.4687, 20),
    "EVI": (-340.0856, 24),
    "VVI": (-306.8605, 26),
    "EEE": (-256.3540, 24),
    "VEE": (-237.5602, 26),
    "EVE": (-234.1402, 30),
    "VVE": (-214.0532, 32),
    "EEV": (-214.8504, 36),
    "VEV": (-186.0733, 38),
    "EVV": (-205.5359, 42),
    "VVV": (-180.1855, 44),
}
TWINS = {
    "EII": "tied_spherical",
    "VII": "spherical",
    "EEI": "tied_diag",
    "VVI": "diag",
    "EEE": "tied",
    "VVV": "full",
}
BETWEEN = [name for name in IRIS if name not in TWINS]
every_model = pytest.mark.parametrize("name", IRIS)
every_type_between = pytest.mark.parametrize("name", BETWEEN)


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def overlapping(n_rows=300, n_features=3, seed=0):
    rng = np.random.default_rng([seed, n_features])
    scales = np.exp(rng.normal(size=(3, 1, n_features)))
    rows = rng.normal(size=(3, n_rows // 3, n_features)) * scales
    mixing = np.eye(n_features) + 0.4 * rng.normal(size=(3, n_features, n_features))
    means = 1.5 * rng.normal(size=(3, 1, n_features))
    return (rows @ mixing + means).reshape(-1, n_features)


def fitted(name, X, n_components=3, sample_weight=None, **options):
    options = {"reg_covar": 0.0, "tol": 1e-8, "random_state": 0, **options}
    mixture = GaussianMixture(n_components, covariance_type=name, **options)
    return mixture.fit(X, sample_weight=sample_weight)


def matrices(mixture):
    """The components' covariances as matrices, by the shapes that the attributes document."""
    covariances, (k, d) = np.asarray(mixture.covariances_, float), mixture.means_.shape
    model = {twin: model for model, twin in TWINS.items()}.get(
        mixture.covariance_type, mixture.covariance_type
    )
    if model.endswith("II"):
        covariances = covariances[..., np.newaxis] * np.ones(d)
    if model.endswith("I"):
        covariances = covariances[..., np.newaxis] * np.eye(d)
    return np.broadcast_to(covariances, (k, d, d))


def start_of(mixture):
    """The same parameters for a start of a mixture of matrices."""
    return {
        "weights_init": mixture.weights_,
        "means_init": mixture.means_,
        "precisions_init": np.linalg.inv(matrices(mixture)),
    }


def species_start(name):
    """Of iris: the species' means, and what EDDA, mclust's discriminant analysis, finds."""
    X, y = load_iris(return_X_y=True)
    means = np.array([X[y == k].mean(axis=0) for k in range(3)])
    # A mixture of rows about the species' means, far apart, has the species' covariances.
    apart = 1e4 * np.eye(3, 4)
    start = GaussianMixture(3, covariance_type=name, reg_covar=0.0, max_iter=200, tol=1e-12)
    start.set_params(weights_init=np.full(3, 1 / 3), means_init=apart)
    start.set_params(precisions_init=unit_precisions(name, 3, 4))
    start.fit(X - means[y] + apart[y])
    return X, {
        "weights_init": start.weights_,
        "means_init": means,
        "precisions_init": start.precisions_,
    }


def unit_precisions(name, k, d):
    one = np.ones(()) if name.endswith("II") else np.ones(d) if name.endswith("I") else np.eye(d)
    return one if "V" not in name else np.broadcast_to(one, (k, *one.shape))


@every_model
def test_iris_ends_where_mclust_ends(name):
    X, start = species_start(name)
    log_likelihood, n_parameters = IRIS[name]
    mixture = fitted(name, X, tol=1e-9, max_iter=1000, **start)
    assert mixture.score(X) * 150 == pytest.approx(log_likelihood, abs=2e-4)
    bic = n_parameters * np.log(150) - 2 * log_likelihood  # mclust's is the negative
    assert mixture.bic(X) == pytest.approx(bic, abs=1e-3)
    assert mixture.aic(X) == pytest.approx(2 * n_parameters - 2 * log_likelihood, abs=1e-3)
    assert (np.diff(mixture.lower_bounds_) > -1e-12).all()


def test_iris_in_discriminant_analysis():
    """What mclust's EDDA publishes for VEV."""
    X, start = species_start("VEV")
    mixture = fitted("VEV", X, max_iter=1, **start)
    assert mixture.lower_bound_ * 150 == pytest.approx(-187.7097, abs=1e-4)


@pytest.mark.parametrize(("name", "twin"), TWINS.items())
def test_six_names_are_second_names(name, twin):
    X = overlapping()
    ours, theirs = fitted(name, X), fitted(twin, X)
    for attribute in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_array_equal(getattr(ours, attribute), getattr(theirs, attribute))
    assert ours.bic(X) == theirs.bic(X)
    assert ours.marginal([0]).covariance_type == name


@every_type_between
@pytest.mark.parametrize("n_features", [1, 2, 5])
@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_the_bound_never_falls(name, n_features, assignment):
    for seed, accelerate in itertools.product(range(3), (None, "squarem")):
        X = overlapping(300, n_features, seed)
        weight = np.random.default_rng(seed).integers(1, 4, size=300)
        mixture = fitted(
            name, X, 3, weight, assignment=assignment, accelerate=accelerate, max_iter=40
        )
        assert (np.diff(mixture.lower_bounds_) > -1e-11).all()
        assert mixture.lower_bounds_[-1] > mixture.lower_bounds_[0]


@every_type_between
def test_shapes_and_what_is_shared(name):
    X = overlapping()
    mixture = fitted(name, X)
    shape = (3, 3) if name.endswith("I") else (3, 3, 3)
    for attribute in ("covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(mixture, attribute).shape == shape
    full = matrices(mixture)
    volumes = np.linalg.det(full) ** (1 / 3)
    shapes = np.linalg.eigvalsh(full) / volumes[:, np.newaxis]
    if name.endswith("I"):
        shapes = mixture.covariances_ / volumes[:, np.newaxis]
    assert np.allclose(volumes, volumes[0]) == (name[0] == "E")
    assert np.allclose(shapes, shapes[0]) == (name[1] == "E")
    commute = np.allclose(full[0] @ full[1], full[1] @ full[0])
    assert commute == (name[2] in "IE")


@every_model
def test_decomposition(name):
    X = overlapping()
    mixture = fitted(name, X)
    volume, shape, orientation = mixture.decomposition()
    assert np.shape(volume) == ((3,) if name[0] == "V" else ())
    assert shape.shape == ((3, 3) if name[1] == "V" else (3,))
    assert orientation.shape == ((3, 3, 3) if name[2] == "V" else (3, 3))
    variances = np.broadcast_to(np.reshape(volume, (-1, 1)) * shape, (3, 3))
    axes = np.broadcast_to(orientation, (3, 3, 3))
    found = np.einsum("kij,kj,klj->kil", axes, variances, axes)
    np.testing.assert_allclose(found, matrices(mixture), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.prod(shape, axis=-1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(axes @ axes.swapaxes(1, 2), np.tile(np.eye(3), (3, 1, 1)), atol=1e-9)


def test_wider_types_fit_better_from_narrower_ones():
    X = overlapping()
    narrow = {name: fitted(name, X, tol=1e-9, max_iter=500) for name in IRIS}
    for small, wide in itertools.product(IRIS, [*BETWEEN, "VVV"]):
        allowed = {"E": "EV", "V": "V", "I": "IEV"}
        if wide.endswith("I") or small == wide:
            continue
        if not all(b in allowed[a] for a, b in zip(small, wide, strict=True)):
            continue
        mixture = fitted(wide, X, tol=1e-9, max_iter=3, **start_of(narrow[small]))
        assert mixture.score(X) > narrow[small].score(X) - 1e-9, (small, wide)


def as_full(mixture):
    return GaussianMixture.from_parameters(mixture.weights_, mixture.means_, matrices(mixture))


@every_type_between
def test_marginals_and_conditionals(name):
    X = overlapping(n_features=4)
    mixture = fitted(name, X, max_iter=20)
    full = as_full(mixture)
    kept = name in ("VEI", "VEE")
    expected = name if kept else "diag" if name.endswith("I") else "full"
    for features in ([2], [3, 0]):
        marginal = mixture.marginal(features)
        assert marginal.covariance_type == expected
        rows = X[:20, features]
        np.testing.assert_allclose(
            marginal.score_samples(rows), full.marginal(features).score_samples(rows), rtol=1e-9
        )
        rest = [j for j in range(4) if j not in features]
        given, theirs = mixture.condition(features, rows), full.condition(features, rows)
        np.testing.assert_allclose(given.mean(), theirs.mean(), rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(given.covariance(), theirs.covariance(), rtol=1e-8, atol=1e-9)
        one = given[3]
        assert one.covariance_type == expected
        np.testing.assert_allclose(
            one.score_samples(X[:20][:, rest]), theirs[3].score_samples(X[:20][:, rest]), rtol=1e-8
        )
    reordered = mixture.marginal([3, 1, 0, 2])
    assert reordered.covariance_type == name
    np.testing.assert_allclose(
        reordered.score_samples(X[:, [3, 1, 0, 2]]), mixture.score_samples(X), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("EEV", "EII", "EEV"),
        ("EII", "EEV", "EEV"),
        ("EEV", "VII", "full"),
        ("EVE", "EII", "VVE"),
        ("VEE", "VII", "VVE"),
        ("VVE", "VII", "VVE"),
        ("VEV", "EII", "full"),
        ("EVV", "EII", "full"),
        ("EVI", "EII", "diag"),
        ("VEI", "VII", "diag"),
        ("VEI", "VEI", "diag"),
        ("VEE", "VEE", "full"),
        ("EVI", "EEE", "full"),
        ("EEE", "VII", "full"),
        ("EEI", "EII", "tied_diag"),
    ],
)
def test_sums(left, right, expected):
    X = overlapping()
    both = [fitted(name, X, 2 + i, max_iter=10) for i, name in enumerate((left, right))]
    total = both[0].convolve(both[1])
    assert total.covariance_type == expected
    reference = as_full(both[0]).convolve(as_full(both[1]))
    np.testing.assert_allclose(total.score_samples(X), reference.score_samples(X), rtol=1e-9)
    # The parameters hold what the type promises.
    GaussianMixture.from_parameters(total.weights_, total.means_, total.covariances_, expected)


@every_type_between
def test_parameters_of_another_type_are_refused(name):
    X = overlapping()
    mixture = fitted("diag" if name.endswith("I") else "full", X)
    parts = zip(name, ("volumes", "shapes", "orientations"), strict=True)
    equal = " and ".join(part for letter, part in parts if letter == "E")
    message = f"'{name} covariance' should have equal {equal}"
    arguments = mixture.weights_, mixture.means_, mixture.covariances_
    with pytest.raises(ValueError, match=message):
        GaussianMixture.from_parameters(*arguments, covariance_type=name)
    with pytest.raises(ValueError, match=f"'{name} precision' should have equal {equal}"):
        fitted(name, X, precisions_init=mixture.precisions_)
    with pytest.raises(ValueError, match="should have the shape"):
        fitted(name, X, precisions_init=mixture.precisions_[0])


@every_type_between
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fitted_parameters_come_back(name, dtype):
    """As a mixture, as a start, from a pickle; of single precision too."""
    X = overlapping().astype(dtype)
    mixture = fitted(name, X)
    assert mixture.covariances_.dtype == dtype
    again = GaussianMixture.from_parameters(
        mixture.weights_ / mixture.weights_.sum(dtype=float),
        mixture.means_,
        mixture.covariances_,
        covariance_type=name,
    )
    rtol = 1e-9 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(again.covariances_, mixture.covariances_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(again.score_samples(X), mixture.score_samples(X), rtol=rtol)
    start = mixture.weights_, mixture.means_, mixture.precisions_
    keys = "weights_init", "means_init", "precisions_init"
    still = fitted(name, X, max_iter=1, **dict(zip(keys, start, strict=True)))
    assert still.lower_bound_ == pytest.approx(mixture.score(X), rel=10 * rtol)
    loaded = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(loaded.score_samples(X), mixture.score_samples(X))


@every_type_between
def test_a_fit_in_two_parts(name):
    X = overlapping()
    whole = fitted(name, X, max_iter=12, tol=0.0)
    parts = fitted(name, X, max_iter=5, tol=0.0, warm_start=True)
    history = parts.lower_bounds_ + parts.set_params(max_iter=7).fit(X).lower_bounds_
    np.testing.assert_allclose(history, whole.lower_bounds_, rtol=1e-13)
    np.testing.assert_allclose(parts.covariances_, whole.covariances_, rtol=1e-12, atol=1e-14)


@every_type_between
def test_weighted_and_repeated_rows(name):
    X = overlapping(90)
    weight = np.random.default_rng(0).integers(0, 4, size=90)
    start = start_of(fitted("EII", X, max_iter=2))
    if name.endswith("I"):
        start["precisions_init"] = np.einsum("kii->ki", start["precisions_init"])
    weighted = fitted(name, X, 3, weight, **start)
    repeated = fitted(name, np.repeat(X, weight, axis=0), **start)
    np.testing.assert_allclose(weighted.covariances_, repeated.covariances_, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-11)


@every_type_between
def test_fixed_covariances_stay(name):
    X = overlapping()
    start = start_of(fitted(name, X, max_iter=2))
    if name.endswith("I"):
        start["precisions_init"] = np.einsum("kii->ki", start["precisions_init"])
    mixture = fitted(name, X, fixed=("covariances",), max_iter=5, **start)
    np.testing.assert_allclose(mixture.precisions_, start["precisions_init"], rtol=1e-9, atol=1e-12)
    assert mixture._n_parameters() == 2 + 9


@every_type_between
def test_squarem_ends_where_em_ends(name):
    X, start = species_start(name)
    mixture = fitted(name, X, tol=1e-9, max_iter=1000, accelerate="squarem", **start)
    assert mixture.score(X) * 150 == pytest.approx(IRIS[name][0], abs=2e-4)
    plain = fitted(name, X, tol=1e-9, max_iter=1000, **start)
    assert mixture.n_iter_ < plain.n_iter_


@every_type_between
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_every_start(name, init_params):
    X = overlapping()
    mixture = fitted(name, X, init_params=init_params, reg_covar=1e-6)
    assert np.isfinite(mixture.score(X))


@every_type_between
def test_samples_have_the_covariance(name):
    mixture = fitted(name, overlapping(), max_iter=10)
    rows, _ = mixture.sample(20_000)
    scale = np.abs(mixture.covariance()).max()
    np.testing.assert_allclose(np.cov(rows.T), mixture.covariance(), atol=0.05 * scale)


@every_type_between
def test_fewer_rows_than_features(name):
    """Scatter without full rank: regularised first, or refused with the remedy."""
    X = np.random.default_rng(0).normal(size=(12, 8)) + 20.0 * (np.arange(12) % 2)[:, np.newaxis]
    mixture = fitted(name, X, 2, reg_covar=1e-3)
    assert np.isfinite(mixture.score(X))
    assert (np.linalg.eigvalsh(matrices(mixture)) > 0).all()
    X[:, 3] = 1.0
    with pytest.raises(ValueError, match="increase reg_covar"):
        fitted(name, X, 2)
    assert np.isfinite(fitted(name, X, 2, reg_covar=1e-3).score(X))


@every_type_between
def test_one_feature_and_one_component(name):
    X = overlapping(n_features=1)
    same = "spherical" if name[0] == "V" else "tied_spherical"
    mixture, expected = fitted(name, X, tol=1e-6), fitted(same, X, tol=1e-6)
    np.testing.assert_allclose(mixture.lower_bounds_, expected.lower_bounds_, rtol=1e-10)
    assert mixture.bic(X) == pytest.approx(expected.bic(X))
    X = overlapping()
    mixture, expected = fitted(name, X, 1), fitted("diag" if name.endswith("I") else "full", X, 1)
    np.testing.assert_allclose(mixture.covariances_, expected.covariances_, rtol=1e-9, atol=1e-12)
    assert mixture.bic(X) == pytest.approx(expected.bic(X))

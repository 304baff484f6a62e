"""GaussianMixture refuses as scikit-learn does, before a kernel runs."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture

import fastem.clustering.euclidean.frame
from fastem import GaussianMixture
from fastem.mixtures.gaussian.covariances import COVARIANCES
from fastem.mixtures.gaussian.incomplete.estimator import IncompleteMixin

X = np.random.default_rng(0).normal(size=(20, 3))
METHODS = ("predict", "predict_proba", "score_samples", "score")


@pytest.fixture
def no_kernels(monkeypatch):
    """The first pass over the rows fails."""

    def fail(*args, **kwargs):
        raise AssertionError("a kernel ran")

    monkeypatch.setattr(fastem.clustering.euclidean.frame, "dense_moments", fail)
    monkeypatch.setattr("fastem.kernels.gaussian.exact.ExactPass.e_step", fail)
    monkeypatch.setattr("fastem.kernels.gaussian.linear.passes.LinearPass.e_step", fail)
    monkeypatch.setattr("fastem.kernels.gaussian.exact.ExactPass.evaluate", fail)
    monkeypatch.setattr("fastem.kernels.gaussian.linear.passes.LinearPass.evaluate", fail)


def error_of(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(*args, **kwargs)
        except (ValueError, TypeError) as error:
            return type(error), str(error)
    return None


def with_value(value):
    bad = X.copy()
    bad[3, 1] = value
    return bad


BAD_ROWS = {
    "nan": with_value(np.nan),
    "infinity": with_value(np.inf),
    "nan in float32": with_value(np.nan).astype(np.float32),
    "frame with nan": pd.DataFrame(with_value(np.nan)),
    "sparse": sp.csr_array(X),
    "no rows": np.empty((0, 3)),
    "no columns": np.empty((20, 0)),
    "one dimension": X[0],
    "three dimensions": X[np.newaxis],
    "scalar": 3.0,
    "complex": X + 1j,
    "strings": np.array([["a", "b"], ["c", "d"]]),
    "objects": np.array([[1, {}], [2, 3]], dtype=object),
    "ragged": [[1.0], [1.0, 2.0]],
    "nothing": None,
    "a word": "rows",
}


@pytest.mark.parametrize("name", [*BAD_ROWS, "a row", "few rows"])
def test_rows(name, no_kernels):
    rows = {"a row": X[:1], "few rows": X[:4], **BAD_ROWS}[name]
    expected = error_of(SklearnGaussianMixture(5).fit, rows)
    assert expected is not None
    for method in ("fit", "fit_predict"):
        assert error_of(getattr(GaussianMixture(5), method), rows) == expected


@pytest.fixture(scope="module")
def fitted():
    return GaussianMixture(2, random_state=0).fit(X)


@pytest.mark.parametrize("name", [*BAD_ROWS, "narrow"])
def test_new_rows(name, fitted, monkeypatch):
    rows = {"narrow": X[:, :2], **BAD_ROWS}[name]
    theirs = SklearnGaussianMixture(2, random_state=0).fit(X)
    monkeypatch.delattr(IncompleteMixin, "_pass")
    for method in METHODS:
        expected = error_of(getattr(theirs, method), rows)
        found = error_of(getattr(fitted, method), rows)
        assert found is not None
        if name not in ("strings", "nothing", "a word"):  # scikit-learn has other words in a fit
            assert found == expected
    for method in ("aic", "bic", "icl", "elbo", "expected_complete_log_likelihood"):
        assert error_of(getattr(fitted, method), rows) == found


def test_before_fit():
    for method in (*METHODS, "aic", "bic", "icl", "elbo"):
        with pytest.raises(NotFittedError, match="This GaussianMixture instance is not fitted"):
            getattr(GaussianMixture(), method)(X)
    with pytest.raises(NotFittedError):
        GaussianMixture().sample()


def test_an_empty_sample(fitted):
    with pytest.raises(ValueError, match=r"Invalid value for 'n_samples': 0 \. The sampling r"):
        fitted.sample(0)


@pytest.mark.parametrize(
    "sample_weight",
    [np.full(20, np.nan), np.zeros(20), -np.ones(20), np.ones(19), np.ones((20, 1)), "ones"],
)
def test_row_weights(sample_weight, no_kernels):
    with pytest.raises((ValueError, TypeError)):
        GaussianMixture(2).fit(X, sample_weight=sample_weight)


PARAMETERS = [
    ("n_components", [0, -1, 2.0, "2", None]),
    ("covariance_type", ["fulll", None, 1]),
    ("tol", [-1e-3, "0", None, np.nan]),
    ("reg_covar", [-1e-6, "0", None]),
    ("max_iter", [-1, 2.5, None]),
    ("n_init", [0, 1.5]),
    ("init_params", ["k-means", None]),
    ("weights_init", ["a", 0.5]),
    ("means_init", ["a", 0.5]),
    ("precisions_init", ["a"]),
    ("random_state", [-1, "seed"]),
    ("warm_start", [1, "no"]),
    ("verbose", [-1, "yes"]),
    ("verbose_interval", [0, "1"]),
]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in PARAMETERS for value in values]
)
def test_parameters(name, value, no_kernels):
    expected = error_of(SklearnGaussianMixture(**{name: value}).fit, X)
    found = error_of(GaussianMixture(**{name: value}).fit, X)
    assert expected is not None
    assert found is not None
    if "a str among" in expected[1] or name == "precisions_init":
        # Ours has more words, and another kind of precisions.
        assert (found[0].__name__, found[1].split(" must be ")[0]) == (
            expected[0].__name__,
            expected[1].split(" must be ")[0],
        )
    else:
        assert found[1] == expected[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("covariance_type", list(COVARIANCES)),
        ("init_params", ["kmeans", "k-means++", "random", "random_from_data", "auto"]),
        ("assignment", ["soft", "hard"]),
        ("accelerate", ["squarem"]),
        ("prior", ["conjugate"]),
    ],
)
def test_words_are_listed_in_their_order(name, words, no_kernels):
    _, message = error_of(GaussianMixture(**{name: "other"}).fit, X)
    listed = f"a str among {{{', '.join(map(repr, words))}}}"
    if len(words) == 1:  # where None does, too
        listed += " or None"
    assert message == (
        f"The {name!r} parameter of GaussianMixture must be {listed}. Got 'other' instead."
    )


GOOD = {
    "full": np.tile(np.eye(3), (2, 1, 1)),
    "tied": np.eye(3),
    "diag": np.ones((2, 3)),
    "spherical": np.ones(2),
    "tied_diag": np.ones(3),
    "tied_spherical": 1.0,
}


def starts():
    for value in ([0.5, 0.6], [0.5], [0.2, 0.3, 0.5], [[0.5, 0.5]], [np.nan, 1.0], ["a", "b"]):
        yield {"weights_init": value}
    for value in (X[:3], X[:2, :2], X[0], X[:2] * np.nan, [["a", "b", "c"]] * 2, X[np.newaxis, :2]):
        yield {"means_init": value}
    for kind in ("full", "tied", "diag", "spherical"):
        for other in ("full", "tied", "diag", "spherical"):
            if kind != other:
                yield {"covariance_type": kind, "precisions_init": GOOD[other]}
        for change in (lambda p: -p, lambda p: p * np.nan, lambda p: p * 0, lambda p: p[:1]):
            yield {"covariance_type": kind, "precisions_init": change(GOOD[kind])}
    skewed = np.eye(3) + np.triu(np.ones((3, 3)), 1)
    yield {"covariance_type": "tied", "precisions_init": skewed}
    yield {"covariance_type": "full", "precisions_init": [np.eye(3), skewed]}
    yield {"covariance_type": "full", "precisions_init": [np.eye(3), np.ones((3, 3))]}


@pytest.mark.parametrize("start", list(starts()))
def test_starts(start, no_kernels):
    expected = error_of(SklearnGaussianMixture(2, **start).fit, X)
    assert expected is not None
    assert error_of(GaussianMixture(2, **start).fit, X) == expected


@pytest.mark.parametrize("weights", [[-0.5, 1.5], [1.5, -0.5], [2.0, -1.0]])
def test_weights_out_of_range(weights, no_kernels):
    low, high = min(weights), max(weights)
    message = rf"in the range \[0, 1\], but got max value {high:.5f}, min value {low:.5f}"
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, weights_init=weights).fit(X)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
@pytest.mark.parametrize("bad", ["negative", "nan", "shape", "zero"])
def test_precisions_and_covariances_of_every_type(covariance_type, bad, no_kernels):
    kind = COVARIANCES[covariance_type]
    good = np.asarray(GOOD[kind.passes])
    value = {
        "negative": -good,
        "nan": good * np.nan,
        "shape": np.ones((2, 2)),
        "zero": good * 0,
    }[bad]
    if bad == "nan":
        message = "contains NaN"
    elif bad == "shape":
        message = f"The parameter '{kind.name} (precision|covariance)' should have the shape"
    else:
        message = f"'{kind.name} (precision|covariance)' should be (symmetric, )?positive"
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, covariance_type=covariance_type, precisions_init=value).fit(X)
    with pytest.raises(ValueError, match=message):
        GaussianMixture.from_parameters([0.5, 0.5], X[:2], value, covariance_type)


def test_from_parameters():
    for weights, means, message in (
        ([0.5, 0.6], X[:2], "should be normalized"),
        ([0.5, 0.5], X[:3], "'weights' should have the shape of"),
        ([0.5, 0.5], X[0], "Expected 2D array"),
        ([0.5, 0.5], with_value(np.inf)[2:4], "contains infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture.from_parameters(weights, means, GOOD["full"])
    with pytest.raises(ValueError, match="'covariance_type' parameter must be"):
        GaussianMixture.from_parameters([0.5, 0.5], X[:2], GOOD["full"], "round")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": ["sigma"]}, r"must be a collection of names among \['weights', 'means', 'cov"),
        ({"fixed": "weights"}, "The 'fixed' parameter of GaussianMixture must be"),
        ({"fixed": None}, "The 'fixed' parameter of GaussianMixture must be"),
        ({"fixed": [["means"]]}, "Got .*'means'.* instead"),
        ({"assignment": "firm"}, "The 'assignment' parameter of GaussianMixture must be"),
        ({"accelerate": "anderson"}, "The 'accelerate' parameter of GaussianMixture must be"),
        ({"accelerate": True}, "The 'accelerate' parameter of GaussianMixture must be"),
    ],
)
def test_parameters_beyond_scikit_learns(options, message, no_kernels):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, **options).fit(X)


def test_a_warm_start_from_another_shape():
    model = GaussianMixture(2, random_state=0, warm_start=True).fit(X)
    with pytest.raises(ValueError, match=r"'means' should have the shape of \(3, 3\)"):
        model.set_params(n_components=3).fit(X)
    with pytest.raises(ValueError, match=r"'means' should have the shape of \(2, 2\)"):
        model.set_params(n_components=2).fit(X[:, :2])
    with pytest.raises(ValueError, match=r"'precisions_cholesky_' should have .* \(2, 3\)"):
        model.set_params(covariance_type="diag").fit(X)
    assert model.n_features_in_ == 3

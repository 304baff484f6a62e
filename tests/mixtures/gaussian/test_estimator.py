import io
import pickle
import re
import tracemalloc
import warnings
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest
from reference import COVARIANCE_TYPES, gaussian_em
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnGaussianMixture
from sklearn.utils.estimator_checks import check_estimator

from fastem import GaussianMixture

SKLEARN_TYPES = COVARIANCE_TYPES[:4]
INITS = ("kmeans", "k-means++", "random", "random_from_data")
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.fixture(scope="module")
def X():
    """Overlapping groups, wide enough that K-means starts are the same in any order of sums."""
    rng = np.random.default_rng(0)
    centers = np.array([[0.0, 0, 5], [4, 1, 5], [1, 5, 7]])
    return centers[rng.integers(3, size=300)] + rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3))


def fit_both(X, *args, **options):
    """scikit-learn's mixture and ours; short fits don't converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = SklearnGaussianMixture(*args, **options).fit(X)
        return theirs, GaussianMixture(*args, **options).fit(X)


def assert_equal_fits(theirs, ours, rtol=1e-9):
    for name in PARAMETERS:
        expected = getattr(theirs, name)
        error = np.abs(getattr(ours, name) - expected).max()
        assert error <= rtol * np.abs(expected).max(), name
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=rtol / 10)
    np.testing.assert_allclose(ours.lower_bound_, theirs.lower_bound_, rtol=rtol / 10)


@pytest.mark.parametrize("estimator", [GaussianMixture(), GaussianMixture(2, assignment="hard")])
def test_scikit_learns_estimator_checks(estimator):
    results = check_estimator(estimator, on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}


# The same as scikit-learn from the same start.


@pytest.mark.parametrize("n_iter", [0, 1, 7])
@pytest.mark.parametrize("init_params", INITS)
@pytest.mark.parametrize("covariance_type", SKLEARN_TYPES)
def test_iterations_are_scikit_learns(covariance_type, init_params, n_iter, X):
    # A seed's variance is reg_covar; with less of it scikit-learn's differences of squares show.
    theirs, ours = fit_both(
        X,
        3,
        covariance_type=covariance_type,
        init_params=init_params,
        max_iter=n_iter,
        reg_covar=0.01,
        tol=0,
        random_state=1,
    )
    assert_equal_fits(theirs, ours)


@pytest.mark.parametrize("covariance_type", SKLEARN_TYPES)
def test_whole_fits_are_scikit_learns(covariance_type, X):
    theirs, ours = fit_both(X, 3, covariance_type=covariance_type, random_state=0, n_init=3)
    assert ours.converged_
    assert_equal_fits(theirs, ours)
    assert vars(theirs).keys() <= vars(ours).keys()
    for name in (*PARAMETERS, "lower_bounds_"):
        assert type(getattr(ours, name)) is type(getattr(theirs, name))

    new = X[::3] + 0.5
    np.testing.assert_array_equal(ours.predict(new), theirs.predict(new))
    assert ours.predict(new).dtype == theirs.predict(new).dtype
    np.testing.assert_allclose(ours.predict_proba(new), theirs.predict_proba(new), atol=1e-9)
    np.testing.assert_allclose(ours.score_samples(new), theirs.score_samples(new), rtol=1e-9)
    for method in ("score", "aic", "bic"):
        assert getattr(ours, method)(new) == pytest.approx(getattr(theirs, method)(new), rel=1e-10)
    for found, expected in zip(ours.sample(40), theirs.sample(40), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize("given", ["w", "m", "p", "wm", "wp", "mp", "wmp"])
@pytest.mark.parametrize("covariance_type", SKLEARN_TYPES)
def test_given_starts_are_scikit_learns(covariance_type, given, X):
    rng = np.random.default_rng(3)
    scale = rng.uniform(0.5, 2, size=(3, 3))
    precisions = {
        "full": [np.diag(s) + 0.1 for s in scale],
        "tied": np.diag(scale[0]) + 0.1,
        "diag": scale,
        "spherical": scale[0],
    }[covariance_type]
    start = {
        "w": ("weights", [0.2, 0.3, 0.5]),
        "m": ("means", X[:3]),
        "p": ("precisions", precisions),
    }
    theirs, ours = fit_both(
        X,
        3,
        covariance_type=covariance_type,
        max_iter=3,
        random_state=0,
        **{f"{name}_init": value for name, value in (start[letter] for letter in given)},
    )
    assert_equal_fits(theirs, ours)


@pytest.mark.parametrize("covariance_type", SKLEARN_TYPES)
@pytest.mark.parametrize(
    "case", ["one component", "one feature", "a row each", "duplicates", "constant", "two rows"]
)
def test_small_cases_are_scikit_learns(case, covariance_type, X):
    options = {"covariance_type": covariance_type, "random_state": 0, "max_iter": 5, "tol": 0}
    X, n_components = {
        "one component": (X, 1),
        "one feature": (X[:, :1], 2),
        "a row each": (X[:6], 6),
        "duplicates": (np.repeat(X[:5], 30, axis=0), 7),
        "constant": (np.hstack([X, np.zeros((300, 1))]), 2),
        "two rows": (X[:2], 1),
    }[case]
    if case == "duplicates":
        # Where components share a row, rounding decides whose it is.
        options["max_iter"] = 0
    theirs, ours = fit_both(X, n_components, **options)
    # scikit-learn's differences of squares where a variance is little more than reg_covar.
    if case in ("a row each", "duplicates", "two rows") and covariance_type != "full":
        assert_equal_fits(theirs, ours, rtol=1e-6)
    else:
        assert_equal_fits(theirs, ours)


def test_warm_start_goes_on_as_scikit_learns(X):
    options = {"warm_start": True, "max_iter": 2, "random_state": 0, "n_init": 2}
    theirs, ours = SklearnGaussianMixture(3, **options), GaussianMixture(3, **options)
    for _ in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.fit(X), ours.fit(X)
        assert_equal_fits(theirs, ours)
    # At the end of the road a single step is small enough.
    theirs.set_params(max_iter=200).fit(X), ours.set_params(max_iter=200).fit(X)
    theirs.fit(X), ours.fit(X)
    assert ours.n_iter_ == 1
    assert_equal_fits(theirs, ours)


@pytest.mark.parametrize("verbose", [1, 2])
@pytest.mark.parametrize("max_iter", [0, 5])
def test_verbose_prints_what_scikit_learn_prints(max_iter, verbose, X):
    printed = []
    for cls in (SklearnGaussianMixture, GaussianMixture):
        stream = io.StringIO()
        model = cls(3, max_iter=max_iter, n_init=2, verbose=verbose, verbose_interval=2)
        model.set_params(init_params="random", random_state=0)
        with redirect_stdout(stream), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X)
        printed.append(re.sub(r"\d+\.\d+s", "0s", stream.getvalue()))
    assert printed[0] == printed[1]
    assert "Initialization 1" in printed[1]


def test_convergence_warnings_are_scikit_learns(X):
    for cls in (SklearnGaussianMixture, GaussianMixture):
        with pytest.warns(ConvergenceWarning, match="Best performing initialization did not conv"):
            cls(3, max_iter=1, random_state=0).fit(X)
        with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(2\) found smaller than"):
            cls(3, random_state=0).fit(np.repeat(X[:2], 60, axis=0))


def test_a_data_frame(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = GaussianMixture(2, random_state=0).fit(frame)
    np.testing.assert_array_equal(model.feature_names_in_, ["a", "b", "c"])
    np.testing.assert_array_equal(model.predict(frame), model.fit_predict(X))


# Beyond scikit-learn.


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_every_type_does_as_the_textbook_says(covariance_type, weighted, hard, X):
    rng = np.random.default_rng(1)
    sample_weight = rng.uniform(0, 2, size=300) if weighted else None
    start = GaussianMixture(3, covariance_type=covariance_type, max_iter=0, random_state=0).fit(X)
    start = start.weights_, start.means_, start.covariances_
    expected, history = gaussian_em(X, start, covariance_type, 5, sample_weight, 0.01, hard)
    model = GaussianMixture(
        3,
        covariance_type=covariance_type,
        weights_init=start[0],
        means_init=start[1],
        precisions_init=np.linalg.inv(start[2])
        if np.ndim(start[2]) > 1 and covariance_type in ("full", "tied")
        else 1 / start[2],
        assignment="hard" if hard else "soft",
        reg_covar=0.01,
        max_iter=5,
        tol=0,
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(X, sample_weight=sample_weight)
    for name, values in zip(PARAMETERS[:3], expected, strict=True):
        np.testing.assert_allclose(getattr(model, name), values, rtol=1e-9, atol=1e-9)
        assert np.shape(getattr(model, name)) == np.shape(values)
    np.testing.assert_allclose(model.lower_bounds_, history, rtol=1e-10)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_an_integer_weight_is_as_good_as_repeating_the_row(covariance_type, given, X):
    X = X[:45]
    sample_weight = np.random.default_rng(2).integers(4, size=len(X))
    options = {"covariance_type": covariance_type, "random_state": 0, "n_init": 2}
    if given:
        start = GaussianMixture(3, **options).fit(X[:30])
        names = {"weights": "weights_", "means": "means_", "precisions": "precisions_"}
        options |= {f"{name}_init": getattr(start, names[name]) for name in names}
    weighted = GaussianMixture(3, **options).fit(X, sample_weight=sample_weight)
    repeated = GaussianMixture(3, **options).fit(np.repeat(X, sample_weight, axis=0))
    assert weighted.n_iter_ == repeated.n_iter_
    for name in PARAMETERS:
        np.testing.assert_allclose(
            getattr(weighted, name), getattr(repeated, name), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("init_params", INITS)
def test_rows_without_weight_count_for_nothing(init_params, X):
    sample_weight = (np.arange(300) % 3 > 0) * 2.5
    X = np.where(sample_weight[:, np.newaxis] > 0, X, 1e3)
    model = GaussianMixture(3, init_params=init_params, random_state=0, max_iter=200)
    model.fit(X, sample_weight=sample_weight)
    assert model.means_.max() < 20
    scaled = clone(model).fit(X, sample_weight=sample_weight * 1e-30)
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(scaled, name), getattr(model, name), rtol=1e-8)
    assert scaled.lower_bound_ == pytest.approx(model.lower_bound_)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize(
    "fixed", [{"weights"}, ["means"], ("covariances",), ("weights", "means", "covariances")]
)
def test_fixed_parameters_stay(fixed, covariance_type, X):
    options = {"covariance_type": covariance_type, "random_state": 0, "init_params": "random"}
    start = GaussianMixture(3, **options, max_iter=0).fit(X)
    model = GaussianMixture(3, **options, fixed=fixed, tol=0.01).fit(X)
    for name in ("weights", "means", "covariances"):
        same = np.allclose(getattr(model, f"{name}_"), getattr(start, f"{name}_"), rtol=1e-12)
        assert same == (name in fixed), name
    assert (np.diff(model.lower_bounds_) > -1e-12).all()
    assert model._n_parameters() == start._n_parameters() - sum(
        {"weights": 2, "means": 9, "covariances": start._n_parameters() - 11}[name]
        for name in fixed
    )


@pytest.mark.parametrize("init_params", INITS)
def test_fixed_weights_of_a_start_sum_to_one(init_params, X):
    options = {"init_params": init_params, "random_state": 0, "fixed": ["weights"]}
    model = GaussianMixture(3, **options, reg_covar=1.0).fit(X)
    assert model.weights_.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_from_parameters_is_as_good_as_fitted(covariance_type, X):
    fitted = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    made = GaussianMixture.from_parameters(
        fitted.weights_, fitted.means_, fitted.covariances_, covariance_type
    )
    assert vars(made).keys() == vars(fitted).keys()
    np.testing.assert_allclose(made.score_samples(X), fitted.score_samples(X), rtol=1e-10)
    np.testing.assert_array_equal(made.predict(X), fitted.predict(X))
    for method in ("aic", "bic", "icl"):
        assert getattr(made, method)(X) == pytest.approx(getattr(fitted, method)(X))
    rows, labels = made.set_params(random_state=0).sample(20_000)
    np.testing.assert_allclose(np.bincount(labels) / 20_000, fitted.weights_, atol=0.02)
    np.testing.assert_allclose(rows[labels == 1].mean(axis=0), fitted.means_[1], atol=0.1)
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again.predict_proba(X), made.predict_proba(X))
    assert clone(made).get_params() == made.get_params()
    resumed = made.set_params(warm_start=True).fit(X)
    assert resumed.n_iter_ <= 2


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_float32_stays_float32(covariance_type, X):
    options = {"covariance_type": covariance_type, "random_state": 0, "tol": 1e-6, "max_iter": 500}
    double = GaussianMixture(3, **options).fit(X)
    single = GaussianMixture(3, **options).fit(X.astype(np.float32))
    for name in PARAMETERS:
        assert getattr(single, name).dtype == np.float32
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), atol=0.02)
    rows = X.astype(np.float32)
    assert single.predict_proba(rows).dtype == single.score_samples(rows).dtype == np.float32
    np.testing.assert_allclose(single.score_samples(rows), double.score_samples(X), atol=0.02)
    assert single.sample(5)[0].shape == (5, 3)


def test_a_memory_map_is_fitted_as_an_array(X, tmp_path):
    np.save(tmp_path / "rows.npy", X)
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    mapped = GaussianMixture(3, random_state=0).fit(rows)
    np.testing.assert_array_equal(mapped.means_, GaussianMixture(3, random_state=0).fit(X).means_)
    np.testing.assert_array_equal(mapped.predict(rows), mapped.predict(X))


def test_the_best_of_several_runs_is_kept(X):
    options = {"init_params": "random_from_data", "max_iter": 100, "reg_covar": 0.1}
    random_state = np.random.RandomState(0)
    singles = [GaussianMixture(4, **options, random_state=random_state).fit(X) for _ in range(5)]
    bounds = [single.lower_bound_ for single in singles]
    assert max(bounds) > min(bounds) + 1e-3
    together = GaussianMixture(4, **options, n_init=5, random_state=0).fit(X)
    assert together.lower_bound_ == max(bounds)
    np.testing.assert_array_equal(together.means_, singles[int(np.argmax(bounds))].means_)


def test_components_are_fitted_whatever_n_components_says_by_now(X):
    model = GaussianMixture(3, random_state=0).fit(X)
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(model.set_params(n_components=5).predict_proba(X), expected)


def test_a_fit_of_few_long_rows_adds_less_than_these():
    """Two thirds of them: each component's means or variances take a sixtieth.

    The parameters, their start's, statistics and what the M-step makes of them took nine tenths
    while all were kept; compiling, which a first fit does beside, takes some memory, too.
    """
    X = np.random.default_rng(0).normal(size=(60, 40_000))
    mixture = GaussianMixture(3, covariance_type="diag", random_state=0, max_iter=3, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(X)  # compiles
        tracemalloc.start()
        mixture.fit(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 0.65 * X.nbytes

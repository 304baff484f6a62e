"""What is drawn: positions, labels, shapes."""

import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from matplotlib.colors import same_color
from matplotlib.patches import Ellipse
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError

from fastem import (
    BernoulliMixture,
    CriterionSearch,
    GaussianMixture,
    KMeans,
    plot,
    silhouette_samples,
)
from fastem.plot import (
    CentersDisplay,
    CriterionDisplay,
    HistoryDisplay,
    MixtureDisplay,
    SilhouetteDisplay,
    animate_rounds,
)
from fastem.plot.mixture import ellipse

TYPES = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", "VEV"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(90, 3)) * [1, 2, 3] + np.repeat([[0, 0, 0], [9, 0, 9]], 45, axis=0)


def full_covariances(mixture):
    covariances, d = mixture.covariances_, mixture.n_features_in_
    eye = np.eye(d)
    return {
        "full": lambda: covariances,
        "VEV": lambda: covariances,
        "tied": lambda: [covariances] * 2,
        "diag": lambda: [np.diag(c) for c in covariances],
        "spherical": lambda: [c * eye for c in covariances],
        "tied_diag": lambda: [np.diag(covariances)] * 2,
        "tied_spherical": lambda: [covariances * eye] * 2,
    }[mixture.covariance_type]()


def edge_points(patch):
    """Points of an ellipse's edge, as matplotlib draws it."""
    return patch.get_patch_transform().transform(patch.get_path().vertices[::3])


@pytest.mark.parametrize("covariance_type", TYPES)
def test_ellipses_hold_their_share(X, covariance_type):
    mixture = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X, features=(2, 0), probability=0.8)
    ellipses = [patch for patch in display.ax_.patches if isinstance(patch, Ellipse)]
    assert len(ellipses) == 2
    for patch, mean, covariance in zip(
        ellipses, mixture.means_, full_covariances(mixture), strict=True
    ):
        covariance = np.asarray(covariance)[np.ix_([2, 0], [2, 0])]
        differences = edge_points(patch) - mean[[2, 0]]
        squares = (differences * np.linalg.solve(covariance, differences.T).T).sum(axis=1)
        # Two degrees of freedom: P(distance**2 < s) = 1 - exp(-s / 2).
        np.testing.assert_allclose(1 - np.exp(-squares / 2), 0.8, rtol=1e-8)
    rows, centers = display.ax_.collections
    np.testing.assert_array_equal(rows.get_offsets(), X[:, [2, 0]])
    np.testing.assert_array_equal(centers.get_offsets(), mixture.means_[:, [2, 0]])
    assert display.ax_.get_xlabel() == "feature 2" and display.ax_.get_ylabel() == "feature 0"
    assert display.figure_ is display.ax_.figure


def test_ellipse_of_known_axes():
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    width, height, angle = ellipse(turn @ np.diag([9.0, 4.0]) @ turn.T, 1 - np.exp(-0.5))
    assert (width, height) == pytest.approx((6, 4))  # a standard deviation to each side
    assert angle % 180 == pytest.approx(np.degrees(np.arctan2(0.6, 0.8)))


def test_colours_by_responsibility(X):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X)
    colors = np.array(matplotlib.color_sequences["tab10"])[:2]
    found = display.ax_.collections[0].get_facecolors()[:, :3]
    np.testing.assert_allclose(found, mixture.predict_proba(X) @ colors, atol=1e-12)


def test_noise_is_grey(X):
    rows = np.vstack([X, np.random.default_rng(1).uniform(-40, 40, size=(30, 3))])
    mixture = GaussianMixture(2, noise_component="auto", random_state=0, n_init=3).fit(rows)
    display = MixtureDisplay.from_estimator(mixture, rows)
    shades = display.ax_.collections[0].get_facecolors()[:, :3]
    grey = np.ptp(shades, axis=1) < 1e-6
    np.testing.assert_array_equal(grey, mixture.predict_proba(rows)[:, -1] > 1 - 1e-6)
    assert grey.any()
    assert sum(isinstance(patch, Ellipse) for patch in display.ax_.patches) == 2
    display = MixtureDisplay.from_estimator(mixture, rows, features=0)
    labels = [line.get_label() for line in display.ax_.lines]
    assert labels[-1] == "mixture without its noise"


def test_a_mixture_whose_weights_do_not_sum_to_one(X):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    shown = MixtureDisplay.from_estimator(mixture, X, features=0).weights
    mixture.weights_ = 4.0 * mixture.weights_
    again = MixtureDisplay.from_estimator(mixture, X, features=0).weights
    np.testing.assert_allclose(again, shown, rtol=1e-12)


def test_scikit_learns_mixture(X):
    theirs = sklearn.mixture.GaussianMixture(2, random_state=0).fit(X)
    shown = MixtureDisplay.from_estimator(theirs, X)
    np.testing.assert_array_equal(shown.weights, theirs.weights_)
    np.testing.assert_array_equal(shown.means, theirs.means_[:, :2])
    np.testing.assert_allclose(shown.covariances, theirs.covariances_[:, :2, :2], rtol=1e-12)


def test_density_of_one_feature(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    mixture = GaussianMixture(2, covariance_type="tied", random_state=0).fit(frame)
    _, ax = plt.subplots()
    display = MixtureDisplay.from_estimator(mixture, frame, features=2, ax=ax, bins=7)
    assert display.ax_ is ax and ax.get_xlabel() == "c" and ax.get_ylabel() == "density"
    assert len(ax.patches) == 7
    assert sum(bar.get_height() * bar.get_width() for bar in ax.patches) == pytest.approx(1)
    *parts, total = ax.get_lines()
    for line, weight, mean in zip(parts, mixture.weights_, mixture.means_, strict=True):
        x, y = line.get_data()
        sigma = np.sqrt(mixture.covariances_[2, 2])
        np.testing.assert_allclose(y, weight * norm(mean[2], sigma).pdf(x), atol=1e-12)
    np.testing.assert_allclose(total.get_ydata(), sum(line.get_ydata() for line in parts))


def test_history(X):
    mixture = GaussianMixture(2, tol=1e-6, random_state=0).fit(X)
    line = HistoryDisplay.from_estimator(mixture).ax_.get_lines()[0]
    np.testing.assert_array_equal(line.get_ydata(), mixture.lower_bounds_)
    np.testing.assert_array_equal(line.get_xdata(), range(1, mixture.n_iter_ + 1))
    # All runs, of which one is that of the fit.
    several = GaussianMixture(3, n_init=3, init_params="random", tol=1e-4, random_state=1).fit(X)
    display = HistoryDisplay.from_estimator(several, X)
    lines = display.ax_.get_lines()
    assert len(lines) == 3
    best = lines[display.best].get_ydata()
    np.testing.assert_allclose(best, several.lower_bounds_, rtol=1e-10)
    assert max(line.get_ydata()[-1] for line in lines) == best[-1]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels[display.best] == f"run {display.best}, the best"
    assert display.ax_.get_ylabel() == "mean log-density"
    kmeans = KMeans(3, n_init=2, init="random", random_state=0)
    display = HistoryDisplay.from_estimator(kmeans, X)
    assert len(display.ax_.get_lines()) == 2 and display.ax_.get_ylabel() == "inertia"
    for line in display.ax_.get_lines():
        assert (np.diff(line.get_ydata()) <= 1e-9).all()
    assert not hasattr(kmeans, "labels_")
    # Of a fitted one, the best run.
    kmeans.fit(X)
    display = HistoryDisplay.from_estimator(kmeans)
    np.testing.assert_array_equal(display.ax_.get_lines()[0].get_ydata(), kmeans.inertias_)
    assert display.ax_.get_ylabel() == "inertia"


def test_criterion(X):
    grid = {"n_components": [3, 1, 2], "covariance_type": ["full", "diag"]}
    search = CriterionSearch(GaussianMixture(random_state=0), grid).fit(X)
    for criterion in (None, "aic"):
        display = CriterionDisplay.from_estimator(search, criterion=criterion)
        name = criterion or "bic"
        lines = {line.get_label(): line for line in display.ax_.get_lines()}
        assert set(lines) == {"full", "diag"}
        results = search.results_
        for kind, line in lines.items():
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            own = results["param_covariance_type"] == kind
            order = np.argsort(results["param_n_components"][own])
            np.testing.assert_array_equal(line.get_ydata(), results[name][own][order])
        assert display.ax_.get_ylabel() == name.upper()
        ring = display.ax_.collections[0].get_offsets()[0]
        np.testing.assert_allclose(
            ring, [search.best_params_["n_components"], results[name][search.best_index_]]
        )


def test_centers_as_images():
    rng = np.random.default_rng(0)
    rows = (rng.random((60, 6)) < 0.5).astype(float)
    mixture = BernoulliMixture(3, random_state=0).fit(rows)
    display = CentersDisplay.from_estimator(mixture, shape=(2, 3))
    image = display.ax_.get_images()[0].get_array().filled(np.nan)
    assert image.shape == (5, 7)  # two by two, a pixel apart
    np.testing.assert_array_equal(image[:2, :3].ravel(), mixture.probabilities_[0])
    np.testing.assert_array_equal(image[:2, 4:].ravel(), mixture.probabilities_[1])
    np.testing.assert_array_equal(image[3:, :3].ravel(), mixture.probabilities_[2])
    assert np.isnan(image[2]).all() and np.isnan(image[3:, 4:]).all()


def test_centers_as_profiles(X):
    kmeans = KMeans(2, random_state=0).fit(pd.DataFrame(X, columns=["a", "b", "c"]))
    display = CentersDisplay.from_estimator(kmeans)
    drawn = [line.get_ydata() for line in display.ax_.get_lines()]
    np.testing.assert_array_equal(drawn, kmeans.cluster_centers_)
    assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == ["a", "b", "c"]


def test_silhouettes(X):
    kmeans = KMeans(2, random_state=0).fit(X)
    display = SilhouetteDisplay.from_estimator(kmeans, X, metric="manhattan")
    expected = silhouette_samples(X, kmeans.labels_, metric="manhattan")
    areas = display.ax_.collections
    assert len(areas) == 2
    for area, label in zip(areas, (0, 1), strict=True):
        own = expected[kmeans.labels_ == label]
        assert area.get_datalim(display.ax_.transData).x1 == pytest.approx(max(own.max(), 0))
        assert area.get_datalim(display.ax_.transData).height == pytest.approx(len(own))
    mean = display.ax_.get_lines()[0]
    assert mean.get_xdata()[0] == pytest.approx(expected.mean())
    assert [tick.get_text() for tick in display.ax_.get_yticklabels()] == ["0", "1"]
    named = SilhouetteDisplay.from_labels(X, np.array(["u", "v"])[kmeans.labels_])
    assert [tick.get_text() for tick in named.ax_.get_yticklabels()] == ["u", "v"]


@pytest.mark.parametrize("features", [(0, 2), 1])
def test_rounds(X, features, tmp_path):
    mixture = GaussianMixture(2, init_params="random", tol=1e-2, random_state=0)
    fitted = clone(mixture).fit(X)
    animation = animate_rounds(mixture, X, features=features)
    assert not hasattr(mixture, "means_")
    frames = list(animation.new_frame_seq())
    assert len(frames) == fitted.n_iter_ + 1
    ax = animation._fig.axes[0]
    titles, limits = [], []
    for frame in frames:
        animation._draw_frame(frame)
        titles.append(ax.get_title())
        limits.append(ax.axis())
    scores = [*fitted.lower_bounds_, fitted.score(X)]
    names = ["start", *(f"round {i}" for i in frames[1:])]
    assert titles == [
        f"{name}: mean log-density {score:.4g}" for name, score in zip(names, scores, strict=True)
    ]
    if features == (0, 2):
        assert len(set(limits)) == 1
        np.testing.assert_array_equal(ax.collections[1].get_offsets(), fitted.means_[:, [0, 2]])
    animation.save(tmp_path / "em.gif", writer="pillow")
    assert (tmp_path / "em.gif").stat().st_size > 0


@pytest.mark.parametrize(
    "features", [(0, 0), (0, 3), (0, 1, 2), "a", ("a", "b"), -1, 0.5, (0, 0.5), True, ()]
)
def test_bad_features(X, features):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="features must be one or two different numbers"):
        MixtureDisplay.from_estimator(mixture, X, features=features)


def test_features_by_name(X, tmp_path):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    mixture = GaussianMixture(2, random_state=0).fit(frame)
    for features in (("c", "a"), ["c", 0], np.array(["c", "a"])):
        display = MixtureDisplay.from_estimator(mixture, frame, features=features)
        assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("c", "a")
        np.testing.assert_array_equal(display.ax_.collections[0].get_offsets(), X[:, [2, 0]])
        np.testing.assert_array_equal(
            display.ax_.collections[1].get_offsets(), mixture.means_[:, [2, 0]]
        )
    display = MixtureDisplay.from_estimator(mixture, frame, features="b")
    np.testing.assert_array_equal(display.X, X[:, [1]])
    assert display.ax_.get_xlabel() == "b"
    for features in ("d", ("a", "a"), ("a", 0), "ab"):
        with pytest.raises(ValueError, match="or names of features, got"):
            MixtureDisplay.from_estimator(mixture, frame, features=features)
    animation = animate_rounds(mixture, frame, features=("c", "a"))
    animation.save(tmp_path / "em.gif", writer="pillow")
    assert animation._fig.axes[0].get_xlabel() == "c"


@pytest.mark.parametrize(
    "options",
    [{"c": "red", "lw": 5, "ls": ":", "ms": 9}, {"color": "red", "linewidth": 5, "linestyle": ":"}],
)
def test_lines_take_aliases(X, options):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    search = CriterionSearch(mixture, {"n_components": [1, 2]}).fit(X)
    one = MixtureDisplay.from_estimator(mixture, X, features=0, components_kw=options)
    for lines in (
        HistoryDisplay.from_estimator(mixture, **options).ax_.get_lines(),
        CriterionDisplay.from_estimator(search, **options).ax_.get_lines(),
        CentersDisplay.from_estimator(mixture, **options).ax_.get_lines(),
        one.ax_.get_lines()[:2],
    ):
        for line in lines:
            assert line.get_color() == "red" and line.get_linewidth() == 5
            assert line.get_linestyle() == ":"
            assert "ms" not in options or line.get_markersize() == 9


@pytest.mark.parametrize("lw", ["lw", "linewidth", "linewidths"])
@pytest.mark.parametrize("c", ["c", "color", "facecolor", "facecolors", "fc"])
def test_rows_take_aliases(X, c, lw):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X, rows_kw={c: "red", lw: 3})
    rows = display.ax_.collections[0]
    assert same_color(rows.get_facecolors()[:, :3], [[1, 0, 0]])
    assert rows.get_linewidths() == [3]


def test_ellipses_take_aliases(X):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    draw = MixtureDisplay.from_estimator
    options = {"lw": 3, "ec": "black", "fc": "red", "ls": "--"}
    for patch in draw(mixture, X, components_kw=options).ax_.patches:
        assert patch.get_linewidth() == 3 and patch.get_linestyle() == "--"
        assert same_color(patch.get_edgecolor(), "black")
        assert same_color(patch.get_facecolor(), "red")
    for patch in draw(mixture, X, components_kw={"color": "blue"}).ax_.patches:
        assert same_color(patch.get_edgecolor(), "blue")


@pytest.mark.parametrize("c", ["color", "fc", "facecolor"])
def test_areas_and_bars_take_aliases(X, c):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    options = {c: "red", "lw": 3, "ec": "black"} if c != "color" else {c: "red", "lw": 3}
    areas = SilhouetteDisplay.from_labels(X, mixture.predict(X), **options).ax_.collections
    for area in areas:
        assert same_color(area.get_facecolor(), "red") and area.get_linewidth() == [3]
    bars = MixtureDisplay.from_estimator(mixture, X, features=0, rows_kw=options).ax_.patches
    for bar in bars:
        assert same_color(bar.get_facecolor(), "red") and bar.get_linewidth() == 3


def test_the_same_option_twice(X):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    with pytest.raises(TypeError, match="which are aliases of one another"):
        HistoryDisplay.from_estimator(mixture, lw=1, linewidth=2)


def test_labels_of_a_column(X):
    labels = KMeans(2, random_state=0).fit_predict(X)
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        display = SilhouetteDisplay.from_labels(X, labels[:, np.newaxis])
    np.testing.assert_array_equal(display.labels, labels)
    assert len(display.ax_.collections) == 2
    with pytest.raises(ValueError, match="y should be a 1d array"):
        SilhouetteDisplay.from_labels(X, np.column_stack([labels, labels]))


def test_rows_with_missing_values(X):
    rows = X.copy()
    rows[::5, 0] = np.nan
    mixture = GaussianMixture(2, missing="em", random_state=0).fit(rows)
    ax = MixtureDisplay.from_estimator(mixture, rows, features=0).ax_
    assert sum(bar.get_height() * bar.get_width() for bar in ax.patches) == pytest.approx(1)
    observed = rows[~np.isnan(rows).any(axis=1)]
    ax = MixtureDisplay.from_estimator(mixture, rows).ax_
    np.testing.assert_array_equal(
        np.ma.compress_rows(ax.collections[0].get_offsets()), observed[:, :2]
    )


@pytest.mark.parametrize("ax", [3, "ax", np.array([None, None])])
def test_bad_axes(X, ax):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    search = CriterionSearch(mixture, {"n_components": [1, 2]}).fit(X)
    for draw, args in (
        (MixtureDisplay.from_estimator, (mixture, X)),
        (HistoryDisplay.from_estimator, (mixture,)),
        (CriterionDisplay.from_estimator, (search,)),
        (CentersDisplay.from_estimator, (mixture,)),
        (SilhouetteDisplay.from_estimator, (mixture, X)),
        (animate_rounds, (mixture, X)),
    ):
        with pytest.raises(TypeError, match=r"The 'ax' parameter of .* must be an instance of"):
            draw(*args, ax=ax)


def test_refusals(X):
    mixture = GaussianMixture(2, random_state=0)
    with pytest.raises(NotFittedError):
        MixtureDisplay.from_estimator(mixture, X)
    mixture.fit(X)
    with pytest.raises(ValueError, match="probability must be between 0 and 1"):
        MixtureDisplay.from_estimator(mixture, X, probability=1)
    with pytest.raises(ValueError, match="3 features are no image"):
        CentersDisplay.from_estimator(mixture, shape=(2, 2))
    with pytest.raises(TypeError, match="not a BernoulliMixture"):
        MixtureDisplay.from_estimator(BernoulliMixture(random_state=0).fit(X), X)
    with pytest.raises(TypeError, match="animate_rounds draws Gaussian mixtures, not a KMeans"):
        animate_rounds(KMeans(2), X)
    with pytest.raises(TypeError, match="draws a CriterionSearch, not a GaussianMixture"):
        CriterionDisplay.from_estimator(mixture)
    search = CriterionSearch(mixture, {"covariance_type": ["full"]}).fit(X)
    with pytest.raises(ValueError, match="not varied 'n_components'"):
        CriterionDisplay.from_estimator(search)
    with pytest.raises(ValueError, match="no such criterion: 'dic'"):
        CriterionDisplay.from_estimator(search, criterion="dic")


def test_without_matplotlib(X, monkeypatch):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"MixtureDisplay.plot requires matplotlib. You can"):
        MixtureDisplay.from_estimator(mixture, X)
    with pytest.raises(ImportError, match="animate_rounds requires matplotlib"):
        animate_rounds(mixture, X)


def test_every_display_is_public():
    assert sorted(plot.__all__) == [
        "CentersDisplay", "CriterionDisplay", "HistoryDisplay", "MixtureDisplay",
        "SilhouetteDisplay", "animate_rounds",
    ]  # fmt: skip

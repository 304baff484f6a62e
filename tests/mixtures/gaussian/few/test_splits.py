import numpy as np
import pytest

from fastem import GaussianMixture
from fastem.loop.model import Until
from fastem.mixtures.gaussian.few import splits
from fastem.mixtures.sampled import Sample
from fastem.mixtures.search import _one_by_one
from fastem.rows import array_rows

UNTIL = Until(-np.inf, np.inf, 4)


def problem(dtype, n_features, seed=0):
    """A fitted mixture's model and parameters, some rows, and their shares in its components."""
    rng = np.random.default_rng(seed)
    centers = 4.0 * rng.normal(size=(9, n_features))
    X = centers[rng.integers(9, size=700)] + rng.gamma(1.0, size=(700, n_features))
    X = X.astype(dtype)
    fitted = GaussianMixture(4, random_state=seed).fit(X)
    model = fitted._make_model(
        array_rows(X), n_components=4, total_weight=700.0, row_unit=1.0, tol=0.0
    )
    shares = fitted.predict_proba(X).astype(np.float64)
    sample = Sample(X, rng.uniform(0.5, 2.0, 700))
    return model, fitted._parameters(), sample, np.where(shares > 1e-3, shares, 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 2, 6, 13])
@pytest.mark.parametrize("at_once", [None, 1000])
def test_all_splits_are_those_one_by_one(at_once, n_features, dtype, monkeypatch):
    model, parameters, sample, shares = problem(dtype, n_features)
    if at_once is not None:  # values: some components in turn
        monkeypatch.setattr(splits, "_MOST_VALUES", at_once)
    found = model.splits(sample, shares, parameters, UNTIL)
    assert len(found) == 4 and any(found)
    rtol = 1e-8 if dtype == np.float64 else 1e-2
    for number, own in enumerate(found):
        expected = list(_one_by_one(model, sample, parameters, number, shares[:, number]))
        assert len(own) == len(expected)
        for left, right in zip(own, expected, strict=True):
            np.testing.assert_allclose(left.gain, right.gain, rtol=rtol, atol=700 * rtol)
            np.testing.assert_allclose(left.least, right.least, rtol=rtol)
            for value, other in zip(left.children[:4], right.children[:4], strict=True):
                np.testing.assert_allclose(value, other, rtol=rtol, atol=rtol)


def test_a_direction_without_variance():
    """It is no way to cut rows, and neither are rows that are all the same."""
    model, _, _, _ = problem(np.float64, 3)
    X = np.zeros((100, 3))
    X[:, 0] = np.repeat([0.0, 1.0], 50)
    for own, cut in ((X, True), (np.zeros((100, 3)), False)):
        parameters = GaussianMixture(1).fit(own)._parameters()
        (found,) = model.splits(Sample(own, np.ones(100)), np.ones((100, 1)), parameters, UNTIL)
        assert bool(found) == cut
        for split in found:
            np.testing.assert_allclose(np.sort(split.children.means[:, 0]), [0.0, 1.0], atol=1e-9)


def test_what_can_not_be_told():
    """Squares overflow: one by one it is known why."""
    model, parameters, sample, shares = problem(np.float64, 3)
    X = sample.X * 1e160
    assert model.splits(sample._replace(X=X), shares, parameters, UNTIL) is None

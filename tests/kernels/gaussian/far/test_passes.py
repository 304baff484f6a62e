"""Rows whose squared distances overflow: the right component is known all the same."""

import numpy as np
import pytest

from fastem.kernels.gaussian import PASSES, GaussianComponents

FARTHEST = {np.float32: [1e20, -3e38], np.float64: [1e160, -1.7e308]}


def wide_and_narrow(covariance_type, d=2):
    """Two components at the origin, the second ten times as wide; None for one covariance."""
    scales = np.array([1.0, 0.1])
    return {
        "full": scales[:, np.newaxis, np.newaxis] * np.eye(d),
        "diag": np.repeat(scales[:, np.newaxis], d, axis=1),
        "spherical": scales,
    }[covariance_type]


def evaluated(covariance_type, X, parameters):
    """All outputs, each asked for alone, then together: these must be the same."""
    k = len(parameters.means)
    shapes = {
        "log_density": (len(X),),
        "labels": (len(X),),
        "responsibilities": (len(X), k),
        "log_joint": (len(X), k),
    }

    def empty(name):
        return np.full(shapes[name], -7, np.int64 if name == "labels" else X.dtype)

    tested = PASSES[covariance_type](X, None, k)
    together = {name: empty(name) for name in shapes}
    tested.evaluate(parameters, **together)
    for name in shapes:
        alone = empty(name)
        tested.evaluate(parameters, **{name: alone})
        if name == "log_joint":  # alone, -inf may stand for what only a float32 square can't hold
            assert not np.isnan(alone).any()
            alone = np.where(np.isneginf(alone), together[name], alone)
        np.testing.assert_array_equal(alone, together[name])
    return together


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_the_widest_component_wins(covariance_type, dtype):
    far = FARTHEST[dtype]
    X = np.array([[0.0, 0.0], *([value, 0.0] for value in far), [far[0], far[0]]], dtype)
    parameters = GaussianComponents(
        np.log([0.5, 0.5]), np.zeros((2, 2)), wide_and_narrow(covariance_type)
    )
    found = evaluated(covariance_type, X, parameters)
    np.testing.assert_array_equal(found["labels"], [0, 1, 1, 1])
    np.testing.assert_allclose(found["responsibilities"][0], [1 / 1.01, 0.01 / 1.01], rtol=1e-6)
    np.testing.assert_array_equal(found["responsibilities"][1:], [[0.0, 1.0]] * 3)
    assert not np.isnan(found["log_density"]).any()
    assert not np.isnan(found["log_joint"]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", PASSES)
def test_the_nearer_of_equally_wide_components_wins(covariance_type, dtype):
    far = FARTHEST[dtype][0]
    X = np.array([[far, far], [-far, far], [0.25, 0.0]], dtype)
    means = np.array([[-far / 8, 0.0], [far / 8, 0.0], [0.0, 0.0]])
    factor = {
        "full": np.stack([np.eye(2)] * 3), "tied": np.eye(2), "diag": np.ones((3, 2)),
        "spherical": np.ones(3), "tied_diag": np.ones(2), "tied_spherical": np.array(1.0),
    }[covariance_type]  # fmt: skip
    parameters = GaussianComponents(np.log([0.2, 0.3, 0.5]), means, factor)
    found = evaluated(covariance_type, X, parameters)
    np.testing.assert_array_equal(found["labels"], [1, 0, 2])
    np.testing.assert_array_equal(found["responsibilities"], np.eye(3)[[1, 0, 2]])
    assert not np.isnan(found["log_joint"]).any()
    np.testing.assert_allclose(
        found["log_density"][2], np.log(0.5 / (2 * np.pi)) - 0.25**2 / 2, rtol=1e-6
    )


@pytest.mark.parametrize("covariance_type", PASSES)
def test_equal_distances_leave_the_weights(covariance_type):
    """Components at the same place: responsibilities are the weights, however far a row is."""
    d = 3
    factor = {
        "full": np.stack([np.eye(d)] * 2), "tied": np.eye(d), "diag": np.ones((2, d)),
        "spherical": np.ones(2), "tied_diag": np.ones(d), "tied_spherical": np.array(1.0),
    }[covariance_type]  # fmt: skip
    parameters = GaussianComponents(np.log([0.25, 0.75]), np.ones((2, d)), factor)
    found = evaluated(covariance_type, np.full((1, d), 1e200), parameters)
    np.testing.assert_allclose(found["responsibilities"], [[0.25, 0.75]], rtol=1e-12)
    assert found["labels"][0] == 1
    assert found["log_density"][0] == -np.inf


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_steps_count_what_float32_cant_square(covariance_type):
    X = np.array([[0.0, 0.0], [1.0, 0.0], [1e21, 0.0]], np.float32)
    factor = wide_and_narrow(covariance_type)
    parameters = GaussianComponents(np.log([0.5, 0.5]), np.zeros((2, 2)), factor)
    single = PASSES[covariance_type](X, None, 2).e_step(parameters)
    double = PASSES[covariance_type](X.astype(float), None, 2).e_step(parameters)
    far = np.float64(np.float32(1e21))
    assert np.isfinite(single.objective)
    np.testing.assert_allclose(single.objective, -0.005 * far**2, rtol=1e-6)
    np.testing.assert_allclose(single.sums[1, 0], far, rtol=1e-6)
    for one, other in zip(single, double, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("covariance_type", PASSES)
def test_steps_say_that_rows_are_too_far(covariance_type):
    factor = {
        "full": np.ones((1, 1, 1)), "tied": np.ones((1, 1)), "diag": np.ones((1, 1)),
        "spherical": np.ones(1), "tied_diag": np.ones(1), "tied_spherical": np.array(1.0),
    }[covariance_type]  # fmt: skip
    X = np.array([[0.0], [1.0], [1e200]])
    parameters = GaussianComponents(np.zeros(1), np.zeros((1, 1)), factor)
    with pytest.raises(ValueError, match="far from every component"):
        PASSES[covariance_type](X, None, 1).e_step(parameters)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("noise", [-np.inf, -5.0])
@pytest.mark.parametrize("covariance_type", PASSES)
def test_rows_without_weight_are_nothing_however_far_they_are(covariance_type, noise, hard):
    """In float32 these factors are infinite, and nothing times infinity is no number."""
    factor = {
        "full": np.stack([np.eye(2)] * 3), "tied": np.eye(2), "diag": np.ones((3, 2)),
        "spherical": np.ones(3), "tied_diag": np.ones(2), "tied_spherical": np.array(1.0),
    }[covariance_type]  # fmt: skip
    components = GaussianComponents(
        np.log([0.2, 0.3, 0.5]), np.zeros((3, 2)), 1e150 * factor, noise
    )
    X = np.tile(np.array([1e20, 0.0], np.float32), (5, 1))
    tested = PASSES[covariance_type](X, np.zeros(5), 3)
    with np.errstate(over="ignore"):
        found = tested.e_step(components, hard=hard)
    scatter = {
        "full": (3, 2, 2), "tied": (2, 2), "diag": (3, 2), "spherical": (3,), "tied_diag": (2,),
        "tied_spherical": (),
    }[covariance_type]  # fmt: skip
    shapes = (), (3,), (3, 2), scatter, ()
    for values, shape in zip(found, shapes, strict=True):
        np.testing.assert_array_equal(values, np.zeros(shape), strict=True)

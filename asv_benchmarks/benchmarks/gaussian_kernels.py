"""A Gaussian mixture's EM pass: its share of the matrix-multiply peak, and what skipping saves."""

import numpy as np
from scipy.spatial.distance import cdist

from . import data, measure
from .machine import least_time, peak

# (rows, features, components)
SHAPES = {
    "100k,32,16": (100_000, 32, 16),
    "50k,128,16": (50_000, 128, 16),
    "200k,16,64": (200_000, 16, 64),
    "200k,16,256": (200_000, 16, 256),
}


def make_problem(shape, dtype, gap, covariance_type="full"):
    """Return rows of unit normal components, and parameters near theirs.

    The median distance from a component's mean to the nearest other one is `gap`.
    """
    from fastem.kernels.gaussian import GaussianComponents

    n_rows, n_features, n_components = shape
    rng = np.random.default_rng(0)
    means = rng.standard_normal((n_components, n_features))
    distances = cdist(means, means)
    np.fill_diagonal(distances, np.inf)
    means *= gap / np.median(distances.min(axis=1))
    X = rng.standard_normal((n_rows, n_features))
    X += means[rng.integers(n_components, size=n_rows)]
    means += 0.1 * rng.standard_normal(means.shape)
    factors = {
        "full": np.stack([np.eye(n_features)] * n_components),
        "tied": np.eye(n_features),
        "diag": np.ones((n_components, n_features)),
        "spherical": np.ones(n_components),
    }[covariance_type]
    log_weights = np.full(n_components, -np.log(n_components))
    return X.astype(dtype), GaussianComponents(log_weights, means, factors)


class GaussianPass:
    """The multiplications that a triangle needs, in flops per second over the machine's peak."""

    params = (measure.some(["100k,32,16", "50k,128,16", "200k,16,64"]), measure.some(data.DTYPES))
    param_names = ("shape", "dtype")
    timeout = 300

    def setup(self, shape, dtype):
        from fastem.kernels.gaussian import PASSES

        measure.pin_threads()
        n_rows, n_features, n_components = SHAPES[shape]
        n_rows = measure.fewer(n_rows)
        self.X, self.parameters = make_problem((n_rows, n_features, n_components), dtype, 3.0)
        self.flops = n_rows * n_components * n_features * (n_features + 1)
        self.passes = PASSES["full"](self.X, None, n_components)
        self.log_density = np.empty(n_rows, dtype)
        self.time_pass(shape, dtype)

    def time_pass(self, shape, dtype):
        self.passes.e_step(self.parameters, skip=False)

    def e_step(self):
        """Log-densities and log-sum-exp."""
        self.passes.evaluate(self.parameters, log_density=self.log_density)

    def track_e_step_share_of_peak(self, shape, dtype):
        with measure.threads():
            return self.flops / least_time(self.e_step) / peak(dtype)

    def track_m_step_share_of_peak(self, shape, dtype):
        with measure.threads():
            both = least_time(lambda: self.passes.e_step(self.parameters, skip=False))
            return self.flops / (both - least_time(self.e_step)) / peak(dtype)

    track_e_step_share_of_peak.unit = "of the peak"
    track_m_step_share_of_peak.unit = "of the peak"


class Skipping:
    """How many times faster a pass is that skips; the gap is in standard deviations.

    Neighbours 3 apart overlap: there it must not skip, nor take longer.
    """

    params = (
        measure.some(["200k,16,64", "200k,16,256"]),
        measure.some([8.0, 12.0, 3.0]),
        measure.some(["full", "diag", "spherical", "tied"]),
    )
    param_names = ("shape", "gap", "covariance_type")
    timeout = 300

    def setup(self, shape, gap, covariance_type):
        from fastem.kernels.gaussian import PASSES

        measure.pin_threads()
        self.X, self.parameters = make_problem(SHAPES[shape], "float64", gap, covariance_type)
        self.passes = PASSES[covariance_type](self.X, None, SHAPES[shape][2])
        with measure.threads():
            for _ in range(6):  # sorts the rows, where it pays, and learns the bounds
                self.passes.e_step(self.parameters)

    def time_pass(self, shape, gap, covariance_type):
        self.passes.e_step(self.parameters)

    def track_gain(self, shape, gap, covariance_type):
        with measure.threads():
            plain = least_time(lambda: self.passes.e_step(self.parameters, skip=False), 3)
            return plain / least_time(lambda: self.passes.e_step(self.parameters))

    track_gain.unit = "x"

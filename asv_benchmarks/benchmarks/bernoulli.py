"""EM iterations of Bernoulli mixtures from a given start: fastem, plain NumPy and stepmix."""

import warnings

import numpy as np

from . import data, measure

# (rows, features, components)
SHAPES = {
    f"{data.short(rows)},{features},{components}": (rows, features, components)
    for rows, features, components in (
        (60_000, 784, 10),
        (100_000, 100, 20),
        (1_000_000, 32, 8),
    )
}
ITERATIONS = 20


def make_rows(shape):
    """Return rows of a mixture, bool, and weights and probabilities to start from."""
    n_rows, n_features, n_components = shape
    rng = np.random.default_rng(n_features)
    probabilities = rng.beta(0.3, 0.8, size=(n_components, n_features))
    X = np.empty((n_rows, n_features), bool)
    for start in range(0, n_rows, 10_000):
        rows = X[start : start + 10_000]
        np.less(
            rng.random(rows.shape), probabilities[rng.integers(n_components, size=len(rows))], rows
        )
    return X, np.full(n_components, 1 / n_components), 0.5 * probabilities + 0.25


def fit_fastem(X, weights, probabilities, max_iter=ITERATIONS):
    """Fit fastem's mixture: whole fits, the packing of the rows included."""
    from fastem import BernoulliMixture

    model = BernoulliMixture(
        len(weights),
        weights_init=weights,
        probabilities_init=probabilities,
        max_iter=max_iter,
        tol=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


def fit_numpy(X, weights, probabilities, max_iter=ITERATIONS):
    """Two matrix products an iteration, on float64 rows."""
    for _ in range(max_iter):
        odds = np.log(probabilities) - np.log1p(-probabilities)
        log_joint = X @ odds.T
        log_joint += np.log(weights) + np.log1p(-probabilities).sum(axis=1)
        log_joint -= log_joint.max(axis=1, keepdims=True)
        responsibilities = np.exp(log_joint, out=log_joint)
        responsibilities /= responsibilities.sum(axis=1, keepdims=True)
        counts = responsibilities.sum(axis=0)
        weights = counts / len(X)
        probabilities = responsibilities.T @ X / counts[:, np.newaxis]
        np.clip(probabilities, 1e-12, 1 - 1e-12, out=probabilities)
    return weights, probabilities


def fit_stepmix(X, weights, probabilities, max_iter=ITERATIONS):
    """As many iterations of stepmix, which takes no start."""
    from stepmix import StepMix

    model = StepMix(
        len(weights),
        measurement="binary",
        max_iter=max_iter,
        abs_tol=0,
        rel_tol=0,
        random_state=0,
        verbose=0,
        progress_bar=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


def needs_stepmix(name):
    """Have airspeed velocity skip what compares with stepmix where it isn't installed."""
    if not measure.installed("stepmix"):
        raise NotImplementedError("stepmix is not installed")


class BernoulliIterations:
    """A tenth of the rows: quick enough for every commit."""

    shrink = 10
    params = measure.some(SHAPES)
    param_names = ("shape",)
    timeout = 600

    def setup(self, name):
        measure.pin_threads()
        rows, *others = SHAPES[name]
        self.X, *self.start = make_rows((measure.fewer(rows // self.shrink), *others))
        self.time_fit(name)  # compiles

    def time_fit(self, name):
        return fit_fastem(self.X, *self.start)

    def _ratio(self, fit, X):
        with measure.threads():
            fit(X, *self.start, max_iter=1)
            timed = measure.in_turns(
                {
                    "peer": lambda: fit(X, *self.start),
                    "fastem": lambda: fit_fastem(self.X, *self.start),
                },
                3,
            )
        return measure.median(timed["peer"][0]) / measure.median(timed["fastem"][0])

    def track_ratio_to_numpy(self, name):
        return self._ratio(fit_numpy, self.X.astype(np.float64))

    def track_ratio_to_stepmix(self, name):
        return self._ratio(fit_stepmix, self.X.astype(np.float64))

    track_ratio_to_numpy.unit = "x"
    track_ratio_to_stepmix.unit = "x"
    track_ratio_to_stepmix.setup = needs_stepmix


class BernoulliIterationsFull(BernoulliIterations):
    """All rows. Chosen by `--bench Full`."""

    shrink = 1
    timeout = 3600

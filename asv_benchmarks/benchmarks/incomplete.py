"""Rows with gaps beside complete ones, and beside EM written plainly in NumPy; rows with errors.

``python -m asv_benchmarks.benchmarks.incomplete`` prints what docs/incomplete-rows.md says.
"""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np

from . import data, measure

# What is missing: a few masks that rows share, or a share of the entries at random.
GAPS = ("8 masks", "5 %", "20 %")
SHAPE = (100_000, 8, 16)
MANY = (20_000, 20, 4)
NOISY = (50_000, 5, 8)
# Fits are as long, less a shorter one from the same start.
_FIRST, _MORE = 2, 12


class Problem(NamedTuple):
    """Rows, and means to start from."""

    X: np.ndarray
    means: np.ndarray


def make_problem(n_rows, n_features, n_components) -> Problem:
    """Return complete rows of overlapping blobs."""
    cell = data.Cell(n_rows, n_features, n_components, "overlapping", "float64")
    X = data.make_rows(cell)
    return Problem(X, data.starting_centers(X, n_components))


def with_gaps(X, gaps) -> np.ndarray:
    """Return the rows with entries missing."""
    rng = np.random.default_rng(0)
    if gaps == "8 masks":
        masks = rng.random((8, X.shape[1])) < 0.3
        masks[0] = False
        masks[masks.all(axis=1), 0] = False
        missing = masks[rng.integers(8, size=len(X))]
    else:
        missing = rng.random(X.shape) < float(gaps.split()[0]) / 100
    return np.where(missing, np.nan, X)


def fit_fastem(problem, X, max_iter, noise=None, covariance_type="full"):
    """Fit fastem's mixture."""
    from fastem import GaussianMixture

    k, d = problem.means.shape
    variances = problem.X.var(axis=0)
    precisions = np.tile(1 / variances, (k, 1))
    if covariance_type == "full":
        precisions = precisions[:, :, np.newaxis] * np.eye(d)
    mixture = GaussianMixture(
        k,
        covariance_type=covariance_type,
        missing="em",
        max_iter=max_iter,
        tol=0.0,
        weights_init=np.full(k, 1 / k),
        means_init=problem.means,
        precisions_init=precisions,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mixture.fit(X, noise=noise).lower_bound_


def fit_numpy(problem, X, max_iter):
    """EM over patterns, a pattern and component at a time."""
    k, d = problem.means.shape
    means, weights = problem.means.copy(), np.full(k, 1 / k)
    covariances = np.tile(np.diag(problem.X.var(axis=0)), (k, 1, 1))
    bits = np.packbits(~np.isnan(X), axis=1)
    _, first, numbers = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(numbers.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(numbers.ravel()))
    groups = [
        (X[rows][:, seen], seen)
        for rows, seen in zip(np.split(order, ends[:-1]), ~np.isnan(X[first]), strict=True)
        if seen.any()
    ]
    for _ in range(max_iter):
        objective, counts = 0.0, np.zeros(k)
        sums, scatter = np.zeros((k, d)), np.zeros((k, d, d))
        for x, seen in groups:
            log_joint, gains, deltas = np.empty((len(x), k)), [], []
            for j in range(k):
                observed = covariances[j][np.ix_(seen, seen)]
                inverse = np.linalg.inv(observed)
                delta = x - means[j, seen]
                log_joint[:, j] = np.log(weights[j]) - 0.5 * (
                    np.linalg.slogdet(observed)[1]
                    + ((delta @ inverse) * delta).sum(axis=1)
                    + seen.sum() * np.log(2 * np.pi)
                )
                gains.append(covariances[j][:, seen] @ inverse)
                deltas.append(delta)
            greatest = log_joint.max(axis=1, keepdims=True)
            shares = np.exp(log_joint - greatest)
            totals = shares.sum(axis=1, keepdims=True)
            objective += (greatest + np.log(totals)).sum()
            shares /= totals
            for j in range(k):
                count = shares[:, j].sum()
                filled = deltas[j] @ gains[j].T
                counts[j] += count
                sums[j] += shares[:, j] @ filled
                scatter[j] += (shares[:, j] * filled.T) @ filled
                scatter[j] += count * (covariances[j] - gains[j] @ covariances[j][seen])
        moved = sums / counts[:, np.newaxis]
        covariances = scatter / counts[:, np.newaxis, np.newaxis]
        covariances -= moved[:, :, np.newaxis] * moved[:, np.newaxis, :]
        covariances += 1e-6 * np.eye(d)
        means, weights = means + moved, counts / counts.sum()
    return objective / len(X)


def deconvolve_numpy(problem, X, noise, max_iter):
    """Extreme deconvolution in stacks of all rows' matrices."""
    k, d = problem.means.shape
    means, weights = problem.means.copy(), np.full(k, 1 / k)
    covariances = np.tile(np.diag(problem.X.var(axis=0)), (k, 1, 1))
    for _ in range(max_iter):
        log_joint, filled, spread = np.empty((len(X), k)), [], []
        for j in range(k):
            total = noise + covariances[j]
            delta = X - means[j]
            inverse = np.linalg.inv(total)
            solved = np.einsum("nij,nj->ni", inverse, delta)
            log_joint[:, j] = np.log(weights[j]) - 0.5 * (
                np.linalg.slogdet(total)[1] + (solved * delta).sum(axis=1) + d * np.log(2 * np.pi)
            )
            filled.append(solved @ covariances[j])
            spread.append(covariances[j] - covariances[j] @ inverse @ covariances[j])
        greatest = log_joint.max(axis=1, keepdims=True)
        shares = np.exp(log_joint - greatest)
        totals = shares.sum(axis=1, keepdims=True)
        objective = (greatest + np.log(totals)).mean()
        shares /= totals
        for j in range(k):
            count = shares[:, j].sum()
            moved = shares[:, j] @ filled[j] / count
            apart = filled[j] - moved
            covariances[j] = (shares[:, j] * apart.T) @ apart / count + 1e-6 * np.eye(d)
            covariances[j] += np.einsum("n,nij->ij", shares[:, j], spread[j]) / count
            means[j] += moved
            weights[j] = count / len(X)
    return objective


def deconvolve_astroml(problem, X, noise, max_iter):
    """Extreme deconvolution by astroML, from a start of its own."""
    from astroML.density_estimation import XDGMM

    k = len(problem.means)
    return XDGMM(k, max_iter=max_iter, tol=-np.inf, random_state=0).fit(X, noise).mu


def make_noise(n_rows, n_features) -> np.ndarray:
    """Return a covariance for each row's errors."""
    roots = 0.5 * np.random.default_rng(1).normal(size=(n_rows, n_features, n_features))
    return roots @ roots.swapaxes(1, 2)


def seconds_with_gaps(problem, rows, covariance_type="full", repeats=None) -> dict[str, float]:
    """Return an iteration's time of each of some rows, and of complete ones."""
    rows = {"complete": problem.X, **rows}
    runs = {
        name: (partial(_fit, problem, X, covariance_type=covariance_type), _FIRST, _MORE)
        for name, X in rows.items()
    }
    return measure.seconds_an_iteration(runs, repeats)


def _fit(problem, X, max_iter, covariance_type):
    return fit_fastem(problem, X, max_iter, covariance_type=covariance_type)


def seconds_by_pattern(problem, X, repeats=None) -> dict[str, float]:
    """Return an iteration's time in fastem and in NumPy."""
    runs = {
        "fastem": (partial(fit_fastem, problem, X), _FIRST, _MORE),
        "numpy": (partial(fit_numpy, problem, X), 1, 2),
    }
    return measure.seconds_an_iteration(runs, repeats)


def seconds_of_deconvolution(problem, noise, peers, repeats=None) -> dict[str, float]:
    """Return an iteration's time of rows with errors, in fastem and in others."""

    def ours(max_iter):
        return fit_fastem(problem, problem.X, max_iter, noise=noise)

    fits = {"numpy": (deconvolve_numpy, 2), "astroml": (deconvolve_astroml, 1)}
    runs = {"fastem": (ours, _FIRST, _MORE)}
    for name in peers:
        fit, more = fits[name]
        runs[name] = partial(fit, problem, problem.X, noise), 1, more
    return measure.seconds_an_iteration(runs, repeats)


class Incomplete:
    """Gaps beside complete rows, by what is missing."""

    params = (measure.some(GAPS), measure.some(("full", "diag")))
    param_names = ("gaps", "covariance_type")
    timeout = 600

    def setup(self, gaps, covariance_type):
        measure.pin_threads()
        n_rows, *others = SHAPE
        self.problem = make_problem(measure.fewer(n_rows), *others)
        self.X = with_gaps(self.problem.X, gaps)
        self.time_fit(gaps, covariance_type)  # compiles

    def time_fit(self, gaps, covariance_type):
        return _fit(self.problem, self.X, 10, covariance_type)

    def track_ratio_to_complete(self, gaps, covariance_type):
        with measure.threads():
            rows = {gaps: self.X}
            seconds = seconds_with_gaps(self.problem, rows, covariance_type, 3)
        return seconds[gaps] / seconds["complete"]

    track_ratio_to_complete.unit = "x"


class ManyPatterns:
    """Nearly as many patterns as rows."""

    timeout = 600

    def setup(self):
        measure.pin_threads()
        n_rows, *others = MANY
        self.problem = make_problem(measure.fewer(n_rows), *others)
        self.X = with_gaps(self.problem.X, "20 %")
        self.time_fit()

    def time_fit(self):
        return fit_fastem(self.problem, self.X, 5)

    def track_ratio_to_numpy(self):
        with measure.threads():
            seconds = seconds_by_pattern(self.problem, self.X, 2)
        return seconds["numpy"] / seconds["fastem"]

    track_ratio_to_numpy.unit = "x"


class Deconvolution:
    """Rows with a covariance of errors each."""

    timeout = 600

    def setup(self):
        measure.pin_threads()
        n_rows, n_features, k = NOISY
        self.problem = make_problem(measure.fewer(n_rows), n_features, k)
        self.noise = make_noise(len(self.problem.X), n_features)
        self.time_fit()

    def time_fit(self):
        return fit_fastem(self.problem, self.problem.X, 5, noise=self.noise)

    def track_ratio_to_numpy(self):
        with measure.threads():
            seconds = seconds_of_deconvolution(self.problem, self.noise, ["numpy"], 2)
        return seconds["numpy"] / seconds["fastem"]

    track_ratio_to_numpy.unit = "x"


def main():
    """Print an iteration's times in milliseconds, and the ratios."""
    with measure.threads():
        problem = make_problem(*SHAPE)
        rows = {gaps: with_gaps(problem.X, gaps) for gaps in GAPS}
        _print("gaps", SHAPE, seconds_with_gaps(problem, rows), "complete")
        problem = make_problem(*MANY)
        _print("patterns", MANY, seconds_by_pattern(problem, with_gaps(problem.X, "20 %")))
        problem = make_problem(*NOISY)
        peers = ["numpy", "astroml"] if measure.installed("astroML") else ["numpy"]
        noise = make_noise(*NOISY[:2])
        _print("errors", NOISY, seconds_of_deconvolution(problem, noise, peers))


def _print(title, shape, seconds, base="fastem"):
    print(title, shape, flush=True)
    for name, value in seconds.items():
        print(f"  {name:10} {1e3 * value:10.2f} ms {value / seconds[base]:10.2f}x", flush=True)


if __name__ == "__main__":
    main()

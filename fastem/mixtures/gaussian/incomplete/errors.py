"""What is known of the rows' errors."""

from typing import Any, NamedTuple

import numpy as np

from fastem.mixtures.missing import blocks_of

# A covariance may be so far from positive semi-definite or symmetric, relative to its variances.
_ROUNDING = 1e-6


class Errors(NamedTuple):
    """Covariances of the rows' errors: each row's own, or one for all.

    Parameters
    ----------
    own : None or ndarray of shape (n_rows, n_features) or (n_rows, n_features, n_features)
        Variances or covariances, in the rows' dtype.
    shared : None or ndarray of shape (n_features, n_features), float64
    """

    own: np.ndarray | None
    shared: np.ndarray | None

    def matrices(self, block: slice) -> Any:
        """The covariances of some rows' errors, in float64."""
        if self.own is None:
            return self.shared
        own = self.own[block].astype(np.float64)
        return own[:, :, np.newaxis] * np.eye(own.shape[1]) if own.ndim == 2 else own


def check_errors(noise: Any, X: np.ndarray) -> Errors:
    """The errors of rows as the passes take them.

    Raises
    ------
    ValueError, TypeError
        If the shape is wrong, a variance is negative, a covariance is not symmetric and positive
        semi-definite, or a value is infinite, or NaN where something was observed.
    """
    n_rows, n_features = X.shape
    noise = np.asarray(noise)
    if noise.dtype.kind not in "biuf":
        raise TypeError(f"'noise' should hold real numbers, not {noise.dtype}")
    shapes = {
        "one": [(n_features,), (n_features, n_features)],
        "own": [(n_rows, n_features), (n_rows, n_features, n_features)],
    }
    if noise.shape not in shapes["one"] + shapes["own"]:
        raise ValueError(
            f"'noise' should have the shape of {shapes['own'][0]} for variances or "
            f"{shapes['own'][1]} for covariances of each row, or {shapes['one'][0]} or "
            f"{shapes['one'][1]} for all rows, but got {noise.shape}"
        )
    if noise.shape == (n_rows, n_features) and n_rows == n_features > 1:
        raise ValueError(
            f"'noise' of the shape {noise.shape} might be the variances of each row or one "
            "covariance for all: give covariances of each row, or variances for all"
        )
    if noise.shape in shapes["own"]:
        own = np.require(noise, X.dtype, ["C", "A"])
        for block in blocks_of(X, size=noise[0].size // n_features):
            _check(own[block], ~np.isnan(X[block]), block.start)
        return Errors(own, None)
    shared = np.array(noise, np.float64)
    _check(shared[np.newaxis], np.ones((1, n_features), bool), None)
    return Errors(None, np.diag(shared) if shared.ndim == 1 else shared)


def _check(noise, seen, first):
    """Check the errors of some rows, or of all if ``first`` is None."""
    if noise.ndim == 3:
        seen = seen[:, :, np.newaxis] & seen[:, np.newaxis, :]
    if np.isinf(noise).any():
        raise ValueError("'noise' contains infinity")
    noise = np.where(seen, noise, 0.0).astype(np.float64)
    if np.isnan(noise).any():
        raise ValueError("'noise' contains NaN where X has a value")
    variances = noise if noise.ndim == 2 else np.einsum("nii->ni", noise)
    if (variances < 0.0).any():
        raise ValueError(f"'noise' has a negative variance{_where((variances < 0.0), first)}")
    if noise.ndim == 2:
        return
    deviations = np.sqrt(variances)
    scales = deviations[:, :, np.newaxis] * deviations[:, np.newaxis, :]
    asymmetric = np.abs(noise - noise.swapaxes(1, 2)) > _ROUNDING * scales
    if asymmetric.any():
        raise ValueError(
            f"'noise' has a covariance that is not symmetric{_where(asymmetric, first)}"
        )
    # Correlations, and those of errors of zero variance, which are none.
    correlations = noise / np.where(scales > 0.0, scales, 1.0)
    impossible = (scales == 0.0) & (noise != 0.0)
    correlations += _ROUNDING * np.eye(noise.shape[1])
    try:
        np.linalg.cholesky(correlations + (scales == 0.0) * np.eye(noise.shape[1]))
    except np.linalg.LinAlgError:
        impossible |= (np.linalg.eigvalsh(correlations)[:, :1] < 0.0)[:, :, np.newaxis]
    if impossible.any():
        raise ValueError(
            "'noise' has a covariance that is not positive semi-definite"
            + _where(impossible, first)
        )


def _where(wrong, first):
    """The first row where something is wrong, in words."""
    return "" if first is None else f", in row {first + np.argwhere(wrong)[0, 0]}"

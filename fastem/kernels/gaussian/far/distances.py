"""Distances beyond float64 or its digits: compared by logarithms, where close by differences."""

import numpy as np

# Logarithms of squares that differ by less are rounded too much to be subtracted.
_CLOSE = 1e-3


class Distances:
    """Components whose distances from rows are compared however great these are.

    Parameters
    ----------
    peaks : ndarray of shape (n_components,)
        The log-densities at the means, weights included.
    means : ndarray of shape (n_components, n_features)
    factors : ndarray of shape (n_components, n_features[, n_features])
        What whitens differences from the means: matrices, or diagonals.
    """

    def __init__(self, peaks, means, factors):
        self.peaks = peaks
        self._means = means
        self._factors = factors

    def log_distances(self, rows):
        """Logarithms of the rows' Mahalanobis distances, (n_rows, n_components)."""
        pairs = zip(self._means, self._factors, strict=True)
        return np.stack([_log_distance(rows, mean, factor) for mean, factor in pairs], axis=1)

    def compare(self, rows, logarithms):
        """The most probable components, and by how much the others' log-densities are less."""
        best = np.where(self.peaks == -np.inf, np.inf, logarithms).argmin(axis=1)
        everywhere = np.arange(len(rows))
        for _ in self.peaks:
            behind = np.empty(logarithms.shape)
            for base in np.unique(best):
                own = best == base
                behind[own] = self._behind(rows[own], logarithms[own], base)
            better = behind.argmax(axis=1)
            if (behind[everywhere, better] <= 0).all():
                break
            best = better
        return best, behind

    def _behind(self, rows, logarithms, base):
        """Log-densities less those of one component."""
        own = logarithms[:, base, np.newaxis]
        ratios = 2.0 * (logarithms - own)
        apart = np.exp(2.0 * own) * np.expm1(ratios)
        for j in np.flatnonzero(self.peaks > -np.inf):
            close = np.abs(ratios[:, j]) < _CLOSE
            apart[close, j] = self._difference(rows[close], j, base)
        return np.where(self.peaks > -np.inf, self.peaks - self.peaks[base] - 0.5 * apart, -np.inf)

    def _difference(self, rows, j, base):
        """Squared distances from one component less those from another that is about as far.

        As (a - b)(a + b) of the whitened differences a and b, where a - b has a part that grows
        with the row, unless the factors are the same, and one that doesn't.
        """
        scale = _power_of_two(np.abs(rows).max(axis=1))[:, np.newaxis]
        factor_scale = _power_of_two(max(np.abs(self._factors[k]).max() for k in (j, base)))
        factor, base_factor = (self._factors[k] / factor_scale for k in (j, base))
        to_base = rows / scale - self._means[base] / scale
        to_mean = rows / scale - self._means[j] / scale
        total = _whiten(to_mean, factor) + _whiten(to_base, base_factor)
        unit = scale[:, 0] * factor_scale
        growing = ((_whiten(to_base, factor - base_factor) * total).sum(axis=1) * unit) * unit
        # Rows and means apart: next to a far row a mean is rounded away, in what follows with it.
        shift = _whiten(self._means[base] - self._means[j], self._factors[j])
        along = _whiten(shift, (factor + base_factor).T)
        at_means = _whiten(self._means[j], factor) + _whiten(self._means[base], base_factor)
        staying = (rows / scale) @ along * unit - shift @ at_means * factor_scale
        # Nothing times infinity is nothing.
        return np.where(np.isnan(growing), 0.0, growing) + staying


def _whiten(differences, factor):
    return differences @ factor if factor.ndim == 2 else differences * factor


def _log_distance(rows, mean, factor):
    """Logarithms of Mahalanobis distances, also of those that float64 can't hold."""
    scale = _power_of_two(np.maximum(np.abs(rows).max(axis=1), np.abs(mean).max()))[:, np.newaxis]
    factor_scale = _power_of_two(np.abs(factor).max())
    whitened = _whiten(rows / scale - mean / scale, factor / factor_scale)
    greatest = np.abs(whitened).max(axis=1)
    rest = whitened / np.where(greatest > 0, greatest, 1.0)[:, np.newaxis]
    distance = np.log(greatest) + 0.5 * np.log((rest**2).sum(axis=1))
    return distance + np.log(scale[:, 0]) + np.log(factor_scale)


def _power_of_two(values):
    # One less than the exponent of the greatest numbers: 2**1024 is beyond float64.
    return np.ldexp(1.0, np.frexp(values)[1] - 1)

"""What passes of Gaussian mixtures take and return, whatever the covariance type."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

#: Log-densities below these are rounded by more than a hundredth or so: what components differ in
#: may be lost in what they have in common, and with it responsibilities.
LOWEST = {np.dtype(np.float32): -(2.0**17), np.dtype(np.float64): -(2.0**46)}

#: Relative, with a margin: an M-step takes less of a variance for nothing.
ROUNDING_OF_MEANS = 8 * np.finfo(np.float64).eps


class GaussianComponents(NamedTuple):
    """A mixture's parameters, all float64.

    Parameters
    ----------
    log_weights : ndarray of shape (n_components,)
    means : ndarray of shape (n_components, n_features)
        In the data's coordinates.
    precisions_cholesky : ndarray
        "full": (n_components, n_features, n_features), upper triangular matrices P such that
        ``(x - mean) @ P`` has unit covariance; "tied": one such matrix; "diag": (n_components,
        n_features), "spherical": (n_components,), "tied_diag": (n_features,) and
        "tied_spherical": (), the reciprocals of the standard deviations.
    log_noise : float
        The logarithm of weight times density of uniform noise, one more component that passes
        number -1; -inf for none.
    """

    log_weights: np.ndarray
    means: np.ndarray
    precisions_cholesky: np.ndarray
    log_noise: float = -math.inf

    @property
    def noisy(self) -> bool:
        """Whether there is noise."""
        return self.log_noise > -math.inf


class GaussianStatistics(NamedTuple):
    """What the M-step needs of the rows; the statistics of two parts of the data add up.

    ``gamma`` are the responsibilities and ``c`` the centres, the means unless others are given.

    Parameters
    ----------
    objective : float
        Sum of ``w * log p(x)``, or of the greatest ``w * log(weight * density)`` for hard
        assignments; 0 for given labels.
    counts : ndarray of shape (n_components,)
        Sums of ``w * gamma``.
    sums : ndarray of shape (n_components, n_features)
        Sums of ``w * gamma * (x - c)``.
    scatter : ndarray
        Sums of ``w * gamma * (x - c)(x - c)^T``. "full": (n_components, n_features, n_features);
        "diag": the diagonals, (n_components, n_features); "spherical": the traces,
        (n_components,). Added up over the components for "tied": (n_features, n_features),
        "tied_diag": (n_features,) and "tied_spherical": ().
    noise : float
        Sum of ``w * gamma`` of the noise.
    """

    objective: float
    counts: np.ndarray
    sums: np.ndarray
    scatter: np.ndarray
    noise: float = 0.0


class Rules(NamedTuple):
    """How iterations go on, and when they end.

    Parameters
    ----------
    most : int
        E-steps, at the most.
    tol : float
        They end when the objective gains less
    fall : float
        and falls by less,
    before : float
        Before the first step, -inf if nothing is known.
    best, hopeless : float
        or when it is behind ``best`` by more than ``hopeless`` times what it has gained.
    total_weight : float
        Of the rows: the objective is a mean over it.
    least_count : float
        Keeps counts from zero.
    reg_covar : float
    most_cancellation : float
        Beyond this, statistics are found once more about the new means.
    """

    most: int
    tol: float
    fall: float
    before: float
    best: float
    hopeless: float
    total_weight: float
    least_count: float
    reg_covar: float
    most_cancellation: float


class Iterated(NamedTuple):
    """Where iterations have ended.

    Parameters
    ----------
    weights, means, covariances, precisions_cholesky : ndarray
        After the last M-step.
    statistics : GaussianStatistics
        What the last E-step found, perhaps about the new means: that before the M-step, or one
        after it that led to no parameters.
    history : list of float
        The objective, by each E-step.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    precisions_cholesky: np.ndarray
    statistics: GaussianStatistics
    history: list[float]


class GaussianPass(ABC):
    """Passes over the rows of one part, for one covariance type."""

    @abstractmethod
    def e_step(self, components, centers=None, hard=False, skip=True):
        """One E-step, and the statistics for the M-step.

        Parameters
        ----------
        components : GaussianComponents
        centers : None or ndarray of shape (n_components, n_features), float64
            What the statistics are about; None stands for the means.
        hard : bool
            Whether every row belongs to its most probable component alone.
        skip : bool
            Whether components may be left out where their share is negligible.

        Returns
        -------
        GaussianStatistics
        """

    #: Whether the rows are so few that several iterations are best taken in one call.
    few = False

    def iterate(self, parameters, hard, rules):
        """Several iterations in one call; None where they have to be taken one by one.

        Parameters
        ----------
        parameters : sequence of ndarray
            Weights, means, covariances and factors of the precisions.
        hard : bool
            As for :meth:`e_step`.
        rules : Rules

        Returns
        -------
        Iterated or None
        """
        return None

    def advance(self, parameters, hard, rules):
        """Some iterations over many rows, up to where they have settled; None where there are none.

        The parameters are those of :meth:`iterate`; ``rules.best`` doesn't count.
        """
        return None

    def breathe(self, parameters, counted, hard, rules):
        """Iterations of more components, and of those whose absence would cost most; in one call.

        Parameters
        ----------
        parameters, hard
            As for :meth:`iterate`, of more components than the pass is for.
        counted : ndarray of shape (n_rows,), float64
            The rows' weights.
        rules : tuple of Rules
            For more components, and for those that remain.

        Returns
        -------
        iterated : Iterated
        n_steps : int
            E-steps in all. None in place of both where this has to be done step by step.
        """
        return None

    @abstractmethod
    def from_labels(self, labels, centers):
        """The statistics of rows that belong to one component each.

        Parameters
        ----------
        labels : ndarray of shape (n_rows,), int32
            Each row's component; -1 for none.
        centers : ndarray of shape (n_components, n_features), float64

        Returns
        -------
        GaussianStatistics
            With an objective of 0.
        """

    @abstractmethod
    def evaluate(self, components, **outputs):
        """Fill the given arrays, one value or one row of values for every row of the data.

        Parameters
        ----------
        components : GaussianComponents
        log_density : ndarray of shape (n_rows,), the data's dtype
        labels : ndarray of shape (n_rows,), int32 or int64
            The most probable component; -1 for noise.
        responsibilities : ndarray of shape (n_rows, n_components), the data's dtype
            One more column, the last, if there is noise.
        log_joint : ndarray of the same shape, the data's dtype
            The logarithms of weight times density.

        Returns
        -------
        far : ndarray of shape (n_rows,), bool
            Rows where an overflow, or rounding, may have hidden what is asked for.
        """


def relative_noise(log_noise, packed, dtype):
    """The noise's log-density relative to the components', finite in the dtype if it is at all."""
    noise = log_noise - packed.reference
    if noise > -math.inf:
        limits = np.finfo(dtype)
        noise = min(max(noise, float(limits.min)), float(limits.max))
    return dtype.type(noise)


def relative(constants, dtype):
    """Constants relative to the greatest, in the rows' dtype, and the greatest."""
    reference = float(constants.max())
    if not math.isfinite(reference):
        reference = 0.0
    return (constants - reference).astype(dtype), reference


def evaluate_anew(passes, components, rows, outputs):
    """Write the outputs of some rows anew.

    Parameters
    ----------
    passes : GaussianPass
        Over these rows in float64.
    components : GaussianComponents
    rows : ndarray of int
        Their numbers.
    outputs : dict
        As for ``GaussianPass.evaluate``, of all rows.
    """
    found = {
        name: np.empty((len(rows), *values.shape[1:]), np.int64 if name == "labels" else float)
        for name, values in outputs.items()
    }
    passes.evaluate(components, **found)
    write(found, rows, outputs)


def write(found, rows, outputs):
    """Write what was found, but log-densities only where they overflow: they have their digits."""
    for name, values in outputs.items():
        own = found[name]
        if name in ("log_density", "log_joint"):
            own = np.where(np.isfinite(values[rows]), values[rows], own)
        values[rows] = own

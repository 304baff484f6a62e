"""Passes over the rows for a user's own mixture."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.mixtures.products import size_of_sums, unpack_sums
from fastem.kernels.own.driver import Addresses, Sizes, own_pass
from fastem.kernels.own.functions import Arguments, check_indices, compile_body
from fastem.kernels.runtime.arrays import as_weights, read_only, unless_ones, wanted
from fastem.kernels.runtime.chunks import summing_chunks
from fastem.kernels.runtime.parallel import run


class Functions(NamedTuple):
    """What a user wrote, under ``@njit`` or not.

    Parameters
    ----------
    log_density : function
        ``log_density(x, *arguments)``, a float: of the row ``x`` under one component.
    log_base : function or None
        ``log_base(x)``: what is to be added to the row's log-density under every component.
    statistics : function or None
        ``statistics(x, out)`` or ``statistics(x, out, *arguments)`` fills ``out`` with the row's
        statistics; None if these are the row itself.
    own_statistics : bool
        Whether ``statistics`` takes the component's arguments.
    """

    log_density: object
    log_base: object = None
    statistics: object = None
    own_statistics: bool = False


class OwnComponents(NamedTuple):
    """A mixture's parameters.

    Parameters
    ----------
    log_weights : ndarray of shape (n_components,), float64
    arguments : tuple of ndarray, float64
        What the functions take; the first axes run over the components.
    """

    log_weights: np.ndarray
    arguments: tuple[np.ndarray, ...]


class OwnStatistics(NamedTuple):
    """What the M-step needs of the rows; the statistics of two parts of the data add up.

    Parameters
    ----------
    objective : float
        Sum of ``w * log p(x)``, or of the greatest ``w * log(weight * density)`` for hard
        assignments; 0 for given labels.
    counts : ndarray of shape (n_components,)
        Sums of ``w * gamma``, where ``gamma`` are the responsibilities.
    sums : ndarray of shape (n_components, n_statistics)
        Sums of ``w * gamma * statistics(x)``.
    """

    objective: float
    counts: np.ndarray
    sums: np.ndarray


class OwnPass:
    """Passes over the rows of one part.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_components : int
    functions : Functions
    n_statistics : int
    """

    def __init__(self, X, sample_weight, n_components, functions, n_statistics):
        self._rows = read_only(X)
        self._weight = as_weights(unless_ones(sample_weight))
        self._n_components = n_components
        self._functions = functions
        self._n_statistics = n_statistics
        self._base_sum = None
        self._n_groups = n_components if functions.own_statistics else 1
        self._size = self._n_groups * size_of_sums(
            n_components // self._n_groups, n_statistics, squares=False
        )
        work = n_components * (X.shape[1] + n_statistics)
        self._chunk_rows, self._n_chunks = summing_chunks(X, work, self._size)

    def e_step(self, parameters, hard=False):
        """One E-step, and the statistics for the M-step.

        Parameters
        ----------
        parameters : OwnComponents
        hard : bool
            Whether every row belongs to its most probable component alone.

        Returns
        -------
        OwnStatistics
        """
        with_base = self._base_sum is None
        log_density, log_base, statistics = self._reduce(parameters, hard=hard, base=with_base)
        if with_base:  # the same in every pass
            self._base_sum = log_base
        return OwnStatistics(log_density + self._base_sum, *statistics)

    def from_labels(self, labels, centers=None):
        """The statistics of rows that belong to one component each.

        Not for statistics that depend on the parameters.

        Parameters
        ----------
        labels : ndarray of shape (n_rows,), int32
            Each row's component; -1 for none.
        centers : ignored
            Other mixtures' statistics are about centres.

        Returns
        -------
        OwnStatistics
            With an objective of 0.
        """
        parameters = OwnComponents(np.zeros(self._n_components), ())
        labels = np.ascontiguousarray(labels, np.int32)
        return OwnStatistics(0.0, *self._reduce(parameters, labels=labels)[2])

    def evaluate(self, parameters, **outputs):
        """Fill the given arrays, one value or one row of values for every row of the data.

        Parameters
        ----------
        parameters : OwnComponents
        log_density : ndarray of shape (n_rows,), float64
        labels : ndarray of shape (n_rows,), int64
            The most probable component.
        responsibilities : ndarray of shape (n_rows, n_components), float64
        log_joint : ndarray of shape (n_rows, n_components), float64
            The logarithms of weight times density.
        """
        none = np.empty((0, 0))
        self._run(
            parameters, False, True, np.empty(0, np.int32), none, none, none, wanted(**outputs)
        )

    def _reduce(self, parameters, labels=None, hard=False, base=False):
        counts = np.empty((self._n_chunks, self._n_components))
        sums, objective = np.empty((self._n_chunks, self._size)), np.empty((self._n_chunks, 2))
        labels = np.empty(0, np.int32) if labels is None else labels
        self._run(parameters, hard, base, labels, counts, sums, objective, wanted())
        shape = self._n_components // self._n_groups, self._n_statistics
        groups = sums.sum(axis=0).reshape(self._n_groups, -1)
        sums = np.vstack([unpack_sums(group, *shape, squares=False)[0] for group in groups])
        return *map(float, objective.sum(axis=0)), (counts.sum(axis=0), sums)

    def _run(self, parameters, hard, base, given, counts, sums, objective, outputs):
        values, layout = Arguments.of(*parameters)
        own = self._functions.own_statistics
        # Machine code lives as long as these do.
        bodies = []

        def address(kind, arrays=()):
            function = getattr(self._functions, kind)
            if function is None:
                return 0
            shapes = [array.shape[1:] for array in arrays]
            bodies.append(compile_body(kind, function, tuple(map(len, shapes))))
            out = [(self._n_statistics,)] if kind == "statistics" else []
            check_indices(kind, function, self._rows.shape[1:], *out, *shapes)
            return bodies[-1].address

        run(
            own_pass,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._weight,
            Addresses(
                0 if len(given) else address("log_density", parameters.arguments),
                address("log_base") if base else 0,
                address("statistics", parameters.arguments if own else ()) if len(sums) else 0,
            ),
            values,
            layout,
            Sizes(self._n_components, self._n_statistics, self._n_groups),
            given,
            hard,
            counts,
            sums,
            objective,
            outputs,
        )

"""Rows on many processes that run the same program: MPI."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Number
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from sklearn.utils import check_array

from fastem.rows.home import Rows
from fastem.rows.mpi.exchange import Exchange
from fastem.rows.part import Part
from fastem.sklearn_private import _get_feature_names
from fastem.validation import plain_csr


class _Layout(NamedTuple):
    """What a rank's rows are like."""

    n_rows: int
    n_features: int
    dtype: np.dtype
    sparse: bool
    weighted: bool
    feature_names: tuple | None


def mpi_rows(X_local: Any, comm: Any = None, sample_weight: Any = None) -> "MPIRows":
    """The rows of all ranks of an MPI program, to fit to.

    All ranks call this, and then ``fit`` of equal estimators with what it returns. Each passes over
    its own rows only, and gets the same parameters, to the last bit; ``labels_`` are those of its
    own rows.

    Parameters
    ----------
    X_local : array-like or sparse matrix of shape (n_local_rows, n_features)
        This rank's rows; there may be none. C-contiguous float32 or float64 rows and CSR matrices
        are used in place, other numbers become float64. Ranks have rows of the same kind.
    comm : mpi4py.MPI.Comm, default=None
        The ranks, in the order of their rows; None for ``MPI.COMM_WORLD``.
    sample_weight : array-like of shape (n_local_rows,), default=None
        Non-negative weights of this rank's rows; None for ones, on all ranks.

    Returns
    -------
    MPIRows
        Without a copy of the rows. It can be fitted to any number of times.

    Raises
    ------
    ValueError, TypeError
        On all ranks, if one has no rows of numbers in two dimensions, or rows unlike the others'.

    Notes
    -----
    A pass over the rows ends in one ``Allgather`` of its statistics, whose size doesn't depend on
    the number of rows; each rank adds them in the order of the ranks. An error on one rank, or an
    interrupt, is raised on all.

    What fitted estimators return for each row they return for these rows, too: each rank gets its
    own rows'.

    Every rank uses as many threads as Numba says, by default as many as there are cores: set
    ``NUMBA_NUM_THREADS`` to a rank's share of them.

    Examples
    --------
    Under ``mpiexec -n 4 python fit.py``::

        from fastem import KMeans, rows
        kmeans = KMeans(8, random_state=0).fit(rows.mpi_rows(X_local))
    """
    if comm is None:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    if not hasattr(comm, "Allgather"):
        raise TypeError(f"comm should be a communicator of mpi4py, got {type(comm).__name__}")
    exchange = Exchange(comm)
    own = []

    def look():
        own.append(_part_of(X_local, sample_weight))
        return own[0][1]

    layouts = exchange.share("mpi_rows", look)
    layout = _common(layouts)
    part, _ = own[0]
    part.number = exchange.rank
    part.offset = sum(layouts[rank].n_rows for rank in range(exchange.rank))
    n_rows = [other.n_rows for other in layouts.values()]
    return MPIRows(exchange, part, layout._replace(n_rows=sum(n_rows)), sum(n > 0 for n in n_rows))


def _part_of(X, sample_weight):
    names = _get_feature_names(X)
    X = check_array(
        plain_csr(X),
        accept_sparse="csr",
        accept_large_sparse=True,
        dtype=[np.float64, np.float32],
        order="C",
        ensure_all_finite=False,  # which a fit checks
        ensure_min_samples=0,
    )
    if isinstance(X, np.ndarray):
        X = np.asarray(X)
    if sample_weight is not None:
        sample_weight = np.ascontiguousarray(sample_weight, np.float64)
        if sample_weight.shape != (X.shape[0],):
            raise ValueError(
                f"sample_weight should have the shape ({X.shape[0]},) of this rank's rows, but has "
                f"{sample_weight.shape}"
            )
    sparse, weighted = not isinstance(X, np.ndarray), sample_weight is not None
    names = None if names is None else tuple(names)
    return Part(X, sample_weight), _Layout(*X.shape, X.dtype, sparse, weighted, names)


def _common(layouts):
    """What all ranks' rows are like; of those that have any, if some have."""
    filled = [rank for rank, layout in layouts.items() if layout.n_rows > 0] or [0]
    first, *others = filled
    for name in _Layout._fields[1:]:
        expected = getattr(layouts[first], name)
        for rank in others:
            found = getattr(layouts[rank], name)
            if found != expected:
                raise ValueError(
                    f"All ranks' rows should be alike, but {name} is {expected} on rank {first} "
                    f"and {found} on rank {rank}."
                )
    return layouts[first]


# Parameters in which ranks may differ: the first rank's random numbers are everybody's, and what is
# printed is a rank's own affair.
_OWN_PARAMETERS = {"random_state", "verbose", "verbose_interval", "copy_x"}


def _described(estimator):
    """An estimator's class and parameters in words that are the same on all ranks."""
    parameters = {"the class": type(estimator).__name__}
    for name, value in estimator.get_params(deep=False).items():
        if name not in _OWN_PARAMETERS:
            parameters[name] = _in_words(value)
    return parameters


def _in_words(value):
    if value is None or isinstance(value, (str, Number)):
        return repr(value)
    if isinstance(value, (np.ndarray, list, tuple)):
        array = np.ascontiguousarray(value)
        if array.dtype != object:
            return f"an array {array.shape} of check sum {crc32(array)}"
    return f"a {type(value).__name__}"


class MPIRows(Rows):
    """The rows of all ranks, as :func:`mpi_rows` makes them: on each rank one part.

    Parameters
    ----------
    exchange : Exchange
    part : Part
        This rank's; it may be empty.
    layout : _Layout
        Of all rows.
    n_parts : int
        Ranks that have rows.
    """

    def __init__(self, exchange: Exchange, part: Part, layout: _Layout, n_parts: int):
        self._exchange = exchange
        self._part = part
        self._layout = layout
        self.n_rows, self.n_features, self.dtype, self.sparse, self.weighted, names = layout
        self.feature_names = None if names is None else np.array(names, object)
        self.n_parts = n_parts

    def each(self, step: Callable, *args: Any) -> Iterator[Any]:
        results = self._exchange.share(step.__qualname__, lambda: self._call(step, args))
        return (result for (result,) in results.values())

    def _call(self, step, args):
        return (self._part.call(step, *args),) if self._part.n_rows > 0 else None

    def collect(self, step: Callable, *args: Any) -> np.ndarray:
        """Per-row results of a step, of this rank's rows."""
        own = []

        def call():
            own.extend(self._call(step, args) or ())
            return own[0][:0] if own else None

        kinds = self._exchange.share(step.__qualname__, call)
        return own[0] if own else next(iter(kinds.values()))

    def fresh(self, exponent: int = 0) -> "MPIRows":
        return self._with(self._part.fresh(exponent))

    def scaled(self, factor: float) -> "MPIRows":
        return self if factor == 1.0 else self._with(self._part.scaled(factor))

    def filled(self, values: np.ndarray) -> "MPIRows":
        return self._with(self._part.filled(values))

    def _with(self, part):
        return MPIRows(self._exchange, part, self._layout, self.n_parts)

    def agree(self, value: Any) -> Any:
        """The first rank's value."""
        first = self._exchange.rank == 0
        values = self._exchange.share("agree", lambda: (value,) if first else None)
        return value if first else values[0][0]

    @contextmanager
    def together(self, estimator: Any = None) -> Iterator[None]:
        with self._exchange.together():
            if estimator is not None:
                self._check_alike(estimator)
            yield

    def _check_alike(self, estimator):
        described = self._exchange.share("estimators", lambda: _described(estimator))
        for rank, parameters in described.items():
            for name, expected in described[0].items():
                found = parameters.get(name)
                if found != expected:
                    raise ValueError(
                        f"All ranks' estimators should be alike, but {name} is {expected} on rank "
                        f"0 and {found} on rank {rank}."
                    )

"""The kernels; the public ones work from Python and from a user's own ``@njit`` code.

They are resolved on first use, so that a fit loads only those it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastem.kernels.bernoulli.log_density import bernoulli_log_density
    from fastem.kernels.distances.nearest_row import nearest
    from fastem.kernels.distances.pairwise import manhattan, squared_euclidean
    from fastem.kernels.gaussian.log_density import gaussian_log_density
    from fastem.kernels.linalg.cholesky import cholesky
    from fastem.kernels.medians.cluster import cluster_medians
    from fastem.kernels.mixtures.responsibilities import normalize_responsibilities

_HOMES = {
    "bernoulli_log_density": "fastem.kernels.bernoulli.log_density",
    "cholesky": "fastem.kernels.linalg.cholesky",
    "cluster_medians": "fastem.kernels.medians.cluster",
    "gaussian_log_density": "fastem.kernels.gaussian.log_density",
    "manhattan": "fastem.kernels.distances.pairwise",
    "nearest": "fastem.kernels.distances.nearest_row",
    "normalize_responsibilities": "fastem.kernels.mixtures.responsibilities",
    "squared_euclidean": "fastem.kernels.distances.pairwise",
}

__all__ = [
    "bernoulli_log_density",
    "cholesky",
    "cluster_medians",
    "gaussian_log_density",
    "manhattan",
    "nearest",
    "normalize_responsibilities",
    "squared_euclidean",
]


if not TYPE_CHECKING:  # so that a wrong name is found before it is used

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

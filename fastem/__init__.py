"""Clustering by expectation-maximisation on CPUs.

The public names are resolved on first use, so that ``import fastem`` loads neither Numba nor
scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastem.bernoulli_mixture import BernoulliMixture
    from fastem.divergence import kl_divergence, kl_gaussian
    from fastem.gaussian_mixture import GaussianMixture
    from fastem.kmeans import KMeans, kmeans_plusplus
    from fastem.kmedians import KMedians

_HOMES = {
    "BernoulliMixture": "fastem.bernoulli_mixture",
    "GaussianMixture": "fastem.gaussian_mixture",
    "KMeans": "fastem.kmeans",
    "KMedians": "fastem.kmedians",
    "kl_divergence": "fastem.divergence",
    "kl_gaussian": "fastem.divergence",
    "kmeans_plusplus": "fastem.kmeans",
}
_MODULES = ("em", "kernels", "rows")

__all__ = [
    "BernoulliMixture",
    "GaussianMixture",
    "KMeans",
    "KMedians",
    "kl_divergence",
    "kl_gaussian",
    "kmeans_plusplus",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"fastem.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("fastem")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES, "__version__"})

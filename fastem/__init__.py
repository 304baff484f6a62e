"""Clustering by expectation-maximisation on CPUs.

The public names are resolved on first use, so that ``import fastem`` loads neither Numba nor
scikit-learn.
"""

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastem import em as em
    from fastem import kernels as kernels
    from fastem import rows as rows
    from fastem.clustering.kmeans import KMeans, kmeans_plusplus
    from fastem.clustering.kmedians import KMedians
    from fastem.mixtures.bernoulli.estimator import BernoulliMixture
    from fastem.mixtures.divergence import kl_divergence, kl_gaussian
    from fastem.mixtures.gaussian.estimator import GaussianMixture
    from fastem.selection import CriterionSearch
    from fastem.silhouette import (
        silhouette_samples,
        silhouette_score,
        simplified_silhouette_samples,
        simplified_silhouette_score,
    )

    __version__: str

_HOMES = {
    "BernoulliMixture": "fastem.mixtures.bernoulli.estimator",
    "CriterionSearch": "fastem.selection",
    "GaussianMixture": "fastem.mixtures.gaussian.estimator",
    "KMeans": "fastem.clustering.kmeans",
    "KMedians": "fastem.clustering.kmedians",
    "kl_divergence": "fastem.mixtures.divergence",
    "kl_gaussian": "fastem.mixtures.divergence",
    "kmeans_plusplus": "fastem.clustering.kmeans",
    "silhouette_samples": "fastem.silhouette",
    "silhouette_score": "fastem.silhouette",
    "simplified_silhouette_samples": "fastem.silhouette",
    "simplified_silhouette_score": "fastem.silhouette",
}
_MODULES = ("em", "kernels", "plot", "rows")

__all__ = [
    "BernoulliMixture",
    "CriterionSearch",
    "GaussianMixture",
    "KMeans",
    "KMedians",
    "kl_divergence",
    "kl_gaussian",
    "kmeans_plusplus",
    "silhouette_samples",
    "silhouette_score",
    "simplified_silhouette_samples",
    "simplified_silhouette_score",
]


if not TYPE_CHECKING:  # so that a wrong name is found before it is used

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(_loaded(_HOMES[name]), name)
        elif name in _MODULES:
            value = import_module(f"fastem.{name}")
        elif name == "__version__":
            from importlib.metadata import version

            value = version("fastem")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def _loaded(home: str) -> Any:
    """A module, and what it imports, without a look for garbage in between.

    Modules stay: to look through them was an eighth of loading scikit-learn and Numba.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(home)
    finally:
        if enabled:
            if not gc.get_freeze_count():  # unless a user has frozen what there is
                gc.freeze()
                gc.unfreeze()  # as old as can be: to look through it once took as long
            gc.enable()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES, "__version__"})

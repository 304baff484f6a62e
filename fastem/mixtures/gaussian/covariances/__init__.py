"""Covariance types: their shapes, checks, estimates, factors and decompositions.

mclust's fourteen models by their names; six have a second one, which is scikit-learn's where it has
the type.
"""

from fastem.mixtures.gaussian.covariances import constrained
from fastem.mixtures.gaussian.covariances.base import CollapsedError, Covariances
from fastem.mixtures.gaussian.covariances.matrices import Matrices
from fastem.mixtures.gaussian.covariances.variances import Variances

__all__ = ["COVARIANCES", "CollapsedError", "Covariances"]

_TYPES = (
    Matrices("full", "VVV"),
    Matrices("tied", "EEE"),
    Variances("diag", "VVI"),
    Variances("spherical", "VII"),
    Variances("tied_diag", "EEI"),
    Variances("tied_spherical", "EII"),
    Variances("EVI", "EVI", constrained.evi),
    Variances("VEI", "VEI", constrained.vei),
    Matrices("EVE", "EVE", constrained.eve),
    Matrices("VVE", "VVE", constrained.vve),
    Matrices("VEE", "VEE", constrained.vee),
    Matrices("EEV", "EEV", constrained.eev),
    Matrices("VEV", "VEV", constrained.vev),
    Matrices("EVV", "EVV", constrained.evv),
)
COVARIANCES: dict[str, Matrices | Variances] = {
    **{kind.name: kind for kind in _TYPES},
    **{kind.model: kind for kind in _TYPES},
}

"""The covariance types of what is made of mixtures: the narrowest that hold it.

They follow from the types alone, not from the parameters.
"""

from fastem.mixtures.gaussian.covariances import COVARIANCES, Covariances
from fastem.mixtures.gaussian.stacks import covariance_type, order


def type_of_some_features(kind: Covariances) -> str:
    """The type of some of the features, or of these given the others."""
    # Parts of proportional matrices are proportional; parts of other matrices share nothing.
    kept = not kind.partly_shared or kind.model in ("VEI", "VEE")
    return kind.name if kept else kind.passes


def type_of_sum(left: Covariances, right: Covariances) -> str:
    """The type of sums of one covariance of each type, in all pairs.

    A matrix if either is one, else a diagonal if either is one, else a multiple of the identity;
    shared if both are shared by all components. Multiples of the identity leave axes what they are.
    """
    for kind, other in ((left, right), (right, left)):
        if kind.partly_shared and order(other) == 0:
            shifted_alike = kind.model[:2] == "EE" and other.tied
            return kind.name if shifted_alike else COVARIANCES["VV" + kind.model[2]].name
    return covariance_type(max(order(left), order(right)), left.tied and right.tied)

"""The parameters of a Gaussian mixture."""

import math
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.gaussian import GaussianComponents
from fastem.mixtures.gaussian.covariances import Covariances
from fastem.mixtures.gaussian.noise import Noise
from fastem.mixtures.gaussian.stacks import order


class GaussianParameters(NamedTuple):
    """A Gaussian mixture, in float64; the shapes are those of the fitted attributes."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    precisions_cholesky: np.ndarray
    noise: Noise | None = None

    @classmethod
    def from_precisions(
        cls, weights, means, precisions, covariances: Covariances
    ) -> "GaussianParameters":
        """Of precisions instead of covariances."""
        factors = covariances.factor_precisions(precisions)
        return cls(weights, means, covariances.covariances(factors), factors)

    def attributes(self, kind: Covariances, dtype: np.dtype) -> dict[str, Any]:
        """The fitted attributes for data of this dtype."""
        covariances = {
            "covariances": self.covariances,
            "precisions": kind.precisions(self.precisions_cholesky),
            "precisions_cholesky": self.precisions_cholesky,
        }
        noise = {} if self.noise is None else self.noise._asdict()
        return {
            "weights_": self.weights.astype(dtype, copy=False),
            "means_": self.means.astype(dtype, copy=False),
            **{f"{name}_": _held(np.asarray(v), dtype, kind) for name, v in covariances.items()},
            **{f"noise_{name}_": value for name, value in noise.items()},
        }

    def components(self) -> GaussianComponents:
        """As the passes take them."""
        with np.errstate(divide="ignore"):  # a component without weight has no density
            log_weights = np.log(self.weights)
        log_noise = -math.inf
        if self.noise is not None:
            log_noise = math.log(self.noise.weight) + self.noise.log_density
        return GaussianComponents(log_weights, self.means, self.precisions_cholesky, log_noise)

    @property
    def shares(self) -> np.ndarray:
        """The weights, the noise's behind the components'."""
        return self.weights if self.noise is None else np.append(self.weights, self.noise.weight)

    def divided(self, shares: np.ndarray) -> tuple[np.ndarray, Noise | None]:
        """Other weights of components and noise than :attr:`shares`, as the fields hold them."""
        if self.noise is None:
            return shares, None
        return shares[:-1], self.noise._replace(weight=float(shares[-1]))


def _held(values, dtype, kind):
    """In this dtype, unless variances overflow in it or vanish: it could not hold those."""
    if values.dtype == dtype:
        return values[()]
    sizes = values
    if order(kind) == 2:
        sizes = np.einsum("...ii->...i", values)
    if (sizes < np.finfo(dtype).tiny).any() or (np.abs(values) > np.finfo(dtype).max).any():
        return values[()]
    return values.astype(dtype, copy=False)[()]

"""A Gaussian mixture as a distribution: moments, sums, marginals and conditionals."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastem.mixtures.gaussian.closure import type_of_some_features, type_of_sum
from fastem.mixtures.gaussian.conditional import Conditional, conditional_components
from fastem.mixtures.gaussian.covariances import COVARIANCES, CollapsedError, Covariances
from fastem.mixtures.gaussian.covariances.decomposition import Decomposition, decompose
from fastem.mixtures.gaussian.moments import mixture_covariance, mixture_mean
from fastem.mixtures.gaussian.parameters import GaussianParameters
from fastem.mixtures.gaussian.stacks import of_features, order, stacked, widened
from fastem.sklearn_private import _check_feature_names, _get_feature_names
from fastem.validation import check_mixing_weights, check_shape


class DistributionMixin(ABC):
    """Gives a Gaussian mixture what a distribution has.

    What a mixture with a noise component doesn't, so that :meth:`decomposition` alone takes one.
    What it returns is in float64, and mixtures among it are as good as fitted: they have default
    parameters but for ``n_components`` and ``covariance_type``, and know the features' names if
    their source does.
    """

    n_features_in_: int

    # What the mixture has.

    @property
    @abstractmethod
    def _covariances(self) -> Covariances:
        """Its type of covariances."""

    @abstractmethod
    def _parameters(self) -> GaussianParameters:
        """The fitted parameters, in double precision."""

    # What it is given.

    @classmethod
    def from_parameters(
        cls, weights: Any, means: Any, covariances: Any, covariance_type: str = "full"
    ) -> Self:
        """A mixture with known parameters, as good as fitted.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Non-negative, with a sum of one.

        means : array-like of shape (n_components, n_features)

        covariances : array-like
            Shaped as ``covariances_``; positive definite.

        covariance_type : str, default='full'

        Returns
        -------
        mixture : GaussianMixture
            Fitted, with float64 parameters.

        Raises
        ------
        ValueError
            If shapes don't fit or a value is out of range.
        """
        if covariance_type not in COVARIANCES:
            raise ValueError(
                f"The 'covariance_type' parameter must be one of {list(COVARIANCES)}. "
                f"Got {covariance_type!r} instead."
            )
        means = check_array(means, dtype=np.float64)
        weights = check_mixing_weights(weights, len(means))
        covariances = COVARIANCES[covariance_type].check_covariances(covariances, *means.shape)
        return cls._of(weights, means, covariances, covariance_type)

    @classmethod
    def _of(cls, weights, means, covariances, covariance_type, feature_names=None):
        """A mixture with parameters of the right shapes."""
        mixture = cls(len(means), covariance_type=covariance_type)
        try:
            factors = COVARIANCES[covariance_type].factor(covariances)
        except CollapsedError as error:
            raise ValueError(
                f"The covariance of {error.culprit} is not positive definite, or too nearly "
                "singular for its digits."
            ) from error
        parameters = GaussianParameters(weights, means, covariances, factors)
        vars(mixture).update(mixture._attributes(parameters, means.dtype))
        mixture.n_features_in_ = means.shape[1]
        if feature_names is not None:
            mixture.feature_names_in_ = feature_names
        mixture.converged_ = True
        mixture.n_iter_ = 0
        mixture.lower_bound_ = -np.inf
        mixture.lower_bounds_ = []
        return mixture

    def _distribution(self):
        """Weights, means and covariances; those of single precision are normalised in double."""
        check_is_fitted(self)
        weights, means, covariances, _, noise = self._parameters()
        if noise is not None:
            raise ValueError(
                "With a noise component, whose density is the same everywhere, the mixture is no "
                "distribution; GaussianMixture.from_parameters(weights_ / weights_.sum(), means_, "
                "covariances_, covariance_type) is the distribution of its other rows"
            )
        return weights / weights.sum(), means, covariances

    def mean(self) -> np.ndarray:
        """The mean of the whole mixture.

        Returns
        -------
        mean : ndarray of shape (n_features,)
        """
        weights, means, _ = self._distribution()
        return mixture_mean(weights, means)

    def covariance(self) -> np.ndarray:
        """The covariance of the whole mixture.

        By the law of total covariance it is the mean of the components' covariances plus the
        covariance of their means.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
        """
        weights, means, covariances = self._distribution()
        return mixture_covariance(weights, means, covariances, self._covariances)

    def decomposition(self) -> Decomposition:
        """Volumes, shapes and orientations of the components' covariances.

        Returns
        -------
        decomposition : Decomposition
            A tuple ``volume, shape, orientation``, in which what is the same for all components has
            no axis for them; a covariance is ``volume * orientation @ diag(shape) @
            orientation.T``.

        Notes
        -----
        G. Celeux and G. Govaert, "Gaussian parsimonious clustering models", Pattern Recognition 28,
        1995.
        """
        check_is_fitted(self)
        covariances = self._parameters().covariances
        return decompose(self._covariances, covariances, self.n_features_in_)

    def convolve(self, other: "DistributionMixin") -> Self:
        """The distribution of the sum of two independent variables, this one's and the other's.

        Parameters
        ----------
        other : GaussianMixture
            Fitted, with as many features.

        Returns
        -------
        mixture : GaussianMixture
            Fitted, with a component for each pair: the sum of this mixture's component i and the
            other's component j is component ``i * other_n_components + j``. Its covariance type is
            the narrowest that holds the sum for any two mixtures of these types: the components
            share one covariance if both mixtures' do; it is a matrix if either mixture's are, else
            a diagonal if either's are, else a multiple of the identity. So ``"tied_diag"`` and
            ``"spherical"`` make ``"diag"``. Of what types between these share, orientations are
            kept if the other mixture's are multiples of the identity.

        Raises
        ------
        TypeError
            If the other is no Gaussian mixture.
        ValueError
            If the numbers of features differ.
        """
        if not isinstance(other, DistributionMixin):
            raise TypeError(f"other should be a GaussianMixture, not {type(other).__name__}")
        both = self, other
        weights, means, covariances = zip(*(one._distribution() for one in both), strict=True)
        n_features = check_same_features(*both)
        kinds = [one._covariances for one in both]
        stacks = [stacked(*pair) for pair in zip(kinds, covariances, strict=True)]
        widest = max(order(kind) for kind in kinds)
        stacks = [widened(stack, widest, n_features) for stack in stacks]
        tied = all(kind.tied for kind in kinds)
        if not tied:
            stacks = [
                np.broadcast_to(stack, (len(mean), *stack.shape[1:]))
                for stack, mean in zip(stacks, means, strict=True)
            ]
        sums = _sums_of_pairs(*stacks)
        names: list[Any] = [getattr(one, "feature_names_in_", None) for one in both]
        return self._of(
            np.outer(*weights).ravel(),
            _sums_of_pairs(*means),
            sums[0] if tied else sums,
            type_of_sum(*kinds),
            names[0] if np.array_equal(*names) else None,
        )

    def marginal(self, features: Any) -> Self:
        """The distribution of some of the features.

        Parameters
        ----------
        features : int, str, or array-like of int, bool or str
            Their indices (negative ones count from the end) in any order, or a mask of shape
            (n_features,), or their names.

        Returns
        -------
        mixture : GaussianMixture
            Fitted, with the features in the given order. The covariance type is the same, but
            ``"EVI"`` becomes ``"diag"``, and ``"EVE"``, ``"VVE"``, ``"EEV"``, ``"VEV"`` and
            ``"EVV"``, of which parts share nothing, become ``"full"`` unless all features are
            there.

        Raises
        ------
        ValueError
            If there is no feature or an unknown one, or one twice.
        """
        weights, means, covariances = self._distribution()
        chosen = self._feature_indices(features)
        return self._of(
            weights,
            means[:, chosen],
            of_features(self._covariances, covariances, chosen),
            self._type_of(chosen),
            self._feature_names(chosen),
        )

    def condition(self, features: Any, values: Any) -> "Self | Conditional":
        """The distribution of the remaining features given the values of some.

        Parameters
        ----------
        features : int, str, or array-like of int, bool or str
            The features whose values are given, as for :meth:`marginal`.

        values : float or array-like of shape (len(features),) or (n_samples, len(features))
            Their values: of one row, or of many.

        Returns
        -------
        distribution : GaussianMixture or Conditional
            For one row a fitted mixture of the remaining features, in their order, of the
            covariance type of their :meth:`marginal`. For many rows, even if ``n_samples`` is one,
            a :class:`fastem.mixtures.gaussian.conditional.Conditional`, whose ``mean()`` and
            ``covariance()`` are those of mixture regression.

        Raises
        ------
        ValueError
            If there is no feature or an unknown one, or one twice, if none remains, or if the
            values' shape is wrong or one isn't finite.

        Notes
        -----
        Z. Ghahramani and M. I. Jordan, "Supervised learning from incomplete data via an EM
        approach", Advances in Neural Information Processing Systems 6, 1994; for one component, C.
        M. Bishop, Pattern Recognition and Machine Learning, 2006, section 2.3.1.
        """
        _, means, covariances = self._distribution()
        given = self._feature_indices(features)
        rest = np.delete(np.arange(self.n_features_in_), given)
        if len(rest) == 0:
            raise ValueError("All features are given, so that there is none to have a distribution")
        marginal = self.marginal(given)
        many = np.ndim(values) == 2
        values = _check_values(values, marginal)
        conditional = Conditional(
            _posterior(marginal, values),
            *conditional_components(means, covariances, self._covariances, given, rest, values),
            self._type_of(rest),
            self._feature_names(rest),
            self._of,
        )
        return conditional if many else conditional[0]

    def _type_of(self, chosen):
        """The covariance type of these features, under the name it has here if it is the same."""
        kind = self._covariances
        narrowed = len(chosen) < self.n_features_in_
        name = type_of_some_features(kind) if narrowed else kind.name
        return self.covariance_type if name == kind.name else name

    def _feature_names(self, chosen):
        return self.feature_names_in_[chosen] if hasattr(self, "feature_names_in_") else None

    def _feature_indices(self, features):
        """Indices from zero on of features that are given as indices, as a mask or by name."""
        chosen = np.atleast_1d(np.asarray(features))
        if chosen.ndim > 1:
            raise ValueError(f"features should have one dimension, but they have {chosen.ndim}")
        n_features = self.n_features_in_
        if chosen.dtype.kind == "b":
            check_shape(chosen, (n_features,), "features")
            chosen = np.flatnonzero(chosen)
        if chosen.size == 0:
            raise ValueError("features should hold at least one feature")
        if chosen.dtype.kind in "OUT":
            names = list(getattr(self, "feature_names_in_", []))
            unknown = [name for name in chosen.tolist() if name not in names]
            if unknown:
                raise ValueError(f"The mixture has no features named {unknown}")
            chosen = np.array([names.index(name) for name in chosen.tolist()])
        if chosen.dtype.kind not in "iu":
            raise ValueError(
                f"features should be integers, booleans or names, not of type {chosen.dtype}"
            )
        if chosen.min() < -n_features or chosen.max() >= n_features:
            raise ValueError(
                f"features should be in the range [{-n_features}, {n_features - 1}], but got "
                f"{chosen.tolist()}"
            )
        chosen = chosen.astype(np.intp) % n_features
        if len(np.unique(chosen)) < len(chosen):
            raise ValueError("features should be different, but one is there more than once")
        return chosen


def check_same_features(p: Any, q: Any) -> int:
    """The number of features of two fitted mixtures.

    Raises
    ------
    ValueError
        If they differ.
    """
    if p.n_features_in_ != q.n_features_in_:
        raise ValueError(
            "Both mixtures should have the same number of features, but they have "
            f"{p.n_features_in_} and {q.n_features_in_}"
        )
    return p.n_features_in_


def _sums_of_pairs(left, right):
    return (left[:, np.newaxis] + right).reshape(-1, *left.shape[1:])


def _check_values(values, marginal):
    """The values of a mixture's features as rows."""
    if _get_feature_names(values) is not None:
        _check_feature_names(marginal, values, reset=False)
    n_features = marginal.n_features_in_
    values = check_array(
        np.atleast_1d(values), dtype=np.float64, order="C", ensure_2d=False, input_name="values"
    )
    if values.shape[-1] != n_features:
        raise ValueError(
            f"values should have the shape ({n_features},), or (n_samples, {n_features}) for many "
            f"rows, but got {values.shape}"
        )
    return values.reshape(-1, n_features)


def _posterior(mixture, values):
    """The components' probabilities given rows, be these as far as distances are finite."""
    posterior = np.empty((len(values), len(mixture.weights_)))
    mixture._evaluate(values, responsibilities=posterior)
    return posterior

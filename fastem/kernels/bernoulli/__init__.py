"""Passes of Bernoulli mixtures over dense and CSR rows."""

from fastem.kernels.bernoulli.base import BernoulliComponents, BernoulliPass, BernoulliStatistics
from fastem.kernels.bernoulli.dense import DensePass
from fastem.kernels.bernoulli.sparse import SparsePass

__all__ = ["BernoulliComponents", "BernoulliPass", "BernoulliStatistics", "DensePass", "SparsePass"]

"""Passes of Bernoulli mixtures over dense and CSR rows."""

from fastem.kernels.bernoulli.base import BernoulliPass, BernoulliStatistics, Parameters
from fastem.kernels.bernoulli.dense import DensePass
from fastem.kernels.bernoulli.sparse import SparsePass

__all__ = ["BernoulliPass", "BernoulliStatistics", "DensePass", "Parameters", "SparsePass"]

"""Passes of Bernoulli mixtures over dense and CSR rows."""

from fastem.kernels.bernoulli.base import BernoulliComponents
from fastem.kernels.bernoulli.dense import DensePass
from fastem.kernels.bernoulli.sparse import SparsePass

__all__ = ["BernoulliComponents", "DensePass", "SparsePass"]

"""Passes by differences from every mean, which lose no digits wherever the means are."""

from abc import abstractmethod

from fastem.kernels.gaussian.base import GaussianPass
from fastem.kernels.gaussian.sweep import Kernel, Sweep


class ExactKernel(Kernel):
    """A kernel that is exact for all components."""

    @abstractmethod
    def pack(self, components, dtype):
        """The components as the kernels take them, a NamedTuple of the kernel's own.

        It has a float ``reference``, relative to which log-densities are.
        """

    @abstractmethod
    def standard(self, means):
        """Some components with these means, where only the shapes matter."""


class ExactPass(GaussianPass):
    """Passes by an exact kernel alone.

    Parameters
    ----------
    sweep : Sweep
    kernel : ExactKernel
    """

    def __init__(self, sweep: Sweep, kernel: ExactKernel):
        self.sweep = sweep
        self._kernel = kernel

    def e_step(self, components, centers=None, hard=False, skip=True):
        packed = self._kernel.pack(components, self.sweep.dtype)
        centers = components.means if centers is None else centers
        return self.sweep.e_step(components, packed, centers, hard, skip)

    def from_labels(self, labels, centers):
        packed = self._kernel.pack(self._kernel.standard(centers), self.sweep.dtype)
        return self.sweep.from_labels(labels, packed, centers)

    def evaluate(self, components, **outputs):
        packed = self._kernel.pack(components, self.sweep.dtype)
        return self.sweep.evaluate(components, packed, **outputs)

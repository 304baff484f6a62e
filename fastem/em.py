"""The EM loop for models of your own: derive from :class:`Mixture`, or else from :class:`Model`.

A facade for users: nothing inside the package imports it.
"""

from fastem.loop.callbacks import Task, watch
from fastem.loop.fit import fit
from fastem.loop.model import Model, Run, Step
from fastem.mixtures.own.estimator import Mixture

__all__ = ["Mixture", "Model", "Run", "Step", "Task", "fit", "watch"]

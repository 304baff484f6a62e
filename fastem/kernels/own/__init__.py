"""Passes of mixtures whose log-density a user wrote."""

from fastem.kernels.own.base import Functions, OwnParameters, OwnPass, OwnStatistics

__all__ = ["Functions", "OwnParameters", "OwnPass", "OwnStatistics"]

"""Passes of mixtures whose log-density a user wrote."""

from fastem.kernels.own.base import Functions, OwnComponents, OwnPass

__all__ = ["Functions", "OwnComponents", "OwnPass"]

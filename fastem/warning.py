"""Warnings that name the user's line, however deep in the package they arise."""

import os
import sys
import warnings
from pathlib import Path

import sklearn

# Frames of these packages are passed over: scikit-learn's are between an estimator's methods.
_INSIDE = tuple(
    str(folder) + os.sep
    for folder in (Path(__file__).resolve().parent, Path(sklearn.__file__).resolve().parent)
)


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn, and name the line outside that led here.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)

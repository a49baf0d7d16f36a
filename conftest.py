"""Examples in docstrings that draw: without a window, and only where matplotlib is installed."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
collect_ignore_glob = [] if find_spec("matplotlib") else ["skdep/plotting/*.py"]
collect_ignore_glob += [] if find_spec("formulaic") else ["skdep/formula/*.py"]


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures that a test or an example leaves open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

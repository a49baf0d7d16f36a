"""All tests: pictures without a window, docstrings of extras only where they are installed, threads by the process."""

from __future__ import annotations

import gc
import os
import sys
from importlib.util import find_spec

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
collect_ignore_glob = [] if find_spec("matplotlib") else ["skdep/plotting/*.py"]
collect_ignore_glob += [] if find_spec("formulaic") else ["skdep/formula/*.py"]


def pytest_configure(config):
    """Leave each of several processes one thread of linear algebra: with more they wait for each other."""
    if hasattr(config, "workerinput"):
        import numpy  # noqa: F401  (what is not loaded cannot be limited)
        import scipy.linalg  # noqa: F401
        from threadpoolctl import threadpool_limits

        threadpool_limits(1, user_api="blas")


def pytest_collection_finish():
    """Take the tests themselves out of the garbage collector's rounds: there are thousands, and they stay."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file in one process: they share fits."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures that a test or an example leaves open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

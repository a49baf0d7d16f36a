"""What the numbers come from: versions of programs, and the machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import skdep
from benchmarks.programs.geepack import geepack_version
from benchmarks.programs.r_mixed import r_package_version

__all__ = ["machine", "package_version"]


def package_version(name: str) -> str:
    """Return the version of a package without importing it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def machine() -> dict[str, str]:
    """Describe what the numbers come from; a load above zero before the start warns that they are noisy."""
    names = (
        "numpy",
        "scipy",
        "scikit-learn",
        "statsmodels",
        "glum",
        "glmm",
        "mixedlm",
        "mixedlm-rs",
        "gpboost",
        "pymc",
        "nutpie",
        "numba",
    )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
        "load before": f"{load:.2f}",
        "Python": platform.python_version(),
        "skdep": skdep.__version__,
        **{name: package_version(name) for name in names},
        "geepack": geepack_version() or "not installed",
        **{name: r_package_version(name) or "not installed" for name in ("lme4", "glmmTMB", "rstanarm", "survey")},
    }

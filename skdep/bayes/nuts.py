r"""The general sampler: the No-U-Turn sampler of nutpie, where the posterior is about standard normal.

It needs a log density and its gradient only, so that it serves where independence sampling does not: several grouping
factors, many effects a level, priors with latent scales, posteriors far from normal.

References
----------
Hoffman and Gelman (2014), The No-U-Turn sampler, Journal of Machine Learning Research 15, 1593-1623. Betancourt (2016),
Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo, arXiv:1604.00695: E-BFMI.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from joblib import effective_n_jobs

from skdep._docs import read_more
from skdep._threads import one_blas_thread

__all__ = ["Coordinates", "NutsRun", "has_nutpie", "sample_by_nuts"]

_VARIABLE = "long_point"
_MAX_DEPTH = 10


class Coordinates(Protocol):
    """A map from coordinates z, about standard normal, to where a density is evaluated."""

    @property
    def centre(self) -> np.ndarray:
        """Long point of z = 0."""

    @property
    def target_accept(self) -> float:
        """Share of proposals to be accepted."""

    def to_long(self, z: np.ndarray) -> np.ndarray:
        """Return long points of coordinates (..., n_dim)."""

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """Turn a gradient by long points into that by coordinates."""


@dataclass(frozen=True)
class NutsRun:
    """Draws, and how the sampler fared.

    Parameters
    ----------
    long_points : ndarray of shape (n_chains, n_draws, n_kept)
        Draws of the posterior.
    log_density : ndarray of shape (n_chains, n_draws)
        Log density at them, by coordinates.
    n_steps : ndarray of int of shape (n_chains, n_draws)
        Gradients evaluated for each draw.
    n_divergences : int
        Trajectories whose energy was not kept: parts of the posterior may be out of reach.
    n_deepest : int
        Trajectories cut off at the largest length.
    energy_ratio : ndarray of shape (n_chains,)
        Energy Bayesian fraction of missing information; below 0.3 tails are explored slowly.
    """

    long_points: np.ndarray
    log_density: np.ndarray
    n_steps: np.ndarray
    n_divergences: int
    n_deepest: int
    energy_ratio: np.ndarray


def has_nutpie() -> bool:
    """Say whether the sampler is installed and can be imported."""
    try:
        _nutpie()
    except ImportError:
        return False
    return True


def sample_by_nuts(
    target: Any,
    coordinates: Coordinates,
    *,
    n_draws: int,
    n_chains: int,
    rng: np.random.Generator,
    n_tune: int = 300,
    n_jobs: int | None = None,
    progress: bool = False,
    keep: slice | np.ndarray | None = None,
    target_accept: float | None = None,
) -> NutsRun:
    """Sample a density with gradients.

    Parameters
    ----------
    target : object
        Has ``value_and_gradient(long_point)``.
    coordinates : Coordinates
        Where to sample; chains begin at random about z = 0.
    n_draws : int
        Draws of each chain to keep.
    n_chains : int
        Number of chains.
    rng : numpy.random.Generator
        Source of randomness: the same state gives the same draws, whatever `n_jobs`.
    n_tune : int, default=300
        Draws of each chain for tuning, which are not kept.
    n_jobs : int or None, default=None
        Chains run at once, in threads.
    progress : bool, default=False
        Whether to show a progress bar.
    keep : slice, ndarray of int or None, default=None
        Entries of long points to return; None returns all. Saves memory where there are many effects.
    target_accept : float or None, default=None
        Share of proposals to be accepted: larger makes steps shorter, for densities with narrow parts. None takes that
        of the coordinates.

    Returns
    -------
    NutsRun
        Draws and statistics.

    Raises
    ------
    ImportError
        If nutpie cannot be imported.
    """
    nutpie = _nutpie()
    n_dim = len(coordinates.centre)
    kept = slice(None) if keep is None else keep
    model = nutpie.compiled_pyfunc.from_pyfunc(
        n_dim,
        lambda: _log_density(target, coordinates),
        lambda *_: lambda z: {_VARIABLE: np.ascontiguousarray(coordinates.to_long(z)[kept])},
        [np.dtype("float64")],
        [(len(coordinates.centre[kept]),)],
        [_VARIABLE],
        make_initial_point_fn=lambda seed: np.random.default_rng(seed).standard_normal(n_dim),
    )
    # products of a chain are small: threads of the linear algebra library would only get in each other's way
    with one_blas_thread():
        trace = _run(
            nutpie,
            model,
            draws=n_draws,
            tune=n_tune,
            chains=n_chains,
            cores=min(effective_n_jobs(n_jobs), n_chains),
            seed=int(rng.integers(2**63)),
            save_warmup=False,
            progress_bar=progress,
            target_accept=coordinates.target_accept if target_accept is None else target_accept,
            maxdepth=_MAX_DEPTH,
        )
    statistics = trace["sample_stats"]
    energy = np.asarray(statistics["energy"])
    return NutsRun(
        np.asarray(trace["posterior"][_VARIABLE]),
        np.asarray(statistics["logp"]),
        np.asarray(statistics["n_steps"]).astype(np.int64),
        int(np.sum(statistics["diverging"])),
        int(np.sum(statistics["maxdepth_reached"])),
        np.mean(np.diff(energy, axis=1) ** 2, axis=1) / np.var(energy, axis=1),
    )


def _log_density(target: Any, coordinates: Coordinates) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    def log_density(z: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = target.value_and_gradient(coordinates.to_long(z))
        return value, coordinates.pull_back(gradient)

    return log_density


def _run(nutpie: Any, model: Any, **settings: Any) -> Any:
    """Sample, and stop the threads of the sampler if the user stops it."""
    sampler = nutpie.sample(model, blocking=False, **settings)
    try:
        return sampler.wait()
    except BaseException:
        # left to itself nutpie would return the draws so far, as if it had finished
        sampler.cancel()
        raise


def _nutpie() -> Any:
    """Return the module; raise an ImportError that says what to do if it cannot be imported."""
    try:
        import_module("nutpie.compiled_pyfunc")
        return import_module("nutpie")
    except Exception as error:
        # not only ImportError: versions of its dependencies that do not fit together raise others
        raise ImportError(
            f"This posterior is sampled by nutpie, which cannot be imported ({type(error).__name__}: {error}). It "
            "comes with the extra 'bayes': pip install 'skdep[bayes]'. Without it BayesLogit fits models of one "
            "grouping factor with up to three random effects a level, and priors without latent scales (all but "
            "Horseshoe); MixedLogit fits several factors by maximum likelihood."
            f"{read_more('bayes_failure')}"
        ) from error

"""Fit an estimator to data that need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import clone

from skdep._docs import read_more
from skdep.base import FitNotes
from skdep.distributed.chunks import IteratorChunks, as_source
from skdep.distributed.gee import fit_gee
from skdep.distributed.logit import fit_logit
from skdep.distributed.mixed import fit_mixed
from skdep.distributed.progress import Passes
from skdep.distributed.runners import Runner, runner_of
from skdep.distributed.scan import DataScan, check_chunk, merge_scans, scan_chunk
from skdep.gee.base import BaseGEE
from skdep.logit import LogitRegressor
from skdep.mixed import MixedLinear

__all__ = ["fit_chunks"]


def fit_chunks(est: Any, chunks: Any, *, client: Any = None, verbose: bool = False) -> Any:
    """Fit an estimator to chunks of whole clusters, exactly as to all rows at once.

    Every iteration goes through the chunks and adds up what it needs of them; nothing else of the data is kept.

    Parameters
    ----------
    est : GEERegressor, GEEClassifier, LogitRegressor or MixedLinear
        The estimator, left as it is; a multilevel model with one grouping factor, or none.
    chunks : ChunkSource, list of Chunk, or callable
        The data: `ParquetChunks`, `ArrayChunks`, `dask_chunks`, a list of `Chunk`, or a function that returns an
        iterator over chunks at every call. No cluster may have rows in two chunks.
    client : distributed.Client, optional
        Connection to a Dask cluster, whose workers then load the chunks and keep them between passes. A chunk that is
        lost with its worker is loaded again by another.
    verbose : bool, default=False
        Whether to write a line on progress every couple of seconds.

    Returns
    -------
    est : estimator
        A fitted copy, with the same attributes as after ``fit``.

    Raises
    ------
    TypeError
        If the estimator cannot be fitted so, or chunks can be gone through only once.
    ValueError
        If a chunk is malformed; the message says which.

    Notes
    -----
    What needs all rows together is not done: a search for infinite estimates (separation), and the fingerprint by which
    `skdep.inference.lrt` recognises fits of the same data. With a feature that is a linear combination of others the
    estimates of least norm are kept, as by ``fit``.

    Examples
    --------
    >>> from skdep import LogitRegressor
    >>> from skdep.datasets import load_ohio
    >>> from skdep.distributed import ArrayChunks, fit_chunks
    >>> ohio = load_ohio()
    >>> chunks = ArrayChunks(ohio.data, ohio.target, groups=ohio.groups, rows=500)
    >>> fit_chunks(LogitRegressor(), chunks).coef_.round(3)
    array([[-0.113,  0.272]])
    """
    fit = next((function for kind, function in _FITS.items() if isinstance(est, kind)), None)
    if fit is None:
        names = "GEERegressor, GEEClassifier, LogitRegressor and MixedLinear"
        raise TypeError(f"{type(est).__name__} cannot be fitted to chunks; {names} can.{read_more('chunks_limits')}")
    est, notes, passes = clone(est), FitNotes(), Passes(verbose)
    est._validate_params()
    source = as_source(chunks)
    first = next(iter(source)) if isinstance(source, IteratorChunks) else source.load(0)
    check_chunk(first, 0, est, first=True)
    runner = runner_of(source, client)
    scan = _scan(est, runner, passes)
    fit(est, runner, scan, passes, notes, first)
    return est


def _scan(est: Any, runner: Runner, passes: Passes) -> DataScan:
    """Check all chunks, and sum them up."""
    scan = merge_scans(passes.over(runner.prepare(scan_chunk, est).map(_itself)))
    passes.n_chunks = scan.n_chunks
    return scan


def _itself(part: Any) -> Any:
    return part


_FITS: dict[type, Callable[..., None]] = {LogitRegressor: fit_logit, MixedLinear: fit_mixed, BaseGEE: fit_gee}

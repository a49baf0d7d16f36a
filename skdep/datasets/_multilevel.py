"""Loaders of studies with several grouping factors, crossed or nested: ``groups`` has a column for each."""

from __future__ import annotations

from typing import Any

from skdep.datasets._load import load_study
from skdep.datasets._studies import PASTES, PENICILLIN

__all__ = ["load_pastes", "load_penicillin"]


def load_penicillin(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the assays of penicillin (continuous outcome, two crossed grouping factors).

    Six samples of penicillin, each tested once on each of 24 plates [1]_. There are no features: the question is how
    much of the variation comes from the plates, how much from the samples, and how much from neither.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` and ``groups`` are DataFrames and ``target`` is a Series; if False they are ndarrays.

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame or ndarray of shape (144, 0)
            No columns: the model is an intercept and the random effects.
        target : Series or ndarray of shape (144,)
            ``diameter``, of the zone without growth in mm.
        groups : DataFrame or ndarray of shape (144, 2)
            ``plate``, 24 clusters of 6 rows, and ``sample``, 6 clusters of 24 rows, crossed.
        time : None
            The rows have no order in time.
        frame : DataFrame of shape (144, 3), or None
            The whole table; None if ``as_frame=False``.
        feature_names : list of str
            Empty, as ``data`` has no columns.
        target_name : str
            The name of the target column.
        DESCR : str
            The study, its columns and their units, and its reference.
        filename : str
            The name of the packaged file.

    (data, target) : tuple if ``return_X_y=True``
        The data without columns and the target as described above.

    References
    ----------
    .. [1] Davies, O. L. and Goldsmith, P. L. (eds.) (1972). Statistical Methods in Research and Production, 4th
       edition, section 6.6. Oliver and Boyd, Edinburgh.

    Examples
    --------
    >>> from skdep.datasets import load_penicillin
    >>> penicillin = load_penicillin()
    >>> penicillin.data.shape, penicillin.groups.nunique().to_dict()
    ((144, 0), {'plate': 24, 'sample': 6})
    >>> int(penicillin.groups.value_counts().max())
    1
    """
    return load_study(PENICILLIN, return_X_y=return_X_y, as_frame=as_frame)


def load_pastes(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the strength of a paste (continuous outcome, two nested grouping factors).

    Two assays of each of three casks from each of ten deliveries of a chemical paste [1]_. The labels of the casks
    restart in every batch, so that the second column of ``groups`` joins both, as in ``"A:c"``. There are no features:
    the question is how much of the variation lies between batches, between casks of a batch, and within a cask.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` and ``groups`` are DataFrames and ``target`` is a Series; if False they are ndarrays.

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame or ndarray of shape (60, 0)
            No columns: the model is an intercept and the random effects.
        target : Series or ndarray of shape (60,)
            ``strength``, of the paste.
        groups : DataFrame or ndarray of shape (60, 2)
            ``batch``, 10 clusters of 6 rows, and ``batch:cask``, 30 clusters of 2 rows, nested in the batches.
        time : None
            The rows have no order in time.
        frame : DataFrame of shape (60, 4), or None
            The whole table; None if ``as_frame=False``.
        feature_names : list of str
            Empty, as ``data`` has no columns.
        target_name : str
            The name of the target column.
        DESCR : str
            The study, its columns and their units, and its reference.
        filename : str
            The name of the packaged file.

    (data, target) : tuple if ``return_X_y=True``
        The data without columns and the target as described above.

    References
    ----------
    .. [1] Davies, O. L. and Goldsmith, P. L. (eds.) (1972). Statistical Methods in Research and Production, 4th
       edition, section 6.5. Oliver and Boyd, Edinburgh.

    Examples
    --------
    >>> from skdep.datasets import load_pastes
    >>> pastes = load_pastes()
    >>> pastes.data.shape, pastes.groups.nunique().to_dict()
    ((60, 0), {'batch': 10, 'batch:cask': 30})
    >>> pastes.groups.iloc[-1].tolist()
    ['J', 'J:c']
    """
    return load_study(PASTES, return_X_y=return_X_y, as_frame=as_frame)

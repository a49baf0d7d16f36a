"""Loader of a study whose table counts: so many successes among so many trials."""

from __future__ import annotations

from typing import Any

from skdep.datasets._load import load_study
from skdep.datasets._studies import CBPP

__all__ = ["load_cbpp"]


def load_cbpp(*, counts: bool = False, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the spread of a lung disease of cattle in herds (binary outcome, clusters of unequal size).

    New cases of contagious bovine pleuropneumonia in 15 herds in up to four periods of a year, counted out of the
    animals of the herd [1]_. A classifier takes an outcome a row: by default each animal counted is one row, and with
    ``counts=True`` equal rows of a herd are one, with their number as its weight. Both give the same fits.

    Parameters
    ----------
    counts : bool, default=False
        If True, equal rows of a herd are one, and the Bunch has their number as ``sample_weight``.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch; not with ``counts=True``, whose weights would be lost.
    as_frame : bool, default=True
        If True, ``data`` is a DataFrame and the other columns are Series; if False they are ndarrays, and the strings
        of ``period`` become the 0/1 columns ``period[2]``, ``period[3]`` and ``period[4]``, with the first period as
        the reference.

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes. With ``counts=True`` there are 90 rows in place of 842.

        data : DataFrame or ndarray of shape (842, 1) or (842, 3)
            The feature: ``period`` (string, "1" to "4"), in an array three columns.
        target : Series or ndarray of shape (842,)
            ``case``, 1 if the animal became a case in the period.
        groups : Series or ndarray of shape (842,)
            ``herd``, 1 to 15: clusters of 26 to 96 rows.
        time : None
            Animals were not followed from period to period, so that rows have no order within a herd and period.
        frame : DataFrame of shape (842, 3), or None
            The whole table, with ``counts=True`` of 4 columns; None if ``as_frame=False``.
        feature_names : list of str
            The names of the columns of ``data``.
        target_name : str
            The name of the target column.
        DESCR : str
            The study, its columns, and its reference.
        filename : str
            The name of the packaged file.
        sample_weight : Series or ndarray of shape (90,)
            ``animals``, the number of animals that the row stands for; with ``counts=True`` only.

    (data, target) : tuple if ``return_X_y=True``
        The feature and the target as described above.

    Raises
    ------
    ValueError
        If both `counts` and `return_X_y` are True.

    References
    ----------
    .. [1] Lesnoff, M., Laval, G., Bonnet, P., Abdicho, S., Workalemahu, A., Kifle, D., Peyraud, A., Lancelot, R. and
       Thiaucourt, F. (2004). Within-herd spread of contagious bovine pleuropneumonia in Ethiopian highlands.
       Preventive Veterinary Medicine 64(1), 27-40.

    Examples
    --------
    >>> from skdep.datasets import load_cbpp
    >>> cbpp = load_cbpp()
    >>> cbpp.data.shape, cbpp.groups.nunique(), int(cbpp.target.sum())
    ((842, 1), 15, 99)
    >>> counted = load_cbpp(counts=True)
    >>> counted.frame.head(3)
       herd period  case  animals
    0     1      1     1        2
    1     1      1     0       12
    2     1      2     1        3
    """
    if counts and return_X_y:
        raise ValueError("counts=True needs its weights, which return_X_y=True leaves out. Take the Bunch.")
    return load_study(CBPP, return_X_y=return_X_y, as_frame=as_frame, merged=counts)

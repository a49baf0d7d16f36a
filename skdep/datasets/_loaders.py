"""Loaders of the packaged studies, in the idiom of the ``load_*`` functions of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from sklearn.utils import Bunch

from skdep.datasets._studies import DIETOX, EPIL, OHIO, RESPIRATORY, Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_dietox", "load_epil", "load_ohio", "load_respiratory"]


def _read(filename: str) -> pd.DataFrame:
    import pandas as pd

    with as_file(files("skdep.datasets") / "data" / filename) as path:
        return pd.read_csv(path)


def _labels(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    """Cluster labels of the rows: the column itself, or its values joined by ":" when it takes several to be unique."""
    labels = frame[columns[0]]
    for column in columns[1:]:
        labels = labels.astype(str) + ":" + frame[column].astype(str)
    return labels.rename(":".join(columns))


def _encode(data: pd.DataFrame, references: Mapping[str, str]) -> pd.DataFrame:
    """Replace each column of strings by 0/1 columns ``name[level]``, one for every level but the reference."""
    encoded = {}
    for name in data.columns:
        if name in references:
            for level in sorted(set(data[name]) - {references[name]}):
                encoded[f"{name}[{level}]"] = data[name] == level
        else:
            encoded[name] = data[name]
    return data.iloc[:, :0].assign(**encoded).astype(float)


def _load(study: Study, *, return_X_y: bool, as_frame: bool) -> Any:
    frame = _read(study.filename)
    data = frame[list(study.features)]
    if not as_frame:
        data = _encode(data, study.references)
    columns: dict[str, Any] = {
        "data": data,
        "target": frame[study.target],
        "groups": _labels(frame, study.groups),
        "time": frame[study.time],
    }
    if not as_frame:
        # Copied because arrays taken from a Series are read-only under pandas 3.
        columns = {key: values.to_numpy(copy=True) for key, values in columns.items()}
    if return_X_y:
        return columns["data"], columns["target"]
    return Bunch(
        **columns,
        frame=frame if as_frame else None,
        feature_names=list(data.columns),
        target_name=study.target,
        DESCR=study.description,
        filename=study.filename,
    )


def load_ohio(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the wheeze of children in Ohio (binary outcome, balanced).

    Yearly reports on 537 children, at the ages 7 to 10, of whether the child wheezed [1]_.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` is a DataFrame and the other columns are Series; if False they are ndarrays.

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame or ndarray of shape (2148, 2)
            The features: ``age`` (years, minus 9) and ``smoke`` (1 if the mother smoked).
        target : Series or ndarray of shape (2148,)
            ``resp``, 1 if the child wheezed in that year.
        groups : Series or ndarray of shape (2148,)
            ``id``, the number of the child: 537 clusters of 4 rows.
        time : Series or ndarray of shape (2148,)
            ``age``, in years minus 9.
        frame : DataFrame of shape (2148, 4), or None
            The whole table; None if ``as_frame=False``.
        feature_names : list of str
            The names of the columns of ``data``.
        target_name : str
            The name of the target column.
        DESCR : str
            The study, its columns and their units, and its reference.
        filename : str
            The name of the packaged file.

    (data, target) : tuple if ``return_X_y=True``
        The features and the target as described above.

    References
    ----------
    .. [1] Fitzmaurice, G. M. and Laird, N. M. (1993). A likelihood-based method for analysing longitudinal binary
       responses. Biometrika 80(1), 141-151.

    Examples
    --------
    >>> from skdep.datasets import load_ohio
    >>> ohio = load_ohio()
    >>> ohio.data.shape, ohio.groups.nunique()
    ((2148, 2), 537)
    >>> int(ohio.target.sum())
    326
    """
    return _load(OHIO, return_X_y=return_X_y, as_frame=as_frame)


def load_epil(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the seizure counts of epileptics under progabide (overdispersed counts, balanced).

    Seizures of 59 patients in four periods of two weeks, in a randomised trial of progabide against placebo [1]_.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` is a DataFrame and the other columns are Series; if False they are ndarrays, and the strings
        of ``trt`` become the 0/1 column ``trt[progabide]`` with placebo as the reference.

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame or ndarray of shape (236, 6)
            The features: ``trt`` (string), ``base`` (seizures in the eight weeks before), ``age`` (years), ``V4`` (1 in
            period 4), ``lbase`` and ``lage`` (centred logarithms of ``base`` and ``age``).
        target : Series or ndarray of shape (236,)
            ``y``, the number of seizures in the period.
        groups : Series or ndarray of shape (236,)
            ``subject``, the number of the patient: 59 clusters of 4 rows.
        time : Series or ndarray of shape (236,)
            ``period``, 1 to 4, in units of two weeks.
        frame : DataFrame of shape (236, 9), or None
            The whole table; None if ``as_frame=False``.
        feature_names : list of str
            The names of the columns of ``data``.
        target_name : str
            The name of the target column.
        DESCR : str
            The study, its columns and their units, and its reference.
        filename : str
            The name of the packaged file.

    (data, target) : tuple if ``return_X_y=True``
        The features and the target as described above.

    References
    ----------
    .. [1] Thall, P. F. and Vail, S. C. (1990). Some covariance models for longitudinal count data with overdispersion.
       Biometrics 46(3), 657-671.

    Examples
    --------
    >>> from skdep.datasets import load_epil
    >>> epil = load_epil()
    >>> epil.data.shape, epil.groups.nunique()
    ((236, 6), 59)
    >>> load_epil(as_frame=False).feature_names
    ['trt[progabide]', 'base', 'age', 'V4', 'lbase', 'lage']
    """
    return _load(EPIL, return_X_y=return_X_y, as_frame=as_frame)


def load_dietox(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the growth of pigs fed copper and vitamin E (continuous outcome, slightly unbalanced).

    Weekly weights of 72 pigs during twelve weeks, in a 3 x 3 factorial feeding experiment [1]_.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` is a DataFrame and the other columns are Series; if False they are ndarrays, and the strings
        of ``Cu`` and ``Evit`` become 0/1 columns such as ``Cu[Cu035]``, with the zero doses as references.

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame of shape (861, 3) or ndarray of shape (861, 5)
            The features: ``Time`` (weeks), ``Cu`` and ``Evit`` (doses, as strings).
        target : Series or ndarray of shape (861,)
            ``Weight``, in kg.
        groups : Series or ndarray of shape (861,)
            ``Pig``, the number of the pig: 72 clusters of 11 or 12 rows.
        time : Series or ndarray of shape (861,)
            ``Time``, the week, 1 to 12.
        frame : DataFrame of shape (861, 8), or None
            The whole table, which adds ``Litter``, ``Start`` and ``Feed`` (missing in week 1); None if
            ``as_frame=False``.
        feature_names : list of str
            The names of the columns of ``data``.
        target_name : str
            The name of the target column.
        DESCR : str
            The study, its columns and their units, and its reference.
        filename : str
            The name of the packaged file.

    (data, target) : tuple if ``return_X_y=True``
        The features and the target as described above.

    References
    ----------
    .. [1] Lauridsen, C., Højsgaard, S. and Sørensen, M. T. (1999). Influence of dietary rapeseed oil, vitamin E, and
       copper on the performance and the antioxidative and oxidative status of pigs. Journal of Animal Science 77(4),
       906-916.

    Examples
    --------
    >>> from skdep.datasets import load_dietox
    >>> dietox = load_dietox()
    >>> dietox.data.shape, dietox.groups.nunique()
    ((861, 3), 72)
    >>> load_dietox(as_frame=False).feature_names
    ['Time', 'Cu[Cu035]', 'Cu[Cu175]', 'Evit[Evit100]', 'Evit[Evit200]']
    """
    return _load(DIETOX, return_X_y=return_X_y, as_frame=as_frame)


def load_respiratory(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the respiratory status of patients at two centers (binary outcome, balanced).

    Four visits of 111 patients in a randomised trial of an active treatment against placebo [1]_. The patient numbers
    of the table restart at each center, so that ``groups`` joins both columns, as in ``"1:23"``.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` is a DataFrame and the other columns are Series; if False they are ndarrays, and the strings
        of ``treat`` and ``sex`` become the 0/1 columns ``treat[A]`` and ``sex[M]``, with placebo and female as
        references.

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame or ndarray of shape (444, 5)
            The features: ``center`` (1 or 2), ``treat`` ("A" or "P"), ``sex`` ("F" or "M"), ``age`` (years) and
            ``baseline`` (status before treatment, 1 if good).
        target : Series or ndarray of shape (444,)
            ``outcome``, the status at the visit, 1 if good.
        groups : Series or ndarray of shape (444,)
            ``center:id``, the patient within the center as a string: 111 clusters of 4 rows.
        time : Series or ndarray of shape (444,)
            ``visit``, the number of the visit, 1 to 4.
        frame : DataFrame of shape (444, 8), or None
            The whole table; None if ``as_frame=False``.
        feature_names : list of str
            The names of the columns of ``data``.
        target_name : str
            The name of the target column.
        DESCR : str
            The study, its columns and their units, and its reference.
        filename : str
            The name of the packaged file.

    (data, target) : tuple if ``return_X_y=True``
        The features and the target as described above.

    References
    ----------
    .. [1] Koch, G. G., Carr, G. J., Amara, I. A., Stokes, M. E. and Uryniak, T. J. (1989). Categorical data analysis.
       In Berry, D. A. (ed.), Statistical Methodology in the Pharmaceutical Sciences. Marcel Dekker, New York, 389-473.

    Examples
    --------
    >>> from skdep.datasets import load_respiratory
    >>> respiratory = load_respiratory()
    >>> respiratory.data.shape, respiratory.groups.nunique()
    ((444, 5), 111)
    >>> print(respiratory.groups.iloc[0], respiratory.groups.iloc[-1])
    1:1 2:55
    """
    return _load(RESPIRATORY, return_X_y=return_X_y, as_frame=as_frame)

"""Loaders of studies that followed subjects in time: one grouping factor, and an occasion of every row."""

from __future__ import annotations

from typing import Any

from skdep.datasets._load import load_study
from skdep.datasets._studies import DIETOX, EPIL, OHIO, ORTHODONT, RESPIRATORY, SLEEPSTUDY

__all__ = ["load_dietox", "load_epil", "load_ohio", "load_orthodont", "load_respiratory", "load_sleepstudy"]


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
    return load_study(OHIO, return_X_y=return_X_y, as_frame=as_frame)


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
    return load_study(EPIL, return_X_y=return_X_y, as_frame=as_frame)


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
    return load_study(DIETOX, return_X_y=return_X_y, as_frame=as_frame)


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
    return load_study(RESPIRATORY, return_X_y=return_X_y, as_frame=as_frame)


def load_sleepstudy(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the reaction times of subjects short of sleep (continuous outcome, balanced).

    Mean reaction times of 18 subjects on ten successive days; from the fourth on they followed nights of three hours in
    bed [1]_. Subjects differ in their level and in how fast they slow down: the usual model has a random intercept and
    a random slope of ``Days``.

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

        data : DataFrame or ndarray of shape (180, 1)
            The feature: ``Days``, 0 to 9.
        target : Series or ndarray of shape (180,)
            ``Reaction``, the mean reaction time of the day in ms.
        groups : Series or ndarray of shape (180,)
            ``Subject``, the number of the subject: 18 clusters of 10 rows.
        time : Series or ndarray of shape (180,)
            ``Days``, 0 to 9.
        frame : DataFrame of shape (180, 3), or None
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
    .. [1] Belenky, G., Wesensten, N. J., Thorne, D. R., Thomas, M. L., Sing, H. C., Redmond, D. P., Russo, M. B. and
       Balkin, T. J. (2003). Patterns of performance degradation and restoration during sleep restriction and subsequent
       recovery: a sleep dose-response study. Journal of Sleep Research 12(1), 1-12.

    Examples
    --------
    >>> from skdep.datasets import load_sleepstudy
    >>> sleepstudy = load_sleepstudy()
    >>> sleepstudy.data.shape, sleepstudy.groups.nunique()
    ((180, 1), 18)
    >>> print(sleepstudy.target.groupby(sleepstudy.time).mean().round(1).tolist())
    [256.7, 264.5, 265.4, 283.0, 288.6, 308.5, 312.2, 318.8, 336.6, 350.9]
    """
    return load_study(SLEEPSTUDY, return_X_y=return_X_y, as_frame=as_frame)


def load_orthodont(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load the dental growth of children (continuous outcome, balanced).

    A distance within the head of 16 boys and 11 girls, measured on X-rays at the ages 8, 10, 12 and 14 [1]_.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` is a DataFrame and the other columns are Series; if False they are ndarrays, and the strings
        of ``Sex`` become the 0/1 column ``Sex[Male]`` with female as the reference.

    Returns
    -------
    study : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : DataFrame or ndarray of shape (108, 2)
            The features: ``age`` (years) and ``Sex`` ("Female" or "Male").
        target : Series or ndarray of shape (108,)
            ``distance``, in mm.
        groups : Series or ndarray of shape (108,)
            ``Subject``, the child, as in ``"M01"`` or ``"F01"``: 27 clusters of 4 rows.
        time : Series or ndarray of shape (108,)
            ``age``, in years.
        frame : DataFrame of shape (108, 4), or None
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
    .. [1] Potthoff, R. F. and Roy, S. N. (1964). A generalized multivariate analysis of variance model useful
       especially for growth curve problems. Biometrika 51(3/4), 313-326.

    Examples
    --------
    >>> from skdep.datasets import load_orthodont
    >>> orthodont = load_orthodont()
    >>> orthodont.data.shape, orthodont.groups.nunique()
    ((108, 2), 27)
    >>> load_orthodont(as_frame=False).feature_names
    ['age', 'Sex[Male]']
    """
    return load_study(ORTHODONT, return_X_y=return_X_y, as_frame=as_frame)

"""Loaders of surveys: rows drawn with unequal probabilities from strata, clusters and finite populations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sklearn.utils import Bunch

from skdep.datasets._load import _encode, _groups, _read

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_api", "load_nhanes"]


@dataclass(frozen=True, slots=True)
class _Survey:
    """The roles of the columns of one table; rows without a target are in the frame only."""

    filename: str
    target: str
    features: tuple[str, ...]
    groups: tuple[str, ...]  # a column a stage, or "a:b" where the labels of b restart within those of a
    strata: str | None
    fpc: tuple[str, ...]
    weights: str
    description: str
    references: Mapping[str, str] = field(default_factory=dict)  # column of labels -> its reference level


_API_DESCRIPTION = """\
Academic performance of schools in California
---------------------------------------------

{sampling}

From 1999 to 2018 California tested the pupils of its public schools and computed of each school an Academic Performance
Index between 200 and 1000. These are the indices of 2000 and 1999 with figures on the school, of a probability sample
from the 6194 schools with at least 100 pupils. The whole population is known, so that samples can be judged by it.

:Rows: {rows}, one for each school
:Design: {design}

Columns

- ``api00`` (target): index in 2000
- ``ell`` (feature): percentage of pupils who are learning English
- ``meals`` (feature): percentage of pupils eligible for subsidised meals
- ``mobility`` (feature): percentage of pupils who are new to the school
{roles}
Columns of ``frame`` only

- ``cds``: identifier of the school, 14 digits
{labels}- ``name``, ``sname``: name of the school, of 15 letters and in full
- ``dname``: name of the district
- ``cname``, ``cnum``: name and number of the county
- ``flag``: reason for missing data, empty here
- ``pcttest``: percentage of pupils tested{missing}
- ``api99``: index in 1999
- ``target``: growth of the index that the school was asked for; missing where it was high enough
- ``growth``: growth of the index, ``api00`` less ``api99``
- ``sch.wide``, ``comp.imp``, ``both``: "Yes" or "No": whether the school met its target, whether groups of pupils made
  comparable improvements, and both
- ``awards``: "Yes" or "No": whether the school was eligible for awards
- ``yr.rnd``: "Yes" or "No": whether the school is open all the year
- ``acs.k3``, ``acs.46``: average size of classes, kindergarten to grade 3 and grades 4 to 6; missing where there are
  none
- ``acs.core``: average size of classes in core subjects of higher grades; missing where there are none
- ``pct.resp``: percentage of pupils whose parents' education is known
- ``not.hsg``, ``hsg``, ``some.col``, ``col.grad``, ``grad.sch``: percentages of parents by education: no high school
  diploma, high school, some college, college degree, graduate school
- ``avg.ed``: average education of parents, 1 to 5; missing where none is known
- ``full``, ``emer``: percentages of teachers fully qualified, and with emergency credentials
- ``enroll``: number of pupils{missing}
- ``api.stu``: number of pupils whose results count

References

Lumley, T. (2004). Analysis of complex survey samples. Journal of Statistical Software 9(8), 1-19.

California Department of Education. Academic Performance Index, 1999 and 2000.
"""

_SCHOOL = '``stype``: type of school: "E" elementary, "M" middle, "H" high'
_DISTRICT = "``dnum``: number of the district"
_NUMBER = "``snum``: number of the school"

_API = {
    "strat": _Survey(
        filename="apistrat.csv",
        target="api00",
        features=("ell", "meals", "mobility"),
        groups=(),
        strata="stype",
        fpc=("fpc",),
        weights="pw",
        description=_API_DESCRIPTION.format(
            sampling="A sample of schools stratified by their type, middle and high schools oversampled.",
            rows=200,
            design="3 strata, simple random samples of 100, 50 and 50 schools from 4421, 1018 and 755",
            roles="""\
- ``stype`` (strata): type of school: "E" elementary, "M" middle, "H" high
- ``pw`` (sample_weight): schools of the population that the row stands for
- ``fpc`` (fpc): number of schools in the population of the stratum
""",
            labels=f"- {_NUMBER}\n- {_DISTRICT}\n",
            missing="",
        ),
    ),
    "clus1": _Survey(
        filename="apiclus1.csv",
        target="api00",
        features=("ell", "meals", "mobility"),
        groups=("dnum",),
        strata=None,
        fpc=("fpc",),
        weights="pw",
        description=_API_DESCRIPTION.format(
            sampling="A cluster sample: all the schools of some school districts.",
            rows=183,
            design="15 districts (primary sampling units) of 757, of 1 to 37 schools, all of which are in the sample",
            roles="""\
- ``dnum`` (groups): number of the district
- ``pw`` (sample_weight): schools of the population that the row stands for, the same for all: 6194 / 183, as it is
  published; the inverse of the share of districts drawn would be 757 / 15
- ``fpc`` (fpc): number of districts in the population
""",
            labels=f"- {_NUMBER}\n- {_SCHOOL}\n",
            missing="",
        ),
    ),
    "clus2": _Survey(
        filename="apiclus2.csv",
        target="api00",
        features=("ell", "meals", "mobility"),
        groups=("dnum", "snum"),
        strata=None,
        fpc=("fpc1", "fpc2"),
        weights="pw",
        description=_API_DESCRIPTION.format(
            sampling="A sample in two stages: up to five schools of each of some school districts.",
            rows=126,
            design="40 districts (primary sampling units) of 757, and in each 1 to 5 schools of 1 to 72",
            roles="""\
- ``dnum``, ``snum`` (groups): numbers of the district and of the school, the units of the two stages
- ``pw`` (sample_weight): schools of the population that the row stands for, 757 / 40 times those of its district
- ``fpc1``, ``fpc2`` (fpc): number of districts in the population, number of schools in the district
""",
            labels=f"- {_SCHOOL}\n",
            missing=", missing in 6 rows",
        ),
    ),
}

_NHANES = _Survey(
    filename="nhanes.csv",
    target="HI_CHOL",
    features=("race", "agecat", "RIAGENDR"),
    groups=("SDMVSTRA:SDMVPSU",),
    strata="SDMVSTRA",
    fpc=(),
    weights="WTMEC2YR",
    references={"race": "2", "agecat": "(0,19]", "RIAGENDR": "1"},
    description="""\
High cholesterol in the United States
-------------------------------------

The National Health and Nutrition Examination Survey of 2009 and 2010: people drawn in several stages (counties,
segments, households), some groups oversampled, then examined in mobile centers. Of the design the public has strata and
pseudo-units, made so that variances come out right and nobody can be found: units are drawn as if with replacement.
Weights make up for unequal probabilities and for those who did not respond.

:Rows: 7846, one for each person whose cholesterol was measured; ``frame`` has all 8591 who were examined
:Design: 15 strata, 31 primary sampling units, 2 or 3 in each stratum

The column ``SDMVPSU`` restarts in each stratum: it has 3 values for 31 units. ``groups`` is therefore the composite
label "SDMVSTRA:SDMVPSU", such as "83:1".

Columns

- ``HI_CHOL`` (target): 1 if total cholesterol is above 240 mg/dl, else 0; missing in 745 rows of ``frame``
- ``race`` (feature): "1" Hispanic, "2" non-Hispanic white, "3" non-Hispanic black, "4" other; in arrays ``race[1]``,
  ``race[3]`` and ``race[4]`` are 1 or 0, the reference is 2
- ``agecat`` (feature): age in years, "(0,19]", "(19,39]", "(39,59]" or "(59,Inf]"; in arrays ``agecat[(19,39]]``,
  ``agecat[(39,59]]`` and ``agecat[(59,Inf]]`` are 1 or 0, the reference is (0,19]
- ``RIAGENDR`` (feature): "1" male, "2" female; in arrays ``RIAGENDR[2]`` is 1 or 0, the reference is 1
- ``SDMVSTRA`` (strata, part of groups): the stratum, 75 to 89
- ``SDMVPSU`` (part of groups): the primary sampling unit within the stratum, 1 to 3
- ``WTMEC2YR`` (sample_weight): people of the population that the row stands for

References

Centers for Disease Control and Prevention, National Center for Health Statistics. National Health and Nutrition
Examination Survey Data, 2009-2010. U.S. Department of Health and Human Services, Hyattsville, MD.
""",
)


def load_api(sample: str, *, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load a sample of the schools of California and their academic performance (continuous outcome, survey design).

    Three probability samples of the same population of 6194 schools [1]_: stratified, of clusters, and in two stages.
    The design comes with the data, by the names of the arguments of ``fit``.

    Parameters
    ----------
    sample : {"strat", "clus1", "clus2"}
        The sample: 200 schools stratified by type; all 183 schools of 15 districts; or 126 schools in two stages, up to
        five from each of 40 districts.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` is a DataFrame and the other columns are Series, or DataFrames of two stages; if False they
        are ndarrays.

    Returns
    -------
    survey : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes; n_rows is 200, 183 or 126.

        data : DataFrame or ndarray of shape (n_rows, 3)
            The features: ``ell``, ``meals`` and ``mobility``, percentages of pupils.
        target : Series or ndarray of shape (n_rows,)
            ``api00``, the index of the school in 2000. A binary outcome is ``frame["sch.wide"]``, whether the school
            met its target.
        groups : Series, DataFrame or ndarray, or None
            Primary sampling units: None in the stratified sample, where schools are the units; ``dnum``, the district;
            or ``dnum`` and ``snum``, the units of the two stages, of shape (126, 2).
        strata : Series or ndarray of shape (200,), or None
            ``stype``, the type of school; None in the samples of clusters.
        fpc : Series, DataFrame or ndarray
            Finite population: the number of schools in the stratum, of districts, or of districts and of schools in the
            district, of shape (126, 2).
        sample_weight : Series or ndarray of shape (n_rows,)
            ``pw``, the schools that the row stands for.
        time : None
            Schools have no order in time.
        frame : DataFrame of shape (n_rows, 39), in two stages (126, 40), or None
            The whole table; None if ``as_frame=False``.
        feature_names : list of str
            The names of the columns of ``data``.
        target_name : str
            The name of the target column.
        DESCR : str
            The sample, its design, its columns, and its references.
        filename : str
            The name of the packaged file.

    (data, target) : tuple if ``return_X_y=True``
        The features and the target as described above.

    Raises
    ------
    ValueError
        If there is no such `sample`.

    References
    ----------
    .. [1] Lumley, T. (2004). Analysis of complex survey samples. Journal of Statistical Software 9(8), 1-19.

    Examples
    --------
    >>> from skdep.datasets import load_api
    >>> api = load_api("strat")
    >>> api.data.shape, api.strata.nunique(), api.fpc.unique().tolist()
    ((200, 3), 3, [4421, 1018, 755])
    >>> round(api.sample_weight.sum())  # schools in California
    6194
    >>> two_stages = load_api("clus2")
    >>> two_stages.groups.nunique().to_dict()
    {'dnum': 40, 'snum': 126}
    """
    if not isinstance(sample, str) or sample not in _API:
        raise ValueError(f"`sample` must be one of {list(_API)}, got {sample!r}.")
    return _load_survey(_API[sample], return_X_y=return_X_y, as_frame=as_frame)


def load_nhanes(*, return_X_y: bool = False, as_frame: bool = True) -> Any:
    """Load high cholesterol in the United States (binary outcome, strata and primary sampling units).

    A part of the National Health and Nutrition Examination Survey of 2009 and 2010 [1]_: who has high cholesterol, by
    sex, age and race. It is weighted, stratified and clustered; there are 31 primary sampling units for 7846 people, so
    that few degrees of freedom are left.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        If True, ``data`` is a DataFrame and the other columns are Series; if False they are ndarrays, and the labels of
        the features become 0/1 columns.

    Returns
    -------
    survey : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes. Rows are the people whose cholesterol was measured; their
        index says where they are in ``frame``.

        data : DataFrame or ndarray of shape (7846, 3) or (7846, 7)
            The features: ``race``, ``agecat`` and ``RIAGENDR`` (the sex), strings; in an array three, three and one
            columns.
        target : Series or ndarray of shape (7846,)
            ``HI_CHOL``, 1 if cholesterol is high, else 0.
        groups : Series or ndarray of shape (7846,)
            The primary sampling unit, "SDMVSTRA:SDMVPSU", as the labels of ``SDMVPSU`` restart in each stratum.
        strata : Series or ndarray of shape (7846,)
            ``SDMVSTRA``, the stratum.
        fpc : None
            Units were drawn as if with replacement.
        sample_weight : Series or ndarray of shape (7846,)
            ``WTMEC2YR``, the people that the row stands for.
        time : None
            People have no order in time.
        frame : DataFrame of shape (8591, 7), or None
            The whole table, with those whose cholesterol is missing; None if ``as_frame=False``.
        feature_names : list of str
            The names of the columns of ``data``.
        target_name : str
            The name of the target column.
        DESCR : str
            The survey, its design, its columns, and its reference.
        filename : str
            The name of the packaged file.

    (data, target) : tuple if ``return_X_y=True``
        The features and the target as described above.

    References
    ----------
    .. [1] Centers for Disease Control and Prevention, National Center for Health Statistics. National Health and
       Nutrition Examination Survey Data, 2009-2010. U.S. Department of Health and Human Services, Hyattsville, MD.

    Examples
    --------
    >>> from skdep.datasets import load_nhanes
    >>> nhanes = load_nhanes()
    >>> nhanes.data.shape, nhanes.strata.nunique(), nhanes.groups.nunique()
    ((7846, 3), 15, 31)
    >>> share = (nhanes.target * nhanes.sample_weight).sum() / nhanes.sample_weight.sum()
    >>> round(float(share), 4)  # of the population that has high cholesterol
    0.1121
    """
    return _load_survey(_NHANES, return_X_y=return_X_y, as_frame=as_frame)


def _load_survey(survey: _Survey, *, return_X_y: bool, as_frame: bool) -> Any:
    """Read the table of `survey` and hand out its columns by their roles; the loaders document the result."""
    frame = _read(survey.filename).astype(dict.fromkeys(survey.references, str))
    if "cds" in frame:  # an identifier whose leading zeros were taken for a number's
        frame["cds"] = frame["cds"].astype(str).str.zfill(14)
    rows = frame[frame[survey.target].notna()]
    data = rows[list(survey.features)]
    if not as_frame:
        data = _encode(data, survey.references)
    columns: dict[str, Any] = {
        "data": data,
        "target": rows[survey.target].astype(int),
        "groups": _groups(rows, survey.groups) if survey.groups else None,
        "strata": None if survey.strata is None else rows[survey.strata],
        "fpc": _one_or_several(rows, survey.fpc),
        "sample_weight": rows[survey.weights],
        "time": None,
    }
    if not as_frame:
        # Copied because arrays taken from a Series are read-only under pandas 3.
        columns = {key: None if values is None else values.to_numpy(copy=True) for key, values in columns.items()}
    if return_X_y:
        return columns["data"], columns["target"]
    return Bunch(
        **columns,
        frame=frame if as_frame else None,
        feature_names=list(data.columns),
        target_name=survey.target,
        DESCR=survey.description,
        filename=survey.filename,
    )


def _one_or_several(rows: pd.DataFrame, names: tuple[str, ...]) -> pd.Series | pd.DataFrame | None:
    """Return a Series for one column, a DataFrame for several, None for none."""
    if not names:
        return None
    return rows[names[0]] if len(names) == 1 else rows[list(names)]

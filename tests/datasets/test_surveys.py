"""The packaged surveys: the designs and shapes promised by their docstrings, and published estimates."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skdep import datasets
from skdep.datasets import load_api, load_nhanes

KEYS = {
    "data", "target", "groups", "strata", "fpc", "sample_weight", "time", "frame", "feature_names", "target_name",
    "DESCR", "filename",
}  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """What is known of a survey from its publication and by adding up the table."""

    load: Callable
    arguments: tuple[str, ...]
    n_rows: int
    n_columns: int  # of the whole table
    total: int  # of the target
    n_units: dict[str, int]  # column of groups -> number of its labels
    n_strata: int
    populations: int  # columns of fpc
    array_features: list[str] = field(default_factory=lambda: ["ell", "meals", "mobility"])

    def __call__(self, **options):
        return self.load(*self.arguments, **options)


SURVEYS = [
    Expected(load_api, ("strat",), 200, 39, 130564, {}, 3, 1),
    Expected(load_api, ("clus1",), 183, 39, 117883, {"dnum": 15}, 0, 1),
    Expected(load_api, ("clus2",), 126, 40, 88680, {"dnum": 40, "snum": 126}, 0, 2),
    Expected(
        load_nhanes,
        (),
        7846,
        7,
        787,
        {"SDMVSTRA:SDMVPSU": 31},
        15,
        0,
        [
            "race[1]", "race[3]", "race[4]",
            "agecat[(19,39]]", "agecat[(39,59]]", "agecat[(59,Inf]]", "RIAGENDR[2]",
        ],
    ),
]  # fmt: skip
every_survey = pytest.mark.parametrize("expected", SURVEYS, ids=lambda e: "_".join([e.load.__name__, *e.arguments]))


@every_survey
def test_frame_has_the_documented_shape(expected):
    survey = expected()
    assert set(survey) == KEYS
    assert isinstance(survey.data, pd.DataFrame)
    assert survey.frame.shape[1] == expected.n_columns
    assert len(survey.data) == len(survey.target) == len(survey.sample_weight) == expected.n_rows
    assert survey.target.sum() == expected.total
    assert survey.target.dtype.kind == "i"
    assert survey.feature_names == list(survey.data.columns)
    assert survey.target_name == survey.target.name not in survey.feature_names
    assert survey.time is None


@every_survey
def test_design_has_its_roles(expected):
    survey = expected()
    if expected.n_units:
        assert pd.DataFrame(survey.groups).nunique().to_dict() == expected.n_units
        assert type(survey.groups) is (pd.Series if len(expected.n_units) == 1 else pd.DataFrame)
    else:
        assert survey.groups is None
    if expected.n_strata:
        assert survey.strata.nunique() == expected.n_strata
    else:
        assert survey.strata is None
    if expected.populations:
        assert type(survey.fpc) is (pd.Series if expected.populations == 1 else pd.DataFrame)
    else:
        assert survey.fpc is None
    assert (survey.sample_weight > 0).all()


@every_survey
def test_nothing_is_missing_outside_frame(expected):
    survey = expected()
    for key in ("data", "target", "groups", "strata", "fpc", "sample_weight"):
        if survey[key] is not None:
            assert not survey[key].isna().to_numpy().any()
            pd.testing.assert_index_equal(survey[key].index, survey.data.index)
    pd.testing.assert_frame_equal(survey.frame.loc[survey.data.index, survey.feature_names], survey.data)


@every_survey
def test_arrays_hold_what_the_frame_holds(expected):
    frame, arrays = expected(), expected(as_frame=False)
    assert set(arrays) == KEYS
    assert arrays.frame is None
    assert arrays.feature_names == expected.array_features
    assert arrays.data.dtype == np.float64
    assert arrays.data.shape == (expected.n_rows, len(expected.array_features))
    for key in ("target", "groups", "strata", "fpc", "sample_weight"):
        if frame[key] is None:
            assert arrays[key] is None
        else:
            assert type(arrays[key]) is np.ndarray
            np.testing.assert_array_equal(arrays[key], frame[key].to_numpy())
    for j, name in enumerate(expected.array_features):
        column, _, level = name.removesuffix("]").partition("[")
        values = frame.data[column] == level if level else frame.data[column]
        np.testing.assert_array_equal(arrays.data[:, j], values.to_numpy(dtype=float))
        assert 0 < arrays.data[:, j].mean() < (1 if level else 100)


@every_survey
@pytest.mark.parametrize("as_frame", [True, False])
def test_return_X_y(as_frame, expected):
    survey = expected(as_frame=as_frame)
    X, y = expected(return_X_y=True, as_frame=as_frame)
    assert type(X) is type(survey.data)
    np.testing.assert_array_equal(X, survey.data)
    np.testing.assert_array_equal(y, survey.target)


@every_survey
def test_description_names_rows_units_and_every_column(expected):
    survey = expected()
    assert f":Rows: {expected.n_rows}, one for each" in survey.DESCR
    design = re.search("^:Design: .*$", survey.DESCR, flags=re.MULTILINE).group()
    if expected.n_units:
        assert f"{next(iter(expected.n_units.values()))} " in design
    if expected.n_strata:
        assert f"{expected.n_strata} strata" in design
    assert "primary sampling units" in design or not expected.n_units
    assert "References" in survey.DESCR
    assert "{" not in survey.DESCR
    for column in survey.frame.columns:
        assert f"``{column}``" in survey.DESCR, column
    for name in expected.array_features:
        if "[" in name:
            assert f"``{name}``" in survey.DESCR, name
    stem = "api" + expected.arguments[0] if expected.arguments else "nhanes"
    assert survey.filename == f"{stem}.csv"


@every_survey
def test_loading_again_gives_an_independent_copy(expected):
    first = expected(as_frame=False)
    first.data[:] = -1.0
    first.target[:] = 0
    first.sample_weight[:] = 0.0
    again = expected(as_frame=False)
    assert again.target.sum() == expected.total
    assert again.data.min() >= 0
    assert again.sample_weight.min() > 0


def weighted_mean(survey, values):
    return np.average(values, weights=survey.sample_weight)


@pytest.mark.parametrize(("sample", "mean"), [("strat", 662.29), ("clus1", 644.17), ("clus2", 670.81)])
def test_api_means_published_with_the_samples(sample, mean):
    """The means of api00 in the examples of R's survey; the mean of the population is 664.7."""
    survey = load_api(sample)
    assert weighted_mean(survey, survey.target) == pytest.approx(mean, abs=0.005)


def test_api_populations_agree_with_the_weights():
    strat = load_api("strat")
    assert strat.fpc.groupby(strat.strata).first().to_dict() == {"E": 4421, "H": 755, "M": 1018}
    share = strat.strata.map(strat.strata.value_counts()) / strat.fpc
    np.testing.assert_allclose(strat.sample_weight, 1 / share, rtol=1e-7)
    assert strat.frame["stype"].equals(strat.strata)

    clus1 = load_api("clus1")
    assert clus1.fpc.unique().tolist() == [757]
    np.testing.assert_allclose(clus1.sample_weight, 6194 / 183, rtol=1e-7)
    assert clus1.groups.value_counts().agg(["min", "max"]).tolist() == [1, 37]

    clus2 = load_api("clus2")
    assert clus2.fpc["fpc1"].unique().tolist() == [757]
    drawn = clus2.groups["dnum"].map(clus2.groups["dnum"].value_counts())
    assert (drawn <= 5).all()
    assert (drawn == np.minimum(clus2.fpc["fpc2"], 5)).all()
    np.testing.assert_allclose(clus2.sample_weight, 757 / 40 * clus2.fpc["fpc2"] / drawn, rtol=1e-12)


@pytest.mark.parametrize("sample", ["strat", "clus1", "clus2"])
def test_api_columns_mean_what_they_say(sample):
    frame = load_api(sample).frame
    assert frame["cds"].str.fullmatch(r"\d{14}").all()
    assert frame["cds"].is_unique
    assert (frame["api00"] - frame["api99"] == frame["growth"]).all()
    # the target is 5 % of what is missing to 800, and schools above 800 have none
    asked = frame["target"].notna()
    assert (asked == (frame["api99"] < 800)).all()
    assert ((frame["both"] == "Yes") == ((frame["sch.wide"] == "Yes") & (frame["comp.imp"] == "Yes"))).all()
    parents = frame[["not.hsg", "hsg", "some.col", "col.grad", "grad.sch"]].sum(axis=1)
    assert parents[frame["pct.resp"] > 0].between(95, 105).all()
    missing = frame[["enroll", "pcttest"]].isna().sum().tolist()
    assert missing == ([6, 6] if sample == "clus2" else [0, 0])


def test_unknown_sample_of_api_raises():
    with pytest.raises(ValueError, match=r"`sample` must be one of \['strat', 'clus1', 'clus2'\], got 'srs'"):
        load_api("srs")
    with pytest.raises(ValueError, match="`sample` must be one of"):
        load_api(["strat"])


def test_nhanes_units_join_stratum_and_unit():
    """The labels of the units restart in every stratum: alone they would make 3 units of 31."""
    nhanes = load_nhanes()
    assert nhanes.frame["SDMVPSU"].nunique() == 3
    assert nhanes.groups.name == "SDMVSTRA:SDMVPSU"
    units = nhanes.groups.groupby(nhanes.strata).nunique()
    assert units.value_counts().to_dict() == {2: 14, 3: 1}
    assert nhanes.groups.iloc[0] == "83:1"
    assert nhanes.strata.agg(["min", "max"]).tolist() == [75, 89]


def test_nhanes_rows_are_those_measured():
    nhanes = load_nhanes()
    assert len(nhanes.frame) == 8591
    assert nhanes.frame["HI_CHOL"].isna().sum() == 745
    assert nhanes.frame.loc[nhanes.data.index, "HI_CHOL"].tolist() == nhanes.target.tolist()


def test_nhanes_share_published_for_adults():
    """NCHS data brief 92 (2012): 13.4 % of adults had high total cholesterol (240 mg/dl or more) in 2009-2010."""
    nhanes = load_nhanes()
    adults = (nhanes.data["agecat"] != "(0,19]").to_numpy()
    share = np.average(nhanes.target[adults], weights=nhanes.sample_weight[adults])
    assert share == pytest.approx(0.134, abs=0.01)


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        load_nhanes(True)
    with pytest.raises(TypeError, match="positional"):
        load_api("strat", True)


def test_importing_does_not_import_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # makes every further import of it raise
    runpy.run_path(str(Path(datasets.__file__).with_name("_surveys.py")))

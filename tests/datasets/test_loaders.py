"""The packaged studies against published counts, and the shapes promised by their docstrings."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skdep import LogitRegressor, datasets, interaction
from skdep.datasets import (
    load_cbpp,
    load_dietox,
    load_epil,
    load_ohio,
    load_orthodont,
    load_pastes,
    load_penicillin,
    load_respiratory,
    load_sleepstudy,
)

KEYS = {"data", "target", "groups", "time", "frame", "feature_names", "target_name", "DESCR", "filename"}


@dataclass(frozen=True)
class Expected:
    """What is known of a study from its publication and by adding up the table."""

    load: Callable
    n_rows: int
    n_columns: int  # of the whole table
    total: float  # of the target
    n_clusters: dict[str, int]  # factor -> number of its levels
    array_features: list[str]
    timed: bool = True


STUDIES = [
    Expected(load_ohio, 2148, 4, 326, {"id": 537}, ["age", "smoke"]),
    Expected(load_epil, 236, 9, 1948, {"subject": 59}, ["trt[progabide]", "base", "age", "V4", "lbase", "lage"]),
    Expected(
        load_dietox,
        861,
        8,
        52284.88677,
        {"Pig": 72},
        ["Time", "Cu[Cu035]", "Cu[Cu175]", "Evit[Evit100]", "Evit[Evit200]"],
    ),
    Expected(load_respiratory, 444, 8, 248, {"center:id": 111}, ["center", "treat[A]", "sex[M]", "age", "baseline"]),
    Expected(load_sleepstudy, 180, 3, 53731.4205, {"Subject": 18}, ["Days"]),
    Expected(load_orthodont, 108, 4, 2594.5, {"Subject": 27}, ["age", "Sex[Male]"]),
    Expected(load_penicillin, 144, 3, 3308, {"plate": 24, "sample": 6}, [], timed=False),
    Expected(load_pastes, 60, 4, 3603.2, {"batch": 10, "batch:cask": 30}, [], timed=False),
    Expected(load_cbpp, 842, 3, 99, {"herd": 15}, ["period[2]", "period[3]", "period[4]"], timed=False),
]
every_study = pytest.mark.parametrize("expected", STUDIES, ids=lambda expected: expected.load.__name__)


@every_study
def test_frame_has_the_documented_shape(expected):
    study = expected.load()
    assert set(study) == KEYS
    assert isinstance(study.data, pd.DataFrame)
    assert study.frame.shape == (expected.n_rows, expected.n_columns)
    assert len(study.data) == len(study.target) == len(study.groups) == expected.n_rows
    assert study.target.sum() == pytest.approx(expected.total, rel=1e-9)
    assert study.feature_names == list(study.data.columns)
    assert study.target_name == study.target.name
    assert study.target_name not in study.feature_names


@every_study
def test_groups_are_a_series_of_one_factor_or_a_frame_of_several(expected):
    groups = expected.load().groups
    assert type(groups) is (pd.Series if len(expected.n_clusters) == 1 else pd.DataFrame)
    assert pd.DataFrame(groups).nunique().to_dict() == expected.n_clusters


@every_study
def test_nothing_is_missing_outside_frame(expected):
    study = expected.load()
    for values in (study.data, study.target, study.groups):
        assert not values.isna().to_numpy().any()


@every_study
def test_time_is_numeric_and_unique_within_clusters(expected):
    study = expected.load()
    if not expected.timed:
        assert study.time is None
        return
    assert len(study.time) == expected.n_rows
    assert pd.api.types.is_numeric_dtype(study.time)
    assert not pd.DataFrame({"group": study.groups, "time": study.time}).duplicated().any()
    assert not study.time.isna().any()


@every_study
def test_arrays_hold_what_the_frame_holds(expected):
    frame, arrays = expected.load(), expected.load(as_frame=False)
    assert set(arrays) == KEYS
    assert arrays.frame is None
    assert arrays.feature_names == expected.array_features
    assert arrays.data.dtype == np.float64
    assert arrays.data.shape == (expected.n_rows, len(expected.array_features))
    for key in ("target", "groups", "time") if expected.timed else ("target", "groups"):
        assert type(arrays[key]) is np.ndarray
        np.testing.assert_array_equal(arrays[key], frame[key].to_numpy())
    for j, name in enumerate(expected.array_features):
        column, _, level = name.rstrip("]").partition("[")
        values = frame.data[column] == level if level else frame.data[column]
        np.testing.assert_array_equal(arrays.data[:, j], values.to_numpy(dtype=float))
        if level:
            assert 0 < arrays.data[:, j].sum() < expected.n_rows


@every_study
@pytest.mark.parametrize("as_frame", [True, False])
def test_return_X_y(as_frame, expected):
    study = expected.load(as_frame=as_frame)
    X, y = expected.load(return_X_y=True, as_frame=as_frame)
    assert type(X) is type(study.data)
    assert type(y) is type(study.target)
    assert X.shape == (expected.n_rows, len(study.feature_names))
    np.testing.assert_array_equal(X, study.data)
    np.testing.assert_array_equal(y, study.target)


@every_study
def test_description_names_rows_clusters_and_every_column(expected):
    study = expected.load()
    assert f":Rows: {expected.n_rows}," in study.DESCR
    for n_clusters in expected.n_clusters.values():
        assert re.search(rf"\b{n_clusters} [a-z]+(,| of) ", _clusters_line(study))
    assert "References" in study.DESCR
    for column in study.frame.columns:
        assert f"``{column}``" in study.DESCR
    for name in expected.array_features:
        if "[" in name:
            assert f"``{name}``" in study.DESCR
    assert study.filename == f"{expected.load.__name__.removeprefix('load_')}.csv"


@every_study
def test_loading_again_gives_an_independent_copy(expected):
    first = expected.load(as_frame=False)
    first.data[:] = -1.0
    first.target[:] = 0
    first.groups[:] = first.groups[0]
    again = expected.load(as_frame=False)
    assert again.target.sum() == pytest.approx(expected.total, rel=1e-9)
    assert not np.any(np.all(again.data == -1.0, axis=0))
    assert len(np.unique(again.groups.astype(str))) > 1


@pytest.mark.parametrize(
    "expected",
    # the pigs and the herds, of several sizes, have tests of their own
    [study for study in STUDIES if study.load not in (load_dietox, load_cbpp)],
    ids=lambda expected: expected.load.__name__,
)
def test_clusters_have_the_sizes_stated_in_the_description(expected):
    study = expected.load()
    groups = pd.DataFrame(study.groups)
    stated = [{int(size)} for size in re.findall(r"of (\d+) rows each", _clusters_line(study))]
    assert [set(groups[name].value_counts()) for name in groups] == stated


def _clusters_line(study):
    return re.search("^:Clusters: .*$", study.DESCR, flags=re.MULTILINE).group()


def test_ohio_counts_published_by_smoking_of_the_mother():
    """Fitzmaurice and Laird (1993): 350 and 187 children, of whom 237 and 118 never wheezed."""
    ohio = load_ohio()
    children = ohio.frame.groupby("id").agg(smoke=("smoke", "first"), wheezes=("resp", "sum"))
    assert children["smoke"].value_counts().to_dict() == {0: 350, 1: 187}
    assert children.query("wheezes == 0")["smoke"].value_counts().to_dict() == {0: 237, 1: 118}
    assert sorted(ohio.time.unique()) == [-2, -1, 0, 1]


def test_epil_counts_published_by_thall_and_vail():
    """Thall and Vail (1990): 28 patients on placebo, 31 on progabide, one of them with 151 seizures at baseline."""
    epil = load_epil()
    assert epil.frame.groupby("trt")["subject"].nunique().to_dict() == {"placebo": 28, "progabide": 31}
    extreme = epil.frame[epil.groups == 49]
    assert extreme["base"].unique().tolist() == [151]
    assert extreme["y"].tolist() == [102, 65, 72, 63]
    assert set(epil.data["trt"]) == {"placebo", "progabide"}


def test_epil_logarithms_are_those_of_the_raw_columns():
    data = load_epil().data
    for raw, log in (("base", "lbase"), ("age", "lage")):
        expected = np.log(data[raw]) - np.log(data[raw]).mean()
        np.testing.assert_allclose(data[log], expected, atol=1e-12)
    np.testing.assert_array_equal(data["V4"], load_epil().time == 4)


def test_dietox_design():
    dietox = load_dietox()
    assert dietox.data.groupby(["Cu", "Evit"]).ngroups == 9
    assert dietox.frame["Litter"].nunique() == 21
    assert dietox.groups.value_counts().value_counts().to_dict() == {12: 69, 11: 3}
    first_week = dietox.frame[dietox.time == 1]
    assert (first_week["Start"] == first_week["Weight"]).all()
    assert dietox.frame.loc[dietox.frame["Feed"].isna(), "Time"].tolist() == [1] * 72


def test_respiratory_groups_join_center_and_id():
    """The numbers of the patients restart at the second center: alone they would make 56 clusters of 111."""
    respiratory = load_respiratory()
    assert respiratory.frame["id"].nunique() == 56
    assert respiratory.groups.name == "center:id"
    assert respiratory.groups.value_counts().unique().tolist() == [4]
    row = respiratory.frame.query("center == 1 and id == 23").index[0]
    assert respiratory.groups[row] == "1:23"
    patients = respiratory.frame.drop_duplicates(["center", "id"])
    assert patients["treat"].value_counts().to_dict() == {"P": 57, "A": 54}


def test_sleepstudy_ranges_and_published_line():
    """Bates et al. (2015, Journal of Statistical Software 67(1)): 251.405 + 10.467 Days.

    As every subject has the same days, least squares gives the fixed effects of the mixed model.
    """
    sleepstudy = load_sleepstudy()
    assert sleepstudy.groups.agg(["min", "max"]).tolist() == [308, 372]
    assert sleepstudy.frame.groupby("Subject")["Days"].apply(list).map(lambda days: days == list(range(10))).all()
    assert sleepstudy.target.agg(["min", "max"]).tolist() == [194.3322, 466.3535]
    slope, intercept = np.polyfit(sleepstudy.data["Days"], sleepstudy.target, 1)
    assert (intercept, slope) == pytest.approx((251.405, 10.467), abs=5e-4)


def test_orthodont_means_published_by_potthoff_and_roy():
    orthodont = load_orthodont()
    children = orthodont.frame.drop_duplicates("Subject")
    assert children["Sex"].value_counts().to_dict() == {"Male": 16, "Female": 11}
    assert (children["Subject"].str[0] == children["Sex"].str[0]).all()
    means = orthodont.frame.groupby(["Sex", "age"])["distance"].mean().unstack()
    assert means.columns.tolist() == [8, 10, 12, 14]
    np.testing.assert_allclose(means.loc["Female"], [21.18, 22.23, 23.09, 24.09], atol=0.005)
    np.testing.assert_allclose(means.loc["Male"], [22.88, 23.81, 25.72, 27.47], atol=0.005)


def test_penicillin_is_fully_crossed():
    groups = load_penicillin().groups
    assert sorted(groups["plate"].unique()) == list("abcdefghijklmnopqrstuvwx")
    assert sorted(groups["sample"].unique()) == list("ABCDEF")
    assert (pd.crosstab(groups["plate"], groups["sample"]) == 1).all(axis=None)


def test_penicillin_standard_deviations_of_lmer():
    """REML by lme4 1.1-31, which stops at a tolerance, gives 0.84670, 1.93161 and 0.54992.

    In a balanced design REML estimates are those of the analysis of variance, where all of these are positive.
    """
    table = load_penicillin().frame.pivot(index="plate", columns="sample", values="diameter").to_numpy(dtype=float)
    n_plates, n_samples = table.shape
    plates, samples = table.mean(axis=1), table.mean(axis=0)
    residuals = table - plates[:, None] - samples + table.mean()
    residual = np.sum(residuals**2) / ((n_plates - 1) * (n_samples - 1))
    plate = plates.var(ddof=1) - residual / n_samples
    sample = samples.var(ddof=1) - residual / n_plates
    np.testing.assert_allclose(np.sqrt([plate, sample, residual]), [0.84670, 1.93161, 0.54992], atol=1e-4)


def test_pastes_casks_are_nested_in_batches():
    """The labels of the casks restart in each batch: alone they would make 3 clusters of 30."""
    pastes = load_pastes()
    assert pastes.frame["cask"].nunique() == 3
    casks = pastes.groups["batch:cask"]
    assert casks.tolist() == pastes.frame["sample"].tolist()
    assert casks.tolist() == interaction(pastes.frame["batch"], pastes.frame["cask"]).tolist()
    assert pastes.groups.groupby("batch:cask")["batch"].nunique().unique().tolist() == [1]
    assert pastes.groups.groupby("batch")["batch:cask"].nunique().unique().tolist() == [3]


def test_pastes_standard_deviations_of_lmer():
    """REML by lme4 1.1-31, which stops at a tolerance, gives 2.90408, 1.28737 and 0.82341.

    In a balanced design REML estimates are those of the analysis of variance, where all of these are positive.
    """
    cubes = load_pastes().target.to_numpy().reshape(10, 3, 2)
    casks = cubes.mean(axis=2)
    residual = cubes.var(axis=2, ddof=1).mean()
    between_casks = casks.var(axis=1, ddof=1).mean()
    cask = between_casks - residual / 2
    batch = casks.mean(axis=1).var(ddof=1) - between_casks / 3
    np.testing.assert_allclose(np.sqrt([cask, batch, residual]), [2.90408, 1.28737, 0.82341], atol=1e-4)


def test_cbpp_counts_by_period():
    """Added up from the table of the source: cases out of animals in each period."""
    cbpp = load_cbpp()
    by_period = cbpp.frame.groupby("period")["case"].agg(["sum", "size"])
    assert by_period["sum"].to_dict() == {"1": 61, "2": 17, "3": 14, "4": 7}
    assert by_period["size"].to_dict() == {"1": 278, "2": 212, "3": 197, "4": 155}
    sizes = cbpp.groups.value_counts()
    assert [sizes.min(), sizes.max()] == [26, 96]
    assert "15 herds of 26 to 96 rows" in cbpp.DESCR
    periods = cbpp.frame.groupby("herd")["period"].agg(lambda values: "".join(sorted(set(values))))
    assert periods[periods != "1234"].to_dict() == {2: "123", 8: "1"}


def test_cbpp_rows_of_one_herd():
    """Herd 1 had 2 cases among 14 animals, then 3 of 12, 4 of 9 and 0 of 5."""
    frame = load_cbpp().frame.query("herd == 1")
    assert len(frame) == 40
    assert frame.groupby("period")["case"].apply(list).map(sum).tolist() == [2, 3, 4, 0]
    assert frame.groupby("period").size().tolist() == [14, 12, 9, 5]


@pytest.mark.parametrize("as_frame", [True, False])
def test_cbpp_counts_stand_for_the_rows(as_frame):
    counted, written_out = load_cbpp(counts=True, as_frame=as_frame), load_cbpp(as_frame=as_frame)
    assert set(counted) == KEYS | {"sample_weight"}
    assert len(counted.data) == len(counted.target) == len(counted.groups) == 90
    assert counted.sample_weight.min() > 0
    times = np.asarray(counted.sample_weight)
    for key in ("data", "target", "groups"):
        assert type(counted[key]) is type(written_out[key])
        np.testing.assert_array_equal(np.repeat(np.asarray(counted[key]), times, axis=0), written_out[key])
    assert counted.feature_names == written_out.feature_names
    if as_frame:
        assert not counted.frame.duplicated(["herd", "period", "case"]).any()
        assert counted.frame.columns.tolist() == ["herd", "period", "case", "animals"]
        assert all(f"``{column}``" in counted.DESCR for column in counted.frame)


def test_cbpp_odds_ratios_of_counts_and_rows_agree():
    """A saturated model of the periods has the log odds of the table, 61 of 278 and so on."""
    cases, animals = np.array([61, 17, 14, 7]), np.array([278, 212, 197, 155])
    log_odds = np.log(cases / (animals - cases))
    for cbpp in (load_cbpp(as_frame=False), load_cbpp(counts=True, as_frame=False)):
        fit = LogitRegressor().fit(cbpp.data, cbpp.target, sample_weight=cbpp.get("sample_weight"))
        np.testing.assert_allclose(fit.intercept_, log_odds[0], rtol=1e-8)
        np.testing.assert_allclose(fit.coef_[0], log_odds[1:] - log_odds[0], rtol=1e-8)


def test_cbpp_counts_need_their_weights():
    with pytest.raises(ValueError, match="weights"):
        load_cbpp(counts=True, return_X_y=True)


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        load_ohio(True)


@pytest.mark.parametrize(
    "module", ["__init__", "_checks", "_counts", "_draw", "_load", "_longitudinal", "_make", "_multilevel", "_studies"]
)
def test_importing_does_not_import_pandas(module, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # makes every further import of it raise
    runpy.run_path(str(Path(datasets.__file__).with_name(f"{module}.py")))


def test_all_names_exist():
    assert set(datasets.__all__) == {name for name in vars(datasets) if name.startswith(("load_", "make_"))}

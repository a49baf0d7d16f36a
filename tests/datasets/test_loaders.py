"""The packaged studies against published counts, and the shapes promised by their docstrings."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skdep import datasets
from skdep.datasets import load_dietox, load_epil, load_ohio, load_respiratory

KEYS = {"data", "target", "groups", "time", "frame", "feature_names", "target_name", "DESCR", "filename"}

# loader, rows, clusters, columns of the table, total of the target, features of the array
STUDIES = [
    pytest.param(load_ohio, 2148, 537, 4, 326, ["age", "smoke"], id="ohio"),
    pytest.param(load_epil, 236, 59, 9, 1948, ["trt[progabide]", "base", "age", "V4", "lbase", "lage"], id="epil"),
    pytest.param(
        load_dietox,
        861,
        72,
        8,
        52284.88677,
        ["Time", "Cu[Cu035]", "Cu[Cu175]", "Evit[Evit100]", "Evit[Evit200]"],
        id="dietox",
    ),
    pytest.param(
        load_respiratory, 444, 111, 8, 248, ["center", "treat[A]", "sex[M]", "age", "baseline"], id="respiratory"
    ),
]
every_study = pytest.mark.parametrize("load, n_rows, n_clusters, n_columns, total, array_features", STUDIES)


@every_study
def test_frame_has_the_documented_shape(load, n_rows, n_clusters, n_columns, total, array_features):
    study = load()
    assert set(study) == KEYS
    assert isinstance(study.data, pd.DataFrame)
    assert study.frame.shape == (n_rows, n_columns)
    assert len(study.data) == len(study.target) == len(study.groups) == len(study.time) == n_rows
    assert study.groups.nunique() == n_clusters
    assert study.target.sum() == pytest.approx(total, rel=1e-9)
    assert study.feature_names == list(study.data.columns)
    assert study.target_name == study.target.name
    assert study.target_name not in study.feature_names


@every_study
def test_nothing_is_missing_outside_frame(load, n_rows, n_clusters, n_columns, total, array_features):
    study = load()
    for values in (study.data, study.target.to_frame(), study.groups.to_frame(), study.time.to_frame()):
        assert not values.isna().to_numpy().any()


@every_study
def test_time_is_numeric_and_unique_within_clusters(load, n_rows, n_clusters, n_columns, total, array_features):
    study = load()
    assert pd.api.types.is_numeric_dtype(study.time)
    assert not pd.DataFrame({"group": study.groups, "time": study.time}).duplicated().any()


@every_study
def test_arrays_hold_what_the_frame_holds(load, n_rows, n_clusters, n_columns, total, array_features):
    frame, arrays = load(), load(as_frame=False)
    assert set(arrays) == KEYS
    assert arrays.frame is None
    assert arrays.feature_names == array_features
    assert arrays.data.dtype == np.float64
    assert arrays.data.shape == (n_rows, len(array_features))
    for key in ("target", "groups", "time"):
        assert type(arrays[key]) is np.ndarray
        np.testing.assert_array_equal(arrays[key], frame[key].to_numpy())
    for j, name in enumerate(array_features):
        column, _, level = name.rstrip("]").partition("[")
        expected = frame.data[column] == level if level else frame.data[column]
        np.testing.assert_array_equal(arrays.data[:, j], expected.to_numpy(dtype=float))
        if level:
            assert 0 < arrays.data[:, j].sum() < n_rows


@every_study
@pytest.mark.parametrize("as_frame", [True, False])
def test_return_X_y(as_frame, load, n_rows, n_clusters, n_columns, total, array_features):
    study = load(as_frame=as_frame)
    X, y = load(return_X_y=True, as_frame=as_frame)
    assert type(X) is type(study.data)
    assert type(y) is type(study.target)
    np.testing.assert_array_equal(X, study.data)
    np.testing.assert_array_equal(y, study.target)


@every_study
def test_description_names_rows_clusters_and_every_column(load, n_rows, n_clusters, n_columns, total, array_features):
    study = load()
    assert f":Rows: {n_rows}," in study.DESCR
    assert f":Clusters: {n_clusters} " in study.DESCR
    assert "References" in study.DESCR
    for column in study.frame.columns:
        assert f"``{column}``" in study.DESCR
    for name in array_features:
        if "[" in name:
            assert f"``{name}``" in study.DESCR
    assert study.filename == f"{load.__name__.removeprefix('load_')}.csv"


@every_study
def test_loading_again_gives_an_independent_copy(load, n_rows, n_clusters, n_columns, total, array_features):
    first = load(as_frame=False)
    first.data[:] = -1.0
    first.target[:] = 0
    assert load(as_frame=False).target.sum() == pytest.approx(total, rel=1e-9)
    assert not np.any(np.all(load(as_frame=False).data == -1.0, axis=0))


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


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        load_ohio(True)


@pytest.mark.parametrize("module", ["__init__", "_loaders", "_make", "_studies"])
def test_importing_does_not_import_pandas(module, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # makes every further import of it raise
    runpy.run_path(str(Path(datasets.__file__).with_name(f"{module}.py")))


def test_all_names_exist():
    assert set(datasets.__all__) == {name for name in vars(datasets) if name.startswith(("load_", "make_"))}

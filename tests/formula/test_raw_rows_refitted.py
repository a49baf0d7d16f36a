"""Functions that fit a model again take raw data of a fit by formula, and no other column of them."""

from __future__ import annotations

import pandas as pd
import pytest

from skdep import GEERegressor
from skdep.inference import compare_correlations, score_test

from .data import table


@pytest.fixture(scope="module")
def rates():
    """A model with offset and the raw data, which are numbers only: any of them could pass for a feature."""
    frame = table("seizure").select_dtypes("number")
    model = GEERegressor.from_formula(
        "y ~ I(x * trt) + offset(log(weeks))",
        frame,
        family="poisson",
        groups="id",
        working_correlation="exchangeable",
    )
    return model, frame


@pytest.mark.parametrize("cv", [None, 3])
def test_compare_correlations(rates, cv):
    model, frame = rates
    options = {"structures": ["independence", "exchangeable"], "cv": cv}
    found = compare_correlations(model, frame, frame["y"], groups=frame["id"], **options)
    expected = compare_correlations(model, **model.formula_.fit_arguments(frame), **options)
    assert list(found.std_errors.columns) == ["Intercept", "I(x * trt)"]
    pd.testing.assert_frame_equal(found.table, expected.table)
    if cv is not None:
        pd.testing.assert_frame_equal(found.held_out, expected.held_out)


def test_score_test(rates):
    model, frame = rates
    found = score_test(model, "I(x * trt)", frame, frame["y"], groups=frame["id"])
    expected = score_test(model, "I(x * trt)", **model.formula_.fit_arguments(frame))
    assert (found.statistic, found.df) == (expected.statistic, expected.df)

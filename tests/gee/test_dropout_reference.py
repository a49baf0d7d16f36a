"""GEE with weights for dropout against R: glm, geepack, and the sandwich written out with numerical derivatives."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skdep import GEEClassifier, GEERegressor
from skdep.exceptions import WeightWarning
from skdep.gee.dropout import DropoutGEE
from skdep.gee.dropout_weighting import dropout_weights

REFERENCE = Path(__file__).parents[1] / "reference"
R = {name: entry for name, entry in json.loads((REFERENCE / "dropout.json").read_text()).items() if name != "meta"}
# the published form of the sandwich is for weights of the dropout model alone, not truncated
PUBLISHED = ["rows", "rows_linear", "rows_gaussian", "clusters", "clusters_exchangeable", "clusters_ar1"]


@pytest.fixture(scope="module")
def seen() -> pd.DataFrame:
    """Visits that took place, in random order."""
    rows = pd.read_csv(REFERENCE / "data" / "dropout.csv").dropna()
    rows["visit_trt"] = rows["visit"] * rows["trt"]
    return rows.assign(number=np.arange(len(rows))).sample(frac=1.0, random_state=0)


def options(entry):
    return {
        "weights": entry["weights"],
        "visit_effects": entry["dropout_model"] == "visits",
        "max_weight": entry.get("max_weight"),
    }


def predictors(entry):
    return ["complaint", "pain", "trt"] if entry["dropout_model"] == "visits" else ["complaint", "trt", "visit"]


def fit(entry, rows):
    model = GEEClassifier if entry["family"] == "binomial" else GEERegressor
    gee = model(working_correlation=entry["structure"], dof="n", tol=1e-12)
    with warnings.catch_warnings():
        if (entry["weights"], entry["structure"]) == ("observation", "exchangeable"):
            warnings.simplefilter("ignore", WeightWarning)
        return DropoutGEE(gee, **options(entry)).fit(
            rows[["visit", "trt", "visit_trt"]],
            rows[entry["outcome"]],
            groups=rows["id"],
            time=rows["visit"],
            dropout_features=rows[predictors(entry)],
            sample_weight=rows["mass"] if entry["sampling"] else None,
        )


@pytest.mark.parametrize("name", R)
def test_estimates_and_covariances(name, seen):
    entry = R[name]
    est = fit(entry, seen)
    assert est.converged_
    assert_allclose(np.append(est.intercept_, est.coef_), entry["coef"], rtol=0, atol=1e-7)
    assert_allclose(est.scale_, entry["phi"], rtol=1e-6)
    if entry.get("alpha") is not None:
        assert_allclose(est.association_, entry["alpha"], rtol=1e-6)
    covariances = est._inference.covariances
    assert_allclose(covariances["robust"], entry["cov"], rtol=1e-5)
    assert_allclose(covariances["known_weights"], entry["known_cov"], rtol=1e-5)
    assert_allclose(est.covariance_, covariances["robust"], rtol=0)
    assert est.dropout_.n_truncated == entry["n_truncated"]
    assert (entry["n_truncated"] > 0) == ("truncated" in name)


@pytest.mark.parametrize("name", R)
def test_dropout_model_and_weights(name, seen):
    entry = R[name]
    model = fit(entry, seen).dropout_model_
    assert_allclose(np.append(model.intercept_, model.coef_), entry["dropout_coef"], rtol=0, atol=1e-6)
    if entry.get("dropout_cov") is not None:
        assert_allclose(model.covariance_, entry["dropout_cov"], rtol=1e-5)
    weights = dropout_weights(
        seen[predictors(entry)],
        groups=seen["id"],
        time=seen["visit"],
        sample_weight=seen["mass"] if entry["sampling"] else None,
        **options(entry),
    )
    assert_allclose(weights[np.argsort(seen["number"])], entry["row_weights"], rtol=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_close_to_the_published_projection(name, seen):
    """Both estimate the same: what is left of the scores after regression on those of the dropout model."""
    ours, published = (
        np.sqrt(np.diag(matrix)) for matrix in (fit(R[name], seen).covariance_, R[name]["projected_cov"])
    )
    assert_allclose(ours, published, rtol=0.05)

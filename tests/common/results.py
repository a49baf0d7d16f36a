"""What a fit says, as one dict of numbers, and the comparison of two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_allclose

from skdep.inference import coef_table

from .registry import Case, Rows

FITTED = [
    "coef_",
    "intercept_",
    "covariance_",
    "loglik_",
    "separated_",
    "scale_",
    "association_",
    "correlation_shrinkage_",
    "times_",
    "sigma2_",
    "n_quadrature_",
    "random_covariance_",
    "singular_",
    "n_clusters_",
    "n_iter_",
    "converged_",
]


# What is the same or not, rather than near.
EXACT = {"n_iter_", "converged_", "n_quadrature_", "n_clusters_", "separated_", "singular_"}


def results(
    case: Case, est: Any, rows: Rows | None = None, *, cov_types: tuple[str, ...] = (), groups: Any = "of rows"
) -> dict[str, Any]:
    """Return fitted attributes, tables under all covariance types, criteria, and predictions for `rows`.

    Where groups have effects, `groups` are those of the rows, under the labels of the fit.
    """
    found = {name: getattr(est, name) for name in FITTED if hasattr(est, name)}
    for name in [name for name, value in found.items() if isinstance(value, dict)]:
        # by factor; the name of a factor is not a result
        found |= {f"{name} {number}": value for number, value in enumerate(found.pop(name).values())}
    for cov_type in cov_types or case.cov_types:
        found[f"table {cov_type}"] = coef_table(est, cov_type=cov_type).to_numpy()
    found["residual df"] = coef_table(est, df="residual")["df"].to_numpy()
    for method in case.df_methods if getattr(est, "levels_", None) else ():
        found[f"table {method}"] = coef_table(est, cov_type="model", df=method).to_numpy()
    if case.criterion is not None:
        found |= vars(case.criterion(est))
    if rows is not None:
        found["predicted"] = predicted(case, est, rows)
        if case.group_effects:
            given = {"groups": rows.groups if isinstance(groups, str) else groups, "offset": rows.offset}
            if case.kind == "classifier":
                found["conditional"] = est.predict_proba(rows.X, **given)
            else:
                found["conditional"], found["conditional sd"] = est.predict(rows.X, return_std=True, **given)
    return found


def predicted(case: Case, est: Any, rows: Rows, *, offset: Any = "of rows") -> np.ndarray:
    """Return means or probabilities."""
    given = {"offset": rows.offset} if isinstance(offset, str) else {} if offset is None else {"offset": offset}
    return est.predict_proba(rows.X, **given) if case.kind == "classifier" else est.predict(rows.X, **given)


def assert_same(actual: dict[str, Any], expected: dict[str, Any], *, rtol: float = 1e-9, but: tuple[str, ...] = ()):
    """Assert that two results are equal, up to rounding relative to the largest number of each entry."""
    assert actual.keys() == expected.keys()
    for name in expected.keys() - set(but):
        if name in EXACT:
            assert actual[name] == expected[name], name
            continue
        wanted = np.asarray(expected[name], dtype=float)
        finite = np.abs(wanted[np.isfinite(wanted)])
        # an association estimated as 0 has no size of its own
        atol = rtol * max(finite.max(initial=0.0), 1e-3)
        assert_allclose(actual[name], wanted, rtol=rtol, atol=atol, err_msg=name)

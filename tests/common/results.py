"""What a fit says, as one dict of numbers, and the comparison of two of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.testing import assert_allclose

from skdep.inference import coef_table
from skdep.inference._access import unwrap

from .registry import Case, Rows

FITTED = [
    "coef_",
    "intercept_",
    "covariance_",
    "loglik_",
    "log_evidence_",
    "draws_",
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
        # ranks of draws, which the last columns of a posterior's table are made of, know no rounding
        columns = slice(5) if case.posterior else slice(None)
        found[f"table {cov_type}"] = table_of(case, est, cov_type).iloc[:, columns].to_numpy()
    if not case.posterior:
        found["residual df"] = coef_table(est, df="residual")["df"].to_numpy()
    for method in case.df_methods if getattr(est, "levels_", None) else ():
        found[f"table {method}"] = coef_table(est, cov_type="model", df=method).to_numpy()
    if case.criterion is not None:
        found |= vars(case.criterion(est))
    if rows is not None:
        found["predicted"] = predicted(case, est, rows)
        if case.group_effects:
            given = {"groups": rows.groups if isinstance(groups, str) else groups, "offset": rows.offset}
            if case.posterior:
                probability, sd = est.predict_proba(rows.X, return_std=True, **given)
                found["conditional"], found["conditional sd"] = probability[:, 1], sd
            elif case.kind == "classifier":
                found["conditional"] = est.predict_proba(rows.X, **given)
            else:
                found["conditional"], found["conditional sd"] = est.predict(rows.X, return_std=True, **given)
    return found


def table_of(case: Case, est: Any, cov_type: str | None = None) -> Any:
    """Return the table of coefficients, of a posterior that of its parameters."""
    if case.posterior:
        return unwrap(est).posterior_table().to_frame()
    return coef_table(est, cov_type=cov_type).to_frame()


def predicted(case: Case, est: Any, rows: Rows, *, offset: Any = "of rows") -> np.ndarray:
    """Return means or probabilities."""
    given = {"offset": rows.offset} if isinstance(offset, str) else {} if offset is None else {"offset": offset}
    return est.predict_proba(rows.X, **given) if case.kind == "classifier" else est.predict(rows.X, **given)


@cache
def plain(case: Case) -> dict[str, Any]:
    """Return the results of a fit to the case's data; kept, since many tests compare with it."""
    rows = case.data()
    return results(case, case.fit(rows), rows)


def assert_close(case: Case, actual: Any, expected: Any, *, rtol: float, atol: float = 0.0) -> None:
    """Assert that numbers are equal up to `rtol`, or up to what the case says of rounding, relative to the largest."""
    expected = np.asarray(expected, dtype=float)
    if case.rounding > rtol:
        atol = max(atol, case.rounding * float(np.abs(expected).max(initial=0.0)))
    assert_allclose(actual, expected, rtol=case.rtol(rtol), atol=atol)


def monte_carlo_error(case: Case, sd: Any) -> Any:
    """Return how far means over two samples of a posterior with these standard deviations may be from each other.

    Half of the draws count as independent, and six standard errors are allowed for, since many numbers are compared.
    """
    n_draws = 4 * case.estimator.n_draws
    return 6.0 * np.asarray(sd) * np.sqrt(2.0 / (0.5 * n_draws))


def assert_same_posterior(case: Case, actual: dict[str, Any], expected: dict[str, Any], name: str) -> None:
    """Assert that an entry agrees up to Monte Carlo error with one from other draws; ``name sd`` has their spread."""
    error = monte_carlo_error(case, np.maximum(actual[f"{name} sd"], expected[f"{name} sd"]))
    assert np.all(np.abs(actual[name] - expected[name]) <= error), name


def assert_same(
    case: Case, actual: dict[str, Any], expected: dict[str, Any], *, rtol: float = 1e-9, but: tuple[str, ...] = ()
):
    """Assert that two results are equal, up to rounding relative to the largest number of each entry."""
    assert actual.keys() == expected.keys()
    rtol = case.rtol(rtol) if rtol else 0.0
    for name in expected.keys() - set(but):
        if name in EXACT:
            assert actual[name] == expected[name], name
            continue
        wanted = np.asarray(expected[name], dtype=float)
        finite = np.abs(wanted[np.isfinite(wanted)])
        # an association estimated as 0 has no size of its own
        atol = rtol * max(finite.max(initial=0.0), 1e-3)
        assert_allclose(actual[name], wanted, rtol=rtol, atol=atol, err_msg=name)

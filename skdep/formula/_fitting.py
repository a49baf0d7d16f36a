"""How an estimator is fitted by a formula."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from skdep._stack import level_of_caller
from skdep.formula._outcomes import check_order_of_levels, is_counts, take
from skdep.formula._row_data import RowData, named_columns, row_data
from skdep.formula._syntax import names_in
from skdep.formula._tables import as_table, check_complete, incomplete_rows, require_formulaic
from skdep.formula._terms import Formula, expand, split
from skdep.formula.fitted import FittedFormula, fit_formula

__all__ = ["fit_by_formula"]

# What users of R call things.
_ELSEWHERE = {
    "weights": "sample_weight",
    "id": "groups",
    "ids": "groups",
    "corstr": "working_correlation",
    "waves": "time",
    "REML": 'method="reml" or method="ml"',
    "nAGQ": "n_quadrature",
    "iter": "n_draws",
    "chains": "n_chains",
    "seed": "random_state",
    "subset": "data, with the rows that are meant",
    "na.action": "missing",
    "na_action": "missing",
    "contrasts": "C(x, contr.sum) in the formula",
}
_BY_BARS = ("random_slopes", "random_intercept", "covariance", "random_only")
_MULTILEVEL = "MixedLinear, MixedLogit and BayesLogit"


def fit_by_formula(
    cls: Any,
    formula: str,
    data: Any,
    *,
    missing: str,
    functions: Mapping[str, Callable[..., Any]] | None,
    parameters: Mapping[str, Any],
) -> Any:
    """Return a fitted estimator, see `FormulaMixin.from_formula`."""
    require_formulaic()
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be 'raise' or 'drop', got {missing!r}.")
    frame = as_table(data)
    constructor, arguments = _sorted_out(cls, parameters)
    named = {
        name: found
        for name, value in arguments.items()
        if named_columns(value, frame) and (found := row_data(name, value, frame)) is not None
    }
    arrays = {name: value for name, value in arguments.items() if value is not None and not named_columns(value, frame)}
    parsed = expand(formula, _others(formula, frame, named))
    _check_model(cls, parsed, constructor, arguments)
    used = _used_columns(parsed, named, frame)
    kept = _kept_rows(frame, used, arrays, missing)
    n_dropped = 0
    if kept is not None:
        n_dropped, frame = len(frame) - len(kept), frame.iloc[kept]
        arrays = {name: take(value, kept) for name, value in arrays.items()}
    as_shares = is_counts(parsed.outcome) and hasattr(cls, "_parameter_constraints") and "family" in _names(cls)
    fitted = fit_formula(parsed, frame, row_data=named, functions=functions, as_shares=as_shares)
    fitted = replace(fitted, n_dropped=n_dropped)
    est = cls(**_constructor(cls, fitted, constructor))
    _fit(est, fitted, frame, arrays)
    return est


def _names(cls: Any) -> list[str]:
    return list(cls._get_param_names())


def _sorted_out(cls: Any, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters of the constructor, and arguments of fit."""
    of_fit = [
        name
        for name, found in inspect.signature(cls.fit).parameters.items()
        if found.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    of_class = _names(cls)
    for name in parameters:
        if name in of_class or name in of_fit:
            continue
        if name in _ELSEWHERE:
            hint = f" It is called {_ELSEWHERE[name]} here."
        elif name == "family":
            hint = " GEERegressor has families; classifiers are of binary outcomes, MixedLinear is of normal ones."
        else:
            near = difflib.get_close_matches(name, [*of_class, *of_fit], n=1)
            hint = f" Is {near[0]!r} meant?" if near else ""
        raise TypeError(
            f"{cls.__name__}.from_formula has no parameter {name!r}.{hint} It takes those of the estimator "
            f"({', '.join(of_class)}) and of fit ({', '.join(of_fit)})."
        )
    constructor = {name: value for name, value in parameters.items() if name in of_class}
    return constructor, {name: value for name, value in parameters.items() if name not in of_class}


def _others(formula: str, frame: Any, named: Mapping[str, RowData]) -> list[str]:
    """Return the columns that a dot stands for: those that are neither outcome, nor factors, nor named otherwise."""
    outcome, _ = split(formula)
    parsed = expand(formula, ["."])
    taken = set() if outcome is None else set(names_in(outcome))
    taken |= {name for term in parsed.random for part in term.grouping.parts for name in names_in(part)}
    taken |= {name for given in named.values() for name in given.variables()}
    return [name for name in frame.columns if isinstance(name, str) and name not in taken]


def _check_model(cls: Any, parsed: Formula, constructor: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Raise if the formula is not one for this estimator, or says what parameters say as well."""
    name, text = cls.__name__, parsed.text
    if parsed.outcome is None:
        raise ValueError(f"Formula {text!r} has no outcome: write y ~ ... .")
    if not parsed.random:
        return
    factors = list(dict.fromkeys(term.grouping.name for term in parsed.random))
    if "random_slopes" not in _names(cls):
        shown = f"groups={factors[0]!r}" if len(factors) == 1 else f"groups={factors!r}"
        raise ValueError(
            f"{name} has no random effects, and the formula has {parsed.random[0].text}. {_MULTILEVEL} have them. For "
            f"a marginal model or cluster-robust standard errors leave the bar out and say {shown}."
        )
    if arguments.get("groups") is not None:
        raise ValueError(f"The grouping factors are given twice: by bars, {', '.join(factors)}, and by groups=.")
    twice = [parameter for parameter in _BY_BARS if parameter in constructor]
    if twice:
        raise ValueError(
            f"Random effects are given twice: by {parsed.random[0].text} and by {', '.join(twice)}. Leave one out."
        )


def _used_columns(parsed: Formula, named: Mapping[str, RowData], frame: Any) -> tuple[str, ...]:
    nodes = [parsed.outcome, *parsed.offsets, *(node for term in parsed.terms for node in term)]
    for random in parsed.random:
        nodes += [*random.grouping.parts, *(node for term in random.terms for node in term)]
    names = [name for node in nodes if node is not None for name in names_in(node)]
    names += [name for given in named.values() for name in given.variables()]
    return tuple(name for name in dict.fromkeys(names) if name in frame.columns)


def _kept_rows(frame: Any, used: tuple[str, ...], arrays: Mapping[str, Any], missing: str) -> np.ndarray | None:
    """Return the numbers of complete rows, None where all are."""
    if missing == "raise":
        check_complete(
            frame, used, "Fill them in, or leave rows out: missing='drop' does so, with a warning that says how many."
        )
        return None
    import pandas as pd

    broken, counts = incomplete_rows(frame, used)
    for name, value in arrays.items():
        if np.ndim(value) == 0:
            continue
        if len(value) != len(frame):
            raise ValueError(f"{name} has {len(value)} values for {len(frame)} rows; give exactly one a row.")
        gone = np.asarray(pd.isna(pd.DataFrame(value) if np.ndim(value) == 2 else pd.Series(value)))
        rows = gone.reshape(len(frame), -1).any(axis=1)
        if rows.any():
            counts[name] = int(rows.sum())
            broken |= rows
    if not broken.any():
        return None
    listed = ", ".join(f"{name!r} ({count})" for name, count in counts.items())
    if broken.all():
        raise ValueError(f"Every row misses something, in {listed}: no row is left.")
    warnings.warn(
        f"Rows that miss values are left out: {int(broken.sum())} of {len(frame)}, in {listed}.",
        UserWarning,
        stacklevel=level_of_caller(),
    )
    return np.flatnonzero(~broken)


def _constructor(cls: Any, fitted: FittedFormula, given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the estimator, those of the formula among them."""
    names, found = _names(cls), dict(given)
    text = str(fitted)
    if "fit_intercept" in names:
        if "fit_intercept" in given and bool(given["fit_intercept"]) != fitted.fit_intercept:
            has = "an intercept" if fitted.fit_intercept else "no intercept"
            raise ValueError(
                f"Formula {text!r} has {has}, and fit_intercept={given['fit_intercept']!r} contradicts it."
            )
        found["fit_intercept"] = fitted.fit_intercept
    elif "estimator" in given and given["estimator"].fit_intercept != fitted.fit_intercept:
        from sklearn.base import clone

        found["estimator"] = clone(given["estimator"]).set_params(fit_intercept=fitted.fit_intercept)
    if fitted.formula.random:
        random = fitted.random.parameters()
        if "random_only" in random and "random_only" not in names:
            raise ValueError(
                f"Formula {text!r}: {', '.join(random['random_only'])} have random effects and no fixed effect, which "
                f"{cls.__name__} does not have; add them to the fixed effects."
            )
        found |= random
    return found


def _fit(est: Any, fitted: FittedFormula, frame: Any, arrays: Mapping[str, Any]) -> None:
    """Fit, and store the formula."""
    from sklearn.base import is_classifier

    outcome = fitted.formula.outcome
    assert outcome is not None
    found = fitted.outcome_values(frame)
    if is_classifier(est):
        check_order_of_levels(outcome, found.levels)
    arguments = fitted.arguments_with(frame, arrays)
    X, y = arguments.pop("X"), arguments.pop("y")
    _check_outcome(est, fitted, y, is_factor=found.is_factor)
    if not X.shape[1] and not fitted.fit_intercept:
        raise ValueError(f"Formula {str(fitted)!r} has neither features nor an intercept: there is nothing to fit.")
    est.fit(X, y, **arguments)
    est.formula_ = fitted
    if hasattr(est, "estimator_"):
        est.estimator_.formula_ = fitted
    if fitted.n_dropped:
        note = f"Rows that miss values were left out: {fitted.n_dropped}."
        est._inference = est._inference.described(est._inference.facts, (*est._inference.notes, note))


def _check_outcome(est: Any, fitted: FittedFormula, y: np.ndarray, *, is_factor: bool) -> None:
    from sklearn.base import is_classifier

    outcome = fitted.formula.outcome
    kind = np.asarray(y).dtype.kind
    if not is_classifier(est):
        family = getattr(est, "family", None)
        if is_counts(outcome) and getattr(family, "name", family) != "binomial":
            raise ValueError(
                f"The outcome {outcome} counts successes: classifiers take it, and GEERegressor(family='binomial')."
            )
        if is_factor or kind not in "biuf":
            raise ValueError(
                f"The outcome {outcome} is categorical ({y[0]!r}, ...), and {type(est).__name__} needs numbers; a "
                "classifier takes categories."
            )
        return
    if is_counts(outcome) and getattr(est, "weight_type", "frequency") != "frequency":
        raise ValueError(
            f"The outcome {outcome} counts trials, which are frequencies: weight_type={est.weight_type!r} reads them "
            "otherwise. Grouped counts of a marginal model are fitted by GEERegressor(family='binomial')."
        )
    if kind == "f" and len(y) and ((y > 0) & (y < 1)).any() and not ((y < 0) | (y > 1)).any():
        raise ValueError(
            f"The outcome {outcome} is a share, and {type(est).__name__} takes two classes; give counts: "
            "cbind(successes, failures) ~ ..., or fit GEERegressor(family='binomial')."
        )

"""`from_formula`: what every estimator has to be fitted by a formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from skdep.formula.fitted import FittedFormula

__all__ = ["FormulaMixin"]


class FormulaMixin:
    """Fits by a formula; a fit that came so has ``formula_``, and takes raw data wherever it takes features."""

    # set by `from_formula` only
    formula_: FittedFormula

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted copy, which makes no features, but knows raw data of the formula when it is given them."""
        copy = super().__sklearn_clone__()  # type: ignore[misc]
        formula = vars(self).get("formula_", vars(self).get("_formula_of_original"))
        if formula is not None:
            copy._formula_of_original = formula
        return copy

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: Any,
        *,
        missing: str = "raise",
        functions: Mapping[str, Callable[..., Any]] | None = None,
        **parameters: Any,
    ) -> Self:
        """Fit the model that a formula describes; needs the extra ``formula``.

        Parameters
        ----------
        formula : str
            The model as R has it: ``"y ~ x * group + offset(log(n))"``. Estimators with random effects take the terms
            of lme4 as well, ``"y ~ x + (1 + x | g)"``.
        data : DataFrame of shape (n_rows, n_columns)
            The data.
        missing : {"raise", "drop"}, default="raise"
            What to do with rows that miss something that is used: raise an error that says where, or leave them out
            with a warning that says how many.
        functions : dict of str to callable, optional
            Further functions that the formula uses, by name.
        **parameters
            Parameters of the estimator, and what its `fit` takes besides features and outcome: ``groups``,
            ``sample_weight``, ``time``, ``strata``, ... These are names of columns, such as ``groups="school"``,
            formulas, such as ``groups="~ school + class"``, or arrays.

        Returns
        -------
        Self
            The fitted estimator. Its ``formula_`` makes features, groups and offset of new rows; predictions take raw
            data.

        Raises
        ------
        ImportError
            If formulaic is not installed.
        ValueError
            If the formula cannot be read, columns are not there, values are missing, or parameters contradict it.

        Examples
        --------
        >>> from skdep import GEEClassifier
        >>> from skdep.datasets import load_ohio
        >>> ohio = load_ohio()
        >>> frame = ohio.data.assign(wheeze=ohio.target, child=ohio.groups)
        >>> model = GEEClassifier.from_formula("wheeze ~ age * smoke", frame, groups="child")
        >>> model.coef_.round(3)
        array([[-0.141,  0.314,  0.071]])
        >>> model.predict_proba(frame.head(1)).round(3)
        array([[0.835, 0.165]])
        """
        from skdep.formula._fitting import fit_by_formula

        return fit_by_formula(cls, formula, data, missing=missing, functions=functions, parameters=parameters)

"""Formulas as in R: ``y ~ x + (1 + x | g)``; needs the extra ``formula`` (formulaic).

Every estimator has ``from_formula``; `FormulaTransformer` is the step of a pipeline.
"""

from __future__ import annotations

from skdep.formula._syntax import FormulaSyntaxError
from skdep.formula.fitted import FittedFormula
from skdep.formula.transformer import FormulaTransformer

__all__ = ["FittedFormula", "FormulaSyntaxError", "FormulaTransformer"]

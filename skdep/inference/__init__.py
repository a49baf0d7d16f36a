"""Inference after a fit: coefficient tables, tests, criteria."""

from __future__ import annotations

from skdep.inference.coef_table import coef_table
from skdep.inference.criteria import QICResult, qic
from skdep.inference.odds_ratios import odds_ratios
from skdep.inference.wald import WaldTest, wald_test

__all__ = ["QICResult", "WaldTest", "coef_table", "odds_ratios", "qic", "wald_test"]

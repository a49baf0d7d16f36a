"""What the common tests need around them."""

from __future__ import annotations

import warnings

import pytest

from skdep import BayesLogit


@pytest.fixture(autouse=True)
def few_draws_are_enough(request):
    """Let fits that draw a posterior say that their draws are few: they are, to save time; other warnings stand."""
    params = getattr(getattr(request.node, "callspec", None), "params", {})
    if getattr(params.get("case"), "posterior", False) or params.get("cls") is BayesLogit:
        warnings.filterwarnings("ignore", message="Chains disagree|Only .* effective draws")
    yield

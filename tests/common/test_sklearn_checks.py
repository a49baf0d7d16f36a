"""scikit-learn's own checks of an estimator, that none of them is lost, and none skipped unknown."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator, parametrize_with_checks

from .registry import CASES, CHECKED, SKIPPED_CHECKS, ids

# The checks fit to hopeless data on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

_EXPECTED = {repr(case.estimator): case.expected_failed_checks for case in CHECKED}
_STRICT = {"xfail_strict": True} if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters else {}

RUN_SKIPPED = """
import warnings
from sklearn.utils.estimator_checks import estimator_checks_generator
from tests.common.registry import CHECKED, SKIPPED_CHECKS
warnings.simplefilter("ignore")
for case in CHECKED:
    for estimator, check in estimator_checks_generator(case.unfitted()):
        if check.func.__name__ in SKIPPED_CHECKS:
            check(estimator)  # raises SkipTest, where it skips itself
            print(case.name)
"""


@parametrize_with_checks(
    [case.unfitted() for case in CHECKED],
    expected_failed_checks=lambda estimator: _EXPECTED[repr(estimator)],
    **_STRICT,
)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("case", CHECKED, ids=ids(CHECKED))
def test_no_check_is_lost(case):
    found = sum(1 for _ in estimator_checks_generator(case.unfitted()))
    number, exact = case.n_checks
    assert found == number if exact else found >= number


@pytest.mark.skipif(os.environ.get("SCIPY_ARRAY_API") == "1", reason="then no check skips itself")
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_skipped_checks_are_known(kind):
    case = next(case for case in CHECKED if case.kind == kind)
    found = check_estimator(case.unfitted(), on_fail=None, on_skip=None)
    assert {result["check_name"] for result in found if result["status"] == "skipped"} == SKIPPED_CHECKS


def test_with_array_api_skipped_checks_run():
    """In a process of its own, since scipy reads the variable when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_SKIPPED],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [case.name for case in CHECKED for _ in SKIPPED_CHECKS]


def test_reasons_are_given():
    for case in CASES:
        assert all(len(reason) > 10 for reason in case.expected_failed_checks.values())
        assert case.no_sklearn_checks == "" or len(case.no_sklearn_checks) > 10


def test_names_are_distinct():
    assert len(set(ids(CASES))) == len(CASES)

"""Every case runs, and peers that solve the same equations agree: ``python -m pytest benchmarks``."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import coverage, dropout_simulation, quadrature_bias, small_sample_coverage, weight_test_size
from benchmarks.__main__ import main
from benchmarks.bayes_data import flat, survey
from benchmarks.cases import CASES
from benchmarks.glmm_data import binary_groups, contraception, verbal_aggression
from benchmarks.mixed_data import MixedData, intercepts_and_slopes, ratings
from benchmarks.programs import ours, ours_bayes, ours_mixed
from benchmarks.sampling import agreement, compare_samplers, least_ess, sampled
from benchmarks.simulate import clustered_binary, true_coefficients
from benchmarks.table import Table
from benchmarks.timing import Estimates, Options, compare, relative_difference

QUICK = Options(repeats=2, quick=True)
COMPARED = [name for name in CASES if name.startswith(("gee", "logit", "survey"))]
MIXED_LOGIT = [name for name in CASES if name.startswith("mixed-logit")]
BAYES = [name for name in CASES if name.startswith("bayes")]
MIXED = [name for name in CASES if name.startswith("mixed") and name not in MIXED_LOGIT]


@pytest.mark.parametrize("name", COMPARED)
def test_programs_run_and_agree(name):
    table = CASES[name](QUICK)
    for row in table.rows:
        remark = row.get("remark", "")
        assert not remark or remark.startswith("not installed"), f"{row['program']}: {remark}"
        if remark:
            continue
        assert len(row["seconds"]) == 2
        for what in ("coef", "SE"):
            differ = row.get(f"tight {what} differ", row.get(f"{what} differ"))
            assert differ is None or differ < (1e-3 if name == "gee-long" else 1e-6), row


@pytest.mark.parametrize("name", MIXED)
def test_mixed_models_have_the_same_optimum(name):
    for row in CASES[name](QUICK).rows:
        remark = row.get("remark", "")
        assert not remark or remark.startswith("not installed"), f"{row['program']}: {remark}"
        if remark or row["program"] == "skdep":
            continue
        # nobody finds a higher likelihood, and those who stop early have one that is not much lower
        loose = row["program"].startswith("GPBoost")
        if "logLik above" in row:
            assert -(0.1 if loose else 1e-5) < row["logLik above"] < 1e-6, row
        if not loose:
            assert row["coef differ"] < 1e-5, row
            assert row["variances differ"] < 1e-3, row


@pytest.mark.parametrize("name", MIXED_LOGIT)
def test_logistic_mixed_models_have_the_same_optimum(name):
    for row in CASES[name](QUICK).rows:
        remark = row.get("remark", "")
        assert not remark or remark.startswith("not installed"), f"{row['program']}: {remark}"
        if remark or row["program"] == "skdep":
            continue

        def differ(what, row=row):
            return row.get(f"tight {what}", row.get(what))

        if row["program"] == "GPBoost, iterative":  # random vectors, and no likelihood to compare
            assert row["coef differ"] < 0.05, row
            continue
        assert -1e-4 < differ("logLik above") < 1e-6, row
        assert differ("coef differ") < 1e-3, row
        assert differ("variances differ") < 1e-3, row
        # two programs have standard errors that take the variances for known
        assert differ("SE differ") < (0.1 if row["program"].startswith(("GPBoost", "mixedlm")) else 1e-3), row


@pytest.mark.parametrize("name", BAYES)
def test_samplers_draw_from_the_same_posterior(name):
    rows = CASES[name](replace(QUICK, repeats=1)).rows
    assert rows[0]["ESS"] > 1_000
    for row in rows:
        remark = row.get("remark", "")
        assert not remark or remark.startswith("not installed"), f"{row['program']}: {remark}"
        if not remark:
            assert row["ESS/s"] == pytest.approx(row["ESS"] / row["seconds"][0])
            assert row["R-hat"] < 1.05, row
        if not remark and row["program"] != "skdep":
            # the largest of as many as 42 differences
            assert max(row["means z"], row["sds z"]) < 4.5, row
            assert row["means differ"] < 0.25, row


def test_draws_are_compared_in_units_of_their_errors():
    rng = np.random.default_rng(0)
    draws, others = rng.standard_normal((2, 4, 2_000, 3))
    others = 10.0 + 5.0 * others
    draws[..., 1] += 0.5
    found = agreement(5.0 * draws + 10.0, others)
    assert found["means differ"] == pytest.approx(0.5, abs=0.05)
    # independent draws: the standard error of a mean is sd / sqrt(8,000)
    assert found["means z"] == pytest.approx(found["means differ"] / np.sqrt(2 / 8_000), rel=0.1)
    assert found["sds z"] < 4
    assert agreement(1.2 * draws, draws)["sds differ"] == pytest.approx(0.2)


def test_least_effective_sample_size_is_that_of_the_worst_parameter():
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((4, 1_000, 3))
    for step in range(1, 1_000):  # correlated, so that draws are worth less than their number
        draws[:, step, 1] += 0.9 * draws[:, step - 1, 1]
    theirs = [
        array_stats.ess(draws[..., 1], chain_axis=0, draw_axis=1, method="bulk"),
        array_stats.ess(draws[..., 1], chain_axis=0, draw_axis=1, method="tail", prob=(0.05, 0.95)),
    ]
    assert least_ess(draws) == pytest.approx(min(theirs), rel=1e-6)
    draws[..., 2] = 0.0
    assert least_ess(draws) == 0.0


def test_samplers_are_timed_without_warm_up_and_compilation():
    def slow_start(data: object) -> Estimates:
        return sampled(np.random.default_rng(3).standard_normal((4, 500, 3)), 2.0, compile_seconds=7.0, warm_up=0.75)

    def broken(data: object) -> Estimates:
        raise RuntimeError("no such luck")

    data = flat(100, 2)
    first = ours_bayes.posterior()
    programs = [first, replace(first, name="other", fit=slow_start), replace(first, name="broken", fit=broken)]
    row, other, failed = compare_samplers("title", data, programs, QUICK, warm_up=data).rows
    assert other["seconds"] == [2.0, 2.0]
    assert other["ESS/s"] == pytest.approx(other["ESS"] / 2.0)
    assert other["after warm-up"] == pytest.approx(4 * other["ESS/s"])
    assert other["compile s"] == 7.0
    assert other["means z"] > 5  # that posterior is another one
    assert row["ESS"] > 1_000 and "means z" not in row
    assert "no such luck" in failed["remark"]


def test_posteriors_are_of_the_stated_parameters():
    data = survey(600, 30, seed=2)
    found = ours_bayes.posterior().fit(data)
    assert found.draws.shape == (4, 1_000, len(data.parameter_names()))
    maximum = ours_mixed.logit_estimates(9)(MixedData(data.X, data.y, data.groups))
    # priors are wide: the posterior is where the likelihood is
    assert np.all(np.abs(found.coef[:-1] - maximum.coef) < 0.5 * maximum.std_error)
    assert found.coef[-1] == pytest.approx(np.sqrt(maximum.variances[0]), rel=0.3)
    assert data.parameter_names() == ["Intercept", *(f"x{j + 1}" for j in range(7)), "sd"]
    assert flat(50, 3).parameter_names() == ["Intercept", "x1", "x2", "x3"]


def test_every_case_is_tested_here():
    assert set(CASES) == {*COMPARED, *MIXED, *MIXED_LOGIT, *BAYES, "import", "memory", "memory-mixed"}


def test_imports_are_timed():
    rows = {row["program"]: row for row in CASES["import"](QUICK).rows}
    assert rows["import skdep"]["best s"] < rows["import sklearn.base"]["best s"]


def test_memory_grows_with_rows():
    rows = CASES["memory"](QUICK).rows
    for small, large in zip(rows[::2], rows[1::2]):
        assert large["rows"] == 2 * small["rows"]
        assert 1.5 < large["fit adds MB"] / small["fit adds MB"] < 2.5


def test_memory_of_mixed_models_is_measured_for_installed_programs():
    rows = [row for row in CASES["memory-mixed"](QUICK).rows if "remark" not in row]
    assert [row["rows"] for row in rows if row["program"] == "skdep, slopes"] == [200_000, 400_000]
    assert all(row["fit adds MB"] > 0 for row in rows)


def test_command_line_writes_json(tmp_path, capsys):
    main(["--quick", "--repeats", "1", "--only", "gee-indep*", "--no-slow", "--json", str(tmp_path / "out.json")])
    assert "Binary GEE, independence" in capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written["cases"]) == ["gee-independence"]
    assert written["machine"]["skdep"]


def test_unknown_case_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "gee-exchangeable" in capsys.readouterr().err


def test_missing_slow_and_broken_peers_are_listed():
    def broken(data: object) -> Estimates:
        raise RuntimeError("no such luck")

    data = clustered_binary(50, 5, 2)
    first = ours.gee("independence")
    peers = [
        replace(first, name="absent", missing=lambda: "thing"),
        replace(first, name="slow", effort="slow"),
        replace(first, name="long", effort="long"),
        replace(first, name="hopeless", effort="hopeless"),
        replace(first, name="broken", fit=broken),
    ]
    table = compare("title", data, [first, *peers], Options(repeats=1, slow=False), warm_up=data)
    remarks = {row["program"]: row.get("remark", "") for row in table.rows}
    assert remarks["skdep"] == ""
    assert remarks["absent"] == "not installed (thing)"
    assert remarks["slow"].startswith("left out")
    assert remarks["long"].startswith("left out")
    assert remarks["hopeless"].startswith("left out")
    assert "no such luck" in remarks["broken"]


def test_slow_peers_run_fewer_rounds():
    data = clustered_binary(50, 5, 2)
    first = ours.gee("independence")
    table = compare("title", data, [first, replace(first, name="slow", most_rounds=1)], QUICK, warm_up=data)
    assert [len(row["seconds"]) for row in table.rows] == [2, 1]
    assert table.rows[1]["times skdep"] == table.rows[1]["seconds"][0] / table.rows[0]["seconds"][0]


def test_relative_difference():
    assert relative_difference(np.array([1.1, 2.0]), np.array([1.0, 2.0])) == pytest.approx(0.1)
    assert relative_difference(None, np.ones(1)) is None


def test_table_lines_have_equal_length():
    text = str(Table("t", "", [{"a": "x", "b": 1234.5}, {"a": "long name", "c": 3}]))
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    assert "1,234" in text


def test_simulated_mixed_models_are_the_stated_ones():
    data = intercepts_and_slopes(3_000, seed=2)
    found = ours_mixed.mixed_estimates("reml")(data)
    assert np.all(np.abs(found.coef - [1.0, 0.5, -0.5, 0.5, -0.5, 0.5]) < 4 * found.std_error)
    assert found.variances == pytest.approx([1.0, 0.5, 0.25], rel=0.1)
    assert data.formula() == "y ~ 1 + x1 + x2 + x3 + x4 + x5 + (1 + x1 | g1)"


@pytest.mark.parametrize("slope", [False, True])
def test_simulated_logistic_mixed_models_are_the_stated_ones(slope):
    data = binary_groups(3_000, slope=slope, seed=2)
    found = ours_mixed.logit_estimates(1 if slope else 11)(data)
    # Laplace's approximation shrinks, by less than this in groups of 10
    assert np.all(np.abs(found.coef - [-0.5, 0.5, -0.5, 0.5, -0.5, 0.5]) < 4 * found.std_error + 0.01)
    assert found.variances == pytest.approx([1.0, 0.5] if slope else [1.0], rel=0.25)
    assert data.formula().endswith("(1 + x1 | g1)" if slope else "(1 | g1)")


def test_simulated_survey_and_questionnaire_have_the_stated_shape():
    survey, answers = contraception(), verbal_aggression()
    assert survey.X.shape == (1_934, 7)
    assert survey.groups.max() == 59
    counts = np.bincount(survey.groups)
    assert counts.max() > 5 * np.median(counts) / 2  # districts of very unequal size
    assert np.unique(answers.groups, axis=0).shape == (7_584, 2)  # every person answers every item once
    for data in (survey, answers):
        assert set(np.unique(data.y)) == {0.0, 1.0}
        assert 0.3 < data.y.mean() < 0.6


def test_dropout_simulation_is_reproducible_and_shows_the_bias():
    rows = dropout_simulation.simulate(400, n_replicates=10, seed=1)
    assert rows == dropout_simulation.simulate(400, n_replicates=10, seed=1)
    assert {row["method"] for row in rows} == {method.name for method in dropout_simulation.METHODS}
    assert all(row["data sets"] + row["not converged"] == 10 for row in rows)
    bias = {row["method"]: row["bias"] for row in rows if row["parameter"] == "visit"}
    assert bias["no weights, independence"] < -0.08
    assert abs(bias["weights of rows, independence"]) < 0.06


def test_bias_is_reproducible_and_that_of_laplace_is_larger():
    rows = quadrature_bias.bias(200, n_replicates=10, seed=1, nodes=(1, 15))
    assert rows == quadrature_bias.bias(200, n_replicates=10, seed=1, nodes=(1, 15))
    assert [row["parameter"] for row in rows] == 2 * list(quadrature_bias.PARAMETERS)
    assert all(row["data sets"] + row["not converged"] == 10 for row in rows)
    laplace, quadrature = (row["mean"] for row in rows if row["parameter"] == "sd")
    assert laplace < quadrature - 0.1


def test_ratings_are_distinct_and_as_many_as_stated():
    data = ratings(400, 500)
    assert len(np.unique(data.groups, axis=0)) == len(data.y)
    assert np.bincount(data.groups[:, 0]).min() >= 20
    assert set(np.unique(data.y)) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert data.formula() == "y ~ 1 + (1 | g1) + (1 | g2)"


def test_simulated_marginal_model_is_the_stated_one():
    data = clustered_binary(60_000, 3, 2, correlation=0.5, seed=3)
    found = ours.gee_estimates("independence")(data)
    assert found.std_error is not None
    assert np.all(np.abs(found.coef - true_coefficients(2)) < 4 * found.std_error)


def test_coverage_is_reproducible_and_counts_every_data_set():
    rows = coverage.coverage(n_clusters=30, n_replicates=10, seed=1)
    assert rows == coverage.coverage(n_clusters=30, n_replicates=10, seed=1)
    assert len(rows) == 2 * len(coverage.METHODS)
    assert all(row["data sets"] + row["not converged"] == 10 for row in rows)


def test_coverage_with_few_clusters():
    rows = small_sample_coverage.coverage(10, "gaussian", n_replicates=30, seed=1)
    assert rows == small_sample_coverage.coverage(10, "gaussian", n_replicates=30, seed=1)
    assert [(row["covariance"], row["df"]) for row in rows] == list(small_sample_coverage.METHODS)
    width = {(row["covariance"], row["df"]): row["mean width"] for row in rows}
    assert width["robust", "normal"] < width["kc", "normal"] < width["kc", "residual"] < width["md", "residual"]


def test_small_sample_coverage_prints_a_table(capsys):
    small_sample_coverage.main(["--quick", "--clusters", "10"])
    assert "Coverage with few clusters" in capsys.readouterr().out


def test_tests_of_weights_reject_where_weights_are_informative():
    shares = {}
    for design in ("strata", "30 clusters"):
        for strength in (0.0, 0.5):
            row = weight_test_size.rejections(design, "linear", strength, n_replicates=20, seed=1)
            assert row == weight_test_size.rejections(design, "linear", strength, n_replicates=20, seed=1)
            shares[design, strength] = row["hausman-pfeffermann"]
        assert shares[design, 0.0] <= 0.2
    assert shares["strata", 0.5] == 1.0
    assert shares["30 clusters", 0.5] > shares["30 clusters", 0.0]
    assert set(weight_test_size.draw("strata", "logistic", 0.0, np.random.default_rng(0)).y) == {0.0, 1.0}

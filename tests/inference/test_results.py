"""Every public result prints, renders in notebooks and becomes a data frame."""

from __future__ import annotations

import dataclasses
import html.parser
import importlib

import numpy as np
import pandas as pd
import pytest

from skdep import BayesLogit, GEEClassifier, LogitRegressor, MixedLinear, MixedLogit
from skdep._html import facts_html, frame_html, notes_html, result_html
from skdep.base import Note
from skdep.bayes import compare_elpd
from skdep.bayes.convergence import convergence
from skdep.inference import (
    association_table,
    bootstrap,
    coef_table,
    compare,
    compare_correlations,
    design_effects,
    icc,
    influence,
    lrt,
    marginal_effects,
    odds_ratios,
    population_average,
    profile_interval,
    pseudo_r2,
    qic,
    r2,
    score_test,
    variance_components,
    wald_test,
    weight_diagnostics,
)

RNG = np.random.default_rng(8)
N = 160
NAME = "<b>age</b> & sex"
X = pd.DataFrame(RNG.normal(size=(N, 2)), columns=["dose", NAME])
GROUPS = pd.Series(np.arange(N) % 20, name="<i>school</i>")
EFFECT = RNG.normal(size=20)[GROUPS]
Y = X["dose"] + EFFECT + RNG.normal(size=N)
CLASSES = (X["dose"] + EFFECT + RNG.logistic(size=N) > 0).astype(int)
WEIGHTS = RNG.uniform(1.0, 3.0, size=N)


def fitted_models():
    models = {
        "linear": MixedLinear().fit(X, Y, groups=GROUPS),
        "small": MixedLinear().fit(X[["dose"]], Y, groups=GROUPS),
        "mixed": MixedLogit().fit(X, CLASSES, groups=GROUPS),
        "gee": GEEClassifier(working_correlation="exchangeable").fit(X, CLASSES, groups=GROUPS),
        "logit": LogitRegressor().fit(X, CLASSES),
        "null": LogitRegressor().fit(X[["dose"]], CLASSES),
        "survey": LogitRegressor(weight_type="sampling").fit(X, CLASSES, groups=GROUPS, sample_weight=WEIGHTS),
        "survey_null": LogitRegressor(weight_type="sampling").fit(
            X[["dose"]], CLASSES, groups=GROUPS, sample_weight=WEIGHTS
        ),
    }
    models["bayes"] = BayesLogit(n_draws=250, random_state=0).fit(X, CLASSES)
    return models


@pytest.fixture(scope="module")
def results():
    of = fitted_models()
    profiles = profile_interval(of["linear"], ["dose"], progress=False)
    loo = of["bayes"].loo()
    found = [
        variance_components(of["linear"]),
        icc(of["mixed"]),
        r2(of["linear"]),
        bootstrap(of["linear"], X, Y, groups=GROUPS, n_boot=8, random_state=0, progress=False),
        profiles,
        profiles.curves["dose"],
        compare(of["logit"], of["null"]),
        compare_correlations(GEEClassifier(), X, CLASSES, groups=GROUPS, structures=["independence", "exchangeable"]),
        influence(of["gee"], X, CLASSES, groups=GROUPS),
        lrt(of["null"], of["logit"]),
        lrt(of["survey_null"], of["survey"]),
        population_average(of["mixed"], X),
        pseudo_r2(of["logit"]),
        qic(of["gee"]),
        score_test(of["gee"], [NAME], X, CLASSES, groups=GROUPS),
        wald_test(of["gee"], ["dose", NAME]),
        weight_diagnostics(of["logit"], X, CLASSES, sample_weight=WEIGHTS, groups=GROUPS),
        of["survey"]._inference.design,
        of["bayes"].decision(X, np.array([[0.0, 5.0], [1.0, 0.0]])),
        loo,
        compare_elpd(loo, loo),
        of["bayes"].history_,
        convergence(of["bayes"].draws_["coef"]),
        *(est.summary() for est in of.values()),
        coef_table(of["gee"]),
        odds_ratios(of["logit"]),
        association_table(of["gee"]),
        design_effects(of["survey"]),
        marginal_effects(of["logit"], X),
        of["bayes"].posterior_table(),
    ]
    return found


class Tags(html.parser.HTMLParser):
    """Counts tags, and finds those that do not close."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.open.append(tag)
        assert not {"src", "onclick", "onload"} & {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_public_result_is_here(results):
    kinds = {type(result) for result in results}
    for module in ("skdep.inference", "skdep.bayes", "skdep.survey", "skdep.gee", "skdep.distributed"):
        for name in importlib.import_module(module).__all__:
            kind = getattr(importlib.import_module(module), name)
            if dataclasses.is_dataclass(kind) and module == "skdep.inference":
                assert kind in kinds, f"{name} has no example here"
            if dataclasses.is_dataclass(kind) and hasattr(kind, "to_frame"):
                assert kind in kinds, f"{name} has no example here"


def test_results_print_render_and_become_frames(results):
    for result in results:
        name = type(result).__name__
        assert isinstance(result.to_frame(), pd.DataFrame), name
        assert len(result.to_frame()) and result.to_frame().shape[1], name
        text = str(result)
        assert text and text == text.strip("\n"), name
        assert not text.startswith(f"{name}(") and " object at " not in text, name
        page = result._repr_html_()
        tags = Tags()
        tags.feed(page)
        assert not tags.open, name
        assert tags.seen.count("table") >= 1 and tags.seen[0] == "div", name
        assert "script" not in tags.seen and "link" not in tags.seen and "@import" not in page and "url(" not in page


def test_names_are_escaped(results):
    for result in results:
        page = result._repr_html_()
        assert "<b>age" not in page and "<i>school" not in page, type(result).__name__


def test_colours_are_those_of_the_page(results):
    """No colour of text or ground is set, so that dark pages stay readable."""
    style = result_html("")
    style = style[style.index("<style>") : style.index("</style>")]
    declarations = [
        part.partition(":") for block in style.split("{")[1:] for part in block.partition("}")[0].split(";")
    ]
    for name, _, value in declarations:
        if name.strip() == "color":
            assert value.strip() == "inherit"
        if name.strip() == "background":
            assert value.strip() == "none" or value.strip().startswith("rgba(128, 128, 128")


def test_numbers_are_written_by_what_they_are():
    frame = pd.DataFrame(
        {"estimate": [1234.5678, np.nan], "p_value": [1e-9, 0.04321], "df": [np.inf, 12.345], "n": [3, 4]},
        index=["a", "b"],
    )
    cells = frame_html(frame)
    for shown in ("1234.6", "&lt;0.0001", "0.0432", "inf", "12.35", "<td>3</td>", "<td></td>"):
        assert shown in cells, shown
    assert "NaN" in frame_html(frame, na_rep="NaN") and "1234.57<" in frame_html(frame, floats=".2f")
    long = pd.DataFrame({"x": np.arange(100.0)}, index=pd.Index(np.arange(100), name="visit"))
    assert frame_html(long, max_rows=10).count("<tr") < 15 and "visit" in frame_html(long)


def test_parts():
    assert facts_html({}) == ""
    assert "<th>a &lt; b</th><td>1 &amp; 2</td>" in facts_html({"a < b": "1 & 2"})
    plain, linked = "No page <here>", Note("A page", "weights")
    assert "<a " not in notes_html([plain]) and "Note: No page &lt;here&gt;" in notes_html([plain])
    assert notes_html([linked]).count("weights.html") == 1 and ">Read more</a>" in notes_html([linked])
    assert notes_html([plain], label="* ").startswith('<p class="skdep-note">* No')
    assert "<p>one</p><p>two</p>" in result_html("", lead="one\ntwo")


def test_correlations_of_random_effects_are_facts():
    slopes = MixedLinear(random_slopes=["dose"]).fit(X, Y + X["dose"] * RNG.normal(size=20)[GROUPS], groups=GROUPS)
    summary = slopes.summary()
    matrix = slopes.random_covariance_["<i>school</i>"]
    correlation = matrix[1, 0] / np.sqrt(matrix[0, 0] * matrix[1, 1])
    assert summary.facts["Correlations by <i>school</i>"] == f"Intercept, dose {correlation:.3f}"
    labels = list(summary.facts)
    assert labels.index("Correlations by <i>school</i>") == labels.index("SD of dose by <i>school</i>") + 1
    assert "Correlations by" in str(summary)
    page = summary._repr_html_()
    # in the table of variance components instead
    assert "SD of" not in page and "corr_Intercept" in page and "Variance components" in page
    pd.testing.assert_frame_equal(summary.components, variance_components(slopes).to_frame())
    apart = MixedLinear(random_slopes=["dose"], covariance="diagonal").fit(X, Y, groups=GROUPS)
    assert not any(label.startswith("Correlations") for label in apart.summary().facts)
    assert MixedLinear().fit(X, Y).summary().components is None

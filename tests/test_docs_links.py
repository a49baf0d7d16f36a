"""Links from messages to the documentation: every topic leads to a heading, and messages end in their link."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import skdep
from skdep import GEEClassifier, GEERegressor, LogitRegressor, MixedLinear
from skdep import exceptions as skdep_exceptions
from skdep._docs import SITE, TOPICS, api_link, docs_link, read_more, site, topic_of_warning
from skdep.base import FitNotes, Note
from skdep.exceptions import CollinearityWarning, FewClustersWarning, SeparationWarning, TimeOrderWarning
from skdep.inference import compare, lrt

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OWN_WARNINGS = [getattr(skdep_exceptions, name) for name in skdep_exceptions.__all__]
RNG = np.random.default_rng(11)
X = pd.DataFrame(RNG.normal(size=(60, 2)), columns=["dose", "age"])
Y = X["dose"] + RNG.normal(size=60)
CLASSES = (X["dose"] + RNG.logistic(size=60) > 0).astype(int)
GROUPS = pd.Series(np.arange(60) % 12, name="school")
TWO_FACTORS = pd.DataFrame({"school": GROUPS, "year": np.arange(60) % 5})


def anchors(page: Path) -> set[str]:
    """Return the anchors that headings of a Markdown page have in a repository, and from MyST."""
    found, seen, in_code = set(), Counter(), False
    for line in page.read_text(encoding="utf-8").splitlines():
        in_code ^= line.startswith(("```", "~~~"))
        match = re.match(r"#{1,3} (.*)", line)
        if in_code or not match:
            continue
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", match[1]).replace("`", "").strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def test_anchors_are_made_as_by_myst():
    assert "separation-and-firths-estimate" in anchors(DOCS / "logistic_regression.md")
    assert "how-many-nodes-n_quadrature" in anchors(DOCS / "multilevel_logistic_regression.md")


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_topic_leads_to_a_heading(topic):
    page, _, anchor = TOPICS[topic].partition("#")
    source = DOCS / page.replace(".html", ".md")
    assert source.exists(), f"there is no page {source.name}"
    if anchor:
        assert anchor in anchors(source), f"{source.name} has no heading {anchor}"


def test_topics_of_messages_are_registered_and_all_are_used():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "skdep").rglob("*.py"))
    named = set(re.findall(r"(?:read_more\(|docs_link\(|topic=)[\"'](\w+)[\"']", code))
    assert not named - set(TOPICS)
    assert not set(TOPICS) - named - {topic_of_warning(kind) for kind in OWN_WARNINGS}


@pytest.mark.parametrize("kind", OWN_WARNINGS)
def test_every_warning_has_a_topic(kind):
    assert topic_of_warning(kind) in TOPICS
    subclass = type("Special", (kind,), {})
    assert topic_of_warning(subclass) == topic_of_warning(kind)


def test_warnings_of_other_packages():
    assert topic_of_warning(UserWarning) is None
    assert topic_of_warning(skdep_exceptions.ConvergenceWarning) == "convergence"


def test_site_can_be_elsewhere(monkeypatch):
    monkeypatch.delenv("SKDEP_DOCS", raising=False)
    assert site() == SITE and docs_link("weights") == f"{SITE}/weights.html"
    monkeypatch.setenv("SKDEP_DOCS", "http://localhost:8000/")
    assert docs_link("weights") == "http://localhost:8000/weights.html"
    assert api_link(MixedLinear) == "http://localhost:8000/api/skdep.MixedLinear.html"
    monkeypatch.setenv("SKDEP_DOCS", " ")
    assert site() == SITE
    with pytest.raises(KeyError):
        docs_link("what?")


def test_notes_are_said_with_a_link_and_kept_without():
    notes = FitNotes()
    with pytest.warns(SeparationWarning) as caught:
        notes.warn("Infinite.", SeparationWarning)
    assert str(caught[0].message) == f"Infinite.{read_more('separation')}"
    assert notes == ["Infinite."] and notes[0].topic == "separation"
    with pytest.warns(SeparationWarning, match=r"\nRead more: .*#fewclusterswarning$"):
        notes.warn("Few.", SeparationWarning, topic="few_clusters")
    with pytest.warns(UserWarning) as caught:
        notes.warn("Plain.", UserWarning)
    assert str(caught[0].message) == "Plain." and notes[-1].topic is None
    copies = pickle.loads(pickle.dumps(tuple(notes)))
    assert copies == tuple(notes) and [note.topic for note in copies] == ["separation", "few_clusters", None]
    assert isinstance(copies[0], Note)


def test_a_fit_warns_once_where_the_user_called():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est = LogitRegressor().fit(X[["dose"]], X["dose"] > 0)
    assert [warning.category for warning in caught] == [SeparationWarning]
    assert caught[0].filename == __file__
    lines = str(caught[0].message).splitlines()
    assert len(lines) == 2 and lines[1] == f"Read more: {docs_link('separation')}"
    assert "Read more" not in est._inference.notes[0]
    text = str(est.summary())
    assert text.count("Read more") == 1 and text.splitlines()[-1] == lines[1]
    assert f'href="{docs_link("separation")}"' in est.summary()._repr_html_()


@pytest.mark.parametrize(
    ("fit", "kind", "topic"),
    [
        (lambda: LogitRegressor().fit(X.assign(again=X["dose"]), CLASSES), CollinearityWarning, "collinearity"),
        (lambda: LogitRegressor().fit(X, CLASSES, groups=GROUPS % 3), FewClustersWarning, "few_clusters"),
        (lambda: GEERegressor(working_correlation="ar1").fit(X, Y, groups=GROUPS), TimeOrderWarning, "time_order"),
        (lambda: LogitRegressor(max_iter=1).fit(X, CLASSES), UserWarning, "convergence"),
        (
            lambda: GEEClassifier(working_correlation="exchangeable", max_iter=1).fit(X, CLASSES, groups=GROUPS),
            UserWarning,
            "convergence",
        ),
    ],
)
def test_warnings_end_in_their_link(fit, kind, topic):
    with pytest.warns(kind) as caught:
        fit()
    ends = {str(warning.message).splitlines()[-1] for warning in caught}
    assert f"Read more: {docs_link(topic)}" in ends


def reml(frame):
    return MixedLinear().fit(frame, Y, groups=GROUPS)


@pytest.mark.parametrize(
    ("wrong", "begins", "topic"),
    [
        (lambda: LogitRegressor().fit(X.assign(dose=np.nan), CLASSES), "60 rows of X have missing", "missing_values"),
        (lambda: LogitRegressor().fit(X.assign(sex="m"), CLASSES), "could not convert", "categories"),
        (lambda: LogitRegressor().fit(X, CLASSES, groups=[None] * 60), "groups: label of factor", "groups"),
        (lambda: LogitRegressor().fit(X, CLASSES, sample_weight=-np.ones(60)), "Negative values", "weights"),
        (lambda: LogitRegressor().fit(X, CLASSES, sample_weight=np.zeros(60)), "sample_weight: every", "weights"),
        (
            lambda: GEERegressor(weight_type="frequency").fit(X, Y, groups=GROUPS, sample_weight=np.full(60, 1.5)),
            "weight_type='frequency' counts",
            "weight_type",
        ),
        (
            lambda: GEERegressor(working_correlation="ar1").fit(X, Y, groups=GROUPS, time=np.zeros(60)),
            "time is tied",
            "time",
        ),
        (lambda: GEERegressor().fit(X, Y, groups=GROUPS, time=["now"] * 60), "time must be numbers", "time"),
        (
            lambda: GEERegressor(working_correlation="nested").fit(X, Y, groups=GROUPS),
            "working_correlation='nested' needs",
            "working_correlation",
        ),
        (lambda: LogitRegressor(cov_type="cr2").fit(X, CLASSES), "cov_type='cr2' needs", "cluster_corrections"),
        (lambda: LogitRegressor().fit(X, CLASSES, strata=GROUPS), "strata and fpc", "survey_design"),
        (
            lambda: LogitRegressor(weight_type="sampling").fit(X, CLASSES, strata=np.arange(60)),
            "60 strata have a single",
            "survey_design",
        ),
        (lambda: lrt(reml(X[["dose"]]), reml(X)), "REML likelihoods", "likelihood_tests"),
        (
            lambda: lrt(LogitRegressor().fit(X[["age"]], CLASSES), LogitRegressor().fit(X**3, CLASSES)),
            "Feature 'age' has other values",
            "likelihood_tests",
        ),
        (lambda: compare(reml(X[["dose"]]), reml(X)), "REML likelihoods", "model_comparison"),
        (
            lambda: lrt(LogitRegressor().fit(X[["dose"]], CLASSES), LogitRegressor().fit(X, 1 - CLASSES)),
            "The fits are of different data",
            "model_comparison",
        ),
        (lambda: skdep.BayesLogit(prior="normal").fit(X, CLASSES), "prior should be", "bayes_prior"),
    ],
)
def test_errors_begin_with_their_words_and_end_in_their_link(wrong, begins, topic):
    with pytest.raises((ValueError, TypeError)) as raised:
        wrong()
    message = str(raised.value)
    assert message.startswith(begins)
    assert message.splitlines()[-1] == f"Read more: {docs_link(topic)}"


@pytest.mark.parametrize("name", [name for name in skdep.__all__ if hasattr(getattr(skdep, name), "fit")])
def test_the_diagram_of_an_estimator_links_to_its_page(name):
    est = getattr(skdep, name)()
    assert est._get_doc_link() == f"{SITE}/api/skdep.{name}.html"
    assert f'href="{est._get_doc_link()}"' in est._repr_html_()


def test_pages_of_classes():
    from skdep.bayes import Normal
    from skdep.gee import DropoutGEE

    assert api_link(DropoutGEE) == f"{SITE}/api/skdep.gee.DropoutGEE.html"
    assert api_link(Normal) == f"{SITE}/api/skdep.bayes.Normal.html"
    hidden = type("Hidden", (), {"__module__": "skdep.base"})
    assert api_link(hidden) == f"{SITE}/api.html"
    mine = type("Mine", (LogitRegressor,), {"__module__": "elsewhere"})
    assert mine()._get_doc_link() == ""


@pytest.mark.parametrize(
    ("wrong", "topic"),
    [
        (lambda: MixedLinear(random_slopes={"class": ["age"]}).fit(X, Y, groups=GROUPS), "random_effects"),
        (lambda: MixedLinear(random_slopes=["weight"]).fit(X, Y, groups=GROUPS), "random_effects"),
        (lambda: MixedLinear().fit(X, Y, groups=GROUPS, group_weight=np.ones(60)), "weight_type"),
        (lambda: skdep.MixedLogit(n_quadrature=5).fit(X, CLASSES, groups=TWO_FACTORS), "quadrature"),
        (lambda: skdep.MixedLogit(cov_type="robust").fit(X, CLASSES, groups=TWO_FACTORS), "standard_errors"),
    ],
)
def test_errors_of_mixed_models_end_in_their_link(wrong, topic):
    with pytest.raises(ValueError) as raised:
        wrong()
    assert str(raised.value).splitlines()[-1] == f"Read more: {docs_link(topic)}"


def test_multilevel_separation_leads_to_its_own_section():
    with pytest.warns(SeparationWarning) as caught:
        skdep.MixedLogit().fit(X[["dose"]], X["dose"] > 0, groups=GROUPS)
    assert f"Read more: {docs_link('multilevel_separation')}" in str(caught[0].message)

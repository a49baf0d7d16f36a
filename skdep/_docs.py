"""Links from errors, warnings and displays to the pages of the documentation that explain them.

Messages name a topic, and this file knows the page and the heading that a topic leads to, so that a page can be
rearranged without a message being touched.
"""

from __future__ import annotations

import os
from types import MappingProxyType

__all__ = ["SITE", "TOPICS", "api_link", "docs_link", "read_more", "site", "topic_of_warning"]

#: Where the documentation is; the environment variable ``SKDEP_DOCS`` names another place, such as a local build.
SITE = "https://skdep.readthedocs.io/en/latest"
_ELSEWHERE = "SKDEP_DOCS"

#: Page and anchor by topic; an anchor is a heading as repositories and MyST write it.
TOPICS = MappingProxyType(
    {
        "bayes_draws": "bayesian_updating.html#can-the-draws-be-believed",
        "bayes_evidence": "bayesian_updating.html#evidence-which-model-which-prior",
        "bayes_failure": "bayesian_updating.html#when-it-fails",
        "bayes_prior": "bayesian_updating.html#belief-what-a-prior-says",
        "bayes_update": "bayesian_updating.html#repeat-yesterdays-posterior-is-todays-prior",
        "categories": "formulas.html#raw-data-go-in-wherever-features-do",
        "chunks": "large_data.html#chunks-of-whole-clusters",
        "chunks_limits": "large_data.html#what-is-not-done",
        "cluster_corrections": "marginal_models_in_practice.html#few-clusters",
        "collinearity": "limitations.html#collinearitywarning",
        "convergence": "limitations.html#convergencewarning",
        "dropout": "marginal_models_in_practice.html#missing-data",
        "few_clusters": "limitations.html#fewclusterswarning",
        "gee_tests": "marginal_models.html#tests",
        "groups": "which_model.html#clustered-and-longitudinal-designs",
        "infinite_estimates": "logistic_regression.html#separation-and-firths-estimate",
        "intervals": "inference.html#confidence-intervals",
        "likelihood_tests": "inference.html#wald-score-and-likelihood-ratio-tests",
        "missing_values": "limitations.html#missing-data",
        "model_comparison": "inference.html#comparing-models-aic-bic-and-qic",
        "multilevel_separation": "multilevel_logistic_regression.html#separation",
        "quadrature": "multilevel_logistic_regression.html#how-many-nodes-n_quadrature",
        "quadrature_comparison": "multilevel_logistic_regression.html#log-likelihoods-that-compare",
        "random_effects": "multilevel_linear_models.html#which-effects-vary",
        "repaired_correlation": "limitations.html#workingcorrelationwarning",
        "replicate_weights": "survey_weights.html#replicate-weights",
        "separation": "limitations.html#separationwarning",
        "several_factors": "multilevel_logistic_regression.html#crossed-and-nested-factors",
        "singular_fit": "limitations.html#singularfitwarning",
        "standard_errors": "inference.html#standard-errors-side-by-side",
        "survey_design": "survey_weights.html#the-design-enters-the-standard-errors",
        "survey_tests": "survey_weights.html#tests",
        "time": "marginal_models_in_practice.html#time-and-gaps",
        "time_order": "limitations.html#timeorderwarning",
        "unseen_levels": "multilevel_linear_models.html#prediction",
        "weight_type": "weights.html#which-one-do-i-have",
        "weight_use": "limitations.html#weightwarning",
        "weights": "weights.html",
        "working_correlation": "marginal_models.html#which-correlation",
    }
)

_OF_WARNINGS = {
    "CollinearityWarning": "collinearity",
    "ConvergenceWarning": "convergence",
    "FewClustersWarning": "few_clusters",
    "SeparationWarning": "separation",
    "SingularFitWarning": "singular_fit",
    "TimeOrderWarning": "time_order",
    "WeightWarning": "weight_use",
    "WorkingCorrelationWarning": "repaired_correlation",
}


def site() -> str:
    """Return the address of the documentation, without a slash at its end."""
    return os.environ.get(_ELSEWHERE, "").strip().rstrip("/") or SITE


def docs_link(topic: str) -> str:
    """Return the address of the section that explains a topic.

    Parameters
    ----------
    topic : str
        A key of `TOPICS`.

    Returns
    -------
    str
        The address.

    Raises
    ------
    KeyError
        If the topic is not known.

    Examples
    --------
    >>> from skdep._docs import docs_link
    >>> docs_link("separation").rpartition("/")[2]
    'limitations.html#separationwarning'
    """
    return f"{site()}/{TOPICS[topic]}"


def read_more(topic: str) -> str:
    r"""Return the last line of a message: a line break, and where to read more.

    Parameters
    ----------
    topic : str
        A key of `TOPICS`.

    Returns
    -------
    str
        To be put behind the message.

    Examples
    --------
    >>> from skdep._docs import read_more
    >>> read_more("weights").startswith("\nRead more: ")
    True
    """
    return f"\nRead more: {docs_link(topic)}"


def topic_of_warning(category: type[Warning]) -> str | None:
    """Return the topic of a class of warnings, its own or that of the nearest class it derives from; None without one.

    Parameters
    ----------
    category : type
        A warning's class.

    Returns
    -------
    str or None
        A key of `TOPICS`.
    """
    topics = (_OF_WARNINGS.get(parent.__name__) for parent in category.__mro__)
    return next((topic for topic in topics if topic is not None), None)


def api_link(cls: type) -> str:
    """Return the address of a public class's page in the reference.

    Parameters
    ----------
    cls : type
        A class of skdep.

    Returns
    -------
    str
        The address; that of the whole reference where the class is not public.

    Examples
    --------
    >>> from skdep import MixedLinear
    >>> from skdep._docs import api_link
    >>> api_link(MixedLinear).rpartition("/")[2]
    'skdep.MixedLinear.html'
    """
    home = _public_home(cls)
    return f"{site()}/api.html" if home is None else f"{site()}/api/{home}.{cls.__name__}.html"


def _public_home(cls: type) -> str | None:
    """Return the shortest module that names the class among what it offers."""
    from importlib import import_module

    parts = cls.__module__.split(".")
    for n_parts in range(1, len(parts) + 1):
        home = ".".join(parts[:n_parts])
        module = import_module(home)
        if cls.__name__ in getattr(module, "__all__", ()) and getattr(module, cls.__name__, None) is cls:
            return home
    return None

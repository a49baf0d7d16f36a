"""
Multilevel or marginal? Two questions about the same children
=============================================================

It was recorded of 537 children, at the ages of seven to ten, whether they wheezed. A parent asks what becomes of *one*
child. The city asks how many children of a group will wheeze. For binary outcomes these are two questions with two
answers: an odds ratio at the same propensity (conditional, from a multilevel model), and an odds ratio between rates
(marginal, or population-averaged, from a GEE). Neither is a biased version of the other, and
``population_average`` leads from the first to the second. What goes wrong is to take the one for the other's question.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit, logit

from skdep import GEEClassifier, MixedLogit
from skdep.datasets import load_cbpp, load_ohio, load_respiratory
from skdep.inference import coef_table, population_average

# Okabe and Ito: told apart by colour-blind readers
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"

# %%
# Two models of the same rows
# ---------------------------
# The multilevel model gives each child a propensity of its own. The GEE models the rates, and takes the likeness of a
# child's reports for a nuisance. ``population_average`` integrates the multilevel model over the propensities.
ohio = load_ohio()
X, wheeze, child = ohio.data, ohio.target, ohio.groups
multilevel = MixedLogit().fit(X, wheeze, groups=child)
marginal = GEEClassifier(working_correlation="exchangeable").fit(X, wheeze, groups=child, time=ohio.time)
averaged = population_average(multilevel, X)
print(averaged, "\n")

ENDS = ["estimate", "conf_low", "conf_high"]
ratios = {
    "one child (MixedLogit)": np.exp(coef_table(multilevel)[ENDS].astype(float)),
    "rates (MixedLogit, averaged)": np.exp(
        averaged.to_frame().rename(columns={"population_average": "estimate"})[ENDS].astype(float)
    ),
    "rates (GEE)": np.exp(coef_table(marginal)[ENDS].astype(float)),
}
odds = pd.concat(ratios, names=["odds ratio of", "feature"]).swaplevel().sort_index(level=0, sort_remaining=False)
print(odds.drop(index="Intercept", level=0).round(2).to_string())

# %%
# The parent's question, and the city's
# -------------------------------------
# The parent: a child who at seven wheezes in every second year is how likely to wheeze at ten? The same child at two
# ages is compared, so that the conditional odds ratio of age applies. The city: if so many of a thousand children
# wheeze whose mothers do not smoke, how many do whose mothers smoke? Rates are compared, and the marginal odds ratio
# applies. The rate in the data says which of the two hits it.
YEARS = 3
slope = {"conditional": multilevel.coef_[0], "marginal": marginal.coef_[0]}
age, smoke = (list(X.columns).index(name) for name in ("age", "smoke"))
parent = {kind: expit(logit(0.5) + YEARS * beta[age]) for kind, beta in slope.items()}
rate = wheeze.groupby(X["smoke"]).mean()
city = {kind: 1000 * expit(logit(rate[0]) + beta[smoke]) for kind, beta in slope.items()}
seen = 1000 * rate[1]
answers = pd.DataFrame(
    {
        "a child of 50% at seven, at ten (%)": {kind: 100 * p for kind, p in parent.items()},
        "of 1000 whose mothers smoke": city,
    }
)
print(answers.round(1).to_string(), f"\nseen of 1000 whose mothers smoke: {seen:.1f}")

# %%
# How far apart are the two?
# --------------------------
# Averaging flattens log odds, the more the more clusters differ: by about :math:`1/\sqrt{1 + c^2\sigma^2}` with
# :math:`c = 16\sqrt{3}/(15\pi)`. Three studies beside the formula:
trial, herds = load_respiratory(), load_cbpp()
treated = pd.DataFrame(
    {"active": trial.data["treat"] == "A", "good before": trial.data["baseline"], "center 2": trial.data["center"] == 2}
).astype(float)
periods = pd.get_dummies(herds.data, drop_first=True, dtype=float)
studies = {
    "herds (disease)": (periods, herds.target, herds.groups),
    "children (wheeze)": (X, wheeze, child),
    "patients (status)": (treated, trial.target, trial.groups),
}
spread, flattened = {}, {}
for name, (features, outcome, cluster) in studies.items():
    fit = MixedLogit().fit(features, outcome, groups=cluster)
    spread[name] = float(np.sqrt(fit.random_covariance_[cluster.name][0, 0]))
    flattened[name] = population_average(fit, features).to_frame()["attenuation"].drop("Intercept").astype(float)
    print(f"{name}: SD between clusters {spread[name]:.2f}, coefficients times {flattened[name].mean():.2f}")

# %%
# All on one screen
# -----------------
# At the left four children who differ in what was not observed, and the rate of all. At the right both odds ratios of
# both features, and their ratio in three studies.
figure = plt.figure(figsize=(9, 5.4), layout="constrained")
panels = figure.subplot_mosaic([["one", "odds"], ["one", "studies"]], width_ratios=[1, 1.15])
grid = np.linspace(-2, 1, 61)
for start in (0.05, 0.2, 0.5, 0.8):
    path = 100 * expit(logit(start) + (grid + 2) * slope["conditional"][age])
    panels["one"].plot(grid + 9, path, color=BLUE, linewidth=1.2)
not_smoking = pd.DataFrame({"age": grid, "smoke": 0.0})
panels["one"].plot(grid + 9, 100 * multilevel.predict_proba(not_smoking)[:, 1], color=ORANGE, linewidth=3)
seen_rates = 100 * wheeze[X["smoke"] == 0].groupby(X["age"]).mean()
panels["one"].plot(seen_rates.index + 9, seen_rates, "s", color="black", markersize=5)
panels["one"].plot([], [], color=BLUE, linewidth=1.2, label="one child, four propensities")
panels["one"].plot([], [], color=ORANGE, linewidth=3, label="rate of the population")
panels["one"].plot([], [], "s", color="black", markersize=5, label="rate seen")
panels["one"].set(
    xticks=[7, 8, 9, 10],
    ylim=(0, 115),
    yticks=range(0, 101, 20),
    xlabel="age (years)",
    ylabel="probability of wheeze (%)",
    title="Mothers who do not smoke",
)
panels["one"].legend(frameon=False, loc="upper right")

looks = {name: look for name, look in zip(ratios, [(BLUE, "o"), (ORANGE, "D"), (GREEN, "s")])}
for shift, (name, (colour, marker)) in zip((0.22, 0.0, -0.22), looks.items()):
    table = ratios[name].loc[["smoke", "age"]]
    panels["odds"].errorbar(
        table["estimate"],
        np.array([1.0, 0.0]) + shift,
        xerr=[table["estimate"] - table["conf_low"], table["conf_high"] - table["estimate"]],
        fmt=marker,
        color=colour,
        capsize=3,
        label=name,
    )
panels["odds"].axvline(1, color=GREY, linewidth=1, linestyle="--")
panels["odds"].set_xscale("log")
panels["odds"].set_xticks([0.7, 1, 1.5, 2, 2.5], labels=["0.7", "1", "1.5", "2", "2.5"])
panels["odds"].minorticks_off()
panels["odds"].set(
    ylim=(-0.5, 1.5), xlim=(0.68, 6.2), xlabel="odds ratio of wheeze, 95% interval", title="Two odds ratios"
)
panels["odds"].set_yticks([1, 0], ["mother\nsmokes", "a year\nolder"])
panels["odds"].legend(frameon=False, loc="lower right", fontsize=9)

sigma = np.linspace(0, 3, 61)
c = 16 * np.sqrt(3) / (15 * np.pi)
panels["studies"].plot(sigma, 1 / np.sqrt(1 + c**2 * sigma**2), color=GREY, linestyle="--", label="formula")
for (name, factors), marker, colour in zip(flattened.items(), "^os", (GREEN, BLUE, ORANGE)):
    panels["studies"].plot([spread[name]] * len(factors), factors, marker, color=colour, label=name, linestyle="none")
panels["studies"].set(
    xlim=(0, 3),
    ylim=(0.4, 1.05),
    xlabel="SD of log odds between clusters",
    ylabel="marginal / conditional",
    title="How far apart?",
)
panels["studies"].legend(frameon=False, loc="lower left", fontsize=9)
for axes in panels.values():
    axes.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# Each question takes the odds ratio that compares what it compares.
miss = {kind: abs(city[kind] - seen) for kind in slope}
for_city = min(miss, key=miss.get)
effect = ratios["rates (GEE)"].loc["smoke"]
open_question = effect["conf_low"] < 1 < effect["conf_high"]
decision = (
    f"Decision: choose by the question. The city plans for {city[for_city]:.0f} of a thousand children whose mothers "
    f"smoke ({seen:.0f} were seen), by the {for_city} odds ratio; the other one would have it plan for "
    f"{max(city.values()):.0f}, {max(miss.values()):.0f} too many. The parent is told "
    f"{100 * parent['conditional']:.0f}% for a child at 50% three years ago, by the conditional one; the marginal one "
    f"would say {100 * parent['marginal']:.0f}%. Neither may claim that smoking does it: the interval of the odds "
    f"ratio, {effect['conf_low']:.2f} to {effect['conf_high']:.2f}, "
    f"{'leaves that open' if open_question else 'excludes one, but children were not randomised'}."
)
print(fill(decision, width=100))

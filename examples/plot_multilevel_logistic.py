"""
What does a treatment do for a patient, and what for a hundred of them?
=======================================================================

At two centers 111 patients with a respiratory illness received an active treatment or placebo, and their status was
judged at four visits. A multilevel model has a level for each patient: its odds ratio is that of *a* patient. The odds
ratio of the *population* is smaller, and a marginal model estimates that one. This example first finds out how many
quadrature nodes the likelihood takes, beside a study where Laplace's approximation fails; then sets both odds ratios,
and the probabilities that they stand for, on one screen, and decides whether to treat.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit

from skdep import GEEClassifier, MixedLogit
from skdep.datasets import load_ohio, load_respiratory
from skdep.inference import coef_table, icc, lrt, marginal_effects, odds_ratios, population_average

# Okabe and Ito: told apart by colour-blind readers
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#777777"

# %%
# Data: numbers for the categories, age in decades about its mean
# ---------------------------------------------------------------
# Placebo, center 1, women and mean age are the reference.
trial, ohio = load_respiratory(), load_ohio()
X = pd.DataFrame(
    {
        "active": trial.data["treat"] == "A",
        "good_before": trial.data["baseline"],
        "center_2": trial.data["center"] == 2,
        "male": trial.data["sex"] == "M",
        "decades": (trial.data["age"] - trial.data["age"].mean()) / 10,
    }
).astype(float)
patient, good = trial.groups, trial.target

# %%
# How many nodes?
# ---------------
# In both studies there are four binary rows for each cluster. Laplace's approximation is the first point of each line.
NODES = [1, 3, 5, 7, 9, 11, 15, 21, 25, 31]
studies = {"respiratory status (trial)": (X, good, patient), "wheeze (Ohio)": (ohio.data, ohio.target, ohio.groups)}
error, moved = {}, {}
for name, (features, outcome, cluster) in studies.items():
    fits = [MixedLogit(n_quadrature=k).fit(features, outcome, groups=cluster) for k in [*NODES, 61]]
    sd = np.array([np.sqrt(fit.random_covariance_[cluster.name][0, 0]) for fit in fits])
    error[name] = 100 * (sd[:-1] / sd[-1] - 1)
    first, last = (coef_table(fit) for fit in (fits[0], fits[-1]))
    moved[name] = ((first["estimate"] - last["estimate"]).abs() / last["std_error"]).max()
    print(f"{name}: standard deviation {sd[0]:.3f} by Laplace's approximation, {sd[-1]:.3f} by 61 nodes")

# %%
# The model, with as many nodes as it takes
# -----------------------------------------
# By default nodes are added until the likelihood does not change any more. The test of the treatment compares the
# likelihoods of two fits.
model = MixedLogit().fit(X, good, groups=patient)
print(f"\n{model.summary()}\n")
without = MixedLogit().fit(X.drop(columns="active"), good, groups=patient)
effect = lrt(without, model)
print(f"Treatment: {effect}")
print(f"Patients: standard deviation of log odds {np.sqrt(model.random_covariance_[patient.name][0, 0]):.2f}")
print(f"{icc(model)}\n")

# %%
# A patient, or the population?
# -----------------------------
# The same effect three times: of a patient; averaged over the patients of this model; and from a marginal model, which
# has no patients' effects at all. ``marginal_effects`` is in probabilities.
gee = GEEClassifier(working_correlation="exchangeable").fit(X, good, groups=patient)
columns = ["estimate", "conf_low", "conf_high"]
averaged = population_average(model, X).to_frame().rename(columns={"population_average": "estimate"})
ratios = {
    "one patient (MixedLogit)": odds_ratios(model).loc["active", columns],
    "population (MixedLogit, averaged)": np.exp(averaged.loc["active", columns].astype(float)),
    "population (GEE)": odds_ratios(gee).loc["active", columns],
}
ratios = pd.DataFrame(ratios).T.astype(float)
print(f"Odds ratio of a good status, active against placebo\n{ratios.round(2).to_string()}\n")
more = marginal_effects(model, X, features="active").loc["active"]

# %%
# Patients alike in their features: center 1, mean age, female, poor status before
# --------------------------------------------------------------------------------
# They still differ in what was not observed. Those in the middle gain most; an average is not what any of them gets.
alike = pd.DataFrame(0.0, index=["placebo", "active"], columns=X.columns)
alike.loc["active", "active"] = 1.0
percentile = np.linspace(0.5, 99.5, 199)
level = np.sqrt(model.random_covariance_[patient.name][0, 0]) * stats.norm.ppf(percentile / 100)
log_odds = model.intercept_[0] + alike.to_numpy() @ model.coef_[0]
probability = pd.DataFrame(100 * expit(log_odds[:, None] + level), index=alike.index, columns=percentile)
population = pd.Series(100 * model.predict_proba(alike)[:, 1], index=alike.index)

figure, (nodes, curves, forest) = plt.subplots(
    1, 3, figsize=(10.5, 4.6), layout="constrained", width_ratios=[1, 1.15, 1]
)
for (name, values), colour, marker in zip(error.items(), [GREEN, PURPLE], "os"):
    nodes.plot(NODES, values, color=colour, marker=marker, markersize=5, label=name)
nodes.axhline(0, color=GREY, linewidth=1, linestyle="--")
nodes.annotate(
    "Laplace's\napproximation",
    (1, error["wheeze (Ohio)"][0]),
    xytext=(4.5, 7.2),
    va="center",
    arrowprops={"arrowstyle": "-"},
)
nodes.set(
    xlabel="quadrature nodes",
    ylabel="error of the SD between clusters (%)",
    title="How many nodes?",
)
nodes.legend(frameon=False, loc="lower right")

for name, colour, line in [("active", BLUE, "-"), ("placebo", ORANGE, "-.")]:
    curves.plot(percentile, probability.loc[name], color=colour, linestyle=line, linewidth=2)
    curves.axhline(population[name], color=colour, linestyle=":", linewidth=1.5)
averages = {name: f"average, {name}: {value:.0f}%" for name, value in population.items()}
curves.text(1, population["active"] + 1.5, averages["active"], color=BLUE)
curves.text(
    99, population["placebo"] - 1.5, averages["placebo"].replace(" ", "\n", 1), color=ORANGE, ha="right", va="top"
)
curves.text(61, 73, "active", color=BLUE, ha="right")
curves.text(83, 33, "placebo", color=ORANGE)
curves.set(
    xlabel="percentile of the patient\namong those alike",
    ylabel="probability of a good status (%)",
    title="One patient, and the average",
    xlim=(0, 100),
    ylim=(0, 100),
)

rows = np.arange(len(ratios))[::-1]
for row, (name, ratio) in zip(rows, ratios.iterrows()):
    interval = [[ratio["estimate"] - ratio["conf_low"]], [ratio["conf_high"] - ratio["estimate"]]]
    forest.errorbar(ratio["estimate"], row, xerr=interval, fmt="o", color="black", capsize=3)
    forest.text(1.15, row + 0.15, f"{name.replace('MixedLogit, ', '')}: {ratio['estimate']:.1f}")
forest.axvline(1, color=GREY, linewidth=1, linestyle="--")
forest.set(
    xscale="log",
    xlim=(0.9, 30),
    ylim=(-0.5, len(ratios) - 0.4),
    yticks=[],
    xlabel="odds ratio, active against\nplacebo, 95% interval",
    title="Two questions, two odds ratios",
)
forest.set_xticks([1, 2, 5, 10, 20], labels=["1", "2", "5", "10", "20"])
forest.minorticks_off()
for axis in (nodes, curves, forest):
    axis.spines[["top", "right"]].set_visible(False)
forest.spines["left"].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# Treat if the test and the interval of the average gain both say so.
helps = effect.p_value < 0.05 and more["conf_low"] > 0
gain = probability.loc["active"] - probability.loc["placebo"]
(one, low, high), (all_, all_low, all_high) = ratios.iloc[:2].to_numpy()
percent = {name: f"{100 * more[name]:.0f}" for name in columns}
decision = (
    f"Decision: {'treat' if helps else 'do not treat on this evidence'} (p = {effect.p_value:.2g}). The odds of a good "
    f"status are multiplied by {one:.1f} ({low:.1f} to {high:.1f}) for a patient, by {all_:.1f} ({all_low:.1f} to "
    f"{all_high:.1f}) in the population. The first is for the patient, the second for the health service; neither is "
    f"wrong, and they do not compare. Of a hundred patients {percent['estimate']} more are well at a visit "
    f"({percent['conf_low']} to {percent['conf_high']}): one for every {np.ceil(1 / more['estimate']):.0f} treated. "
    f"They gain unequally: of patients alike, in poor status before, up to {gain.max():.0f} points, and at both ends "
    f"of the scale at most {gain.iloc[[0, -1]].max():.0f}. Laplace's approximation moves coefficients by up to "
    f"{moved['respiratory status (trial)']:.2f} standard errors here, and by up to {moved['wheeze (Ohio)']:.2f} in "
    "Ohio: let the nodes be chosen."
)
print(fill(decision, width=110))

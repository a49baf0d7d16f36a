"""
Do I need the survey weights?
=============================

Two surveys, one question. Of California's schools 200 were drawn, high schools more readily than elementary schools: do
poor schools score lower, and must the analysis be weighted? The first answer is yes, because the model forgot the type
of school; with it in the model the answer is no, and the unweighted fit is the better report. Of the United States'
people 7,846 had their cholesterol measured in 31 places: who should be screened? A program that ignores weights and
places is off by a percentage point or two, and more certain than it has a right to be.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit

from skdep import GEERegressor, LogitRegressor
from skdep.datasets import load_api, load_nhanes
from skdep.inference import coef_table, design_effects, weight_diagnostics

# Okabe and Ito: told apart by colour-blind readers
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"

# %%
# Schools: fit with and without the weights, compare
# --------------------------------------------------
# ``weight_diagnostics`` fits both ways and tests whether the difference is more than chance.
api = load_api("strat")
design = {"sample_weight": api.sample_weight, "strata": api.strata, "fpc": api.fpc}
without_type = (api.data[["ell", "meals"]] - api.data[["ell", "meals"]].mean()) / 10  # in ten percentage points
with_type = without_type.assign(middle=api.strata == "M", high=api.strata == "H").astype(float)
answers = {
    "without the type of school": weight_diagnostics(GEERegressor(), without_type, api.target, **design),
    "with the type of school": weight_diagnostics(GEERegressor(), with_type, api.target, **design),
}
for name, answer in answers.items():
    print(f"Model {name}: weights {'needed' if answer.weights_needed else 'not needed'}")
    print(fill(answer.verdict, 100), "\n")

# %%
# People: weights, strata and places enter the standard errors
# ------------------------------------------------------------
# The survey's model knows all three; the careless one takes people as drawn alike, one by one.
nhanes = load_nhanes()
ages = ["(19,39]", "(39,59]", "(59,Inf]"]
people = pd.DataFrame({age: nhanes.data["agecat"] == age for age in ages})
people["woman"] = nhanes.data["RIAGENDR"] == "2"
for age in ages:
    people[f"woman {age}"] = people["woman"] & people[age]
people = people.astype(float)
survey = LogitRegressor(weight_type="sampling").fit(
    people, nhanes.target, sample_weight=nhanes.sample_weight, strata=nhanes.strata, groups=nhanes.groups
)
careless = LogitRegressor().fit(people, nhanes.target)  # as if all were drawn alike, one by one
print(coef_table(survey)[["estimate", "std_error", "df", "p_value"]].to_string(float_format="%.3f"))
print(f"Median design effect: {design_effects(survey)['deff'].median():.2f}\n")

profiles = pd.DataFrame(0.0, index=pd.MultiIndex.from_product([["man", "woman"], ages]), columns=people.columns)
for sex, age in profiles.index:
    profiles.loc[(sex, age), age] = 1.0
    if sex == "woman":
        profiles.loc[(sex, age), ["woman", f"woman {age}"]] = 1.0


def probabilities(fit):
    """Return the probability of every profile, with the ends of its 95% interval."""
    columns = np.column_stack([np.ones(len(profiles)), profiles])
    eta = fit.decision_function(profiles)
    quantile = stats.t.ppf(0.975, coef_table(fit)["df"].iloc[0])  # of the survey: 9 degrees of freedom
    spread = quantile * np.sqrt(np.einsum("ij,jk,ik->i", columns, fit.covariance_, columns))
    return expit(np.stack([eta, eta - spread, eta + spread]))


# A screening is worth its cost where one in eight has high cholesterol.
THRESHOLD = 0.125
found = {"survey": probabilities(survey), "careless": probabilities(careless)}


# %%
# With and without, and beside each other
# ---------------------------------------
# At the left the schools: weighted and unweighted part only where the type of school was forgotten. At the right the
# people.
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.6), width_ratios=[1, 1.15], layout="constrained")
labels, position = [], 0
for name, answer in answers.items():
    table = answer.to_frame().drop("Intercept")
    for feature in ("ell", "meals"):
        row = table.loc[feature]
        for shift, kind, colour, marker in ((0.14, "unweighted", BLUE, "o"), (-0.14, "weighted", ORANGE, "s")):
            error = 2 * float(row["se_unweighted" if kind == "unweighted" else "se_weighted"])
            left.errorbar(
                float(row[kind]),
                position + shift,
                xerr=error,
                color=colour,
                marker=marker,
                capsize=3,
                label=kind if not labels else None,
            )
        labels.append(f"{'English learners' if feature == 'ell' else 'free meals'},\n{name}")
        position -= 1
left.set_yticks(range(0, -len(labels), -1), labels, fontsize=8)
left.axvline(0, color=GREY, linewidth=0.8)
left.set_xlabel("points of the index per ten percentage points")
left.set_title("Performance of schools", fontsize=11)
left.legend(frameon=False, fontsize=8, loc="upper left")

x = np.arange(len(profiles))
for shift, (name, colour, marker, label) in zip(
    (-0.12, 0.12),
    (("survey", ORANGE, "s", "weights and design"), ("careless", BLUE, "o", "neither")),
    strict=True,
):
    middle, low, high = 100 * found[name]
    right.errorbar(
        x + shift, middle, yerr=[middle - low, high - middle], fmt=marker, color=colour, capsize=3, label=label
    )
right.axhline(100 * THRESHOLD, color=GREY, linestyle="--", linewidth=0.9)
right.text(2.6, 100 * THRESHOLD + 0.25, "one in eight: worth screening", color=GREY, fontsize=8)
names = {"(19,39]": "20 to 39", "(39,59]": "40 to 59", "(59,Inf]": "60 and over"}
right.set_xticks(x, [f"{sex}\n{names[age]}" for sex, age in profiles.index], fontsize=8)
right.set_ylabel("high cholesterol, per cent")
right.set_title("Cholesterol in the United States", fontsize=11)
right.legend(frameon=False, fontsize=8, loc="lower right")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# A screening is worth its cost where at least one in eight has high cholesterol; the lower end of the interval decides.
screened = {name: profiles.index[low > THRESHOLD] for name, (_, low, _) in found.items()}
needed = {name: answer.weights_needed for name, answer in answers.items()}
chosen = ", ".join(f"{'women' if sex == 'woman' else 'men'} {age}" for sex, age in screened["survey"])
decision = (
    "Schools: put the type of school into the model and report the unweighted fit; the weights were only needed while "
    f"it was left out. Cholesterol: screen {chosen}, where more than one in eight is affected even at the lower end of "
    "the design-based interval."
)
print(fill(f"Decision: {decision}", 100))
assert needed == {"without the type of school": True, "with the type of school": False}

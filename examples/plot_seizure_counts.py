"""
Seizure counts: a trial that hangs on one patient
=================================================

Epileptic seizures of 59 patients were counted for eight weeks before they were randomised to progabide or placebo, and
for two weeks four times after. Counts over unequal times need an offset. They vary far more than a Poisson
distribution allows, so that ordinary Poisson regression is much too sure of itself. And one patient had 151 seizures
before and 302 after: what remains of the result without them?
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdep import GEERegressor
from skdep.datasets import load_epil
from skdep.inference import coef_table, influence
from skdep.plotting import InfluenceDisplay

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"  # Okabe and Ito: told apart by colour-blind readers

# %%
# Data: five counts of each patient, with the weeks that they cover
# -----------------------------------------------------------------
# The count before randomisation is an outcome as well, of eight weeks. Below are seizures a week.
epil = load_epil().frame
patients = epil.drop_duplicates("subject")
columns = ["subject", "trt", "seizures", "weeks", "after"]
before = patients.assign(seizures=patients["base"], weeks=8.0, after=0.0)[columns]
after = epil.assign(seizures=epil["y"], weeks=2.0, after=1.0)[columns]
counts = pd.concat([before, after], ignore_index=True)
counts["progabide"] = (counts["trt"] == "progabide").astype(float)
counts["progabide_after"] = counts["progabide"] * counts["after"]
per_week = counts.groupby(["trt", "after"])[["seizures", "weeks"]].sum()
print((per_week["seizures"] / per_week["weeks"]).unstack().round(2).to_string())

# %%
# A marginal model of the rates
# -----------------------------
# With the logarithm of the weeks as offset the model is of seizures a week. ``progabide_after`` is the question: by
# how much did the rate change under progabide, beyond its change under placebo? The scale is the variance over that of
# a Poisson distribution, which would be 1.
FEATURES, QUESTION = ["after", "progabide", "progabide_after"], "progabide_after"


def fit(rows: pd.DataFrame) -> GEERegressor:
    """Return the marginal Poisson model of some rows."""
    return GEERegressor(family="poisson", working_correlation="exchangeable").fit(
        rows[FEATURES], rows["seizures"], groups=rows["subject"], offset=np.log(rows["weeks"])
    )


def ordinary(rows: pd.DataFrame) -> GEERegressor:
    """Return ordinary Poisson regression: independent rows, variance equal to the mean."""
    return GEERegressor(family="poisson", scale=1.0, cov_type="naive").fit(
        rows[FEATURES], rows["seizures"], groups=rows["subject"], offset=np.log(rows["weeks"])
    )


everybody = fit(counts)
print(coef_table(everybody)[["estimate", "std_error", "p_value"]].astype(float).round(3).to_string())
print(f"variance {everybody.scale_:.1f} times that of a Poisson distribution; correlation {everybody.association_:.2f}")

# %%
# Who matters?
# ------------
# DFBETAS are the changes of a coefficient, in standard errors, when a patient is left out. One step of the fit is made
# for each of them, not a fit.
metadata = {"groups": counts["subject"], "offset": np.log(counts["weeks"])}
found = influence(everybody, counts[FEATURES], counts["seizures"], **metadata)
print(found.most_influential(3)[["cooks_distance", f"dfbetas {QUESTION}"]].round(2).to_string())
suspect = found.most_influential(1).index[0]
print(counts.loc[counts["subject"] == suspect, ["weeks", "seizures"]].to_string(index=False))

# %%
# With and without
# ----------------
# Kauermann and Carroll's standard error and a t distribution, since 59 clusters of very unequal weight are few.
data = {"all patients": counts, f"without patient {suspect}": counts[counts["subject"] != suspect]}
models = {"Poisson, independent rows": (ordinary, "naive"), "GEE, robust": (fit, "kc")}
results = pd.DataFrame(
    {
        (model, rows): coef_table(make(table), cov_type=cov_type).loc[QUESTION]
        for model, (make, cov_type) in models.items()
        for rows, table in data.items()
    }
).T.astype(float)
ratios = np.exp(results[["estimate", "conf_low", "conf_high"]]).assign(p_value=results["p_value"])
print("Ratio of rate ratios, progabide against placebo\n")
print(ratios.round(4).to_string())

# %%
# One stem stands out, and the intervals
# --------------------------------------
# Dashed lines at the left are two over the root of the number of patients, beyond which a look is worth while. Hollow
# marks at the right are results without the patient.
figure, (stems, forest) = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained", width_ratios=[1, 1.1])
InfluenceDisplay.from_influence(found, coefficient=QUESTION, n_labels=3, ax=stems)
stems.set(xlabel="patient", ylabel="change of the effect (DFBETAS)", title="Who moves the effect of progabide?")
looks = {"Poisson, independent rows": (ORANGE, "s"), "GEE, robust": (BLUE, "o")}
for row, ((model, rows), ratio) in zip([3.0, 2.2, 1.0, 0.2], ratios.iterrows()):
    colour, marker = looks[model]
    forest.errorbar(
        ratio["estimate"],
        row,
        xerr=[[ratio["estimate"] - ratio["conf_low"]], [ratio["conf_high"] - ratio["estimate"]]],
        fmt=marker,
        color=colour,
        capsize=3,
        fillstyle="full" if rows == "all patients" else "none",
    )
    p_value = f"p = {ratio['p_value']:.2f}" if ratio["p_value"] > 0.005 else "p < 0.005"
    forest.text(0.44, row + 0.13, f"{rows}, {p_value}", fontsize=9)
forest.axvline(1, color=GREY, linestyle="--", linewidth=1)
forest.set_xscale("log")
forest.set_xticks([0.5, 0.7, 1.0, 1.4], labels=["0.5", "0.7", "1", "1.4"])
forest.minorticks_off()
forest.set_yticks([2.6, 0.6], ["Poisson,\nindependent\nrows", "GEE,\nrobust"])
forest.set(
    ylim=(-0.2, 3.5),
    xlim=(0.42, 1.6),
    xlabel="ratio of rate ratios, 95% interval\n(below 1: progabide helps)",
    title="What is left of it?",
)
for axes in (stems, forest):
    axes.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# A patient is not left out because they are inconvenient. Both results are reported, and the decision is one that
# holds for both.
shown = ratios["conf_high"] < 1
robust, careless = ratios.loc["GEE, robust"], ratios.loc["Poisson, independent rows"]
everyone, without = (robust.loc[rows] for rows in data)
if shown["GEE, robust"].all():
    verdict = "give progabide"
elif not shown["GEE, robust"].any():
    verdict = "do not adopt progabide on this trial, and run a larger one"
else:
    verdict = f"no decision that holds both with and without patient {suspect}; run a larger trial"
flips = shown["Poisson, independent rows"].nunique() > 1
decision = (
    f"Decision: {verdict}. Progabide multiplies the rate by {everyone['estimate']:.2f} ({everyone['conf_low']:.2f} to "
    f"{everyone['conf_high']:.2f}) beyond placebo, and by {without['estimate']:.2f} ({without['conf_low']:.2f} to "
    f"{without['conf_high']:.2f}) without patient {suspect}: the estimate hangs on one patient, the decision does "
    f"not. Poisson regression of independent rows, which takes variances to equal means where they "
    f"are {everybody.scale_:.0f} times as large, gives "
    f"p = {careless['p_value'].iloc[0]:.2g} with and p = {careless['p_value'].iloc[1]:.2g} without "
    f"the patient{', and would have let one patient decide' if flips else ''}."
)
print(fill(decision, width=100))

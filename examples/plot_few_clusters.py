"""
How many clusters are enough? Jaws of boys and girls
====================================================

Do girls need a growth chart of their own? The distance between two points of the jaw was measured in 27 children, four
times each. A child is a cluster, and 27 are few; suppose that only eight had been enrolled so far. The robust sandwich,
read with the normal distribution, calls the difference significant with eight. Kauermann and Carroll's correction and
the t distribution do not, and a simulation says which of them to believe: eight children are too few for the first, and
enough for the second to say honestly how little they show.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdep import GEERegressor
from skdep.datasets import load_orthodont
from skdep.inference import coef_table

# Okabe and Ito: told apart by colour-blind readers, and each kind has a marker of its own
STYLES = {
    "naive": ("#777777", "v", "naive, normal"),
    "robust": ("#D55E00", "s", "robust, normal"),
    "kc": ("#0072B2", "o", "Kauermann-Carroll, t"),
    "md": ("#009E73", "^", "Mancl-DeRouen, t"),
}
LEVEL = 0.95

# %%
# Real children: the first eight, and more
# ----------------------------------------
# The study grows from eight children to all 27, half of them girls for as long as there are any.
jaws = load_orthodont()
X = pd.DataFrame({"age": jaws.data["age"] - 11.0, "girl": (jaws.data["Sex"] == "Female").astype(float)})
X["age_girl"] = X["age"] * X["girl"]  # with it `girl` is the difference at the age of eleven
children = jaws.groups.astype(str)
girl = X["girl"].groupby(children).first()


def enrolled(n_children):
    """Return rows of the first so many children, half of them girls, as far as there are."""
    n_girls = min(n_children // 2, int(girl.sum()))
    chosen = [*girl.index[girl == 1][:n_girls], *girl.index[girl == 0][: n_children - n_girls]]
    return children.isin(chosen)


def intervals(fit):
    """Return the rows of `girl` by kind of standard error; corrections for few clusters have the t distribution."""
    return pd.DataFrame({kind: coef_table(fit, cov_type=kind, level=LEVEL).loc["girl"] for kind in STYLES}).T


SIZES = [8, 12, 16, 22, 27]
found = {}
for n_children in SIZES:
    rows = enrolled(n_children)
    fit = GEERegressor(working_correlation="exchangeable").fit(X[rows], jaws.target[rows], groups=children[rows])
    found[n_children] = intervals(fit)
table = pd.concat(found, names=["children", "standard error"])[["estimate", "std_error", "df", "p_value"]].astype(float)
print(table.round(3).to_string(), "\n")
truth, spread, likeness = fit, np.sqrt(fit.scale_), fit.association_  # of all 27 children

# %%
# Simulated children: how often is the truth in the interval?
# -----------------------------------------------------------
# Children who differ as the real ones do, with a difference between girls and boys that is known: that of the 27.
SIMULATED, N_REPEATS = [8, 14, 27, 54], 250
rng = np.random.default_rng(0)
coverage = pd.DataFrame(0.0, index=SIMULATED, columns=list(STYLES))
difference = truth.coef_[1]
for n_children in SIMULATED:
    is_girl = np.repeat(np.arange(n_children) < round(n_children * girl.mean()), 4).astype(float)
    ages = np.tile([-3.0, -1.0, 1.0, 3.0], n_children)
    X_simulated = pd.DataFrame({"age": ages, "girl": is_girl, "age_girl": ages * is_girl})
    labels, mean = np.repeat(np.arange(n_children), 4), truth.predict(X_simulated)
    for _ in range(N_REPEATS):
        of_child = np.repeat(rng.normal(size=n_children), 4)
        of_visit = rng.normal(size=4 * n_children)
        y = mean + spread * (np.sqrt(likeness) * of_child + np.sqrt(1 - likeness) * of_visit)
        simulated = GEERegressor(working_correlation="exchangeable").fit(X_simulated, y, groups=labels)
        for kind in STYLES:
            ends = coef_table(simulated, cov_type=kind, level=LEVEL)
            covered = ends["conf_low"]["girl"] < difference < ends["conf_high"]["girl"]
            coverage.loc[n_children, kind] += 100 * covered / N_REPEATS
print(coverage.rename_axis("children").round(1).to_string(), "\n")

# %%
# Intervals, and how often they are right
# ---------------------------------------
# At the left what each standard error says as children are enrolled; at the right how often it says the truth.
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.6), width_ratios=[1.25, 1], layout="constrained")
for number, (kind, (colour, marker, name)) in enumerate(STYLES.items()):
    rows = pd.DataFrame({size: found[size].loc[kind] for size in SIZES}).T.astype(float)
    left.errorbar(
        np.arange(len(SIZES)) + 0.16 * (number - 1.5),
        rows["estimate"],
        yerr=[rows["estimate"] - rows["conf_low"], rows["conf_high"] - rows["estimate"]],
        fmt=marker,
        color=colour,
        capsize=3,
        markersize=5,
        label=name,
    )
    right.plot(SIMULATED, coverage[kind], marker=marker, color=colour, markersize=5, label=name)
left.axhline(0, color="black", linewidth=0.8)
left.set_xticks(range(len(SIZES)), SIZES)
left.set_xlabel("children enrolled")
left.set_ylabel("girls less boys at age 11, mm")
left.set_title("95% intervals of real children", fontsize=11)
left.legend(frameon=False, fontsize=8, loc="lower right")

error = 100 * 1.96 * np.sqrt(LEVEL * (1 - LEVEL) / N_REPEATS)
right.axhspan(100 * LEVEL - error, 100 * LEVEL + error, color="#DDDDDD", linewidth=0)
right.axhline(100 * LEVEL, color="black", linewidth=0.8)
right.text(SIMULATED[-1], 100 * LEVEL + error - 0.1, "grey: chance of the simulation", ha="right", va="top", fontsize=8)
right.set_xscale("log")
right.set_xticks(SIMULATED, SIMULATED)
right.minorticks_off()
right.set_xlabel("children in a simulated study")
right.set_ylabel("intervals that hold the truth, per cent")
right.set_title("Which of them keep their promise?", fontsize=11)
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# A second chart is drawn as soon as the interval excludes zero, by a rule that holds its 95% with so few children.
p_values = table["p_value"].unstack()
early = {kind: int(p_values.index[p_values[kind] < 1 - LEVEL][0]) for kind in STYLES}
at_eight, everyone = p_values.loc[8], found[27].loc["kc"]
decision = (
    "with eight children wait. The robust sandwich with the normal distribution would draw a second chart "
    f"(p = {at_eight['robust']:.3f}), but its 95% intervals hold the truth {coverage.loc[8, 'robust']:.0f}% of the "
    f"time; Kauermann and Carroll's with t ({coverage.loc[8, 'kc']:.0f}%) sees no reason before {early['kc']} children "
    f"(p = {at_eight['kc']:.2f} with eight). With all 27 draw it: at eleven girls' distance is "
    f"{-everyone['estimate']:.1f} mm shorter ({-everyone['conf_high']:.1f} to {-everyone['conf_low']:.1f}), and every "
    "standard error agrees."
)
print(fill(f"Decision: {decision}", 100))
assert early["robust"] == 8 < early["kc"] <= early["md"]
assert coverage.loc[8, "robust"] < 92 < coverage.loc[8, "kc"]
assert (p_values.loc[27] < 1 - LEVEL).all()

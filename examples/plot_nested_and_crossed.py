"""
Nested and crossed: where to spend the next measurements
========================================================

Two classical experiments about measuring. A paste comes in batches, the batches in casks, and the sample of a cask is
assayed twice: casks are *nested* in batches. Six samples of penicillin are tested on each of 24 plates: samples and
plates are *crossed*. In both the question is what a measurement varies by, and therefore what to repeat: with the
variance components of the first experiment the next one can be designed before it is made.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdep import MixedLinear
from skdep.datasets import load_pastes, load_penicillin
from skdep.inference import profile_interval, variance_components

# Okabe and Ito: told apart by colour-blind readers
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"

# %%
# Two designs, one call
# ---------------------
# ``groups`` has a column for each factor, and whether these are nested or crossed is read off the labels. (The labels
# of casks restart in every batch; the data set joins both, as ``skdep.interaction`` does.) There are no features: an
# intercept, and a variance for each factor.
pastes, penicillin = load_pastes(), load_penicillin()
paste = MixedLinear().fit(pastes.data, pastes.target, groups=pastes.groups)
zones = MixedLinear().fit(penicillin.data, penicillin.target, groups=penicillin.groups)
for name, fit in {"paste, nested": paste, "penicillin, crossed": zones}.items():
    print(f"{name}\n{variance_components(fit)}\n")

# %%
# How sure are they?
# ------------------
# Ten batches say little about the variance between batches: its interval begins at zero. A design should do well for
# any value in the interval. (Profiles are of the full likelihood, whose estimates of variances between few levels are
# below those of REML above.)
intervals = {
    "paste": profile_interval(paste, X=pastes.data, y=pastes.target, groups=pastes.groups).to_frame(),
    "penicillin": profile_interval(zones, X=penicillin.data, y=penicillin.target, groups=penicillin.groups).to_frame(),
}
intervals = {name: table[table.index.str.contains("SD")].astype(float) for name, table in intervals.items()}
for name, table in intervals.items():
    print(f"{name}, profile likelihood\n{table.round(2).to_string()}\n")

# %%
# Nested: a budget for the mean strength of a delivery
# ----------------------------------------------------
# With :math:`c` casks of one batch and :math:`a` assays of each the mean of the batch is known up to the variance
# :math:`\sigma^2_{cask}/c + \sigma^2/(ca)`. To open a cask costs 2, an assay 1, and 24 may be spent.
OPEN, ASSAY, BUDGET = 2.0, 1.0, 24.0
cask = float(paste.random_covariance_["batch:cask"][0, 0])
assays = np.arange(1, 7)
casks = np.floor(BUDGET / (OPEN + ASSAY * assays)).astype(int)
designs = pd.DataFrame(
    {"casks": casks, "standard error": np.sqrt(cask / casks + paste.sigma2_ / (casks * assays))},
    index=pd.Index(assays, name="assays a cask"),
)
print(designs.round(3).to_string())
ideal = np.sqrt(OPEN / ASSAY * paste.sigma2_ / cask)
print(f"The best number of assays a cask is near sqrt(cost ratio x variance ratio) = {ideal:.2f}")

# %%
# Crossed: two samples on the same plates, or each on plates of its own
# ---------------------------------------------------------------------
# On the same plates the plates cancel: the difference of two samples has the variance :math:`2\sigma^2/n` on :math:`n`
# plates, and otherwise :math:`2(\sigma^2_{plate} + \sigma^2)/n`, :math:`n` plates for each of them.
plate = float(zones.random_covariance_["plate"][0, 0])
plates = np.arange(1, 25)
same = np.sqrt(2 * zones.sigma2_ / plates)
own = np.sqrt(2 * (plate + zones.sigma2_) / plates)
WANTED = 0.3  # mm: the standard error of a difference that is good enough
needed = {name: int(plates[error <= WANTED].min()) for name, error in {"same": same, "own": own}.items()}
print(f"plates for a standard error of {WANTED} mm: {needed['same']} shared, {needed['own']} for each sample otherwise")

# %%
# Where the variation is, and what to repeat
# ------------------------------------------
# At the left the standard deviations of one measurement. In the middle and at the right what a further experiment would
# be worth.
figure, (shares, nested, crossed) = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained")
labels, place = [], 0
names = {"paste": ["batch", "cask", "assay"], "penicillin": ["plate", "sample", "assay"]}
for (study, table), colour, marker in zip(intervals.items(), (ORANGE, BLUE), "os"):
    for level, (_, row) in zip(names[study], table.iterrows()):
        shares.errorbar(
            row["estimate"],
            place,
            xerr=[[row["estimate"] - row["conf_low"]], [row["conf_high"] - row["estimate"]]],
            fmt=marker,
            color=colour,
            capsize=3,
            label=study if level == "assay" else None,
        )
        labels.append(f"{study},\n{level}")
        place -= 1
shares.set_yticks(range(0, place, -1), labels, fontsize=9)
shares.set(
    xlim=(0, None),
    xlabel="standard deviation, 95% interval\n(paste: units of the table; penicillin: mm)",
    title="What a measurement varies by",
)
nested.plot(assays, designs["standard error"], "o-", color=ORANGE)
for number, row in designs.iterrows():
    bought = f"{row['casks']:.0f}"
    place = (number, row["standard error"])
    nested.annotate(bought, place, xytext=(0, -16), textcoords="offset points", ha="center")
nested.set(
    ylim=(0, 1.25 * designs["standard error"].max()),
    xticks=assays,
    xlim=(0.1, 6.4),
    xlabel="assays of each cask",
    ylabel="standard error of a batch's mean",
    title=f"Paste: casks that {BUDGET:.0f} buys",
)
crossed.plot(plates, own, color=GREEN, linestyle="--", label="each on its own plates")
crossed.plot(plates, same, color=BLUE, label="both on the same plates")
crossed.axhline(WANTED, color=GREY, linestyle=":", linewidth=1)
for name, colour, marker in [("own", GREEN, "^"), ("same", BLUE, "s")]:
    crossed.plot(needed[name], {"own": own, "same": same}[name][needed[name] - 1], marker, color=colour)
    crossed.text(needed[name], WANTED + 0.04, f"{needed[name]}", color=colour, ha="left")
crossed.set(
    ylim=(0, None),
    xlabel="plates a sample",
    ylabel="standard error of a difference (mm)",
    title="Penicillin: two samples",
)
crossed.legend(frameon=False)
for axes in (shares, nested, crossed):
    axes.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# Does the design of the paste depend on what is not known of the variances? Try the ends of both intervals.
ends = (
    intervals["paste"].loc[["SD of Intercept by batch:cask", "Residual SD"], ["conf_low", "conf_high"]].to_numpy() ** 2
)
best = int(designs["standard error"].idxmin())
at_ends = {
    int(assays[np.argmin(cask_variance / casks + assay_variance / (casks * assays))])
    for cask_variance in ends[0]
    for assay_variance in ends[1]
}
now = designs.loc[2, "standard error"]
decision = (
    f"Decision: paste: open more casks. Between casks there are {cask / paste.sigma2_:.0f} times the variance of an "
    f"assay, so spend the {BUDGET:.0f} on {designs.loc[best, 'casks']:.0f} casks with {best} "
    f"assay{'s' if best > 1 else ''} each (standard error {designs.loc[best, 'standard error']:.2f}) and not on "
    f"{designs.loc[2, 'casks']:.0f} with two, as the experiment did ({now:.2f}); "
    f"{'so it is' if at_ends == {best} else 'not so'} at both ends of both intervals. Penicillin: keep the samples on "
    f"the same plates. A difference then needs {needed['same']} plates, and else {needed['own']} for each sample."
)
print(fill(decision, width=100))

"""
Two people, two priors, two conclusions: and when they agree
============================================================

Should a city help mothers to stop smoking, for the sake of their children's breath? Of 537 children it was recorded at
four ages whether they wheezed. A physician expects that smoking doubles the odds; a sceptic is nearly sure of no
effect. With the same data and the same losses they decide differently, and neither makes a mistake. This example says
which priors lead to which decision, and how many more children it would take until both decide alike.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logit

from skdep import BayesLogit, MixedLogit
from skdep.bayes import Normal
from skdep.datasets import load_ohio
from skdep.inference import coef_table, population_average

# Okabe and Ito: told apart by colour-blind readers
STYLES = {"sceptic": ("#D55E00", "s", "--"), "physician": ("#0072B2", "o", "-")}
GREY = "#777777"

# %%
# Two beliefs, one study
# ----------------------
# The coefficient is the log odds ratio of a child, had the mother smoked. All else has the default priors, the same
# for both.
ohio = load_ohio()
X, wheeze, child = ohio.data, ohio.target, ohio.groups
beliefs = {"sceptic": Normal(0.0, 0.15), "physician": Normal(0.7, 0.35)}
for name, prior in beliefs.items():
    low, high = np.exp(prior.interval(0.9))
    print(f"{name}: the odds ratio is between {low:.1f} and {high:.1f} with probability 90%")

# %%
# Losses
# ------
# To help a mother costs 1, a year in which her child wheezes costs 40. Helping pays if it takes the probability down by
# more than 1/40. A function of the posterior draws is the loss: columns are a child of a mother who does not smoke, and
# of one who does.
HELP, WHEEZE = 1.0, 40.0
pair = pd.DataFrame({"age": 0.0, "smoke": [0.0, 1.0]})


def losses(p: np.ndarray) -> dict[str, np.ndarray]:
    """Return the loss of each action at each draw of the two probabilities."""
    return {"wait": WHEEZE * p[:, 1], "help": HELP + WHEEZE * p[:, 0]}


# %%
# What would more children change?
# --------------------------------
# First half of the children, then all, then two, four, ... times as many, as if further children
# answered like these: every child enters again under a new label.
N_CHILDREN = child.nunique()
order = pd.Series(np.random.default_rng(0).permutation(N_CHILDREN), index=child.unique())
place = child.map(order).to_numpy()
models, rows = {}, []
for share in (0.5, 1, 2, 4, 8, 16):
    kept = place < share * N_CHILDREN
    copies = max(1, int(share))
    features, outcome = (pd.concat([table[kept]] * copies, ignore_index=True) for table in (X, wheeze))
    labels = np.concatenate([place[kept] + copy * N_CHILDREN for copy in range(copies)])
    for name, prior in beliefs.items():
        model = BayesLogit({"smoke": prior}, n_draws=500, random_state=0).fit(features, outcome, groups=labels)
        made = model.decision(pair, losses)
        draws = model.draws_["coef"][..., 1]
        saved = made.expected_loss[0] @ [1.0, -1.0]
        rows.append([name, len(set(labels)), draws.mean(), draws.std(), made.action_labels[0], saved, made.evpi[0]])
        if share == 1:
            models[name] = model
columns = ["belief", "children", "mean", "sd", "action", "saved by helping", "perfect information"]
table = pd.DataFrame(rows, columns=columns)
print(table.round(3).to_string(index=False))

# %%
# Which priors lead to which decision?
# ------------------------------------
# Prior and likelihood are weighed by their precisions: with an estimate :math:`b` of standard error :math:`s` and a
# normal prior with mean :math:`m` and standard deviation :math:`\tau` the posterior mean is near
# :math:`(m/\tau^2 + b/s^2) / (1/\tau^2 + 1/s^2)`. That is enough to draw a map of all priors, and it is checked with
# the two that were fitted.
likelihood = MixedLogit().fit(X, wheeze, groups=child)
b, s = coef_table(likelihood).loc["smoke", ["estimate", "std_error"]].astype(float)
prior_mean, prior_sd = np.meshgrid(np.linspace(-0.4, 1.2, 161), np.geomspace(0.05, 1.5, 121))


def posterior_mean(m, tau):
    """Return the mean that a normal prior and a normal likelihood lead to."""
    return (m / tau**2 + b / s**2) / (1 / tau**2 + 1 / s**2)


now = table[table["children"] == N_CHILDREN].set_index("belief")
for name, prior in beliefs.items():
    by_formula = posterior_mean(prior.loc, prior.scale)
    print(f"{name}: posterior mean {now.loc[name, 'mean']:.3f}, by the formula {by_formula:.3f}")

# The coefficient at which helping just pays: a difference of 1/40 between rates, brought back within a child.
attenuation = float(population_average(likelihood, X).to_frame().loc["smoke", "attenuation"])
rate = likelihood.predict_proba(pair)[0, 1]
even = (logit(rate + HELP / WHEEZE) - logit(rate)) / attenuation
print(f"helping pays if the coefficient is above about {even:.2f}")

# %%
# Belief, map of the priors, and agreement
# ----------------------------------------
# At the left each belief before and after the study. In the middle all normal priors: those in the blue region lead to
# help. At the right what helping saves in the eyes of both, as children are added.
figure, (belief, regions, agreement) = plt.subplots(1, 3, figsize=(10.5, 4.3), layout="constrained")
grid = np.linspace(-0.6, 1.6, 221)
for name, (colour, marker, line) in STYLES.items():
    prior = beliefs[name]
    belief.plot(grid, stats.norm.pdf(grid, prior.loc, prior.scale), color=colour, linewidth=1, linestyle=":")
    density = stats.gaussian_kde(models[name].draws_["coef"][..., 1].ravel(), bw_method=0.35)(grid)
    belief.plot(grid, density, color=colour, linestyle=line, linewidth=2, label=name)
    part = table[table["belief"] == name]
    agreement.plot(part["children"], part["saved by helping"], color=colour, marker=marker, linestyle=line, label=name)
    regions.plot(prior.loc, prior.scale, marker, color=colour, markersize=9, markeredgecolor="black", label=name)
belief.axvline(even, color=GREY, linewidth=1, linestyle="--")
belief.plot([], [], color="black", linewidth=1, linestyle=":", label="their priors")
belief.text(even + 0.03, 2.55, "helping pays\nright of here", color=GREY, va="top")
belief.set(
    xlim=(grid[0], grid[-1]),
    ylim=(0, 3.7),
    xlabel="log odds ratio of a child, mother smokes",
    ylabel="density",
    title=f"Belief after {N_CHILDREN} children",
)
belief.legend(frameon=False, loc="upper right")
shown = posterior_mean(prior_mean, prior_sd) - even
regions.contourf(prior_mean, prior_sd, shown, levels=[-np.inf, 0, np.inf], colors=["#F3F3F3", "#CFE3F1"])
regions.contour(prior_mean, prior_sd, shown, levels=[0], colors="black", linewidths=1)
regions.text(-0.35, 0.06, "wait", fontsize=11)
regions.text(0.85, 1.1, "help", fontsize=11)
regions.set(yscale="log", xlabel="mean of the prior", ylabel="standard deviation of the prior", title="Which priors?")
regions.set_yticks([0.05, 0.1, 0.2, 0.5, 1.0], labels=["0.05", "0.1", "0.2", "0.5", "1"])
regions.minorticks_off()
agreement.axhline(0, color=GREY, linewidth=1, linestyle="--")
agreement.axvline(N_CHILDREN, color=GREY, linewidth=1, linestyle=":")
agreement.text(N_CHILDREN * 1.1, -1.25, "the study", color=GREY)
agreement.set(
    xscale="log",
    ylim=(-1.35, 1.35),
    xlabel="children (right of the study: if like these)",
    ylabel="expected loss saved per mother and year",
    title="When do they agree?",
)
sizes = [300, 1000, 3000, 9000]
agreement.set_xticks(sizes, labels=[str(size) for size in sizes])
agreement.minorticks_off()
agreement.legend(frameon=False, loc="upper right")
for axes in (belief, regions, agreement):
    axes.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# No number can say whose prior is right. It can say what the decision hangs on, and what settling it is worth.
actions = table.pivot(index="children", columns="belief", values="action")
agree = actions.nunique(axis=1) == 1
last_apart = actions.index[~agree].max()
together = actions.index[agree & (actions.index > last_apart)]
means = np.linspace(-1, 1, 201)
needed = means[posterior_mean(means, beliefs["physician"].scale) > even].min()
if len(together):
    outlook = f"would agree to {actions.loc[together[0]].iloc[0]} with {together[0]} children"
else:
    outlook = f"would still disagree with {last_apart} children"
decision = (
    f"Decision: {now['action'].iloc[0] if agree[N_CHILDREN] else 'none that both would take'}. After {N_CHILDREN} "
    f"children the sceptic would {now.loc['sceptic', 'action']} and the physician {now.loc['physician', 'action']}. "
    f"They {outlook} like these. Whoever is as unsure as the physician helps if an odds ratio of {np.exp(needed):.1f} "
    f"or more is expected. A perfect study would save the sceptic {now.loc['sceptic', 'perfect information']:.3f} per "
    f"mother and year, the physician {now.loc['physician', 'perfect information']:.3f}: for a thousand mothers it may "
    f"cost {1000 * now['perfect information'].min():.0f} a year if both are to pay for it."
)
print(fill(decision, width=100))

# Random-effect terms of every kind by lme4: blocks of correlated effects, factors with structures of their own, effects
# without a fixed one. Writes terms.json and data/terms_sim.csv; see README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({ library(lme4); library(numDeriv) })
source("mixed_tools.R")

entries <- list()

# ---------------------------------------------------------------------------------------------- simulated data

set.seed(20240611)
n <- 720
sim <- data.frame(
  g = sample(sprintf("g%02d", 1:36), n, TRUE, prob = 0.5 + runif(36)), h = sample(sprintf("h%02d", 1:18), n, TRUE),
  x = round(rnorm(n, 2), 3), z = round(rnorm(n), 3), w = round(runif(n, 0, 3), 3), kind = sample(3, n, TRUE))
for (k in 1:3) sim[[c("fa", "fb", "fc")[k]]] <- 1 * (sim$kind == k)
sim$kind <- NULL
rows <- function(code) as.integer(factor(code))
root <- chol(matrix(c(1, 0.5, 0.2, 0.5, 1, -0.3, 0.2, -0.3, 1), 3))
G <- matrix(rnorm(36 * 3), 36) %*% root
F <- matrix(rnorm(36 * 3), 36) %*% root
H <- matrix(rnorm(18 * 3), 18) %*% root
eta <- with(sim, 0.4 * x - 0.3 * z + 0.3 * fb + G[rows(g), 1] + 0.8 * G[rows(g), 2] * x + 0.7 * G[rows(g), 3] * z +
              0.6 * H[rows(h), 1] + 0.5 * H[rows(h), 2] * w)
sim$y <- round(eta + with(sim, 0.8 * rowSums(F[rows(g), ] * cbind(fa, fb, fc))) + rnorm(n), 4)
# without the fixed slopes, and with few effects a level
sim$binary <- as.integer(runif(n) < plogis(with(sim, -0.3 + 0.3 * z + 0.9 * G[rows(g), 1] + 0.7 * (x - 2) * G[rows(g), 2] +
  0.8 * z * G[rows(g), 3] + 0.6 * H[rows(h), 1] + 0.7 * (x - 2) * H[rows(h), 2])))
sim$kinds <- as.integer(runif(n) < plogis(with(sim, 0.2 + 0.5 * fb + rowSums(1.2 * F[rows(g), ] * cbind(fa, fb, fc)))))
sim <- write_sim(sim, "terms_sim")

# ---------------------------------------------------------------------------------------------- fits

frames <- list(terms_sim = sim, mixed_machines = read.csv("data/mixed_machines.csv"),
               glmm_cbpp = read.csv("data/glmm_cbpp.csv"),
               sleepstudy = dataset("sleepstudy"), orthodont = dataset("orthodont"), dietox = dataset("dietox"))
frames$orthodont$female <- 1 * (frames$orthodont$Sex == "Female")
frames$orthodont$age_female <- frames$orthodont$age * frames$orthodont$female

# The optimum of glmer, to the precision of the deviance: bobyqa from several starts, then Newton's method.
glmer_optimizer <- function(fn, par, lower, upper, control) {
  f <- function(v) as.numeric(fn(v))
  best <- NULL
  for (start in list(par, replace(par, lower == 0, 0.5))) {
    found <- minqa::bobyqa(start, f, lower = lower, control = list(rhobeg = 0.1, rhoend = 1e-8, maxfun = 20000))$par
    if (is.null(best) || f(found) < f(best)) best <- found
  }
  for (k in which(lower == 0 & best < 1e-2)) {
    zeroed <- replace(best, k, 0)
    if (f(zeroed) <= f(best) + 1e-7) best <- zeroed
  }
  free <- which(!(lower == 0 & best == 0))
  on_free <- function(v) f(replace(best, free, v))
  for (iteration in 1:4) {
    step <- solve(hessian(on_free, best[free]), grad(on_free, best[free]))
    moved <- replace(best, free, best[free] - step)
    if (f(moved) > f(best) + 1e-9) break
    best <- moved
    if (all(abs(step) < 1e-9)) break
  }
  list(par = best, fval = f(best), feval = 0L, conv = 0, convergence = 0, message = "")
}
glmer_control <- glmerControl(
  optimizer = glmer_optimizer, tolPwrss = 1e-13, restart_edge = FALSE, boundary.tol = 0, calc.derivs = FALSE,
  check.conv.singular = "ignore", check.conv.grad = "ignore", check.conv.hess = "ignore", check.scaleX = "ignore",
  nAGQ0initStep = TRUE)

# Covariance matrix of all effects of a factor: lme4's terms of the same factor side by side.
covariance_of <- function(fm, factor, effects) {
  found <- matrix(0, length(effects), length(effects))
  parts <- VarCorr(fm)
  for (k in which(sub("\\.[0-9]+$", "", names(parts)) == factor)) {
    at <- match(sub("^\\(Intercept\\)$", "Intercept", rownames(parts[[k]])), effects)
    found[at, at] <- parts[[k]]
  }
  square(found)
}

results <- function(fm, factors) {
  modes <- ranef(fm)
  # of glmer by differences of its deviance
  v <- if (inherits(fm, "glmerMod")) glmer_vcov(fm) else as.matrix(vcov(fm))
  effects <- lapply(names(factors), function(name) {
    columns <- modes[[name]]
    names(columns) <- sub("^\\(Intercept\\)$", "Intercept", names(columns))
    square(columns[order(rownames(columns)), factors[[name]], drop = FALSE])
  })
  list(loglik = as.numeric(logLik(fm)), n_params = attr(logLik(fm), "df"), fixef = as.list(fixef(fm)), se = se_of(v),
       sigma = if (inherits(fm, "lmerMod")) sigma(fm) else NULL, singular = isSingular(fm, 1e-6),
       covariance = setNames(lapply(names(factors), function(name) covariance_of(fm, name, factors[[name]])), names(factors)),
       random_effects = setNames(effects, names(factors)))
}

glmer_vcov <- function(fm) {
  f <- function(v) as.numeric(devfun(v))
  devfun <- update(fm, devFunOnly = TRUE)
  at <- c(getME(fm, "theta"), fixef(fm))
  free <- which(!(c(getME(fm, "lower"), rep(-Inf, length(fixef(fm)))) == 0 & at == 0))
  inverse <- 2 * solve(hessian(function(v) f(replace(at, free, v)), at[free]))
  p <- length(fixef(fm))
  inverse[length(free) - p + 1:p, length(free) - p + 1:p, drop = FALSE]
}

# A model in lme4's words, and in ours: `factors` has the effects of each factor.
add <- function(name, data, response, features, random, factors, ..., binary = FALSE) {
  ours <- list(...)
  fixed <- setdiff(features, ours$random_only)
  formula <- as.formula(paste(response, "~", paste(c("1", fixed, random), collapse = " + ")), env = globalenv())
  d_now <<- frames[[data]]
  entry <- c(list(data = data, response = response, features = plain(features), formula = squish(paste(deparse(formula), collapse = " ")),
                  groups = plain(names(factors)),
                  random_slopes = lapply(factors, function(f) plain(setdiff(f, "Intercept"))),
                  random_intercept = lapply(factors, function(f) "Intercept" %in% f),
                  covariance = if (is.null(ours$covariance)) "full" else lapply(ours$covariance, function(b)
                    if (is.list(b)) lapply(b, plain) else b),
                  random_only = if (is.null(ours$random_only)) NULL else plain(ours$random_only)))
  if (binary) {
    entry$laplace <- results(glmer(formula, d_now, binomial, control = glmer_control), factors)
  } else {
    for (method in c("reml", "ml"))
      entry[[method]] <- results(lmer(formula, d_now, REML = method == "reml", control = exact_control), factors)
  }
  entries[[name]] <<- entry
  cat(name, (if (binary) entry$laplace else entry$reml)$loglik, "\n")
}

add("sleep_diagonal", "sleepstudy", "Reaction", "Days", c("(1 | Subject)", "(0 + Days | Subject)"),
    list(Subject = c("Intercept", "Days")), covariance = list(Subject = "diagonal"))
add("sleep_random_only", "sleepstudy", "Reaction", "Days", "(1 + Days | Subject)",
    list(Subject = c("Intercept", "Days")), random_only = "Days")
add("sleep_slope_alone", "sleepstudy", "Reaction", "Days", "(0 + Days | Subject)", list(Subject = "Days"),
    random_only = "Days")
add("orthodont_slope_alone", "orthodont", "distance", c("age", "female", "age_female"), "(0 + age | Subject)",
    list(Subject = "age"))
add("orthodont_blocks", "orthodont", "distance", c("age", "female"), c("(1 + age | Subject)", "(0 + female | Subject)"),
    list(Subject = c("Intercept", "age", "female")), covariance = list(Subject = list(c("Intercept", "age"), "female")))
add("machines", "mixed_machines", "score", c("A", "B", "C"), "(0 + A + B + C | Worker)",
    list(Worker = c("A", "B", "C")), random_only = "A")
add("machines_diagonal", "mixed_machines", "score", c("A", "B", "C"),
    c("(0 + A | Worker)", "(0 + B | Worker)", "(0 + C | Worker)"), list(Worker = c("A", "B", "C")),
    covariance = list(Worker = "diagonal"), random_only = "A")
add("dietox_slope_by_litter", "dietox", "Weight", "Time", c("(1 + Time | Pig)", "(0 + Time | Litter)"),
    list(Pig = c("Intercept", "Time"), Litter = "Time"))
add("dietox_structures", "dietox", "Weight", "Time", c("(1 | Pig)", "(0 + Time | Pig)", "(1 + Time | Litter)"),
    list(Pig = c("Intercept", "Time"), Litter = c("Intercept", "Time")), covariance = list(Pig = "diagonal"))
add("blocks", "terms_sim", "y", c("x", "z"), c("(1 + x | g)", "(0 + z | g)"), list(g = c("Intercept", "x", "z")),
    covariance = list(g = list(c("Intercept", "x"), "z")))
add("blocks_interleaved", "terms_sim", "y", c("x", "z", "w"), c("(1 + z | g)", "(0 + x + w | g)"),
    list(g = c("Intercept", "x", "z", "w")), covariance = list(g = list(c("Intercept", "z"), c("x", "w"))))
add("blocks_singular", "terms_sim", "y", c("x", "z", "fb", "w"), c("(1 + x | g)", "(0 + w | g)"),
    list(g = c("Intercept", "x", "w")), covariance = list(g = list("w", c("x", "Intercept"))),
    random_only = "w")
add("kinds", "terms_sim", "y", c("fa", "fb", "fc", "x"), "(0 + fa + fb + fc | g)", list(g = c("fa", "fb", "fc")),
    random_only = "fa")
add("kinds_block", "terms_sim", "y", c("fb", "fc", "x"), c("(1 | g)", "(0 + fb + fc | g)"),
    list(g = c("Intercept", "fb", "fc")), covariance = list(g = list("Intercept", c("fb", "fc"))))
add("each_its_own", "terms_sim", "y", c("x", "z"), c("(1 + x | g)", "(1 | h)", "(0 + z | h)"),
    list(g = c("Intercept", "x"), h = c("Intercept", "z")), covariance = list(h = "diagonal"))
add("slope_of_other", "terms_sim", "y", c("x", "z"), c("(1 | g)", "(0 + x | h)"), list(g = "Intercept", h = "x"))
add("slope_of_other_alone", "terms_sim", "y", c("x", "z"), c("(1 | g)", "(0 + x | h)"), list(g = "Intercept", h = "x"),
    random_only = "x")
add("crossed_blocks", "terms_sim", "y", c("x", "z", "w"), c("(1 + x | g)", "(0 + z | g)", "(1 + w | h)"),
    list(g = c("Intercept", "x", "z"), h = c("Intercept", "w")),
    covariance = list(g = list(c("Intercept", "x"), "z")), random_only = "w")
add("cbpp_diagonal", "glmm_cbpp", "ill", c("period2", "period3", "period4"), c("(1 | herd)", "(0 + period2 | herd)"),
    list(herd = c("Intercept", "period2")), covariance = list(herd = "diagonal"), binary = TRUE)
add("logit_blocks", "terms_sim", "binary", c("x", "z"), c("(1 + x | g)", "(0 + z | g)"),
    list(g = c("Intercept", "x", "z")), covariance = list(g = list(c("Intercept", "x"), "z")), binary = TRUE)
add("logit_slope_alone", "terms_sim", "binary", c("x", "z"), "(0 + x | g)", list(g = "x"), random_only = "x", binary = TRUE)
add("logit_kinds", "terms_sim", "kinds", c("fa", "fb", "fc"), "(0 + fa + fb + fc | g)", list(g = c("fa", "fb", "fc")),
    random_only = "fa", binary = TRUE)
add("logit_slope_of_other", "terms_sim", "binary", c("x", "z"), c("(1 | g)", "(0 + x | h)"), list(g = "Intercept", h = "x"),
    binary = TRUE)
add("logit_crossed_blocks", "terms_sim", "binary", c("x", "z"), c("(1 + x | g)", "(0 + z | g)", "(1 | h)"),
    list(g = c("Intercept", "x", "z"), h = "Intercept"), covariance = list(g = list(c("Intercept", "x"), "z")),
    random_only = "x", binary = TRUE)

# ---------------------------------------------------------------------------------------------- profiles

# Ends of 95% intervals: standard deviations and correlations term by term, down the columns of the triangle.
add_profile <- function(name, binary = FALSE) {
  entry <- entries[[name]]
  d_now <<- frames[[entry$data]]
  formula <- as.formula(entry$formula, env = globalenv())
  fm <- if (binary) glmer(formula, d_now, binomial, control = glmerControl(
          optimizer = "bobyqa", tolPwrss = 1e-10, optCtrl = list(rhoend = 1e-8)))
        else lmer(formula, d_now, REML = FALSE, control = lmerControl(
          optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9), calc.derivs = FALSE))
  ends <- confint(profile(fm, devtol = 1e-6, signames = FALSE), level = 0.95)
  entries[[name]]$profile <<- list(parameters = plain(rownames(ends)), low = plain(ends[, 1]), high = plain(ends[, 2]))
}

add_profile("blocks")
add_profile("logit_blocks", binary = TRUE)
add_profile("logit_slope_alone", binary = TRUE)

write_reference(entries, "terms.json", c("lme4", "numDeriv", "minqa", "nloptr"))

# Reference results for logistic regression: maximum likelihood with robust standard errors, survey designs, Firth.
# Writes logit.json; see README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({library(sandwich); library(survey); library(brglm2)})

glm_ctl <- glm.control(epsilon = 1e-14, maxit = 200)
entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}

# ------------------------------------------------------------------------- maximum likelihood and sandwiches

# `cluster`: named list of cluster variables, possibly several; `call` is R code.
ml <- function(name, call, cluster = list(), note = NULL) {
  call <- squish(call)
  fit <- polish(eval(parse(text = call), globalenv()))
  ll <- logLik(fit)
  out <- list(
    call = call, package = paste(R.version.string, ";", version_of("sandwich")), converged = fit$converged,
    n = nobs(fit), coef = named(coef(fit)), model_se = se_of(vcov(fit)), loglik = as.numeric(ll), deviance = fit$deviance,
    null_deviance = fit$null.deviance, aic = fit$aic, bic = BIC(fit),
    hc0_se = se_of(vcovHC(fit, type = "HC0")), hc1_se = se_of(vcovHC(fit, type = "HC1")),
    model_cov = square(vcov(fit)), hc0_cov = square(vcovHC(fit, type = "HC0")))
  for (cl in names(cluster)) {
    by <- cluster[[cl]]
    cov <- function(...) vcovCL(fit, cluster = by, multi0 = FALSE, ...)
    suffix <- if (length(cluster) == 1) "" else paste0("_", cl)
    out[[paste0("n_clusters", suffix)]] <- if (is.data.frame(by)) plain(sapply(by, function(b) length(unique(b)))) else length(unique(by))
    out[[paste0("cluster_hc0_se", suffix)]] <- se_of(cov(type = "HC0", cadjust = FALSE))
    out[[paste0("cluster_hc0_cadjust_se", suffix)]] <- se_of(cov(type = "HC0", cadjust = TRUE))
    out[[paste0("cluster_hc1_cadjust_se", suffix)]] <- se_of(cov(type = "HC1", cadjust = TRUE))
    out[[paste0("cluster_hc0_cadjust_cov", suffix)]] <- square(cov(type = "HC0", cadjust = TRUE))
  }
  if (!is.null(note)) out$note <- note
  add(name, out)
}

ohio <- dataset("ohio")
ml("ohio", "glm(resp ~ age * smoke, family = binomial, data = ohio, control = glm_ctl)", list(id = ohio$id))

respiratory <- dataset("respiratory")
respiratory$subject <- with(respiratory, match(paste(center, id), unique(paste(center, id))))
ml("respiratory", "glm(outcome ~ center + treat + sex + age + baseline, family = binomial, data = respiratory, control = glm_ctl)",
   list(subject = respiratory$subject))

# crossed clusters a and b, several rows in some cells
set.seed(20240511)
n <- 600
d <- data.frame(a = sample(1:25, n, TRUE), b = sample(1:18, n, TRUE), x1 = round(rnorm(n), 3), x2 = rbinom(n, 1, 0.4))
ua <- rnorm(25); ub <- rnorm(18)
d$x1 <- round(d$x1 + 0.5 * ua[d$a], 3)
d$y <- rbinom(n, 1, plogis(-0.4 + 0.6 * d$x1 - 0.5 * d$x2 + 0.8 * ua[d$a] + 0.6 * ub[d$b]))
crossed <- write_sim(d, "sim_crossed")
ml("crossed", "glm(y ~ x1 + x2, family = binomial, data = crossed, control = glm_ctl)",
   list(a = crossed$a, b = crossed$b, a_and_b = crossed[c("a", "b")], cell = paste(crossed$a, crossed$b)),
   note = "a_and_b: two-way, V_a + V_b - V_cell, each with its own G/(G - 1) under cadjust; no other small-sample factor under HC0")

# frequency weights: freq counts equal rows of one cluster; the expanded data are the rows repeated freq times
set.seed(20240512)
n <- 150
d <- data.frame(cluster = sort(sample(1:30, n, TRUE)), x1 = round(rnorm(n), 3), x2 = rbinom(n, 1, 0.5), freq = sample(0:4, n, TRUE))
d$y <- rbinom(n, 1, plogis(0.2 + 0.8 * d$x1 - 0.7 * d$x2))
frequency <- write_sim(d, "sim_frequency")
expanded <- frequency[rep(seq_len(n), frequency$freq), ]
ml("frequency_expanded", "glm(y ~ x1 + x2, family = binomial, data = expanded, control = glm_ctl)", list(cluster = expanded$cluster),
   note = "expanded: row i of sim_frequency.csv repeated freq times; what frequency weights must reproduce")
fit <- polish(glm(y ~ x1 + x2, family = binomial, data = frequency, weights = freq, control = glm_ctl))
add("frequency_aggregated", list(
  call = "glm(y ~ x1 + x2, family = binomial, data = frequency, weights = freq)", package = R.version.string,
  coef = named(coef(fit)), model_se = se_of(vcov(fit)), loglik = as.numeric(logLik(fit)), deviance = fit$deviance))
stopifnot(all.equal(coef(fit), unlist(entries$frequency_expanded$coef)))

# offset
set.seed(20240513)
n <- 200
d <- data.frame(cluster = rep(1:40, each = 5), x = round(rnorm(n), 3), off = round(rnorm(n, 0.3, 0.5), 3))
d$y <- rbinom(n, 1, plogis(-0.5 + 0.7 * d$x + d$off))
with_offset <- write_sim(d, "sim_offset")
ml("offset", "glm(y ~ x + offset(off), family = binomial, data = with_offset, control = glm_ctl)", list(cluster = with_offset$cluster))

# -------------------------------------------------------------------------------------------- survey designs

# strata with PSUs numbered anew in each stratum, fpc: the number of PSUs in the stratum's population
set.seed(20240514)
H <- 6
d <- do.call(rbind, lapply(1:H, function(h) {
  psus <- sample(3:6, 1)
  do.call(rbind, lapply(1:psus, function(c) {
    m <- sample(5:12, 1); u <- rnorm(1, 0, 0.7)
    x1 <- round(rnorm(m) + 0.4 * u, 3); x2 <- rbinom(m, 1, 0.5)
    data.frame(stratum = h, psu = c, fpc = 8 + 4 * h, x1 = x1, x2 = x2,
               y = rbinom(m, 1, plogis(-0.3 + 0.15 * h + 0.6 * x1 - 0.4 * x2 + u)),
               w = round(runif(m, 0.5, 1.5) * (10 + 5 * h) * exp(0.3 * u), 3))
  }))
}))
d$cluster <- match(paste(d$stratum, d$psu), unique(paste(d$stratum, d$psu)))
design_data <- write_sim(d, "sim_survey")

sv <- function(name, design, note = NULL, model = y ~ x1 + x2) {
  design_call <- squish(design)
  dsg <- eval(parse(text = design_call), globalenv())
  call <- sprintf("svyglm(%s, design = design, family = quasibinomial)", deparse(model))
  fit <- svyglm(model, design = dsg, family = quasibinomial, control = glm_ctl)
  fit <- svyglm(model, design = dsg, family = quasibinomial, control = glm_ctl, start = coef(fit))
  tab <- coef(summary(fit))
  wald <- regTermTest(fit, ~ x1 + x2)
  out <- list(
    call = call, design = design_call, package = version_of("survey"), converged = fit$converged, n = nrow(design_data),
    coef = named(coef(fit)), se = se_of(vcov(fit)), degf = degf(dsg), df_residual = fit$df.residual,
    t = plain(tab[, 3]), p_value = plain(tab[, 4]), cov = square(vcov(fit)),
    conf_int_95 = square(confint(fit)), naive_cov = square(fit$naive.cov),
    wald_x1_x2 = list(F = as.numeric(wald$Ftest), df = wald$df, ddf = wald$ddf, p_value = as.numeric(wald$p)))
  if (!is.null(note)) out$note <- note
  add(name, out)
}
sv("survey_weights", "svydesign(ids = ~1, weights = ~w, data = design_data)",
   "equal to n/(n - 1) times HC0 of the weighted fit")
sv("survey_cluster", "svydesign(ids = ~cluster, weights = ~w, data = design_data)")
sv("survey_strata", "svydesign(ids = ~1, strata = ~stratum, weights = ~w, data = design_data)")
sv("survey_strata_cluster", "svydesign(ids = ~psu, strata = ~stratum, weights = ~w, data = design_data, nest = TRUE)")
sv("survey_strata_cluster_fpc", "svydesign(ids = ~psu, strata = ~stratum, weights = ~w, fpc = ~fpc, data = design_data, nest = TRUE)")
sv("survey_cluster_equal_weights", "svydesign(ids = ~cluster, weights = ~1, data = design_data)")

# ---------------------------------------------------------------------------------------- Firth, separation

penalised_loglik <- function(X, y, w, beta) {
  p <- plogis(as.vector(X %*% beta))
  sum(w * dbinom(y, 1, p, log = TRUE)) + 0.5 * as.numeric(determinant(crossprod(X * sqrt(w * p * (1 - p))))$modulus)
}

firth <- function(name, formula, data_name, note = NULL, weights = NULL) {
  data <- get(data_name, globalenv())
  w <- if (is.null(weights)) rep(1, nrow(data)) else data[[weights]]
  data$.w <- w
  fit <- glm(formula, family = binomial, data = data, weights = .w, method = "brglm_fit", type = "AS_mean", epsilon = 1e-12,
             maxit = 5000)
  X <- model.matrix(fit); y <- model.response(model.frame(fit)); b <- coef(fit)
  best <- penalised_loglik(X, y, w, b)
  # penalised likelihood-ratio tests of each coefficient, the information matrix being that of the full model
  lrt <- sapply(seq_along(b), function(j) {
    f <- function(free) { full <- numeric(length(b)); full[-j] <- free; -penalised_loglik(X, y, w, full) }
    scale <- sqrt(diag(vcov(fit)))[-j]
    o <- optim(b[-j], f, method = "BFGS", control = list(reltol = 1e-16, maxit = 5000, parscale = scale))
    o <- optim(o$par, f, method = if (length(o$par) == 1) "BFGS" else "Nelder-Mead",
               control = list(reltol = 1e-16, maxit = 50000, parscale = scale))
    2 * (best + o$value)
  })
  out <- list(
    call = sprintf('glm(%s, family = binomial, data = %s%s, method = "brglm_fit", type = "AS_mean", epsilon = 1e-12, maxit = 5000)',
                   squish(paste(deparse(formula), collapse = "")), data_name, if (is.null(weights)) "" else paste(", weights =", weights)),
    package = version_of("brglm2"), converged = fit$converged, n = nrow(data), coef = named(b), model_se = se_of(vcov(fit)),
    loglik = as.numeric(logLik(fit)), penalised_loglik = best, penalised_lrt_statistic = plain(lrt),
    penalised_lrt_p_value = plain(pchisq(lrt, 1, lower.tail = FALSE)), deviance = fit$deviance, model_cov = square(vcov(fit)))
  if (!is.null(note)) out$note <- note
  add(name, out)
}

# Which coefficients are infinite: the ratio of the standard error at iteration k to that at iteration 1 grows without end
# (Lesaffre and Albert; detectseparation::check_infinite_estimates does the same). Finite ones stay near a constant.
infinite <- function(formula, data) {
  se <- sapply(c(1, 25), function(k) suppressWarnings(
    sqrt(diag(vcov(glm(formula, family = binomial, data = data, control = glm.control(epsilon = 1e-300, maxit = k)))))))
  ratio <- se[, 2] / se[, 1]
  list(infinite = plain(names(ratio)[ratio > 100]), se_ratio = named(ratio))
}
separation <- function(name, formula, data_name, limit = NULL, limit_call = NULL, note = NULL) {
  inf <- infinite(formula, get(data_name, globalenv()))
  out <- list(call = sprintf("glm(%s, family = binomial, data = %s)", squish(paste(deparse(formula), collapse = "")), data_name),
              package = R.version.string, separated = length(inf$infinite) > 0, infinite = inf$infinite, se_ratio = inf$se_ratio)
  if (!is.null(limit)) out <- c(out, list(limit_call = limit_call, finite_coef = named(coef(limit)), finite_model_se = se_of(vcov(limit)),
                                         limit_loglik = as.numeric(logLik(limit)), limit_deviance = limit$deviance))
  if (!is.null(note)) out$note <- note
  add(name, out)
}

data(endometrial, package = "brglm2")
endometrial <- write_sim(endometrial, "endometrial")
firth("endometrial_firth", HG ~ NV + PI + EH, "endometrial", "Heinze and Schemper 2002")
limit <- polish(glm(HG ~ PI + EH, family = binomial, data = endometrial, subset = NV == 0, control = glm_ctl))
separation("endometrial_ml", HG ~ NV + PI + EH, "endometrial", limit, "glm(HG ~ PI + EH, family = binomial, subset = NV == 0)",
           "quasi-complete separation: all rows with NV = 1 have HG = 1, so the finite estimates are those of the rows with NV = 0")

# complete separation by x1; quasi-complete by the dummy z; overlap
set.seed(20240515)
n <- 30
d <- data.frame(x1 = round(rnorm(n), 3), x2 = round(rnorm(n), 3))
d$y <- as.integer(d$x1 + 0.2 * d$x2 > 0.1)
complete <- write_sim(d, "sim_complete_separation")
firth("complete_firth", y ~ x1 + x2, "complete")
separation("complete_ml", y ~ x1 + x2, "complete",
           note = "complete separation: no maximum-likelihood estimate is finite, the log-likelihood tends to 0")

n <- 60
d <- data.frame(z = rep(0:1, c(48, 12)), x = round(rnorm(n), 3))
d$y <- rbinom(n, 1, plogis(-0.3 + 0.8 * d$x))
d$y[d$z == 1] <- 0
quasi <- write_sim(d, "sim_quasi_separation")
firth("quasi_firth", y ~ z + x, "quasi")
limit <- polish(glm(y ~ x, family = binomial, data = quasi, subset = z == 0, control = glm_ctl))
separation("quasi_ml", y ~ z + x, "quasi", limit, "glm(y ~ x, family = binomial, subset = z == 0)",
           "quasi-complete separation: y = 0 wherever z = 1; the coefficient of z is minus infinity")

n <- 50
d <- data.frame(x1 = round(rnorm(n), 3), x2 = rbinom(n, 1, 0.5), freq = sample(1:3, n, TRUE))
d$y <- rbinom(n, 1, plogis(0.3 + d$x1 - 0.6 * d$x2))
overlap <- write_sim(d, "sim_overlap")
firth("overlap_firth", y ~ x1 + x2, "overlap")
separation("overlap_ml", y ~ x1 + x2, "overlap",
           polish(glm(y ~ x1 + x2, family = binomial, data = overlap, control = glm_ctl)), "glm(y ~ x1 + x2, family = binomial)")
firth("overlap_firth_freq", y ~ x1 + x2, "overlap", "frequency weights: as if row i were repeated freq times", weights = "freq")
overlap_expanded <- overlap[rep(1:n, overlap$freq), ]
firth("overlap_firth_expanded", y ~ x1 + x2, "overlap_expanded", "row i of sim_overlap.csv repeated freq times")

write_reference(entries, "logit.json", c("sandwich", "survey", "brglm2", "jsonlite"))

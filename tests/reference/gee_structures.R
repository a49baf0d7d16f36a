# Reference results for further working correlations of marginal models. Writes gee_structures.json; see README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({library(geepack); library(gee)})

ctl <- geese.control(epsilon = 1e-12, maxit = 1000)
entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}

# ---------------------------------------------------------------------------------------------- helpers

# One geepack fit by geese: alpha solves its estimating equation with the design zcor of all pairs of rows.
gp <- function(name, call, note = NULL) {
  call <- squish(call)
  fit <- suppressWarnings(eval(parse(text = call), globalenv()))
  out <- list(
    call = call, package = version_of("geepack"), converged = fit$error == 0, n_clusters = length(fit$clusz),
    coef = named(fit$beta), robust_se = se_of(fit$vbeta), naive_se = se_of(fit$vbeta.naiv),
    alpha = if (length(fit$alpha)) plain(fit$alpha) else NULL,
    alpha_se = if (length(fit$alpha)) se_of(fit$valpha) else NULL,
    phi = unname(fit$gamma), scale_fixed = isTRUE(as.logical(fit$model$scale.fix)))
  if (!is.null(note)) out$note <- note
  add(name, out)
}

# One fit by package gee.
ge <- function(name, call) {
  call <- squish(call)
  capture.output(fit <- suppressWarnings(suppressMessages(eval(parse(text = call), globalenv()))))
  add(name, list(
    call = call, package = version_of("gee"), converged = fit$error == 0, n_clusters = length(rle(fit$id)$lengths),
    coef = named(fit$coefficients), robust_se = se_of(fit$robust.variance), naive_se = se_of(fit$naive.variance),
    correlation = square(fit$working.correlation), phi = fit$scale, scale_fixed = FALSE))
}

# A column for each class of pair: class_of(j, k) of row numbers is a number from 1, or 0 for no correlation.
pair_design <- function(id, n_classes, class_of) {
  pairs <- unlist(lapply(split(seq_along(id), id), function(rows) {
    if (length(rows) < 2) return(NULL)
    apply(combn(rows, 2), 2, function(p) class_of(p[1], p[2]))
  }))
  z <- 1 * outer(unname(pairs), seq_len(n_classes), "==")
  dimnames(z) <- list(NULL, paste0("class", seq_len(n_classes)))
  z
}
by_lag <- function(id, time, n_lags) pair_design(id, n_lags, function(j, k) {
  lag <- abs(time[j] - time[k])
  if (lag <= n_lags) lag else 0
})

# ---------------------------------------------------------------------------------------------- m-dependent, Toeplitz

ohio <- dataset("ohio")
ohio$visit <- ave(ohio$age, ohio$id, FUN = rank)
epil <- dataset("epil")
waves <- read.csv("data/sim_waves.csv")
design <- list(
  ohio = list(formula = "resp ~ age * smoke", family = "binomial", id = "id", time = "visit"),
  epil = list(formula = "y ~ trt + log(base/4) + log(age)", family = "poisson", id = "subject", time = "period"),
  waves = list(formula = "y ~ g + x", family = "binomial", id = "id", time = "wave"))
for (d in names(design)) {
  data <- get(d)
  spec <- design[[d]]
  for (m in c(1, 2, if (d == "waves") 4 else 3)) {
    zcor <- by_lag(data[[spec$id]], data[[spec$time]], m)
    call <- sprintf('geese(%s, family = %s, data = %s, id = %s, corstr = "userdefined", zcor = zcor', spec$formula,
                    spec$family, d, spec$id)
    note <- sprintf("zcor: a column for each of the lags 1 to %d by %s, 0 beyond", m, spec$time)
    gp(sprintf("%s_lags%d", d, m), paste0(call, ", control = ctl)"), note)
    if (spec$family == "binomial")
      gp(sprintf("%s_lags%d_phi1", d, m), paste0(call, ", scale.fix = TRUE, gm = 1, control = ctl)"), note)
  }
}
for (m in 1:3) {
  ge(sprintf("ohio_mdep%d_gee", m), sprintf(
    'gee(resp ~ age * smoke, id = id, data = ohio, family = binomial, corstr = "stat_M_dep", Mv = %d, tol = 1e-12,
     maxiter = 1000)', m))
  ge(sprintf("epil_mdep%d_gee", m), sprintf(
    'gee(y ~ trt + log(base/4) + log(age), id = subject, data = epil, family = poisson, corstr = "stat_M_dep", Mv = %d,
     tol = 1e-12, maxiter = 1000)', m))
}

# ---------------------------------------------------------------------------------------------- fixed

R4 <- 0.1 + 0.3 * 0.7^abs(outer(1:4, 1:4, "-"))
diag(R4) <- 1
R5 <- 0.1 + 0.4 * 0.9^abs(outer(c(1, 2, 4, 7, 11), c(1, 2, 4, 7, 11), "-"))
diag(R5) <- 1
add("fixed_matrices", list(four = R4, five = R5))
fixed_pairs <- function(id, wave, R) unlist(lapply(split(wave, id), function(w)
  if (length(w) > 1) apply(combn(w, 2), 2, function(p) R[p[1], p[2]])))
zfixed <- unname(fixed_pairs(ohio$id, ohio$visit, R4))
gp("ohio_fixed", 'geese(resp ~ age * smoke, family = binomial, data = ohio, id = id, corstr = "fixed", zcor = zfixed,
   control = ctl)', "correlations of fixed_matrices$four, by visit")
zwaves <- unname(fixed_pairs(waves$id, waves$wave, R5))
gp("waves_fixed", 'geese(y ~ g + x, family = binomial, data = waves, id = id, corstr = "fixed", zcor = zwaves,
   control = ctl)',
   "correlations of fixed_matrices$five, by wave; visits are missing")
ge("ohio_fixed_gee", 'gee(resp ~ age * smoke, id = id, data = ohio, family = binomial, corstr = "fixed", R = R4,
   tol = 1e-12, maxiter = 1000)')

# ---------------------------------------------------------------------------------------------- nested

# Practices of one to nine patients of one to three doctors, numbered within practices, each seen once or more.
set.seed(20240601)
d <- do.call(rbind, lapply(1:90, function(i) {
  u <- rnorm(1)
  do.call(rbind, lapply(seq_len(sample(1:3, 1)), function(j) {
    v <- rnorm(1)
    do.call(rbind, lapply(seq_len(sample(1:3, 1)), function(k) {
      n <- sample(1:3, 1)
      own <- u + v + rnorm(1)
      x <- round(rnorm(n) + 0.2 * u, 3)
      data.frame(practice = i, doctor = j, patient = k, x = x,
                 yb = rbinom(n, 1, plogis(-0.3 + 0.6 * x + 0.7 * own)), yc = round(1 + 0.5 * x + own + rnorm(n), 4))
    }))
  }))
}))
nested <- write_sim(d, "sim_nested")
two <- pair_design(nested$practice, 2, function(j, k) 1 + (nested$doctor[j] == nested$doctor[k]))
three <- pair_design(nested$practice, 3, function(j, k) {
  same <- nested$doctor[j] == nested$doctor[k]
  1 + same + (same && nested$patient[j] == nested$patient[k])
})
for (z in c("two", "three")) {
  note <- squish(paste("zcor: a column for each class of pair, by the smallest of practice, doctor",
                       if (z == "three") "and patient", "that rows share"))
  for (y in c("yb", "yc")) {
    call <- sprintf('geese(%s ~ x, family = %s, data = nested, id = practice, corstr = "userdefined", zcor = %s', y,
                    c(yb = "binomial", yc = "gaussian")[y], z)
    gp(sprintf("nested_%s_%s", z, y), paste0(call, ", control = ctl)"), note)
    if (y == "yb")
      gp(sprintf("nested_%s_%s_phi1", z, y), paste0(call, ", scale.fix = TRUE, gm = 1, control = ctl)"), note)
  }
}

write_reference(entries, "gee_structures.json", c("geepack", "gee", "jsonlite"))

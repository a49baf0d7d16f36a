# Reference results for marginal models (GEE). Writes gee.json; see README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({library(geepack); library(gee); library(MASS); library(sandwich); library(clubSandwich)})

ctl <- geese.control(epsilon = 1e-12, maxit = 1000)
glm_ctl <- glm.control(epsilon = 1e-14, maxit = 200)
entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}

# ---------------------------------------------------------------------------------------------- helpers

quasi_loglik <- function(family, y, mu, w) {
  q <- switch(family,
    gaussian = -0.5 * (y - mu)^2, binomial = y * log(mu) + (1 - y) * log(1 - mu), poisson = y * log(mu) - mu,
    Gamma = -y / mu - log(mu), stop("no quasi-likelihood"))
  sum(w * q)
}

# One geepack fit. `call` is R code: geeglm(...) or geese(...), with control = ctl.
gp <- function(name, call, qic = TRUE, note = NULL, se = c()) {
  call <- squish(call)
  fit <- suppressWarnings(eval(parse(text = call), globalenv()))
  g <- if (inherits(fit, "geeglm")) fit$geese else fit
  fixed <- isTRUE(as.logical(g$model$scale.fix))
  out <- list(
    call = call, package = version_of("geepack"), converged = g$error == 0, n_clusters = length(g$clusz),
    max_cluster_size = max(g$clusz),
    coef = named(g$beta), robust_se = se_of(g$vbeta), naive_se = se_of(g$vbeta.naiv),
    alpha = if (length(g$alpha) == 0) NULL else if (length(g$alpha) == 1) unname(g$alpha) else named(g$alpha),
    alpha_se = if (length(g$alpha) == 0) NULL else if (length(g$alpha) == 1) sqrt(g$valpha[1, 1]) else se_of(g$valpha),
    phi = unname(g$gamma), scale_fixed = fixed,
    robust_cov = square(g$vbeta), naive_cov = square(g$vbeta.naiv))
  if (qic) {
    # The textbook criteria: quasi-likelihood not divided by phi, Omega at this fit's own beta and phi.
    cl <- fit$call
    mf <- model.frame(eval(cl$formula), eval(cl$data, globalenv()))
    X <- model.matrix(attr(mf, "terms"), mf)
    fam <- eval(cl$family, globalenv())
    if (is.function(fam)) fam <- fam()
    eta <- as.vector(X %*% g$beta)
    if (!is.null(model.offset(mf))) eta <- eta + model.offset(mf)
    mu <- fam$linkinv(eta)
    omega <- crossprod(X * (fam$mu.eta(eta) / sqrt(fam$variance(mu)))) / out$phi
    out$criteria_at_fit <- list(quasi_loglik = quasi_loglik(fam$family, model.response(mf), mu, 1),
                                cic = sum(diag(omega %*% g$vbeta)))
    if (inherits(fit, "geeglm")) out$qic <- named(suppressWarnings(QIC(fit, env = globalenv())))
  }
  for (s in se) out[[paste0(s, "_se")]] <- se_of(g[[paste0("vbeta.", s)]])
  if (!is.null(note)) out$note <- note
  add(name, out)
}

# One fit by package gee.
ge <- function(name, call, note = NULL) {
  call <- squish(call)
  trouble <- character()
  capture.output(fit <- withCallingHandlers(
    suppressMessages(eval(parse(text = call), globalenv())),
    warning = function(w) { trouble <<- c(trouble, conditionMessage(w)); invokeRestart("muffleWarning") }))
  r <- fit$working.correlation
  out <- list(
    call = call, package = version_of("gee"), converged = fit$error == 0, iterations = fit$iterations,
    n_clusters = length(rle(fit$id)$lengths), max_cluster_size = fit$max.id,
    coef = named(fit$coefficients), robust_se = se_of(fit$robust.variance), naive_se = se_of(fit$naive.variance),
    alpha = if (grepl("Exch|AR-M", fit$model$corstr)) r[1, 2] else if (grepl("Unstr|Stat", fit$model$corstr)) square(r) else NULL,
    phi = fit$scale, scale_fixed = isTRUE(eval(fit$call$scale.fix)),
    robust_cov = square(fit$robust.variance), naive_cov = square(fit$naive.variance))
  if (length(trouble)) out$warnings <- I(unique(trouble))
  if (!is.null(note)) out$note <- note
  add(name, out)
}

structures <- c(ind = "independence", exch = "exchangeable", ar1 = "ar1", unstr = "unstructured")
gee_structures <- c(ind = "independence", exch = "exchangeable", ar1 = "AR-M", unstr = "unstructured")

# ---------------------------------------------------------------------------------------------- real data

scale_fix_note <- paste("geepack ignores scale.value: scale.fix = TRUE fixes phi at the mean squared Pearson residual",
                        "of the independence fit (given here as phi), not at 1; see the _phi1 entries for 1")
ohio <- dataset("ohio")
for (s in names(structures)) {
  gp(paste0("ohio_", s, "_phi1"), sprintf(
    'geese(resp ~ age * smoke, family = binomial, data = ohio, id = id, corstr = "%s", scale.fix = TRUE, gm = 1, control = ctl)',
    structures[s]), note = "phi really fixed at 1, by gm = 1")
  gp(paste0("ohio_", s, "_scalefix"), sprintf(
    'geeglm(resp ~ age * smoke, family = binomial, data = ohio, id = id, corstr = "%s", scale.fix = TRUE, control = ctl)',
    structures[s]), note = scale_fix_note)
  gp(paste0("ohio_", s), sprintf(
    'geeglm(resp ~ age * smoke, family = binomial, data = ohio, id = id, corstr = "%s", control = ctl)', structures[s]))
  ge(paste0("ohio_", s, "_gee"), sprintf(
    'gee(resp ~ age * smoke, id = id, data = ohio, family = binomial, corstr = "%s", Mv = 1, tol = 1e-12, maxiter = 1000)',
    gee_structures[s]))
}
ge("ohio_exch_phi1_gee",
   'gee(resp ~ age * smoke, id = id, data = ohio, family = binomial, corstr = "exchangeable", scale.fix = TRUE,
    scale.value = 1, tol = 1e-12, maxiter = 1000)')
for (l in c("probit", "cloglog"))
  gp(paste0("ohio_", l, "_exch"), sprintf(
    'geeglm(resp ~ age * smoke, family = binomial("%s"), data = ohio, id = id, corstr = "exchangeable", control = ctl)', l))

epil <- dataset("epil")
for (s in names(structures)) {
  gp(paste0("epil_", s), sprintf(
    'geeglm(y ~ trt + log(base/4) + log(age), family = poisson, data = epil, id = subject, corstr = "%s", control = ctl)',
    structures[s]))
  ge(paste0("epil_", s, "_gee"), sprintf(
    'gee(y ~ trt + log(base/4) + log(age), id = subject, data = epil, family = poisson, corstr = "%s", Mv = 1,
     tol = 1e-12, maxiter = 1000)', gee_structures[s]))
}
ge("epil_mdep2_gee",
   'gee(y ~ trt + log(base/4) + log(age), id = subject, data = epil, family = poisson, corstr = "stat_M_dep", Mv = 2,
    tol = 1e-12, maxiter = 1000)')
gp("epil_exch_phi1",
   'geese(y ~ trt + log(base/4) + log(age), family = poisson, data = epil, id = subject, corstr = "exchangeable",
    scale.fix = TRUE, gm = 1, control = ctl)',
   note = "alpha exceeds 1: the exchangeable moment estimate with phi = 1 on overdispersed counts; a test of the guard, not a fit to copy")
jack <- geese.control(epsilon = 1e-12, maxit = 1000, jack = TRUE, j1s = TRUE, fij = TRUE)
gp("epil_trt_exch_jackknife",
   'geese(y ~ trt, id = subject, data = epil, family = poisson, corstr = "exchangeable", control = jack)',
   se = c("ajs", "j1s", "fij"),
   note = "ajs, j1s, fij: geepack's approximate, one-step and fully iterated jackknife, factor (K - p - q - r)/K with q alphas and r scale parameters")

dietox <- dataset("dietox")
for (s in c("ind", "exch", "ar1")) {
  gp(paste0("dietox_", s), sprintf(
    'geeglm(Weight ~ Time + Cu, family = gaussian, data = dietox, id = Pig, corstr = "%s", control = ctl)', structures[s]))
  ge(paste0("dietox_", s, "_gee"), sprintf(
    'gee(Weight ~ Time + Cu, id = Pig, data = dietox, family = gaussian, corstr = "%s", Mv = 1, tol = 1e-12, maxiter = 1000)',
    gee_structures[s]))
}
gamma_note <- "qic is geepack's own number and wrong for Gamma: it takes -y/(mu - log mu) for -y/mu - log mu; criteria_at_fit is right"
for (s in c("ind", "exch")) {
  gp(paste0("dietox_gamma_log_", s), sprintf(
    'geeglm(Weight ~ Time + Cu, family = Gamma("log"), data = dietox, id = Pig, corstr = "%s", control = ctl)', structures[s]),
    note = gamma_note)
  gp(paste0("dietox_gamma_inverse_", s), sprintf(
    'geeglm(Weight ~ Time + Cu, family = Gamma("inverse"), data = dietox, id = Pig, corstr = "%s", control = ctl)',
    structures[s]), note = gamma_note)
}
ge("dietox_gamma_log_exch_gee",
   'gee(Weight ~ Time + Cu, id = Pig, data = dietox, family = Gamma("log"), corstr = "exchangeable", tol = 1e-12, maxiter = 1000)')

respiratory <- dataset("respiratory")
respiratory$subject <- with(respiratory, match(paste(center, id), unique(paste(center, id))))
for (s in names(structures)) {
  gp(paste0("respiratory_", s), sprintf(
    'geeglm(outcome ~ center + treat + sex + age + baseline, family = binomial, data = respiratory, id = subject,
     corstr = "%s", control = ctl)', structures[s]))
  ge(paste0("respiratory_", s, "_gee"), sprintf(
    'gee(outcome ~ center + treat + sex + age + baseline, id = subject, data = respiratory, family = binomial,
     corstr = "%s", Mv = 1, tol = 1e-12, maxiter = 1000)', gee_structures[s]))
}

# seizure counts in long form: visit 0 is the eight-week baseline, visits 1 to 4 are two weeks each
wide <- read.csv("data/seizure.csv")
n <- nrow(wide)
seizure <- data.frame(
  id = rep(1:n, each = 5), visit = rep(0:4, n), weeks = rep(c(8, 2, 2, 2, 2), n), x = rep(c(0, 1, 1, 1, 1), n),
  trt = rep(wide$trt, each = 5), y = as.vector(t(as.matrix(wide[, c("base", "y1", "y2", "y3", "y4")]))))
seizure <- write_sim(seizure, "seizure_long")
seizure58 <- subset(seizure, id != 49)
for (s in c("ind", "exch"))
  gp(paste0("seizure_", s), sprintf(
    'geeglm(y ~ x + trt + x:trt + offset(log(weeks)), family = poisson, data = seizure, id = id, corstr = "%s", control = ctl)',
    structures[s]))
gp("seizure_without49_exch",
   'geeglm(y ~ x + trt + x:trt + offset(log(weeks)), family = poisson, data = seizure58, id = id, corstr = "exchangeable",
    control = ctl)', note = "patient 49 left out, as in Diggle, Liang and Zeger")
ge("seizure_exch_gee",
   'gee(y ~ x + trt + x:trt + offset(log(weeks)), id = id, data = seizure, family = poisson, corstr = "exchangeable",
    tol = 1e-12, maxiter = 1000)')

# ---------------------------------------------------------------------------------------------- simulated data

# Binary outcome at times 1, 2, 4, 7, 11 with missing visits; latent AR(1).
set.seed(20240501)
K <- 120
times <- c(1, 2, 4, 7, 11)
d <- do.call(rbind, lapply(1:K, function(i) {
  z <- rnorm(1)
  e <- as.vector(t(chol(0.85^abs(outer(times, times, "-")))) %*% rnorm(5))
  x <- round(rnorm(5), 3)
  g <- rbinom(1, 1, 0.5)
  y <- as.integer(-0.3 + 0.5 * g + 0.6 * x - 0.03 * times + 1.2 * e > rlogis(5) * 0.6)
  keep <- if (i == 1) rep(TRUE, 5) else runif(5) < 0.75
  if (!any(keep)) keep[1] <- TRUE
  data.frame(id = i, wave = 1:5, time = times, g = g, x = x, y = y)[keep, ]
}))
waves <- write_sim(d, "sim_waves")
no_qic <- "geese, not geeglm: geeglm turns waves into factor codes and loses the spacing"
gp("waves_ar1_time", 'geese(y ~ g + x, id = id, waves = time, data = waves, family = binomial, corstr = "ar1", control = ctl)',
   note = paste(no_qic, "; correlation alpha^|t_j - t_k| at times 1, 2, 4, 7, 11"))
gp("waves_ar1_wave", 'geese(y ~ g + x, id = id, waves = wave, data = waves, family = binomial, corstr = "ar1", control = ctl)',
   note = paste(no_qic, "; visit numbers 1 to 5 as times, with gaps where a visit is missing"))
gp("waves_ar1_time_phi1",
   'geese(y ~ g + x, id = id, waves = time, data = waves, family = binomial, corstr = "ar1", scale.fix = TRUE,
     gm = 1, control = ctl)')
gp("waves_exch", 'geese(y ~ g + x, id = id, waves = time, data = waves, family = binomial, corstr = "exchangeable", control = ctl)')
gp("waves_ind", 'geese(y ~ g + x, id = id, data = waves, family = binomial, corstr = "independence", control = ctl)')

# Unstructured with missing waves may crash geepack, hence R: run it in a process of its own.
waves2 <- write_sim(subset(waves, id %in% names(which(table(id) > 1))), "sim_waves_no_singletons")
unstructured <- function(name, data_name) {
  tmp <- tempfile(fileext = ".rds")
  call <- squish(sprintf('geese(y ~ g + x, id = id, waves = wave, data = %s, family = binomial, corstr = "unstructured",
                          control = ctl)', data_name))
  code <- sprintf('library(geepack); ctl <- geese.control(epsilon = 1e-12, maxit = 1000); %s <- read.csv("data/sim_%s.csv");
    saveRDS(%s, "%s")', data_name, if (data_name == "waves") "waves" else "waves_no_singletons", call, tmp)
  status <- suppressWarnings(system2(file.path(R.home("bin"), "Rscript"), c("-e", shQuote(squish(code))),
                                     stdout = FALSE, stderr = FALSE))
  if (status != 0) {
    add(name, list(call = call, package = version_of("geepack"), failed = TRUE,
                   note = paste("Rscript ended with an error or crash, exit status", status)))
  } else {
    fit_from_process <<- readRDS(tmp)
    gp(name, "fit_from_process", qic = FALSE)
    entries[[name]]$call <<- call
  }
}
unstructured("waves_unstr", "waves")
unstructured("waves_unstr_no_singletons", "waves2")

# The same model by corstr = "userdefined" with one dummy per pair of waves does not crash.
pair_design <- function(id, wave, n_waves) {
  levels <- combn(n_waves, 2, paste, collapse = ":")
  pairs <- unlist(lapply(split(wave, id), function(w) if (length(w) > 1) combn(w, 2, paste, collapse = ":")))
  z <- 1 * outer(unname(pairs), levels, "==")
  dimnames(z) <- list(NULL, paste0("alpha.", levels))
  z
}
for (d in c("waves", "waves2")) {
  zcor <- with(get(d), pair_design(id, wave, 5))
  gp(if (d == "waves") "waves_unstr_userdefined" else "waves_unstr_userdefined_no_singletons", sprintf(
    'geese(y ~ g + x, id = id, data = %s, family = binomial, corstr = "userdefined", zcor = zcor, control = ctl)', d),
    note = "zcor: one dummy per pair of waves, so this is the unstructured correlation with missing waves")
}

# Gaussian with negative serial correlation, four to six rows per cluster.
set.seed(20240502)
d <- do.call(rbind, lapply(1:80, function(i) {
  n <- sample(4:6, 1)
  e <- as.vector(t(chol((-0.6)^abs(outer(1:n, 1:n, "-")))) %*% rnorm(n))
  x <- round(rnorm(n), 3)
  data.frame(id = i, time = 1:n, x = x, y = round(1 + 0.5 * x + 1.5 * e, 4))
}))
negative <- write_sim(d, "sim_negative_ar1")
gp("negative_ar1", 'geeglm(y ~ x, family = gaussian, data = negative, id = id, corstr = "ar1", control = ctl)')
ge("negative_ar1_gee", 'gee(y ~ x, id = id, data = negative, family = gaussian, corstr = "AR-M", Mv = 1, tol = 1e-12, maxiter = 1000)')
gp("negative_exch", 'geeglm(y ~ x, family = gaussian, data = negative, id = id, corstr = "exchangeable", control = ctl)')

# Sampling weights: wc constant within clusters, wr varying within clusters.
set.seed(20240503)
d <- do.call(rbind, lapply(1:100, function(i) {
  n <- sample(2:6, 1)
  u <- rnorm(1)
  x <- round(rnorm(n) + 0.3 * u, 3)
  g <- rbinom(1, 1, 0.5)
  data.frame(id = i, g = g, x = x, wc = round(exp(0.5 * rnorm(1) + 0.3 * u), 3), wr = round(exp(0.5 * rnorm(n)), 3),
             yb = rbinom(n, 1, plogis(-0.2 + 0.7 * x - 0.5 * g + u)), yc = round(2 + x - 0.5 * g + u + rnorm(n), 4))
}))
weighted <- write_sim(d, "sim_weighted")
for (w in c("wc", "wr")) for (s in c("ind", "exch", "ar1")) {
  note <- if (s == "ar1") "serial correlation by row order within the cluster" else NULL
  gp(sprintf("weighted_binary_%s_%s", w, s), sprintf(
    'geeglm(yb ~ g + x, family = binomial, data = weighted, weights = %s, id = id, corstr = "%s", control = ctl)', w,
    structures[s]), qic = FALSE, note = note)
  gp(sprintf("weighted_gaussian_%s_%s", w, s), sprintf(
    'geeglm(yc ~ g + x, family = gaussian, data = weighted, weights = %s, id = id, corstr = "%s", control = ctl)', w,
    structures[s]), qic = FALSE, note = note)
}

# Proportions with their numbers of trials as weights.
set.seed(20240504)
d <- do.call(rbind, lapply(1:60, function(i) {
  n <- sample(2:5, 1)
  x <- round(rnorm(n), 3)
  trials <- sample(3:20, n, replace = TRUE)
  data.frame(id = i, x = x, trials = trials, successes = rbinom(n, trials, plogis(-0.5 + 0.6 * x + 0.7 * rnorm(1))))
}))
prop <- write_sim(d, "sim_proportions")
for (s in c("ind", "exch"))
  gp(paste0("proportions_", s), sprintf(
    'geeglm(successes/trials ~ x, family = binomial, data = prop, weights = trials, id = id, corstr = "%s", control = ctl)',
    structures[s]), qic = FALSE, note = "phi = sum w e^2 / sum w, as geepack has it for all weights")

# ------------------------------------------------------------- families that geepack lacks: glm and sandwich

glm_cluster <- function(name, call, cluster, note) {
  call <- squish(call)
  fit <- polish(eval(parse(text = call), globalenv()))
  robust <- vcovCL(fit, cluster = cluster, type = "HC0", cadjust = FALSE)
  e2 <- residuals(fit, "pearson")^2
  add(name, list(
    call = call, package = version_of("sandwich"), converged = fit$converged, n_clusters = length(unique(cluster)),
    coef = named(coef(fit)), robust_se = se_of(robust), naive_se_phi1 = se_of(summary(fit, dispersion = 1)$cov.scaled),
    alpha = NULL, phi = sum(e2) / length(e2), phi_n_minus_p = sum(e2) / (length(e2) - length(coef(fit))),
    robust_cov = square(robust), deviance = fit$deviance, note = note))
}
robust_note <- "robust_se: sandwich::vcovCL(type = HC0, cadjust = FALSE) = the GEE sandwich under independence; phi is the Pearson statistic / N; naive_se_phi1 is for phi = 1"
glm_cluster("epil_negbin2_ind",
  'glm(y ~ trt + log(base/4) + log(age), family = MASS::negative.binomial(theta = 2), data = epil, control = glm_ctl)',
  epil$subject, paste(robust_note, "; variance mu + mu^2/2"))
glm_cluster("dietox_invgauss_log_ind",
  'glm(Weight ~ Time + Cu, family = inverse.gaussian("log"), data = dietox, control = glm_ctl)', dietox$Pig, robust_note)

# Small-sample corrections where clubSandwich agrees with their GEE namesakes: CR2 = kc and CR3 = md for the linear model.
fit <- lm(Weight ~ Time + Cu, data = dietox)
cr <- list(call = "lm(Weight ~ Time + Cu, data = dietox)", package = version_of("clubSandwich"), coef = named(coef(fit)),
           n_clusters = length(unique(dietox$Pig)))
for (type in c("CR0", "CR1", "CR1S", "CR2", "CR3")) {
  v <- vcovCR(fit, cluster = dietox$Pig, type = type)
  cr[[paste0(type, "_se")]] <- se_of(v)
  cr[[paste0(type, "_df_satterthwaite")]] <- plain(coef_test(fit, vcov = v, test = "Satterthwaite")$df_Satt)
}
cr$note <- "independence; CR0 = robust, CR2 = kc, CR3 = md (Gaussian identity link)"
add("dietox_lm_small_sample", cr)

write_reference(entries, "gee.json", c("geepack", "gee", "MASS", "sandwich", "clubSandwich", "jsonlite"))

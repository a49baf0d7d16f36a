# Reference results for tests and criteria of survey fits, and tails of quadratic forms. Writes survey_tests.json.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages(library(survey))
entries <- list(tails = list(), fits = list())

# --------------------------------------------------------------------------------------------- quadratic forms

forms <- list(c(1, 1, 1), c(2.5, 1, 0.3), c(1.3, 0.8), c(3, 2, 1, 0.5, 0.1, 0.05), c(4), c(10, 1e-3, 1e-3))
for (lambda in forms) for (ddf in c(3, 12, 194, Inf)) {
  x <- c(0.05, 0.4, 2, 6) * sum(lambda)
  one <- rep(1, length(lambda))
  tail <- function(method) plain(sapply(x, function(x)
    if (is.finite(ddf)) survey:::pFsum(x, one, lambda, ddf, method = method, lower.tail = FALSE)
    else pchisqsum(x, one, lambda, method = method, lower.tail = FALSE)))
  entries$tails[[length(entries$tails) + 1]] <- list(
    lambda = plain(lambda), ddf = if (is.finite(ddf)) ddf else NULL, x = plain(x), saddlepoint = tail("saddlepoint"),
    satterthwaite = tail("satterthwaite"))
}

# --------------------------------------------------------------------------------------------------------- fits

tables <- list(sim_survey = read.csv(file.path("data", "sim_survey.csv")))
for (name in c("apistrat", "apiclus1", "apiclus2")) {
  d <- dataset(name)
  d$wide <- as.integer(d$sch.wide == "Yes")
  d$gain <- pmax(d$api00 - d$api99, 0)
  d$improved <- as.integer(d$comp.imp == "Yes")
  tables[[name]] <- d
}
control <- glm.control(epsilon = 1e-15, maxit = 200)
as_formula <- function(x) if (is.null(x)) NULL else reformulate(x)

# glm() keeps the weights of the step before the last: started at the solution, its covariance is as exact as that.
exact <- function(formula, family) {
  environment(formula) <- globalenv()
  .formula <<- formula; .family <<- family
  fit <- suppressWarnings(svyglm(.formula, design = .design, family = .family, control = control))
  for (i in 1:5) {
    .start <<- coef(fit)
    fit <- suppressWarnings(eval(bquote(svyglm(.(formula), design = .design, family = .family, start = .start,
                                               control = glm.control(epsilon = 1e-5, maxit = 3)))))
  }
  fit$call$start <- NULL                                   # update() refits with fewer terms
  fit$call$control <- quote(control)
  fit
}

# Where holding a coefficient raises the deviance by its design effect times the quantile of F, by root finding.
profile <- function(fit, ddf) {
  X <- model.matrix(fit); b <- coef(fit); effect <- diag(vcov(fit)) / diag(fit$naive.cov)
  rise <- function(j, value) {
    held <- glm.fit(X[, -j, drop = FALSE], fit$y, fit$prior.weights, offset = value * X[, j], family = fit$family,
                    intercept = FALSE, control = control)
    (held$deviance - fit$deviance) / effect[j] - qf(0.95, 1, ddf)
  }
  half <- 3 * qt(0.975, ddf) * sqrt(diag(vcov(fit)))
  t(sapply(seq_along(b), function(j) sapply(c(-1, 1), function(side)
    b[j] + side * half[j] * uniroot(function(s) rise(j, b[j] + side * half[j] * s), c(0, 1), tol = 1e-12)$root)))
}

case <- function(name, data, response, features, reduced, groups = NULL, strata = NULL, fpc = NULL, weights,
                 family = quasibinomial(), intercept = TRUE, domain = NULL) {
  d <- tables[[data]]
  .design <<- svydesign(ids = if (is.null(groups)) ~1 else as_formula(groups), strata = as_formula(strata),
                        fpc = as_formula(fpc), weights = as_formula(weights), data = d, nest = TRUE)
  if (!is.null(domain)) .design <<- .design[d[[domain]] == 1, ]
  right <- function(x) reformulate(if (length(x)) x else "1", response, intercept = intercept)
  full <- exact(right(features), family)
  small <- exact(right(reduced), family)
  index <- which(!names(coef(full)) %in% names(coef(small)))
  lambda <- eigen(solve(full$naive.cov[index, index, drop = FALSE]) %*% vcov(full)[index, index, drop = FALSE])$values
  chisq <- small$deviance - full$deviance
  p <- function(x, ddf, method) as.numeric(if (is.finite(ddf)) survey:::pFsum(x, rep(1, length(lambda)), Re(lambda), ddf,
                                                              method = method, lower.tail = FALSE)
                                           else pchisqsum(x, rep(1, length(lambda)), Re(lambda), method = method, lower.tail = FALSE))
  ddf <- full$df.residual
  terms <- setdiff(features, reduced)
  ww <- regTermTest(full, reformulate(terms), method = "WorkingWald")
  wald <- regTermTest(full, reformulate(terms))
  out <- list(
    data = data, response = response, features = plain(features), reduced = plain(reduced), groups = if (length(groups)) plain(groups),
    strata = strata, fpc = if (length(fpc)) plain(fpc), weights = weights, family = family$family, intercept = intercept, domain = domain,
    coef = named(coef(full)), se = se_of(vcov(full)), se_naive = se_of(full$naive.cov), ddf = ddf,
    chisq = chisq, lambda = plain(Re(lambda)),
    p_saddlepoint = p(chisq, ddf, "saddlepoint"), p_satterthwaite = p(chisq, ddf, "satterthwaite"),
    p_saddlepoint_chisq = p(chisq, Inf, "saddlepoint"),
    working_wald = as.numeric(ww$chisq), working_wald_p = as.numeric(ww$p),
    wald_F = as.numeric(wald$Ftest), wald_p = as.numeric(wald$p))
  # the package's own test refits the reduced model, with glm()'s default tolerance
  own <- regTermTest(full, reformulate(terms), method = "LRT")
  stopifnot(abs(own$chisq - chisq) < 1e-5 * abs(chisq) + 1e-5, abs(own$p - out$p_saddlepoint) < 1e-5)
  with_deff <- suppressWarnings(svyglm(.formula <<- right(features), design = .design, family = .family, deff = TRUE,
                                       control = control))
  out$deff_survey <- plain(deff(with_deff))
  if (family$family != "gaussian") {
    a <- AIC(full); b <- AIC(small)
    out$aic <- list(full = plain(unname(a)), reduced = plain(unname(b)))
    if (intercept) out$bic <- plain(c(BIC(full, maximal = full)[["BIC"]], BIC(small, maximal = full)[["BIC"]]))
  }
  if (family$family == "quasibinomial") {
    # survey 4.1-1 multiplies the rise of the deviance that it allows by the dispersion, beyond the design effect
    out$profile_95 <- square(unname(suppressWarnings(profile(full, ddf))))
    out$psrsq <- c(plain(psrsq(full)), plain(psrsq(full, method = "Nagelkerke")))
    out$dispersion <- as.numeric(summary(full)$dispersion)
    out$likelihood_confint_times_dispersion <- square(unname(confint(full, method = "likelihood")))
  }
  entries$fits[[name]] <<- Filter(Negate(is.null), out)
}

three <- c("ell", "meals", "mobility")
case("strat", "apistrat", "wide", three, "mobility", strata = "stype", fpc = "fpc", weights = "pw")
case("strat_one", "apistrat", "wide", three, c("ell", "meals"), strata = "stype", fpc = "fpc", weights = "pw")
case("strat_all", "apistrat", "wide", three, character(), strata = "stype", fpc = "fpc", weights = "pw")
case("strat_weights", "apistrat", "wide", three, "mobility", weights = "pw")
case("strat_domain", "apistrat", "wide", three, "mobility", strata = "stype", fpc = "fpc", weights = "pw", domain = "improved")
case("clus1", "apiclus1", "wide", three, "meals", groups = "dnum", fpc = "fpc", weights = "pw")
case("clus2", "apiclus2", "wide", three, "ell", groups = c("dnum", "snum"), fpc = c("fpc1", "fpc2"), weights = "pw")
case("sim", "sim_survey", "y", c("x1", "x2"), character(), groups = "psu", strata = "stratum", fpc = "fpc", weights = "w")
case("no_intercept", "sim_survey", "y", c("x1", "x2"), "x1", groups = "psu", strata = "stratum", weights = "w",
     intercept = FALSE)
case("strat_gaussian", "apistrat", "api00", three, "mobility", strata = "stype", fpc = "fpc", weights = "pw",
     family = gaussian())
case("strat_poisson", "apistrat", "gain", three, "mobility", strata = "stype", fpc = "fpc", weights = "pw",
     family = quasipoisson())
case("clus1_gaussian", "apiclus1", "api00", three, "meals", groups = "dnum", weights = "pw", family = gaussian())
case("clus1_poisson", "apiclus1", "gain", three, "meals", groups = "dnum", weights = "pw", family = quasipoisson())

write_reference(entries, "survey_tests.json", c("survey", "jsonlite"))

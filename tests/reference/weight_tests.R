# Reference results for tests of sampling weights: the published forms by lm() and glm(), the design-based ones from
# scores written out and survey's variance of a total. Writes weight_tests.json; see README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages(library(survey))

glm_ctl <- glm.control(epsilon = 1e-14, maxit = 200)
entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}
f_test <- function(reduced, full) {
  a <- anova(reduced, full)
  list(statistic = a$F[2], df = a$Df[2], df_denominator = a$Res.Df[2], p_value = a[["Pr(>F)"]][2])
}

# ------------------------------------------------------------------------------------------------- published forms

classical <- function(name, d, y, x, w) {
  y <- d[[y]]; w <- d[[w]]; X <- as.matrix(d[x]); Q <- X^2
  u <- lm(y ~ X); e <- resid(u); q <- w / fitted(lm(w ~ X)); qq <- w / fitted(lm(w ~ X + Q))
  D <- cbind(1, X)
  C <- solve(t(D) %*% (D * w), t(D * w)) - solve(crossprod(D), t(D))
  contrast <- as.vector(C %*% y)
  hp <- function(V) {
    chi2 <- as.numeric(t(contrast) %*% solve(V, contrast))
    list(statistic = chi2, df = ncol(D), p_value = pchisq(chi2, ncol(D), lower.tail = FALSE))
  }
  n <- nrow(D); p <- ncol(D)
  # Hotelling's test, exact for normal scores; without the factor (n - 1) / n it is svytest's
  ee <- function(q, factor) {
    scores <- (1 - q) * D * e; mean <- colMeans(scores)
    F <- (n - p) / p * as.numeric(t(mean) %*% solve(cov(scores) * factor, mean))
    list(statistic = F, df = p, df_denominator = n - p, p_value = pf(F, p, n - p, lower.tail = FALSE))
  }
  out <- list(
    dumouchel_duncan = f_test(lm(y ~ X), lm(y ~ X * w)),
    hausman_pfeffermann = hp(sigma(u)^2 * tcrossprod(C)), hausman_pfeffermann_hc0 = hp(C %*% (e^2 * t(C))),
    # residuals in a regression of the weights: squares of features among the others; not at all; tested with them
    weight_association = f_test(lm(w ~ X + Q), lm(w ~ X + Q + e + I(e^2) + I(e * X))),
    ps1 = f_test(lm(w ~ X), lm(w ~ X + e + I(e^2) + I(e * X))),
    ps1q = f_test(lm(w ~ X), lm(w ~ X + Q + e + I(e^2) + I(e * X))),
    ps2 = f_test(lm(w ~ X), lm(w ~ X + y + I(y^2))), ps2q = f_test(lm(w ~ X + Q), lm(w ~ X + Q + y + I(y^2))),
    wu_fuller = f_test(lm(y ~ X), lm(y ~ X + qq + I(qq * X))),
    wu_fuller_products = f_test(lm(y ~ X), lm(y ~ X + I(qq * X))),
    estimating_equations = ee(q, (n - 1) / n), estimating_equations_svytest = ee(q, 1),
    estimating_equations_log_svytest = ee(w / exp(fitted(lm(log(w) ~ X))), 1),
    kish_deff = n * sum(w^2) / sum(w)^2, effective_size = sum(w)^2 / sum(w^2))
  add(name, out)
}

apistrat <- dataset("apistrat")
apistrat$met <- as.integer(apistrat$sch.wide == "Yes")
classical("classical_api", apistrat, "api00", c("ell", "meals"), "pw")

# strata of clusters numbered anew in each, weights that vary within clusters, informative for some outcomes
set.seed(20240611)
d <- do.call(rbind, lapply(1:5, function(h) do.call(rbind, lapply(1:(6 + h), function(c) {
  m <- sample(4:9, 1); u <- rnorm(1, 0, 0.5); x1 <- round(rnorm(m) + 0.3 * u, 3); x2 <- rbinom(m, 1, 0.4); e <- rnorm(m)
  data.frame(stratum = h, psu = c, fpc = 30 + 5 * h, x1 = x1, x2 = x2, off = round(rnorm(m, 0, 0.3), 3),
             w = round((1 + h) * exp(0.4 * rnorm(1) + 0.3 * rnorm(m) + 0.25 * e + 0.2 * x1), 4),
             linear = round(1 + 0.8 * x1 - 0.5 * x2 + u + e, 4), binary = as.integer(0.2 + 0.9 * x1 - 0.6 * x2 + u + 1.6 * e > 0),
             count = rpois(m, exp(0.4 + 0.3 * x1 - 0.2 * x2 + 0.3 * u + 0.2 * e)))
}))))
d$cluster <- match(paste(d$stratum, d$psu), unique(paste(d$stratum, d$psu)))
informative <- write_sim(d, "sim_informative")
classical("classical_simulated", informative, "linear", c("x1", "x2"), "w")

likelihood_ratio <- function(name, d, y, x, w) {
  d <- data.frame(y = d[[y]], d[x], w = d[[w]])
  reduced <- glm(reformulate(x, "y"), binomial, d, control = glm_ctl)
  full <- glm(as.formula(paste("y ~ (", paste(x, collapse = " + "), ") * w")), binomial, d, control = glm_ctl)
  a <- anova(reduced, full, test = "LRT")
  add(name, list(statistic = a$Deviance[2], df = a$Df[2], p_value = a[["Pr(>Chi)"]][2]))
}
likelihood_ratio("likelihood_ratio_api", apistrat, "met", c("ell", "meals", "mobility"), "pw")
likelihood_ratio("likelihood_ratio_simulated", informative, "binary", c("x1", "x2"), "w")

# ---------------------------------------------------------------------------------------------- design-based forms

# The F test that scores z have mean zero: survey's variance of their total, without finite populations.
hotelling <- function(z, design_data, ids, strata) {
  z <- as.matrix(z); k <- ncol(z); colnames(z) <- paste0("z", 1:k)
  # dependent columns leave as many hypotheses as there are independent ones
  kept <- qr(sweep(z, 2, sqrt(colSums(z^2)), "/"), tol = 1e-7); z <- z[, kept$pivot[1:kept$rank], drop = FALSE]; k <- ncol(z)
  dsg <- svydesign(ids = ids, strata = strata, weights = ~1, data = cbind(design_data, z), nest = TRUE)
  total <- svytotal(reformulate(colnames(z)), dsg)
  nu <- degf(dsg)
  t2 <- as.numeric(coef(total) %*% solve(vcov(total), coef(total)))
  statistic <- t2 * (nu - k + 1) / (nu * k)
  list(statistic = statistic, df = k, df_denominator = nu - k + 1, p_value = pf(statistic, k, nu - k + 1, lower.tail = FALSE), t2 = t2)
}

design_based <- function(name, d, y, x, w, ids, strata = NULL, fpc = NULL, family = gaussian(), offset = NULL) {
  d$.y <- d[[y]]; d$.w <- d[[w]] / mean(d[[w]]); d$.off <- if (is.null(offset)) 0 else d[[offset]]
  formula <- as.formula(paste(".y ~", paste(x, collapse = " + "), if (is.null(offset)) "" else "+ offset(.off)"))
  environment(formula) <- globalenv()
  quasi <- if (family$family == "binomial") quasibinomial() else if (family$family == "poisson") quasipoisson() else family
  u <- glm(formula, quasi, d, control = glm_ctl)
  X <- model.matrix(u); mu <- fitted(u); eta <- u$linear.predictors
  slope <- quasi$mu.eta(eta) / quasi$variance(mu); psi <- slope * (d$.y - mu); v <- slope * quasi$mu.eta(eta)
  psi <- as.vector(psi); v <- as.vector(v)
  Iu <- crossprod(X, X * v); Iw <- crossprod(X, X * (v * d$.w))
  ht <- function(z) hotelling(z, d, ids, strata)
  effective <- function(A) (A - X %*% solve(Iu, crossprod(X * v, A))) * psi
  change <- (X * (d$.w * psi)) %*% solve(Iw) - (X * psi) %*% solve(Iu)
  # of a feature with two values the square follows from itself, which glm() with a log link does not always notice
  Q <- as.matrix(d[x])^2; Q <- Q[, sapply(d[x], function(z) length(unique(z)) > 2), drop = FALSE]
  relative <- function(M) as.vector(d$.w / fitted(glm(d$.w ~ 0 + M, family = quasipoisson(), control = glm_ctl)))
  e <- (d$.y - mu) / sqrt(quasi$variance(mu)); base <- cbind(X, Q)
  tested <- X * e; if (family$family != "binomial") tested <- cbind(tested, e^2)
  association <- resid(lm(tested ~ 0 + base)) * resid(lm(d$.w ~ 0 + base))
  dsg <- svydesign(ids = ids, strata = strata, fpc = fpc, weights = ~.w, data = d, nest = TRUE)
  d$.one <- 1
  equal <- svydesign(ids = ids, strata = strata, fpc = fpc, weights = ~.one, data = d, nest = TRUE)
  with_replacement <- svydesign(ids = ids, strata = strata, weights = ~.one, data = d, nest = TRUE)
  # once more from the solution, for an exact covariance; svyglm() looks up its arguments in the global environment
  sv <- function(f, dsg) {
    environment(f) <- globalenv()
    .design <<- dsg; .family <<- quasi
    .start <<- coef(svyglm(f, design = .design, family = .family, control = glm_ctl))
    svyglm(f, design = .design, family = .family, control = glm_ctl, start = .start)
  }
  fw <- sv(formula, dsg); fu <- sv(formula, equal)
  larger <- as.formula(paste(".y ~ (", paste(x, collapse = " + "), ") * .w", if (is.null(offset)) "" else "+ offset(.off)"))
  dd <- sv(larger, with_replacement)
  added <- grep("\\.w", names(coef(dd)))
  wald <- as.numeric(coef(dd)[added] %*% solve(vcov(dd)[added, added], coef(dd)[added]))
  single <- sapply(seq_len(ncol(change)), function(j) {
    total <- svytotal(~z, svydesign(ids = ids, strata = strata, weights = ~1, data = cbind(d, z = change[, j]), nest = TRUE))
    2 * pt(-abs(as.numeric(coef(total) / SE(total))), degf(with_replacement))
  })
  add(name, list(
    unweighted = named(coef(fu)), se_unweighted = se_of(vcov(fu)), weighted = named(coef(fw)), se_weighted = se_of(vcov(fw)),
    degf = degf(dsg), p_single = plain(single), hausman_pfeffermann = ht(change), dumouchel_duncan = ht(effective(X * d$.w)),
    pfeffermann_sverchkov = ht(effective(X * relative(X))), wu_fuller = ht(effective(X * relative(base))),
    weight_association = ht(association), dumouchel_duncan_wald = list(wald = wald, df = length(added))))
}
design_based("api_linear", apistrat, "api00", c("ell", "meals", "mobility"), "pw", ~1, ~stype, ~fpc)
design_based("api_logit", apistrat, "met", c("ell", "meals", "mobility"), "pw", ~1, ~stype, ~fpc, binomial())
apiclus2 <- dataset("apiclus2"); apiclus2$met <- as.integer(apiclus2$sch.wide == "Yes")
design_based("api_clusters", apiclus2, "api00", c("ell", "meals"), "pw", ~dnum)
design_based("api_stages", apiclus2, "met", c("ell", "meals"), "pw", ~dnum + snum, NULL, ~fpc1 + fpc2, binomial())
for (y in c("linear", "binary", "count"))
  design_based(paste0("simulated_", y), informative, y, c("x1", "x2"), "w", ~psu, ~stratum, ~fpc,
               list(linear = gaussian(), binary = binomial(), count = poisson())[[y]])
design_based("simulated_offset", informative, "count", c("x1", "x2"), "w", ~psu, ~stratum, NULL, poisson(), "off")
nhanes <- dataset("nhanes"); nhanes <- nhanes[!is.na(nhanes$HI_CHOL), ]
nhanes$age <- match(nhanes$agecat, sort(unique(nhanes$agecat)))
design_based("nhanes", nhanes, "HI_CHOL", c("race", "age", "RIAGENDR"), "WTMEC2YR", ~SDMVPSU, ~SDMVSTRA, NULL, binomial())

write_reference(entries, "weight_tests.json", "survey")

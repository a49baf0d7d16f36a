# Reference results for survey designs: linearised and replicate variances, tests, criteria, tests of weights, CR2.
# Writes survey.json; the specifications of designs and models are written with the results, so that R and Python fit the same.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({library(survey); library(clubSandwich)})

options(warn = 1)
glm_ctl <- glm.control(epsilon = 1e-14, maxit = 100)
sections <- list(data = list(), designs = list(), replicates = list(), fits = list(), totals = list(),
                 weight_tests = list(), small_sample = list())
add <- function(section, name, value) {
  stopifnot(is.null(sections[[section]][[name]]))
  sections[[section]][[name]] <<- value
}
half <- function(m) plain(m[lower.tri(m, diag = TRUE)])      # a symmetric matrix: lower triangle, column by column

# ---------------------------------------------------------------------------------------------------------- data

tables <- list()
check_same <- function(d, name, package_data) {   # the files are R's own data
  for (column in names(package_data))
    stopifnot(all.equal(as.character(d[[column]]), as.character(package_data[[column]])))
  d
}
data(api); data(nhanes)
with_dummies <- function(d) {
  d$wide <- as.numeric(d$sch.wide == "Yes")
  d$high <- as.numeric(d$stype == "H"); d$middle <- as.numeric(d$stype == "M")
  d$not_middle <- 1 - d$middle
  d$improved <- as.numeric(d$comp.imp == "Yes")
  d$few_districts <- as.numeric(!d$dnum %in% c(61, 413, 448) & d$ell > 5)
  d$enrolled <- as.numeric(!is.na(d$enroll))
  d$log_enroll <- log(ifelse(is.na(d$enroll), 1, d$enroll))
  d
}
for (name in c("apistrat", "apiclus1", "apiclus2"))
  tables[[name]] <- with_dummies(check_same(dataset(name), name, get(name)[setdiff(names(get(name)), "cds")]))
d <- check_same(dataset("nhanes"), "nhanes", nhanes)
for (k in 2:4) d[[paste0("age", k)]] <- as.numeric(d$agecat == levels(nhanes$agecat)[k])
d$known <- as.numeric(!is.na(d$HI_CHOL))
d$HI_CHOL[is.na(d$HI_CHOL)] <- 0          # outside the domain of known
d$women <- d$known * (d$RIAGENDR == 2) * (d$race > 1)
d$one_stratum_less <- d$known * (d$SDMVSTRA != 80) * (d$SDMVSTRA != 85 | d$SDMVPSU != 2)
tables$nhanes <- d

# rows of PSUs `psu` of a stratum, with outcomes of every family
draw <- function(stratum, psu, rows, size = 0.5, shift = 0) {
  u <- rnorm(1, 0, size)
  x1 <- rnorm(rows) + 0.4 * u
  x2 <- rbinom(rows, 1, 0.5)
  eta <- 0.2 + shift + 0.6 * x1 - 0.5 * x2 + u
  off <- round(rnorm(rows, 0.3, 0.4), 2)
  data.frame(stratum = stratum, psu = psu, x1 = round(x1, 2), x2 = x2, y = rbinom(rows, 1, plogis(eta)),
             cont = round(eta + rnorm(rows), 2), count = rpois(rows, exp(0.6 * eta + off)),
             pos = round(exp(0.4 * eta) * rgamma(rows, 3, 3) + 0.05, 2), off = off,
             w = round(runif(rows, 0.5, 1.5) * (10 + 4 * stratum) * exp(0.3 * u), 1))
}
keep <- function(name, d) {
  rownames(d) <- NULL
  tables[[name]] <<- d
  add("data", name, lapply(d, plain))
}

set.seed(20240601)
sizes <- c(2, 3, 4, 5, 3, 6)                        # PSUs of the strata, numbered anew in each
d <- do.call(rbind, lapply(seq_along(sizes), function(h) do.call(rbind, lapply(seq_len(sizes[h]), function(c)
  cbind(draw(h, c, sample(2:7, 1), shift = 0.1 * h), fpc = 2 * sizes[h] + h)))))
d <- d[sample(nrow(d)), ]
d$cluster <- 10 * d$stratum + d$psu
d$fraction <- sizes[d$stratum] / d$fpc
d$some <- rbinom(nrow(d), 1, 0.7)
d$no_psu <- as.numeric(!d$cluster %in% c(23, 42, 65))            # no row of three PSUs
d$no_stratum <- as.numeric(d$stratum != 3 & d$some == 1)         # no row of a stratum
d$one_psu <- as.numeric(d$stratum != 4 | d$psu == 2)             # one PSU of five
d$w0 <- round(d$w * d$some * d$no_psu, 1)                        # zeros, as R takes them in svydesign
keep("sim_strata", d)

d <- rbind(tables$sim_strata[names(tables$sim_strata) %in% c("stratum", "psu", "x1", "x2", "y", "cont", "count", "pos",
                                                              "off", "w", "fpc")],
           cbind(draw(7, 1, 6), fpc = 9), cbind(draw(8, 1, 4), fpc = 12),         # two lonely PSUs
           cbind(draw(9, 1, 5), fpc = 1),                                          # one that is its whole stratum
           cbind(draw(10, 1, 3), fpc = 2), cbind(draw(10, 2, 4), fpc = 2))         # both of a stratum of two
d <- d[sample(nrow(d)), ]
d$some <- rbinom(nrow(d), 1, 0.8)
d$no_stratum <- as.numeric(d$stratum != 3)
d$w_no_stratum <- d$w * d$no_stratum
keep("sim_lonely", d)

d <- do.call(rbind, lapply(1:3, function(h) do.call(rbind, lapply(seq_len(c(3, 2, 4)[h]), function(c) {
  n2 <- if (h == 2 && c == 1) 1 else sample(2:4, 1)
  do.call(rbind, lapply(seq_len(n2), function(b) {
    n3 <- if (b == 2 && h == 1) 1 else sample(2:4, 1)
    rows <- do.call(rbind, lapply(seq_len(n3), function(a) {
      m <- if (a == 1) 2 else 1
      cbind(draw(h, c, m, size = 0.3), ssu = b, part = rep(if (b <= 2) "u" else "v", m), tsu = a)
    }))
    cbind(rows, pop1 = c(7, 5, 6)[h], pop2 = if (n2 == 1) 1 else n2 + c, pop3 = if (n3 == 1) 1 else n3 + b,
          n1 = c(3, 2, 4)[h], n2 = n2, n3 = n3, open2 = n2 + c)
  }))
}))))
d$frac1 <- d$n1 / d$pop1; d$frac2 <- d$n2 / d$pop2; d$frac3 <- d$n3 / d$pop3
# stage 2 stratified: the population of a part of a PSU, twice the SSUs in it, all of them if there is one
parts <- unique(d[c("stratum", "psu", "part", "ssu")])
count <- aggregate(ssu ~ stratum + psu + part, parts, length)
in_part <- count$ssu[match(paste(d$stratum, d$psu, d$part), paste(count$stratum, count$psu, count$part))]
d$pop_part <- ifelse(in_part == 1, 1, 2 * in_part)
d <- d[sample(nrow(d)), ]
d$some <- rbinom(nrow(d), 1, 0.75)
d$one <- 1
keep("sim_stages", d)

d <- do.call(rbind, lapply(1:8, function(h) do.call(rbind, lapply(1:2, function(c)
  cbind(draw(h, c, sample(4:7, 1), size = 0.4), fpc = 6 + h)))))
d <- d[sample(nrow(d)), ]
d$some <- rbinom(nrow(d), 1, 0.8)
keep("sim_pairs", d)

# ------------------------------------------------------------------------------------------------------- designs

formula_of <- function(columns) if (is.null(columns)) NULL else reformulate(columns)
built <- list()
rows_of <- function(spec) {
  d <- tables[[spec$data]]
  if (is.null(spec$domain)) rep(TRUE, nrow(d)) else d[[spec$domain]] == 1
}
build <- function(spec) {
  d <- tables[[spec$data]]
  full <- svydesign(ids = if (is.null(spec$groups)) ~1 else formula_of(spec$groups), strata = formula_of(spec$strata),
                    fpc = formula_of(spec$fpc), weights = formula_of(spec$weights), data = d, nest = TRUE)
  full[rows_of(spec), ]
}
# `domain`: a column of zeros and ones; R's subset(), which keeps the sizes of the full design
design <- function(name, data, groups = NULL, strata = NULL, fpc = NULL, weights = "w", lonely = "fail", domain = NULL) {
  spec <- list(data = data, groups = groups, strata = strata, fpc = fpc, weights = weights, lonely = lonely,
               domain = domain)
  options(survey.lonely.psu = lonely)
  built[[name]] <<- build(spec)
  for (part in c("groups", "strata", "fpc")) spec[part] <- list(if (is.null(spec[[part]])) NULL else plain(spec[[part]]))
  for (part in c("domain")) spec[part] <- list(spec[[part]])
  add("designs", name, c(spec, list(degf = degf(built[[name]]))))
}
lonely_of <- function(name) options(survey.lonely.psu = sections$designs[[name]]$lonely)

design("strat", "apistrat", strata = "stype", fpc = "fpc", weights = "pw")
design("strat_replacement", "apistrat", strata = "stype", weights = "pw")
design("strat_weights", "apistrat", weights = "pw")
design("strat_domain", "apistrat", strata = "stype", fpc = "fpc", weights = "pw", domain = "improved")
design("strat_domain_stratum", "apistrat", strata = "stype", fpc = "fpc", weights = "pw", domain = "not_middle")
design("clus1", "apiclus1", groups = "dnum", fpc = "fpc", weights = "pw")
design("clus1_replacement", "apiclus1", groups = "dnum", weights = "pw")
design("clus1_domain", "apiclus1", groups = "dnum", fpc = "fpc", weights = "pw", domain = "few_districts")
for (lonely in c("remove", "adjust", "average"))
  design(paste0("clus1_lonely_", lonely), "apiclus1", groups = "dnum", strata = "cname", weights = "pw", lonely = lonely)
design("clus2", "apiclus2", groups = c("dnum", "snum"), fpc = c("fpc1", "fpc2"), weights = "pw")
design("clus2_replacement", "apiclus2", groups = c("dnum", "snum"), weights = "pw")
design("clus2_psu", "apiclus2", groups = "dnum", fpc = "fpc1", weights = "pw")
design("clus2_enrolled", "apiclus2", groups = c("dnum", "snum"), fpc = c("fpc1", "fpc2"), weights = "pw",
       domain = "enrolled")
design("clus2_domain", "apiclus2", groups = c("dnum", "snum"), fpc = c("fpc1", "fpc2"), weights = "pw",
       domain = "few_districts")
nhanes_design <- function(name, ...) design(name, "nhanes", groups = "SDMVPSU", strata = "SDMVSTRA", weights = "WTMEC2YR", ...)
nhanes_design("nhanes", domain = "known")
nhanes_design("nhanes_women", domain = "women")
nhanes_design("nhanes_stratum", domain = "one_stratum_less")

sim <- function(name, ...) design(name, "sim_strata", ...)
sim("sim", groups = "psu", strata = "stratum", fpc = "fpc")
sim("sim_fraction", groups = "psu", strata = "stratum", fpc = "fraction")
sim("sim_replacement", groups = "psu", strata = "stratum")
sim("sim_weights")
sim("sim_strata", strata = "stratum")
sim("sim_clusters", groups = "cluster")
for (domain in c("some", "no_psu", "no_stratum", "one_psu"))
  sim(paste0("sim_", domain), groups = "psu", strata = "stratum", fpc = "fpc", domain = domain)
sim("sim_weights_some", domain = "some")
sim("sim_clusters_no_psu", groups = "cluster", domain = "no_psu")
sim("sim_zero_weights", groups = "psu", strata = "stratum", fpc = "fpc", weights = "w0")
for (lonely in c("remove", "adjust", "average", "certainty")) {
  design(paste0("lonely_", lonely), "sim_lonely", groups = "psu", strata = "stratum", fpc = "fpc", lonely = lonely)
  design(paste0("lonely_", lonely, "_replacement"), "sim_lonely", groups = "psu", strata = "stratum", lonely = lonely)
  design(paste0("lonely_", lonely, "_domain"), "sim_lonely", groups = "psu", strata = "stratum", fpc = "fpc",
         lonely = lonely, domain = "some")
}
# A stratum without rows of the domain: R's subset() leaves it out of the average, weights of zero do not.
design("lonely_average_no_stratum", "sim_lonely", groups = "psu", strata = "stratum", fpc = "fpc", lonely = "average",
       domain = "no_stratum")
design("lonely_average_zero_weights", "sim_lonely", groups = "psu", strata = "stratum", fpc = "fpc", lonely = "average",
       weights = "w_no_stratum")
# of both, R says that it cannot: there are lonely PSUs
for (fpc in list("fpc", NULL)) {
  design(if (is.null(fpc)) "lonely_fail_replacement" else "lonely_fail", "sim_lonely", groups = "psu", strata = "stratum",
         fpc = fpc)
  stopifnot(inherits(try(svytotal(~x1, built[[length(built)]]), silent = TRUE), "try-error"))
}
stages <- function(name, ...) design(name, "sim_stages", strata = "stratum", ...)
stages("stages2", groups = c("psu", "ssu"), fpc = c("pop1", "pop2"))
stages("stages2_fraction", groups = c("psu", "ssu"), fpc = c("frac1", "frac2"))
stages("stages2_replacement", groups = c("psu", "ssu"))
stages("stages2_domain", groups = c("psu", "ssu"), fpc = c("pop1", "pop2"), domain = "some")
stages("stages3", groups = c("psu", "ssu", "tsu"), fpc = c("pop1", "pop2", "pop3"))
stages("stages3_fraction", groups = c("psu", "ssu", "tsu"), fpc = c("frac1", "frac2", "frac3"))
stages("stages3_domain", groups = c("psu", "ssu", "tsu"), fpc = c("pop1", "pop2", "pop3"), domain = "some")
stages("stages3_replacement", groups = c("psu", "ssu", "tsu"))
stages("stages1", groups = "psu", fpc = "pop1")
design("stages_two_strata", "sim_stages", groups = c("psu", "ssu"), strata = c("stratum", "part"), fpc = c("pop1", "pop_part"))
for (lonely in c("remove", "adjust"))       # PSU 1 of stratum 2 has one SSU, of a larger population
  stages(paste0("stages2_lonely_", lonely), groups = c("psu", "ssu"), fpc = c("pop1", "open2"), lonely = lonely)
design("pairs", "sim_pairs", groups = "psu", strata = "stratum")

# --------------------------------------------------------------------------------------- totals, nothing fitted

for (name in names(built)) {
  if (grepl("fail", name)) next
  lonely_of(name)
  columns <- if (grepl("^(strat|clus)", name)) c("api00", "ell", "meals") else
    if (grepl("^nhanes", name)) c("HI_CHOL", "RIAGENDR", "race") else c("x1", "x2", "cont")
  total <- svytotal(reformulate(columns), built[[name]])
  add("totals", name, list(columns = plain(columns), total = plain(coef(total)), cov = half(vcov(total))))
}

# --------------------------------------------------------------------------------------------------------- fits

families <- list(binomial = quasibinomial, gaussian = gaussian, poisson = quasipoisson, gamma = Gamma)
canonical <- c(binomial = "logit", gaussian = "identity", poisson = "log", gamma = "inverse")

# Globals, because update() and the methods for replicate weights evaluate the call again.
fitted_by_svyglm <- function(d, response, features, family, link, offset) {
  .design <<- d
  .family <<- families[[family]](link = link)
  right <- c(if (length(features)) features else "1", if (!is.null(offset)) sprintf("offset(%s)", offset))
  formula <- reformulate(right, response)
  environment(formula) <- globalenv()
  fit <- suppressWarnings(svyglm(formula, design = .design, family = .family, control = glm_ctl))
  # Single steps until they are nothing: glm() stops by the deviance, at half the digits of the coefficients, and its
  # working weights, and with them the covariance, are those of the step before the last.
  null_deviance <- fit$null.deviance
  for (i in 1:50) {
    before <- coef(fit)
    fit <- suppressWarnings(eval(bquote(svyglm(.(formula), design = .design, family = .family, start = .(before),
                                               control = glm.control(epsilon = 1e-5, maxit = 3)))))
    if (all(abs(coef(fit) - before) < 1e-12 * sqrt(diag(vcov(fit))))) break
  }
  stopifnot(all(abs(coef(fit) - before) < 1e-11 * sqrt(diag(vcov(fit)))))
  if (inherits(d, "svyrep.design"))       # and the fits to replicate weights, with the same control
    fit <- suppressWarnings(eval(bquote(svyglm(.(formula), design = .design, family = .family, start = .(coef(fit)),
                                               control = glm.control(epsilon = 1e-300, maxit = 100)))))
  fit$call$start <- NULL         # so that update() can refit without some terms
  fit$call$control <- quote(glm_ctl)
  fit$null.deviance <- null_deviance
  fit
}

results <- function(fit) {
  tab <- coef(summary(fit))
  list(coef = plain(coef(fit)), cov = half(vcov(fit)), df_residual = fit$df.residual, p_value = plain(tab[, 4]),
       conf_int_95 = square(confint(fit)), naive_cov = half(fit$naive.cov), deviance = fit$deviance,
       null_deviance = fit$null.deviance)
}

one_test <- function(fit, terms) {
  f <- reformulate(terms)
  run <- function(...) regTermTest(fit, f, ...)
  number <- function(x) as.numeric(x)
  w <- run(); wc <- run(df = Inf); l <- run(method = "LRT"); ww <- run(method = "WorkingWald")
  p <- function(method, approximation, ...) number(run(method = method, lrt.approximation = approximation, ...)$p)
  out <- list(terms = plain(terms), df = w$df, ddf = w$ddf, wald_F = number(w$Ftest), wald_p = number(w$p),
              wald_chi2 = number(wc$chisq), wald_chi2_p = number(wc$p), lrt = number(l$chisq), lambda = plain(l$lambda),
              lrt_p = number(l$p), lrt_p_satterthwaite = p("LRT", "satterthwaite"),
              lrt_p_chi2 = p("LRT", "saddlepoint", df = Inf), lrt_p_chi2_satterthwaite = p("LRT", "satterthwaite", df = Inf),
              working_wald = number(ww$chisq), working_wald_p = number(ww$p),
              working_wald_p_satterthwaite = p("WorkingWald", "satterthwaite"))
  stopifnot(l$ddf == w$ddf, ww$ddf == w$ddf)
  out
}

# Ends of the interval where the rise of the deviance is lambda_j t^2, lambda_j the design effect, by root finding.
exact_profile <- function(fit, level = 0.95) {
  X <- model.matrix(fit); y <- fit$y; w <- fit$prior.weights; b <- coef(fit)
  offset <- if (is.null(fit$offset)) rep(0, length(y)) else fit$offset
  lambda <- diag(vcov(fit)) / diag(fit$naive.cov)
  t(sapply(seq_along(b), function(j) {
    rise <- function(value) {
      o <- glm.fit(X[, -j, drop = FALSE], y, weights = w, offset = offset + value * X[, j], family = fit$family,
                   start = b[-j], control = glm_ctl, intercept = FALSE)
      sqrt(max(0, (o$deviance - fit$deviance) / lambda[j]))
    }
    wanted <- qt(1 - (1 - level) / 2, fit$df.residual)
    sapply(c(-1, 1), function(side) {
      reach <- side * 4 * wanted * sqrt(vcov(fit)[j, j])
      uniroot(function(s) rise(b[j] + s * reach) - wanted, c(0, 1), tol = 1e-13, maxiter = 200)$root * reach + b[j]
    })
  }))
}

more_results <- function(fit, features, family, replicates = FALSE) {
  fewer <- features[seq_len(min(2, length(features) - 1))]
  sets <- unique(list(features, fewer, features[length(features)]))
  out <- list(tests = lapply(sets, one_test, fit = fit))
  discrete <- family %in% c("binomial", "poisson")
  if (family != "gaussian") {
    a <- AIC(fit)
    out$aic <- list(eff_p = a[["eff.p"]], dAIC = a[["AIC"]], deltabar = a[["deltabar"]])
    reduced <- update(fit, reformulate(fewer, "."))
    b <- BIC(reduced, fit, maximal = fit)
    out$bic <- list(reduced = plain(fewer), reduced_value = plain(b[1, ]), full_value = plain(b[2, ]),
                    columns = plain(colnames(b)))
    out$profile_95 <- square(exact_profile(fit))
    out$profile_95_survey <- tryCatch(square(unname(confint(fit, method = "likelihood"))), error = function(e) NULL)
    if (is.null(out$profile_95_survey)) cat("    no confint(method = \"likelihood\")\n")
    F <- anova(reduced, fit); W <- anova(reduced, fit, method = "Wald")
    stopifnot(all.equal(F$p, regTermTest(fit, reformulate(setdiff(features, fewer)), method = "LRT")$p))
    out$anova <- list(reduced = plain(fewer), lrt = F$chisq, lrt_p = as.numeric(F$p), wald_F = as.numeric(W$Ftest),
                      wald_p = as.numeric(W$p))
  }
  if (discrete && !replicates)
    out$psrsq <- list(cox_snell = as.numeric(psrsq(fit)), nagelkerke = as.numeric(psrsq(fit, method = "Nagelkerke")))
  out
}

fit <- function(name, design, response, features, family = "binomial", link = canonical[[family]], offset = NULL,
                more = FALSE) {
  lonely_of(design)
  f <- fitted_by_svyglm(built[[design]], response, features, family, link, offset)
  with_deff <- eval(bquote(suppressWarnings(svyglm(.(formula(f)), design = .design, family = .family, control = glm_ctl,
                                                   start = .(coef(f)), deff = TRUE))))
  out <- c(list(design = design, response = response, features = plain(features), family = family, link = link,
                offset = offset, n_rows = length(f$y)),
           results(f), list(deff = plain(diag(attr(with_deff, "deff"))), dispersion = as.numeric(summary(f)$dispersion)))
  if (is.null(offset)) out["offset"] <- list(NULL)
  if (more) out <- c(out, more_results(f, features, family))
  add("fits", name, out)
  cat("  fit", name, "\n")
}

three <- c("ell", "meals", "mobility")
for (sample in c("strat", "clus1", "clus2")) {
  fit(paste0(sample, "_logit"), sample, "wide", three, more = TRUE)
  fit(paste0(sample, "_probit"), sample, "wide", three, link = "probit", more = sample == "strat")
  fit(paste0(sample, "_cloglog"), sample, "wide", three, link = "cloglog")
  fit(paste0(sample, "_gaussian"), sample, "api00", three, "gaussian", more = TRUE)
  fit(paste0(sample, "_gamma"), sample, "api00", three, "gamma", "log", more = sample == "clus1")
  fit(paste0(sample, "_poisson"), if (sample == "clus2") "clus2_enrolled" else sample, "api.stu", three, "poisson",
      offset = "log_enroll", more = sample != "clus1")
}
fit("strat_intercept", "strat", "wide", character())
fit("clus1_api99", "clus1", "api00", c("api99", "high", "middle"), "gaussian")
for (d in c("strat_replacement", "strat_weights", "strat_domain", "strat_domain_stratum", "clus1_replacement", "clus1_domain",
            "clus1_lonely_remove", "clus1_lonely_adjust", "clus1_lonely_average", "clus2_replacement", "clus2_psu",
            "clus2_domain")) {
  fit(paste0(d, "_logit"), d, "wide", three, more = d %in% c("strat_weights", "strat_domain_stratum", "clus2_psu"))
  fit(paste0(d, "_gaussian"), d, "api00", three, "gaussian")
}
people <- c("race", "age2", "age3", "age4", "RIAGENDR")
fit("nhanes_logit", "nhanes", "HI_CHOL", people, more = TRUE)
fit("nhanes_women_logit", "nhanes_women", "HI_CHOL", people[1:4])
fit("nhanes_stratum_logit", "nhanes_stratum", "HI_CHOL", people)
fit("nhanes_probit", "nhanes", "HI_CHOL", people, link = "probit")

for (d in grep("^(sim|stages|pairs|lonely_[^f])", names(built), value = TRUE)) {
  fit(paste0(d, "_logit"), d, "y", c("x1", "x2"), more = d %in% c("sim", "sim_some", "lonely_average"))
  fit(paste0(d, "_gaussian"), d, "cont", c("x1", "x2"), "gaussian")
}
for (d in c("sim", "sim_one_psu", "stages3")) {
  fit(paste0(d, "_logit_offset"), d, "y", c("x1", "x2"), offset = "off", more = d == "sim")
  fit(paste0(d, "_poisson_offset"), d, "count", c("x1", "x2"), "poisson", offset = "off", more = d == "sim")
  fit(paste0(d, "_gamma"), d, "pos", c("x1", "x2"), "gamma", "log")
  fit(paste0(d, "_cloglog"), d, "y", c("x1", "x2"), link = "cloglog")
}

# --------------------------------------------------------------------------------------------- replicate weights

# Replicate weights by distinct row, and the number of its distinct row for each row; times `weights` unless combined.
replicate_design <- function(name, of, rep, store = TRUE, note = NULL) {
  spec <- sections$designs[[of]]
  runs <- rle(as.numeric(rep$rscales))
  out <- list(design = of, type = rep$type, scale = rep$scale, rscales = plain(runs$values), rscales_run = plain(runs$lengths),
              mse = isTRUE(rep$mse), combined_weights = isTRUE(rep$combined.weights), degf = degf(rep),
              n_replicates = ncol(weights(rep, "analysis")), rho = if (is.null(rep$rho)) 0 else rep$rho)
  m <- as.matrix(weights(rep, "replication"))
  stopifnot(nrow(m) == nrow(rep$variables))
  if (store) {
    distinct <- !duplicated(m)
    code <- match(apply(m, 1, paste, collapse = " "), apply(m[distinct, , drop = FALSE], 1, paste, collapse = " "))
    out$weights <- square(m[distinct, , drop = FALSE])
    out$index <- plain(code - 1)
  }
  if (!is.null(note)) out$note <- note
  add("replicates", name, out)
  built_replicates[[name]] <<- rep
}
built_replicates <- list()
replicate_fit <- function(name, of, response, features, family = "binomial", link = canonical[[family]], offset = NULL,
                          domain = NULL, more = FALSE) {
  rep <- built_replicates[[of]]
  if (!is.null(domain)) rep <- rep[rep$variables[[domain]] == 1, ]
  f <- fitted_by_svyglm(rep, response, features, family, link, offset)
  out <- c(list(replicates = of, response = response, features = plain(features), family = family, link = link,
                offset = offset, domain = domain, n_rows = length(f$y), degf = degf(rep)), results(f))
  for (part in c("offset", "domain")) if (is.null(out[[part]])) out[part] <- list(NULL)
  if (more) out <- c(out, more_results(f, features, family, replicates = TRUE))
  add("fits", name, out)
  cat("  fit", name, "\n")
}
as_rep <- function(of, ...) as.svrepdesign(built[[of]], ...)

replicate_design("strat_jkn", "strat_replacement", as_rep("strat_replacement", type = "JKn"), store = FALSE)
replicate_design("strat_jkn_fpc", "strat", as_rep("strat", type = "JKn"), store = FALSE)
replicate_design("clus1_jk1", "clus1", as_rep("clus1", type = "JK1"), store = FALSE)
replicate_design("clus1_jk1_mse", "clus1", as_rep("clus1", type = "JK1", mse = TRUE), store = FALSE)
replicate_design("clus1_jk1_replacement", "clus1_replacement", as_rep("clus1_replacement", type = "JK1"), store = FALSE)
replicate_design("clus2_jk1", "clus2_psu", as_rep("clus2_psu", type = "JK1"), store = FALSE)
replicate_design("nhanes_jkn", "nhanes", as.svrepdesign(svydesign(~SDMVPSU, strata = ~SDMVSTRA, weights = ~WTMEC2YR,
  data = tables$nhanes, nest = TRUE), type = "JKn"), store = FALSE)
replicate_design("sim_jkn", "sim_replacement", as_rep("sim_replacement", type = "JKn"))
replicate_design("sim_jkn_fpc", "sim", as_rep("sim", type = "JKn"))
replicate_design("sim_jkn_mse", "sim", as_rep("sim", type = "JKn", mse = TRUE))
replicate_design("sim_jk1", "sim_clusters", as_rep("sim_clusters", type = "JK1"))
replicate_design("pairs_brr", "pairs", as_rep("pairs", type = "BRR"))
replicate_design("pairs_brr_mse", "pairs", as_rep("pairs", type = "BRR", mse = TRUE))
for (rho in c(0.3, 0.5, 0.7))
  replicate_design(sprintf("pairs_fay_%g", 10 * rho), "pairs", as_rep("pairs", type = "Fay", fay.rho = rho))
replicate_design("pairs_fay_3_mse", "pairs", as_rep("pairs", type = "Fay", fay.rho = 0.3, mse = TRUE))
set.seed(20240602)
replicate_design("sim_bootstrap", "sim_replacement", as_rep("sim_replacement", type = "bootstrap", replicates = 40),
                 note = "Canty and Davison")
replicate_design("sim_bootstrap_fpc", "sim", as_rep("sim", type = "bootstrap", replicates = 40), note = "Canty and Davison")
replicate_design("sim_subbootstrap", "sim_replacement", as_rep("sim_replacement", type = "subbootstrap", replicates = 40),
                 note = "Rao and Wu, n - 1 of n")
replicate_design("sim_subbootstrap_mse", "sim_replacement",
                 as_rep("sim_replacement", type = "subbootstrap", replicates = 40, mse = TRUE))
# given matrices
given <- function(of, factors, combined, ...) {
  d <- built[[of]]$variables
  w <- d[[sections$designs[[of]]$weights]]
  svrepdesign(data = d, weights = w, repweights = if (combined) factors * w else factors, combined.weights = combined, ...)
}
multistage_bootstrap <- as_rep("stages2", type = "mrbbootstrap", replicates = 30)
m <- round(as.matrix(weights(multistage_bootstrap, "replication")), 6)
replicate_design("stages2_mrb", "stages2", given("stages2", m, FALSE, type = "other", scale = multistage_bootstrap$scale,
  rscales = multistage_bootstrap$rscales, mse = FALSE), note = "Preston's multistage bootstrap, factors rounded to 6 decimals")
n <- nrow(tables$sim_pairs)
# successive differences: rows a and b of a Hadamard matrix for each sample row, in the order of the file
H <- hadamard(n / 2)
H <- 2 * H - 1
R <- ncol(H)
a <- (seq_len(n) - 1) %% (R - 1) + 2; b <- seq_len(n) %% (R - 1) + 2
sdr <- 1 + 2^-1.5 * H[a, ] - 2^-1.5 * H[b, ]
for (type in c("ACS", "successive-difference"))
  replicate_design(if (type == "ACS") "pairs_acs" else "pairs_sdr", "pairs", given("pairs", sdr, FALSE, type = type))
cluster <- with(tables$sim_pairs, 2 * stratum + psu - 2)
jk2 <- t(sapply(cluster, function(c) sapply(1:8, function(r) if (ceiling(c / 2) != r) 1 else if (c %% 2) 2 else 0)))
replicate_design("pairs_jk2", "pairs", given("pairs", jk2, FALSE, type = "JK2"))
factors <- matrix(round(runif(2 * 8 * 12, 0.4, 1.6), 3), 16)[cluster, ]
for (mse in c(FALSE, TRUE)) for (combined in c(FALSE, TRUE))
  replicate_design(paste0("pairs_given", if (combined) "_combined", if (mse) "_mse"), "pairs",
    given("pairs", factors, combined, type = "other", scale = 0.1, rscales = round(0.5 + (1:12) / 12, 3), mse = mse))

for (r in c("strat_jkn", "strat_jkn_fpc", "clus1_jk1", "clus1_jk1_mse", "clus1_jk1_replacement", "clus2_jk1")) {
  replicate_fit(paste0(r, "_logit"), r, "wide", three, more = r %in% c("strat_jkn", "clus1_jk1"))
  replicate_fit(paste0(r, "_gaussian"), r, "api00", three, "gaussian")
}
replicate_fit("nhanes_jkn_logit", "nhanes_jkn", "HI_CHOL", people, domain = "known")
for (r in grep("^(sim|pairs|stages)", names(built_replicates), value = TRUE)) {
  replicate_fit(paste0(r, "_logit"), r, "y", c("x1", "x2"), more = r %in% c("pairs_brr", "pairs_fay_3", "sim_subbootstrap"))
  replicate_fit(paste0(r, "_gaussian"), r, "cont", c("x1", "x2"), "gaussian")
}
for (r in c("sim_jkn", "sim_bootstrap", "pairs_fay_5", "pairs_given_combined", "pairs_acs")) {
  replicate_fit(paste0(r, "_logit_domain"), r, "y", c("x1", "x2"), domain = "some")
  replicate_fit(paste0(r, "_poisson_offset"), r, "count", c("x1", "x2"), "poisson", offset = "off")
  replicate_fit(paste0(r, "_gamma"), r, "pos", c("x1", "x2"), "gamma", "log")
  replicate_fit(paste0(r, "_probit"), r, "y", c("x1", "x2"), link = "probit")
}

# ------------------------------------------------------------------------------------- are the weights needed?

compared <- function(smaller, larger) {
  a <- anova(smaller, larger)
  list(F = a$F[2], df = a$Df[2], ddf = a$Res.Df[2], p_value = a$`Pr(>F)`[2])
}
chi2 <- function(d, V, df = length(d)) {
  statistic <- as.numeric(t(d) %*% solve(V, d))
  list(chi2 = statistic, df = df, p_value = pchisq(statistic, df, lower.tail = FALSE))
}

linear_weight_tests <- function(name, data, response, features, weights, design) {
  d <- tables[[data]]
  w <- d[[weights]]; y <- d[[response]]; X <- as.matrix(d[features]); n <- length(y)
  Z <- cbind(1, X); p <- ncol(Z)
  u <- lm(y ~ X); wls <- lm(y ~ X, weights = w); e <- resid(u)
  X2 <- X[, apply(X, 2, function(x) length(unique(x)) > 2), drop = FALSE]^2     # the square of a dummy is itself
  q <- w / fitted(lm(w ~ X + X2))
  A <- solve(crossprod(Z, w * Z), t(w * Z)) - solve(crossprod(Z), t(Z))
  delta <- coef(wls) - coef(u)
  estimating <- function(w_hat) {
    S <- (1 - w / w_hat) * e * Z
    F <- as.numeric((n - p) / p * t(colMeans(S)) %*% solve(cov(S), colMeans(S)))
    list(F = F, df = p, ddf = n - p, p_value = pf(F, p, n - p, lower.tail = FALSE))
  }
  add("weight_tests", name, list(
    data = data, response = response, features = plain(features), weights = weights, family = "gaussian", design = design,
    unweighted_coef = plain(coef(u)), weighted_coef = plain(coef(wls)),
    kish_deff = n * sum(w^2) / sum(w)^2, effective_size = sum(w)^2 / sum(w^2),
    dumouchel_duncan = compared(u, lm(y ~ X * w)),
    ps1 = compared(lm(w ~ X), lm(w ~ X + e + I(e^2) + I(e * X))),
    ps1_quadratic = compared(lm(w ~ X + X2), lm(w ~ X + X2 + e + I(e^2) + I(e * X))),
    ps1_quadratic_svytest = compared(lm(w ~ X), lm(w ~ X + X2 + e + I(e^2) + I(e * X))),
    ps2 = compared(lm(w ~ X), lm(w ~ X + y + I(y^2))),
    ps2_quadratic = compared(lm(w ~ X + X2), lm(w ~ X + X2 + y + I(y^2))),
    wu_fuller = compared(u, lm(y ~ X + I(q * X))),
    wu_fuller_with_q = compared(u, lm(y ~ X + q + I(q * X))),
    hausman_equal_variance = chi2(delta, summary(u)$sigma^2 * tcrossprod(A)),
    hausman_hc0 = chi2(delta, A %*% (e^2 * t(A))),
    estimating_equations = estimating(fitted(lm(w ~ X))),
    estimating_equations_log = estimating(exp(fitted(lm(log(w) ~ X))))))
}

# Any family: d = weighted less unweighted estimate, with the linearised covariance of the sum of
# z_i = I_w^-1 s_i^w - I_u^-1 s_i^u over the design; and by unweighted fits with the weights as regressors.
design_weight_tests <- function(name, design, response, features, family = "binomial", link = canonical[[family]]) {
  lonely_of(design)
  dsg <- built[[design]]
  d <- dsg$variables
  w <- weights(dsg, "sampling")
  w <- w / mean(w)
  Z <- cbind(1, as.matrix(d[features])); y <- d[[response]]; p <- ncol(Z)
  fam <- families[[family]](link = link)
  influence <- function(w) {
    b <- rep(0, p); b[1] <- fam$linkfun(weighted.mean(y, w))
    for (i in 1:60) {
      eta <- as.vector(Z %*% b); mu <- fam$linkinv(eta); slope <- fam$mu.eta(eta)
      information <- crossprod(Z, w * slope^2 / fam$variance(mu) * Z)
      score <- w * (y - mu) * slope / fam$variance(mu) * Z
      b <- b + solve(information, colSums(score))
    }
    list(coef = b, z = score %*% solve(information))
  }
  a <- influence(w); b <- influence(rep(1, length(y)))
  delta <- a$coef - b$coef
  recvar <- function(z) svyrecvar(z, dsg$cluster, dsg$strata, dsg$fpc)
  V <- recvar(a$z - b$z)
  df <- degf(dsg)
  F <- as.numeric(t(delta) %*% solve(V, delta)) / p
  # DuMouchel and Duncan: unweighted fit on x, w and w x
  interactions <- cbind(w = w, w * as.matrix(d[features]))
  colnames(interactions) <- c("w_", paste0("w_", features))
  frame <- cbind(d[c(response, features)], interactions)
  large <- reformulate(c(features, colnames(interactions)), response)
  m0 <- glm(reformulate(features, response), family = fam, data = frame, control = glm_ctl)
  m1 <- glm(large, family = fam, data = frame, control = glm_ctl)
  m1 <- glm(large, family = fam, data = frame, control = glm_ctl, start = coef(m1))
  Z1 <- model.matrix(m1); eta <- m1$linear.predictors; mu <- fitted(m1)
  score <- (y - mu) * fam$mu.eta(eta) / fam$variance(mu) * Z1
  V1 <- recvar(score %*% summary(m1)$cov.unscaled)
  extra <- p + seq_len(p)
  FD <- as.numeric(t(coef(m1)[extra]) %*% solve(V1[extra, extra], coef(m1)[extra])) / p
  out <- list(design = design, response = response, features = plain(features), family = family, link = link,
    unweighted_coef = plain(b$coef), weighted_coef = plain(a$coef), difference_cov = half(V),
    unweighted_design_cov = half(recvar(b$z)), weighted_design_cov = half(recvar(a$z)),
    hausman_design = c(chi2(delta, V), list(F = F, ddf = df - p + 1, ddf_p_value = pf(F, p, df - p + 1, lower.tail = FALSE))),
    dumouchel_duncan_design = c(list(F = FD, df = p, ddf = df + 1 - 2 * p,
      p_value = if (df + 1 - 2 * p > 0) pf(FD, p, df + 1 - 2 * p, lower.tail = FALSE) else NULL)))
  if (family == "binomial") {
    lr <- deviance(m0) - deviance(m1)
    out$dumouchel_duncan_lrt <- list(chi2 = lr, df = p, p_value = pchisq(lr, p, lower.tail = FALSE))
  }
  add("weight_tests", name, out)
}

linear_weight_tests("apistrat_linear", "apistrat", "api00", c("ell", "meals"), "pw", "strat")
linear_weight_tests("apistrat_linear_three", "apistrat", "api00", three, "pw", "strat")
linear_weight_tests("apiclus2_linear", "apiclus2", "api00", c("ell", "meals"), "pw", "clus2")
linear_weight_tests("sim_linear", "sim_strata", "cont", c("x1", "x2"), "w", "sim")
design_weight_tests("apistrat_design_gaussian", "strat", "api00", c("ell", "meals"), "gaussian")
design_weight_tests("apistrat_design_logit", "strat", "wide", three)
design_weight_tests("apiclus2_design_gaussian", "clus2", "api00", c("ell", "meals"), "gaussian")
design_weight_tests("apiclus2_design_logit", "clus2", "wide", three)
design_weight_tests("nhanes_design_logit", "nhanes", "HI_CHOL", people)
design_weight_tests("sim_design_logit", "sim", "y", c("x1", "x2"))
design_weight_tests("sim_design_probit", "sim", "y", c("x1", "x2"), link = "probit")
design_weight_tests("sim_design_poisson", "sim", "count", c("x1", "x2"), "poisson")
design_weight_tests("sim_design_gamma", "sim", "pos", c("x1", "x2"), "gamma", "log")

# ------------------------------------------------------------------------------------ few clusters: clubSandwich

# Bell and McCaffrey's adjusted scores, then the linearised variance over the design (survey 4.5 does this): centred in the
# stratum, times (1 - f) n / (n - 1). Unweighted linear models.
cr2_over_design <- function(fit, cluster, dsg) {
  X <- model.matrix(fit); e <- resid(fit); B <- solve(crossprod(X))
  z <- X
  for (rows in split(seq_along(e), cluster)) {
    own <- X[rows, , drop = FALSE]
    s <- eigen(diag(length(rows)) - own %*% B %*% t(own), symmetric = TRUE)
    root <- s$vectors %*% (ifelse(s$values > 1e-10, abs(s$values)^-0.5, 0) * t(s$vectors))
    z[rows, ] <- as.vector(root %*% e[rows]) * own %*% B
  }
  svyrecvar(z, dsg$cluster, dsg$strata, dsg$fpc)
}

small_sample <- function(name, data, response, features, cluster, family = "gaussian", weights = NULL, design = NULL) {
  d <- tables[[data]]
  cl <- d[[cluster]]
  d$.w <- if (is.null(weights)) rep(1, nrow(d)) else d[[weights]] / mean(d[[weights]])
  formula <- reformulate(features, response)
  environment(formula) <- environment()
  fit <- if (family == "gaussian") {
    if (is.null(weights)) lm(formula, data = d) else lm(formula, data = d, weights = .w)
  } else {
    b <- coef(suppressWarnings(glm(formula, data = d, family = binomial, weights = .w, control = glm_ctl)))
    suppressWarnings(if (is.null(weights)) glm(formula, data = d, family = binomial, control = glm_ctl, start = b) else
      glm(formula, data = d, family = binomial, weights = .w, control = glm_ctl, start = b))
  }
  out <- list(data = data, response = response, features = plain(features), cluster = cluster, family = family,
              weights = weights, coef = plain(coef(fit)), n_clusters = length(unique(cl)))
  if (is.null(weights)) out["weights"] <- list(NULL)
  corrected <- function(fit, types, tested) {
    out <- lapply(setNames(types, types), function(type) {
      V <- vcovCR(fit, cluster = cl, type = type)
      test <- coef_test(fit, vcov = V, test = "Satterthwaite")
      list(cov = half(unclass(V)[, ]), df_satterthwaite = plain(test$df), p_value = plain(test$p_Satt))
    })
    wald <- Wald_test(fit, constraints = constrain_zero(tested), vcov = vcovCR(fit, cluster = cl, type = "CR2"), test = "HTZ")
    c(out, list(CR2_wald_htz = list(F = wald$Fstat, df = wald$df_num, ddf = wald$df_denom, p_value = wald$p_val)))
  }
  slopes <- 2:length(coef(fit))
  out <- c(out, corrected(fit, c("CR0", "CR1", "CR2", "CR3"), slopes))
  if (!is.null(design))
    out$CR2_design <- list(design = design, cov = half(cr2_over_design(fit, cl, built[[design]])))
  # The same in units in which rows have equal variances: an ordinary linear model of the last working response.
  w <- if (family == "gaussian") d$.w else weights(fit, "working")
  r <- if (family == "gaussian") d[[response]] - fitted(fit) else residuals(fit, "working")
  q <- sqrt(w); Z <- q * model.matrix(fit); response_of_lm <- q * r + as.vector(Z %*% coef(fit))
  out$whitened <- corrected(lm(response_of_lm ~ Z - 1), c("CR0", "CR2", "CR3"), slopes)
  add("small_sample", name, out)
}
small_sample("clus1_api99", "apiclus1", "api00", c("api99", "high", "middle"), "dnum", design = "clus1")
small_sample("clus1_linear", "apiclus1", "api00", three, "dnum", design = "clus1_replacement")
small_sample("clus2_linear", "apiclus2", "api00", three, "dnum")
small_sample("clus2_linear_weighted", "apiclus2", "api00", three, "dnum", weights = "pw")
small_sample("sim_linear", "sim_strata", "cont", c("x1", "x2"), "cluster")
small_sample("sim_linear_weighted", "sim_strata", "cont", c("x1", "x2"), "cluster", weights = "w")
small_sample("clus1_logit", "apiclus1", "wide", three, "dnum", "binomial")
small_sample("clus2_logit_weighted", "apiclus2", "wide", three, "dnum", "binomial", weights = "pw")
small_sample("sim_logit", "sim_strata", "y", c("x1", "x2"), "cluster", "binomial")
small_sample("sim_logit_weighted", "sim_strata", "y", c("x1", "x2"), "cluster", "binomial", weights = "w")

# ------------------------------------------------------------------------------------------------------- writing

json <- function(x) jsonlite::toJSON(x, digits = NA, auto_unbox = TRUE, null = "null", na = "null")
packages <- c("survey", "clubSandwich", "jsonlite")
meta <- list(R = R.version.string, packages = as.list(sapply(packages, function(p) as.character(packageVersion(p)))))
blocks <- c(sprintf('"meta": %s', json(meta)), sapply(names(sections), function(section) {      # a line an entry
  entries <- sections[[section]]
  sprintf('"%s": {\n%s\n}', section, paste(sprintf('"%s": %s', names(entries), sapply(entries, json)), collapse = ",\n"))
}))
writeLines(paste0("{\n", paste(blocks, collapse = ",\n"), "\n}"), "survey.json")
cat("wrote survey.json:", paste(names(sections), lengths(sections), collapse = ", "), "\n")

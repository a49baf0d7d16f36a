# Reference results for logistic mixed models. Writes glmm.json; see README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({
  library(lme4); library(glmmTMB); library(numDeriv); library(mlmRev); library(Matrix)
})
source("glmm_tools.R")

entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}
PWRSS <- 1e-12                                      # lme4's tolerance where it evaluates the likelihood
EFFECTS_LIMIT <- 350                                # levels of a factor up to which its effects are written

# ---------------------------------------------------------------------------------------------- other packages

formula_of <- function(s) {
  random <- sapply(s$groups, function(g) {
    columns <- c(if (s$random_intercept) "1", s$slopes[[g]])
    terms <- if (s$covariance == "full") paste(c(if (!s$random_intercept) "0", columns), collapse = " + ")
             else ifelse(columns == "1", "1", paste("0 +", columns))
    paste(sprintf("(%s | %s)", terms, g), collapse = " + ")
  })
  fixed <- c(if (s$intercept) "1" else "0", s$features, if (!is.null(s$offset)) sprintf("offset(%s)", s$offset))
  as.formula(paste(s$response, "~", paste(c(fixed, random), collapse = " + ")), env = globalenv())
}

glmer_with <- function(d, s, nodes, ...) {
  d_now <<- if (is.null(s$frequency)) d else d[rep(seq_len(nrow(d)), d[[s$frequency]]), ]
  suppressWarnings(suppressMessages(
    do.call(glmer, list(formula = formula_of(s), data = quote(d_now), family = quote(binomial), nAGQ = nodes, ...))))
}

# lme4's parameters c(theta, beta) of ours, and ours of lme4's: a T may be several of its terms, in any order.
to_lme4 <- function(m, cnms, par) {
  at <- unpack(m, par)
  names <- sapply(m$terms, `[[`, "name")
  theta <- unlist(lapply(seq_along(cnms), function(k) {
    t <- match(names(cnms)[k], names)
    rows <- match(cnms[[k]], colnames(m$terms[[t]]$Z))
    T <- at$factors[[t]][rows, rows, drop = FALSE]
    T[lower.tri(T, diag = TRUE)]
  }))
  c(theta, at$beta)
}
# glmmTMB's parameters c(beta, theta): logarithms of standard deviations, then rows of the factor of the correlations,
# scaled to ones on its diagonal.
to_tmb <- function(m, cnms, par) {
  at <- unpack(m, par)
  theta <- lapply(seq_along(cnms), function(k) {
    t <- match(sub("\\.[0-9]+$", "", names(cnms)[k]), sapply(m$terms, `[[`, "name"))
    rows <- match(cnms[[k]], colnames(m$terms[[t]]$Z))
    G <- tcrossprod(at$factors[[t]])[rows, rows, drop = FALSE]
    C <- chol(G)                                    # upper; its columns are rows of the factor
    C <- C %*% diag(1 / diag(C), nrow(C))
    c(log(diag(G)) / 2, C[upper.tri(C)])
  })
  c(at$beta, unlist(theta))
}
from_lme4 <- function(m, fm) {
  factors <- lapply(m$terms, function(t) matrix(0, t$q, t$q))
  theta <- getME(fm, "theta")
  for (k in seq_along(fm@cnms)) {
    t <- match(names(fm@cnms)[k], sapply(m$terms, `[[`, "name"))
    rows <- match(fm@cnms[[k]], colnames(m$terms[[t]]$Z))
    q <- length(rows)
    T <- matrix(0, q, q)
    T[lower.tri(T, diag = TRUE)] <- theta[seq_len(q * (q + 1) / 2)]
    theta <- theta[-seq_len(q * (q + 1) / 2)]
    factors[[t]][rows, rows] <- T
  }
  pack(m, fixef(fm), factors)
}

differences <- NULL                                 # of other packages from the polished fits; printed at the end
compare <- function(label, nodes, package, loglik, coef, se, sds, best, m) {
  p <- seq_len(ncol(m$X))
  our_se <- sqrt(diag(best$covariance))[p]
  our_sds <- sqrt(unlist(lapply(unpack(m, best$par)$factors, function(T) rowSums(T^2))))
  differences <<- rbind(differences, data.frame(
    entry = label, nodes = nodes, package = package, loglik = loglik + best$value,
    coef_in_se = max(abs(coef - best$par[p]) / our_se), se_ratio = max(abs(se / our_se - 1)),
    sd = max(abs(sds - our_sds))))
}

# ---------------------------------------------------------------------------------------------- one fit

# Rows of the data, and two with labels unseen: in the last factor, and in all.
new_rows <- function(d, s) {
  n <- nrow(d)
  rows <- d[c(1, n %/% 3, (2 * n) %/% 3, n, n, n), ]
  for (g in s$groups) rows[[g]] <- as.character(rows[[g]])
  rows[5, s$groups[length(s$groups)]] <- "unseen"
  rows[6, s$groups] <- "unseen"
  rows
}

one_fit <- function(name, d, s, m, nodes) {
  began <- Sys.time()
  usual <- glmer_with(d, s, nodes)
  from <- from_lme4(m, usual)
  T_entries <- -seq_len(ncol(m$X))
  starts <- lapply(c(1, 0.2, 2), function(by) {
    start <- replace(from, T_entries, by * from[T_entries])
    replace(start, on_diagonal(m) & abs(start) < 0.1, 0.3)
  })
  best <- maximize(m, nodes, if (length(m$y) > 2000) starts[1:2] else starts)
  p <- seq_len(ncol(m$X))
  cov <- best$covariance[p, p, drop = FALSE]

  # others' log-likelihood at the same parameters, at the maximum and one standard error from it. lme4 takes the
  # determinant of Laplace's method one step before the last, which costs it digits
  away <- best$par + sqrt(diag(best$covariance)) * rep_len(c(1, -1), length(best$par))
  where <- list(best$par, positive_diagonals(m, away))
  ours <- sapply(where, function(par) sum(cluster_loglik(m, par, nodes)))
  devfun <- glmer_with(d, s, nodes, devFunOnly = TRUE, control = quote(glmerControl(tolPwrss = PWRSS)))
  theirs <- sapply(where, function(par) -devfun(to_lme4(m, usual@cnms, par)) / 2)
  stopifnot(abs(theirs - ours) < if (nodes == 1) 1e-4 else 1e-7)
  cat("    lme4 at the same parameters:", signif(theirs - ours, 2))

  at <- unpack(m, best$par)
  sds_of <- function(fit_cov) sqrt(unlist(lapply(fit_cov, function(G) diag(as.matrix(G)))))
  their_se <- sqrt(diag(as.matrix(suppressWarnings(vcov(usual)))))
  their_sds <- sqrt(unlist(lapply(unpack(m, from)$factors, function(T) rowSums(T^2))))
  compare(name, nodes, "glmer", as.numeric(logLik(usual)), fixef(usual), their_se, their_sds, best, m)
  if (nodes == 1 && !length(best$zero)) {
    tmb <- suppressWarnings(suppressMessages(glmmTMB(formula_of(s), data = d_now, family = binomial)))
    parts <- VarCorr(tmb)$cond
    their_sds <- unlist(lapply(m$terms, function(t) {
      all <- unlist(unname(lapply(parts[sub("\\.[0-9]+$", "", names(parts)) == t$name],
                                  function(G) setNames(sqrt(diag(as.matrix(G))), rownames(G)))))
      all[colnames(t$Z)]
    }))
    tmb$obj$env$inner.control[c("grad.tol", "tol10")] <- c(1e-12, 0)
    at_ours <- -sapply(where, function(par) tmb$obj$fn(to_tmb(m, tmb$modelInfo$reTrms$cond$cnms, par)))
    cat("; glmmTMB:", signif(at_ours - ours, 2))
    stopifnot(abs(at_ours - ours) < 1e-7)
    their_se <- sqrt(diag(vcov(tmb)$cond))
    compare(name, nodes, "glmmTMB", as.numeric(logLik(tmb)), fixef(tmb)$cond, their_se, their_sds, best, m)
  }

  effects <- effects_of(m, best$par)
  small <- Filter(function(g) length(effects[[g]]$levels) <= EFFECTS_LIMIT, s$groups)
  out <- list(
    loglik = -best$value, coef = named(setNames(best$par[p], colnames(m$X))), se = se_of(cov), cov = square(cov),
    random_covariance = setNames(lapply(at$factors, function(T) square(tcrossprod(T))), s$groups),
    singular = length(best$zero) > 0)
  if (length(small)) out$random_effects <- sapply(small, function(g) with(effects[[g]], list(
    levels = plain(levels), effects = square(effects), sds = square(sds))), simplify = FALSE)
  if (m$nested) out$robust_cov <- square(sandwich(m, nodes, best))
  out$predictions <- predictions_of(m, new_rows(d, s), s, best$par, effects)
  cat(sprintf("\n  %2d nodes: log-likelihood %.6f, decrement %.1g, starts within %.1g, sds %s%s, %.0f s\n", nodes,
              out$loglik, best$decrement, best$spread[2],
              paste(signif(sds_of(out$random_covariance), 4), collapse = " "),
              if (out$singular) ", singular" else "", as.numeric(Sys.time() - began, units = "secs")))
  out
}

# ---------------------------------------------------------------------------------------------- one entry

# A file in data/, if the name begins with mixed_ or glmm_, else a data set of skdep; with the columns derived from it.
data_of <- function(name) {
  if (!grepl("^(mixed|glmm)_", name)) {
    d <- dataset(name)
    if (name == "ohio") d$age_smoke <- d$age * d$smoke
    if (name == "respiratory") {
      d <- transform(d, patient = paste0(center, ":", id), center2 = as.numeric(center == 2),
                     active = as.numeric(treat == "A"), male = as.numeric(sex == "M"))
    }
    return(d)
  }
  d <- read.csv(file.path("data", paste0(name, ".csv")))
  if (name == "mixed_verbagg") d$do <- as.numeric(d$item > 12)
  d
}

# `slopes`: columns, given to every factor, or a list by factor. `frequency`: a column of weights that repeat rows.
study <- function(name, data, response, features, groups, nodes = 1, slopes = character(), covariance = "full",
                  intercept = TRUE, random_intercept = TRUE, frequency = NULL, offset = NULL) {
  cat(format(Sys.time(), "%H:%M:%S"), name, "\n")
  d <- data_of(data)
  if (!is.null(frequency)) d <- d[d[[frequency]] > 0, ]
  for (g in groups) d[[g]] <- factor(d[[g]])
  s <- list(response = response, features = features, groups = groups, covariance = covariance, intercept = intercept,
            slopes = if (is.list(slopes)) slopes else sapply(groups, function(g) slopes, simplify = FALSE),
            random_intercept = random_intercept, frequency = frequency, offset = offset)
  m <- model_of(d, s)
  rows <- new_rows(d, s)
  columns <- unique(c(features, groups, offset))
  add(name, list(
    data = data, formula = squish(paste(deparse(formula_of(s), width.cutoff = 500), collapse = " ")), n_rows = nrow(d),
    response = response, features = plain(features), groups = plain(groups),
    slopes = sapply(groups, function(g) plain(s$slopes[[g]]), simplify = FALSE),
    covariance = covariance, fit_intercept = intercept, random_intercept = random_intercept,
    frequency_weights = frequency, offset = offset,
    new_rows = sapply(columns, function(column) plain(rows[[column]]), simplify = FALSE),
    fits = sapply(as.character(nodes), function(k) one_fit(name, d, s, m, as.integer(k)), simplify = FALSE)))
}

# ---------------------------------------------------------------------------------------------- data

save_data <- function(d, name) invisible(write_sim(as.data.frame(d), paste0("glmm_", name)))
is <- function(x, value) {
  stopifnot(value %in% x)
  as.integer(x == value)
}

data(cbpp, package = "lme4")
data(Contraception, guImmun, guPrenat, package = "mlmRev")

periods <- with(cbpp, data.frame(herd, period2 = is(period, 2), period3 = is(period, 3), period4 = is(period, 4)))
counts <- rbind(cbind(periods, ill = 1, animals = cbpp$incidence),
                cbind(periods, ill = 0, animals = cbpp$size - cbpp$incidence))
save_data(counts, "cbpp_counts")
save_data(subset(counts[rep(seq_len(nrow(counts)), counts$animals), ], select = -animals), "cbpp")
save_data(with(Contraception, data.frame(
  district, use = is(use, "Y"), age = round(age / 10, 5), age2 = round((age / 10)^2, 5), urban = is(urban, "Y"),
  urban_age = is(urban, "Y") * round(age / 10, 5), child1 = is(livch, "1"), child2 = is(livch, "2"),
  child3 = is(livch, "3+"))), "contraception")
save_data(with(guImmun, data.frame(
  community = comm, mother = mom, immunized = is(immun, "Y"), age2p = is(kid2p, "Y"), mother25p = is(mom25p, "Y"),
  order23 = is(ord, "23"), order46 = is(ord, "46"), order7p = is(ord, "7p"), native_no = is(ethn, "N"),
  native_sp = is(ethn, "S"), educ_p = is(momEd, "P"), educ_s = is(momEd, "S"), rural = is(rural, "Y"),
  indigenous = round(pcInd81, 5))), "guimmun")
save_data(with(guPrenat, data.frame(
  community = cluster, mother = mom, modern = is(prenat, "Modern"), child3p = is(childAge, "3+"),
  mother25p = is(motherAge, "25+"), order23 = is(birthOrd, "2-3"), order46 = is(birthOrd, "4-6"),
  order7p = is(birthOrd, "7+"), native_no = is(indig, "NoSpa"), native_sp = is(indig, "Spanish"),
  educ_p = is(momEd, "Primary"),
  educ_s = is(momEd, "Secondary+"), indigenous = round(pcInd81, 5))), "guprenat")

bernoulli <- function(eta) as.integer(runif(length(eta)) < plogis(eta))

# Two to four rows a cluster, and a standard deviation of 2.
set.seed(20240701)
g <- rep(1:150, sample(2:4, 150, replace = TRUE))
x <- round(rnorm(length(g)), 3)
z <- round(rnorm(150), 3)[g]
save_data(data.frame(group = g, y = bernoulli(-0.5 + x + 0.5 * z + 2 * rnorm(150)[g]), x, z), "sim_tiny")

# Clusters are nearly all zeros or ones: a standard deviation of 6.
set.seed(20240702)
g <- rep(1:60, each = 8)
x <- round(rnorm(length(g)), 3)
save_data(data.frame(group = g, y = bernoulli(1 + 1.5 * x + 6 * rnorm(60)[g]), x), "sim_large")

# Outcomes of a cluster are more alike than not by less than chance: the variance is estimated as zero.
set.seed(20240703)
g <- rep(1:40, each = 6)
x <- round(rnorm(length(g)), 3)
save_data(data.frame(group = g, y = bernoulli(0.3 + 0.8 * x), x), "sim_singular")

# Intercept and slope perfectly correlated: the estimate is on the boundary.
set.seed(20240704)
g <- rep(1:30, each = 10)
x <- round(rnorm(length(g)), 3)
b <- 1.2 * rnorm(30)
save_data(data.frame(group = g, y = bernoulli(0.4 + 0.7 * x + b[g] + 0.6 * b[g] * x), x), "sim_singular_slope")

# Groups of 1 to 50 rows, a feature of the group, three random effects; frequency weights, some zero, and an offset.
set.seed(20240705)
size <- c(1, 1, 2, 3, sample(5:50, 36, replace = TRUE))
g <- rep(1:40, size)
n <- length(g)
T <- matrix(c(1.2, 0.4, -0.5, 0, 0.9, 0.3, 0, 0, 0.8), 3)
u <- matrix(rnorm(3 * 40), 40) %*% t(T)
x1 <- round(rnorm(n), 3)
x2 <- round(runif(n, -1, 2), 3)
z <- round(rnorm(40), 3)[g]
off <- round(0.7 * rnorm(n) + 0.3 * x1, 3)
y <- bernoulli(-0.6 + 0.8 * x1 - 0.5 * x2 + 0.3 * z + off + u[g, 1] + u[g, 2] * x1 + u[g, 3] * x2)
frequency <- rpois(n, 1.2)
save_data(data.frame(group = paste0("g", g), y, x1, x2, z, frequency, offset = off)[sample(n), ], "sim_unbalanced")

# Two crossed factors, one with a slope.
set.seed(20240706)
n <- 900
a <- sample(30, n, replace = TRUE)
b <- sample(12, n, replace = TRUE)
x1 <- round(rnorm(n), 3)
x2 <- round(rnorm(n), 3)
eta <- -0.4 + x1 + 0.5 * x2 + 1.1 * rnorm(30)[a] + 0.8 * rnorm(30)[a] * x1 + 0.9 * rnorm(12)[b]
save_data(data.frame(a, b = letters[b], y = bernoulli(eta), x1, x2), "sim_crossed")

# Three factors, each nested in the one before.
set.seed(20240707)
child <- rep(1:240, each = 4)
class <- (child - 1) %/% 5 + 1
school <- (class - 1) %/% 4 + 1
x <- round(rnorm(960), 3)
z <- round(rnorm(12), 3)[school]
eta <- 0.3 + 0.9 * x - 0.4 * z + 0.7 * rnorm(12)[school] + 0.8 * rnorm(48)[class] + 1.2 * rnorm(240)[child]
save_data(data.frame(school, class, child, y = bernoulli(eta), x, z), "sim_nested")
rm(T)

# ---------------------------------------------------------------------------------------------- fits

scalar <- c(1, 9, 25)
periods <- paste0("period", 2:4)
study("cbpp", "glmm_cbpp", "ill", periods, "herd", scalar)
study("cbpp_frequency", "glmm_cbpp_counts", "ill", periods, "herd", scalar, frequency = "animals")
women <- c("age", "age2", "urban", "urban_age", "child1", "child2", "child3")
study("contraception", "glmm_contraception", "use", women, "district", scalar)
study("contraception_slope", "glmm_contraception", "use", women, "district", slopes = "urban")
study("contraception_diagonal", "glmm_contraception", "use", women, "district", slopes = "urban",
      covariance = "diagonal")
study("ohio", "ohio", "resp", c("age", "smoke", "age_smoke"), "id", scalar)
study("respiratory", "respiratory", "outcome", c("center2", "active", "male", "age", "baseline"), "patient", scalar)
study("tiny", "glmm_sim_tiny", "y", c("x", "z"), "group", scalar)
study("large", "glmm_sim_large", "y", "x", "group", scalar)
study("singular", "glmm_sim_singular", "y", "x", "group", scalar)
study("singular_diagonal", "glmm_sim_singular", "y", "x", "group", slopes = "x", covariance = "diagonal")
study("singular_slope", "glmm_sim_singular_slope", "y", "x", "group", slopes = "x")
xs <- c("x1", "x2", "z")
study("unbalanced", "glmm_sim_unbalanced", "y", xs, "group", scalar)
study("unbalanced_three", "glmm_sim_unbalanced", "y", xs, "group", slopes = c("x1", "x2"))
study("unbalanced_diagonal", "glmm_sim_unbalanced", "y", xs, "group", slopes = c("x1", "x2"), covariance = "diagonal")
study("unbalanced_frequency", "glmm_sim_unbalanced", "y", xs, "group", slopes = "x1", frequency = "frequency")
study("unbalanced_offset", "glmm_sim_unbalanced", "y", xs, "group", scalar, offset = "offset")
study("unbalanced_slope_only", "glmm_sim_unbalanced", "y", xs, "group", scalar, slopes = "x1",
      random_intercept = FALSE)
study("unbalanced_no_intercept", "glmm_sim_unbalanced", "y", xs, "group", scalar, intercept = FALSE)
study("crossed", "glmm_sim_crossed", "y", c("x1", "x2"), c("a", "b"), slopes = list(a = "x1", b = character()))
study("crossed_singular", "glmm_sim_crossed", "y", c("x1", "x2"), c("a", "b"), slopes = list(a = "x1", b = "x2"),
      covariance = "diagonal")
study("nested", "glmm_sim_nested", "y", c("x", "z"), c("school", "class", "child"))
children <- c("mother25p", "order23", "order46", "order7p", "native_no", "native_sp", "educ_p", "educ_s", "indigenous")
study("guimmun", "glmm_guimmun", "immunized", c("age2p", children, "rural"), c("community", "mother"))
study("guprenat", "glmm_guprenat", "modern", c("child3p", children), c("community", "mother"))
answers <- c("anger", "male", "scold", "shout", "self", "do")
study("verbagg", "mixed_verbagg", "yes", answers, c("id", "item"))
study("verbagg_slope", "mixed_verbagg", "yes", answers, c("id", "item"), slopes = list(id = "do", item = character()))

# ---------------------------------------------------------------------------------------------- without groups

d_now <- read.csv("data/glmm_contraception.csv")
fit <- polish(glm(reformulate(women, "use"), binomial, d_now, epsilon = 1e-14))
add("no_groups", list(
  data = "glmm_contraception", formula = squish(paste(deparse(formula(fit)), collapse = " ")), response = "use",
  features = plain(women), coef = named(coef(fit)), se = se_of(vcov(fit)), cov = square(vcov(fit)),
  loglik = as.numeric(logLik(fit))))

print(differences, digits = 2)
write_reference(entries, "glmm.json",
                c("lme4", "glmmTMB", "mlmRev", "numDeriv", "statmod", "Matrix", "jsonlite"))

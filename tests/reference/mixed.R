# Reference results for linear mixed models. Writes mixed.json; see README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({
  library(lme4); library(lmerTest); library(pbkrtest); library(clubSandwich); library(numDeriv); library(mlmRev)
})
source("mixed_tools.R")

entries <- list()
fits <- list()                                      # of each entry: data, REML fit, ML fit
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}
DENSE_LIMIT <- 1500                                 # rows up to which n x n matrices are made

# ---------------------------------------------------------------------------------------------- one fit

# Rows of the data with one unseen label, and labels unseen in the last factor only.
new_rows <- function(d, s) {
  n <- nrow(d)
  rows <- d[c(1, n %/% 3, (2 * n) %/% 3, n, n, n), ]
  for (g in s$groups) rows[[g]] <- as.character(rows[[g]])
  rows[5, s$groups[length(s$groups)]] <- "unseen"
  rows[6, s$groups] <- "unseen"
  rows
}

satterthwaite <- function(fm, dense) {
  table <- coef(summary(fm, ddf = "Satterthwaite"))
  df <- table[, "df"]
  if (!is.null(dense) && is.numeric(dense$satterthwaite) && !isSingular(fm)) {
    if (max(abs(df / dense$satterthwaite - 1)) > 1e-5)
      cat("    lmerTest df off by", max(abs(df / dense$satterthwaite - 1)), "\n")
    stopifnot(max(abs(df / dense$satterthwaite - 1)) < 1e-3)
    df <- dense$satterthwaite
  }
  t <- fixef(fm) / sqrt(diag(as.matrix(vcov(fm))))
  list(df = plain(df), t = plain(t), p = plain(2 * pt(-abs(t), df)))
}

kenward_roger <- function(fm, dense, weighted) {
  if (!weighted) {                                  # pbkrtest ignores precision weights
    theirs <- as.matrix(vcovAdj(fm))
    stopifnot(difference(theirs, dense$kr_cov) < 1e-6)
    df <- sapply(seq_along(fixef(fm)), function(c) get_Lb_ddf(fm, as.numeric(seq_along(fixef(fm)) == c)))
    stopifnot(max(abs(df / dense$kr_df - 1)) < 1e-6)
    table <- coef(summary(fm, ddf = "Kenward-Roger"))
    stopifnot(max(abs(table[, "df"] / df - 1)) < 1e-6)
  }
  se <- sqrt(diag(dense$kr_cov))
  list(df = plain(dense$kr_df), se = plain(se), p = plain(2 * pt(-abs(fixef(fm) / se), dense$kr_df)))
}

one_fit <- function(d, s, formula, reml) {
  call <- list(formula = formula, data = quote(d_now), REML = reml, control = quote(exact_control))
  if (!is.null(s$precision)) call$weights <- as.name(s$precision)
  d_now <<- d
  fm <- do.call(lmerTest::lmer, call)
  n <- nrow(d)
  dense <- if (n <= DENSE_LIMIT) dense_results(fm, reml)
  if (!is.null(dense)) stopifnot(abs(dense$loglik - as.numeric(logLik(fm))) < 1e-8,
                                 difference(as.matrix(vcov(fm)), dense$cov) < 1e-6)
  if (!is.null(dense) && !isSingular(fm)) stopifnot(abs(dense$decrement) < 1e-12)    # so far is it from the optimum
  theta <- getME(fm, "theta")
  out <- list(
    loglik = as.numeric(logLik(fm)), coef = named(fixef(fm)), se = se_of(vcov(fm)), cov = square(vcov(fm)),
    sigma2 = sigma(fm)^2, theta = named(theta), singular = isSingular(fm, tol = 1e-4),
    random_covariance = sapply(s$groups, function(g) square(random_covariance(fm, g, s)), simplify = FALSE))
  small <- Filter(function(g) length(unique(d[[g]])) <= if (reml) 350 else 40, s$groups)
  if (length(small)) out$random_effects <- sapply(small, function(g) random_effects(fm, g, s), simplify = FALSE)
  out$satterthwaite <- satterthwaite(fm, dense)
  if (reml && !is.null(dense)) out$kenward_roger <- kenward_roger(fm, dense, !is.null(s$precision))
  if (s$nested) {
    cov <- robust_cov(fm, d[[s$groups[1]]])
    out$robust_se <- se_of(cov)
    # clubSandwich refuses weights and forgets offsets in its residuals
    if (is.null(s$precision) && is.null(s$offset))
      stopifnot(difference(as.matrix(vcovCR(fm, cluster = d[[s$groups[1]]], type = "CR0")), cov) < 1e-6)
  }
  rows <- new_rows(d, s)
  out$predictions <- list(
    conditional = plain(predict(fm, newdata = rows, allow.new.levels = TRUE)),
    population = plain(predict(fm, newdata = rows, re.form = NA)))
  if (!is.null(dense)) {
    out$predictions$conditional_se <- plain(prediction_se(fm, d, s, rows, TRUE))
    out$predictions$population_se <- plain(prediction_se(fm, d, s, rows, FALSE))
  }
  list(fit = fm, out = out)
}

# ---------------------------------------------------------------------------------------------- one entry

# Of a name that begins with mixed_ the file in data/; else a data set of skdep, with the columns that its models need.
data_of <- function(name) {
  if (grepl("^mixed_", name)) return(read.csv(file.path("data", paste0(name, ".csv"))))
  d <- dataset(name)
  if (name == "dietox") d <- transform(d, Cu035 = as.numeric(Cu == "Cu035"), Cu175 = as.numeric(Cu == "Cu175"))
  if (name == "orthodont") {
    d$female <- as.numeric(d$Sex == "Female")
    d$age_female <- d$age * d$female
  }
  d
}

# `slopes`: columns, given to every factor, or a list by factor. `frequency`: a column of weights that repeat rows.
study <- function(name, data, response, features, groups, slopes = character(), covariance = "full", intercept = TRUE,
                  random_intercept = TRUE, precision = NULL, frequency = NULL, offset = NULL, nested = length(groups) == 1) {
  cat(format(Sys.time(), "%H:%M:%S"), name, "\n")
  d <- data_of(data)
  if (!is.null(frequency)) d <- d[rep(seq_len(nrow(d)), d[[frequency]]), ]
  for (g in groups) d[[g]] <- factor(d[[g]])
  by_factor <- if (is.list(slopes)) slopes else sapply(groups, function(g) slopes, simplify = FALSE)
  s <- list(groups = groups, slopes = by_factor, precision = precision, offset = offset, nested = nested)
  random <- sapply(groups, function(g) {
    columns <- c(if (random_intercept) "1", by_factor[[g]])
    if (covariance == "full") sprintf("(%s | %s)", paste(c(if (!random_intercept) "0", columns), collapse = " + "), g)
    else paste(sprintf("(%s | %s)", ifelse(columns == "1", "1", paste("0 +", columns)), g), collapse = " + ")
  })
  fixed <- c(if (intercept) "1" else "0", features, if (!is.null(offset)) sprintf("offset(%s)", offset))
  formula <- as.formula(paste(response, "~", paste(c(fixed, random), collapse = " + ")), env = globalenv())
  reml <- one_fit(d, s, formula, TRUE)
  ml <- one_fit(d, s, formula, FALSE)
  rows <- new_rows(d, s)
  columns <- unique(c(features, groups, offset))
  fits[[name]] <<- list(data = d, reml = reml$fit, ml = ml$fit)
  add(name, list(
    data = data, formula = squish(paste(deparse(formula, width.cutoff = 500), collapse = " ")), n_rows = nrow(d),
    response = response, features = plain(features), groups = plain(groups),
    slopes = sapply(groups, function(g) plain(by_factor[[g]]), simplify = FALSE),
    covariance = covariance, fit_intercept = intercept, random_intercept = random_intercept,
    precision_weights = precision, frequency_weights = frequency, offset = offset,
    new_rows = sapply(columns, function(column) plain(rows[[column]]), simplify = FALSE),
    reml = reml$out, ml = ml$out))
}

# ---------------------------------------------------------------------------------------------- data

save_data <- function(d, name) invisible(write_sim(as.data.frame(d), paste0("mixed_", name)))

data(cake, Dyestuff, Dyestuff2, InstEval, VerbAgg, package = "lme4")
data(Machines, Oats, ergoStool, bdf, package = "nlme")
data(egsingle, ScotsSec, Hsb82, package = "mlmRev")

save_data(with(cake, data.frame(
  recipe, mix = paste0(recipe, replicate), angle, recipeB = as.integer(recipe == "B"), recipeC = as.integer(recipe == "C"),
  replicate, sapply(c(t185 = 185, t195 = 195, t205 = 205, t215 = 215, t225 = 225), function(t) as.integer(temp == t)))),
  "cake")
save_data(with(Machines, data.frame(
  Worker, Cell = paste0(Worker, Machine), score, A = as.integer(Machine == "A"), B = as.integer(Machine == "B"),
  C = as.integer(Machine == "C"))), "machines")
save_data(with(Oats, data.frame(
  Block, Plot = paste0(Block, ":", substr(Variety, 1, 1)), yield, nitro, GoldenRain = as.integer(Variety == "Golden Rain"),
  Marvellous = as.integer(Variety == "Marvellous"))), "oats")
save_data(with(ergoStool, data.frame(Subject, effort, T2 = as.integer(Type == "T2"), T3 = as.integer(Type == "T3"),
                                     T4 = as.integer(Type == "T4"))), "ergostool")
save_data(Dyestuff, "dyestuff")
save_data(Dyestuff2, "dyestuff2")
save_data(with(egsingle, data.frame(school = schoolid, child = childid, math, year, lowinc)), "egsingle")
save_data(with(ScotsSec, data.frame(primary, second, attain, verbal, female = as.integer(sex == "F"))), "scotssec")
save_data(with(Hsb82, data.frame(
  school, mAch, meanses = round(meanses, 4), cses = round(cses, 4), catholic = as.integer(sector == "Catholic"))), "hsb82")
save_data(with(bdf, data.frame(school = schoolNR, langPOST, iq = round(IQ.ver.cen, 4), school_iq = round(avg.IQ.ver.cen, 4))),
          "bdf")
save_data(with(VerbAgg, data.frame(
  id, item = as.integer(item), yes = as.integer(r2 == "Y"), anger = Anger, male = as.integer(Gender == "M"),
  scold = as.integer(btype == "scold"), shout = as.integer(btype == "shout"), self = as.integer(situ == "self"))), "verbagg")
save_data(with(droplevels(subset(InstEval, as.integer(s) <= 170)), data.frame(
  s, d, dept, y, service = as.integer(as.character(service)))), "insteval")

# Forty groups of 1 to 30 rows, a feature of the group, three random effects; weights of both kinds and an offset.
set.seed(20240601)
K <- 40
size <- c(1, 1, 2, 3, sample(2:30, K - 4, replace = TRUE))
g <- rep(seq_len(K), size)
n <- length(g)
T <- matrix(c(1.2, 0.4, -0.3, 0, 0.7, 0.2, 0, 0, 0.5), 3)
u <- matrix(rnorm(3 * K), K) %*% t(T)
x1 <- round(rnorm(n), 3)
x2 <- round(runif(n, -1, 2), 3)
z <- round(rnorm(K), 3)[g]
w <- round(exp(rnorm(n, 0, 0.6)), 3)
off <- round(2 * rnorm(n) + 0.5 * x1, 3)
y <- 3 + 0.8 * x1 - 0.5 * x2 + 0.3 * z + u[g, 1] + u[g, 2] * x1 + u[g, 3] * x2 + rnorm(n) / sqrt(w)
shuffled <- sample(n)
save_data(data.frame(group = paste0("g", g), y = round(y, 4), x1, x2, z, precision = w, frequency = rpois(n, 1.2),
                     offset = off)[shuffled, ], "sim_unbalanced")

# Intercept and slope perfectly correlated: the estimate is on the boundary.
set.seed(20240606)
K <- 15
g <- rep(seq_len(K), each = 6)
x <- round(rnorm(6 * K), 3)
b <- rnorm(K)
y <- 1 + 0.5 * x + b[g] + 0.45 * b[g] * x + rnorm(6 * K)
save_data(data.frame(group = g, y = round(y, 4), x), "sim_singular")

# Three crossed factors, two of them with slopes, of different features.
set.seed(20240603)
n <- 600
a <- sample(20, n, replace = TRUE)
b <- sample(15, n, replace = TRUE)
c <- sample(8, n, replace = TRUE)
x1 <- round(rnorm(n), 3)
x2 <- round(rnorm(n), 3)
y <- -1 + x1 + 0.5 * x2 + rnorm(20)[a] + 0.6 * rnorm(20)[a] * x1 + 0.8 * rnorm(15)[b] + 0.5 * rnorm(15)[b] * x2 +
  0.7 * rnorm(8)[c] + 1.5 * rnorm(n)
save_data(data.frame(a, b = letters[b], c, y = round(y, 4), x1, x2), "sim_crossed")
rm(T, c)

# ---------------------------------------------------------------------------------------------- fits

study("sleepstudy_null", "sleepstudy", "Reaction", character(), "Subject")
study("sleepstudy_intercept", "sleepstudy", "Reaction", "Days", "Subject")
study("sleepstudy_slope", "sleepstudy", "Reaction", "Days", "Subject", "Days")
study("sleepstudy_diagonal", "sleepstudy", "Reaction", "Days", "Subject", "Days", covariance = "diagonal")
study("sleepstudy_slope_only", "sleepstudy", "Reaction", "Days", "Subject", "Days", random_intercept = FALSE)
growth <- c("age", "female", "age_female")
study("orthodont_no_interaction", "orthodont", "distance", c("age", "female"), "Subject")
study("orthodont_intercept", "orthodont", "distance", growth, "Subject")
study("orthodont_slope", "orthodont", "distance", growth, "Subject", "age")
study("pastes", "pastes", "strength", character(), c("batch", "sample"), nested = TRUE)
study("pastes_batch", "pastes", "strength", character(), "batch")
study("penicillin", "penicillin", "diameter", character(), c("plate", "sample"))
study("dyestuff", "mixed_dyestuff", "Yield", character(), "Batch")
study("dyestuff2", "mixed_dyestuff2", "Yield", character(), "Batch")
diet <- c("Time", "Cu035", "Cu175")
study("dietox_no_copper", "dietox", "Weight", "Time", "Pig", "Time")
study("dietox_slope", "dietox", "Weight", diet, "Pig", "Time")
study("dietox_nested", "dietox", "Weight", diet, c("Litter", "Pig"), list(Litter = character(), Pig = "Time"), nested = TRUE)
study("dietox_nested_slopes", "dietox", "Weight", diet, c("Litter", "Pig"), "Time", nested = TRUE)
recipes <- c("recipeB", "recipeC")
study("cake", "mixed_cake", "angle", c(recipes, "t185", "t195", "t205", "t215", "t225"), c("replicate", "mix"), nested = TRUE)
study("cake_recipes", "mixed_cake", "angle", recipes, c("replicate", "mix"), nested = TRUE)
study("machines_intercept", "mixed_machines", "score", c("B", "C"), "Worker")
study("machines", "mixed_machines", "score", c("B", "C"), "Worker", c("B", "C"))
study("machines_nested", "mixed_machines", "score", c("B", "C"), c("Worker", "Cell"), nested = TRUE)
study("machines_cells", "mixed_machines", "score", c("A", "B", "C"), "Worker", c("A", "B", "C"), intercept = FALSE,
      random_intercept = FALSE)
study("oats", "mixed_oats", "yield", c("nitro", "GoldenRain", "Marvellous"), c("Block", "Plot"), nested = TRUE)
study("ergostool", "mixed_ergostool", "effort", c("T2", "T3", "T4"), "Subject")
study("ergostool_null", "mixed_ergostool", "effort", character(), "Subject")
study("scotssec", "mixed_scotssec", "attain", c("verbal", "female"), c("primary", "second"))
study("hsb82", "mixed_hsb82", "mAch", c("meanses", "cses", "catholic"), "school", "cses")
study("bdf_intercept", "mixed_bdf", "langPOST", c("iq", "school_iq"), "school")
study("bdf_slope", "mixed_bdf", "langPOST", c("iq", "school_iq"), "school", "iq")
study("egsingle", "mixed_egsingle", "math", c("year", "lowinc"), c("school", "child"), "year", nested = TRUE)
study("verbagg", "mixed_verbagg", "yes", c("anger", "male", "scold", "shout", "self"), c("id", "item"))
study("verbagg_slope", "mixed_verbagg", "yes", c("anger", "male", "scold", "shout", "self"), c("id", "item"),
      list(id = "self", item = "male"))
study("insteval", "mixed_insteval", "y", "service", c("s", "d", "dept"))
study("insteval_slope", "mixed_insteval", "y", "service", c("s", "d", "dept"),
      list(s = character(), d = character(), dept = "service"), covariance = "diagonal")
xs <- c("x1", "x2", "z")
study("unbalanced", "mixed_sim_unbalanced", "y", xs, "group", c("x1", "x2"))
study("unbalanced_diagonal", "mixed_sim_unbalanced", "y", xs, "group", c("x1", "x2"), covariance = "diagonal")
study("unbalanced_precision", "mixed_sim_unbalanced", "y", xs, "group", c("x1", "x2"), precision = "precision")
study("unbalanced_frequency", "mixed_sim_unbalanced", "y", xs, "group", "x1", frequency = "frequency")
study("unbalanced_offset", "mixed_sim_unbalanced", "y", xs, "group", "x1", offset = "offset")
study("singular", "mixed_sim_singular", "y", "x", "group", "x")
of_each <- list(a = "x1", b = "x2", c = character())
study("crossed", "mixed_sim_crossed", "y", c("x1", "x2"), c("a", "b", "c"))
study("crossed_slopes", "mixed_sim_crossed", "y", c("x1", "x2"), c("a", "b", "c"), of_each)
study("crossed_diagonal", "mixed_sim_crossed", "y", c("x1", "x2"), c("a", "b", "c"), of_each, covariance = "diagonal")

# ---------------------------------------------------------------------------------------------- without groups

for (weighted in c(FALSE, TRUE)) {
  d <- read.csv("data/mixed_sim_unbalanced.csv")
  fit <- if (weighted) lm(y ~ x1 + x2 + z, d, weights = precision) else lm(y ~ x1 + x2 + z, d)
  n <- nrow(d)
  add(paste0("no_groups", if (weighted) "_precision"), list(
    data = "mixed_sim_unbalanced", formula = "y ~ x1 + x2 + z", response = "y", features = plain(xs),
    precision_weights = if (weighted) "precision",
    coef = named(coef(fit)), se = se_of(vcov(fit)), df = df.residual(fit),
    reml = list(loglik = as.numeric(logLik(fit, REML = TRUE)), sigma2 = sigma(fit)^2),
    ml = list(loglik = as.numeric(logLik(fit)), sigma2 = sigma(fit)^2 * df.residual(fit) / n)))
}

# ---------------------------------------------------------------------------------------------- likelihood ratios

# `mixture`: a random effect is added to k others, so that the null distribution is half chi^2_k and half chi^2_(k+1).
# `adds_effects` without it: several effects are added, and the weights of the mixture are not known.
ratio <- function(name, reduced, full, method, mixture = NULL, adds_effects = !is.null(mixture)) {
  a <- fits[[reduced]][[method]]
  b <- fits[[full]][[method]]
  table <- anova(a, b, refit = FALSE)
  statistic <- table$Chisq[2]
  stopifnot(abs(statistic - 2 * as.numeric(logLik(b) - logLik(a))) < 1e-9)
  tail <- function(df) pchisq(statistic, df, lower.tail = FALSE)
  add(name, list(
    reduced = reduced, full = full, method = method, statistic = statistic, df = table$Df[2],
    p_value = table[["Pr(>Chisq)"]][2], adds_effects = adds_effects,
    mixture_p_value = if (!is.null(mixture)) 0.5 * (tail(mixture) + tail(mixture + 1))))
}
ratio("lrt_sleepstudy_days", "sleepstudy_null", "sleepstudy_intercept", "ml")
ratio("lrt_orthodont_interaction", "orthodont_no_interaction", "orthodont_intercept", "ml")
ratio("lrt_dietox_copper", "dietox_no_copper", "dietox_slope", "ml")
ratio("lrt_cake_temperature", "cake_recipes", "cake", "ml")
ratio("lrt_ergostool_type", "ergostool_null", "ergostool", "ml")
ratio("lrt_pastes_sample", "pastes_batch", "pastes", "ml", mixture = 0)
ratio("lrt_dietox_litter", "dietox_slope", "dietox_nested", "reml", mixture = 0)
ratio("lrt_sleepstudy_slope", "sleepstudy_intercept", "sleepstudy_slope", "reml", mixture = 1)
ratio("lrt_sleepstudy_correlation", "sleepstudy_diagonal", "sleepstudy_slope", "reml")
ratio("lrt_orthodont_slope", "orthodont_intercept", "orthodont_slope", "reml", mixture = 1)
ratio("lrt_bdf_slope", "bdf_intercept", "bdf_slope", "reml", mixture = 1)
ratio("lrt_machines_slopes", "machines_intercept", "machines", "reml", adds_effects = TRUE)

# ---------------------------------------------------------------------------------------------- profiles

profile_limits <- function(name, level = 0.95) {
  fm <- fits[[name]]$ml
  f <- deviance_of(fm)
  sdcor <- unlist(lapply(VarCorr(fm), function(G) {
    C <- attr(G, "correlation")
    diag(C) <- attr(G, "stddev")
    C[lower.tri(C, diag = TRUE)]
  }))
  best <- c(sdcor, sigma(fm))
  is_cor <- c(unlist(lapply(fm@cnms, function(v) row(diag(length(v)))[lower.tri(diag(length(v)), diag = TRUE)] !=
                                                 col(diag(length(v)))[lower.tri(diag(length(v)), diag = TRUE)])), FALSE)
  lower <- ifelse(is_cor, -0.999, 0)
  upper <- ifelse(is_cor, 0.999, Inf)
  minimum <- f(best)
  stopifnot(abs(minimum + 2 * as.numeric(logLik(fm))) < 1e-8)
  cut <- qchisq(level, 1)
  solve_inner <- function(g, start, keep) {
    if (!any(keep)) return(list(par = numeric(), value = g(numeric())))
    h <- function(x) g(x * scale[keep])
    scale <- ifelse(is_cor, 1, best)
    x <- start / scale[keep]
    for (round in 1:3) x <- nlminb(x, h, lower = (lower / scale)[keep], upper = (upper / scale)[keep],
                                   control = list(rel.tol = 1e-15, x.tol = 1e-13, eval.max = 4000, iter.max = 2000))$par
    list(par = x * scale[keep], value = h(x))
  }
  excess <- function(k) {                           # of variance parameter k at value v
    keep <- seq_along(best) != k
    function(v) solve_inner(function(x) f(replace(replace(best, keep, x), k, v)), best[keep], keep)$value - minimum - cut
  }
  excess_beta <- function(k) {
    keep <- rep(TRUE, length(best))
    function(v) solve_inner(function(x) f(x, k, v), best, keep)$value - minimum - cut
  }
  root <- function(g, from, step, limit) {
    to <- from
    repeat {
      to <- to + step
      if (step < 0 && to <= limit || step > 0 && to >= limit) {
        if (g(limit) < 0) return(limit)
        to <- limit
        break
      }
      if (g(to) > 0) break
      step <- 1.5 * step
    }
    uniroot(g, sort(c(from, to)), tol = 1e-9 * max(1, abs(from)))$root
  }
  limits <- list()
  for (k in seq_along(best)) {
    g <- excess(k)
    step <- if (is_cor[k]) 0.15 else 0.15 * best[k]
    label <- if (k == length(best)) ".sigma" else sprintf(".sig%02d", k)
    limits[[label]] <- plain(c(root(g, best[k], -step, lower[k]), root(g, best[k], step, upper[k])))
  }
  for (k in seq_along(fixef(fm))) {
    g <- excess_beta(k)
    step <- sqrt(vcov(fm)[k, k])
    limits[[names(fixef(fm))[k]]] <- plain(c(root(g, fixef(fm)[k], -step, -Inf), root(g, fixef(fm)[k], step, Inf)))
  }
  d_now <<- fits[[name]]$data
  usual <- lme4::lmer(formula(fm), d_now, REML = FALSE)
  theirs <- suppressWarnings(suppressMessages(confint(usual, method = "profile", oldNames = FALSE, quiet = TRUE)))
  ours <- do.call(rbind, lapply(limits, unclass))
  stopifnot(rownames(theirs)[-seq_along(best)] == rownames(ours)[-seq_along(best)],
            max(abs(theirs - ours) / (ours[, 2] - ours[, 1])) < 5e-4)       # lme4 interpolates by splines
  names(limits) <- rownames(theirs)
  add(paste0("profile_", name), list(study = name, level = level, limits = limits))
}
for (name in c("sleepstudy_slope", "sleepstudy_diagonal", "pastes", "penicillin", "dyestuff")) {
  cat(format(Sys.time(), "%H:%M:%S"), "profile", name, "\n")
  profile_limits(name)
}

write_reference(entries, "mixed.json", c("lme4", "lmerTest", "pbkrtest", "clubSandwich", "mlmRev", "nlme", "numDeriv", "minqa",
                                         "nloptr", "jsonlite"))
print(warnings())

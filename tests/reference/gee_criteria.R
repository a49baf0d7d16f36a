# Reference results for criteria, score tests and deletion diagnostics of a GEE. Writes gee_criteria.json; see README.md.
# Fits are geepack's; what is made of them is computed here by definition, with a matrix for every cluster.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages(library(geepack))

ctl <- geese.control(epsilon = 1e-13, maxit = 2000)
glm_ctl <- glm.control(epsilon = 1e-14, maxit = 200)
entries <- list()
add <- function(name, value) {
  stopifnot(is.null(entries[[name]]))
  entries[[name]] <<- value
}

quasi <- function(family, y, mu) switch(family,
  gaussian = -0.5 * (y - mu)^2, binomial = y * log(mu) + (1 - y) * log(1 - mu), poisson = y * log(mu) - mu)

correlation <- function(corstr, alpha, times, all_times) {
  n <- length(times)
  R <- switch(corstr,
    independence = diag(n),
    exchangeable = matrix(alpha, n, n),
    ar1 = alpha^abs(outer(times, times, "-")),
    unstructured = {
      full <- diag(length(all_times))
      full[lower.tri(full)] <- alpha  # geepack's order: 1:2, 1:3, ..., 2:3, ...
      full <- full + t(full) - diag(length(all_times))
      at <- match(times, all_times)
      full[at, at, drop = FALSE]
    })
  diag(R) <- 1
  R
}

# Sums over clusters at coefficients `eta`: bread, scores, and what criteria need. V_i has phi in it.
sums <- function(X, y, eta, id, times, fam, corstr, alpha, phi) {
  mu <- fam$linkinv(eta)
  all_times <- sort(unique(times))
  p <- ncol(X)
  out <- list(B = matrix(0, p, p), omega = matrix(0, p, p), scores = NULL, gpl = 0,
              rr = matrix(0, length(all_times), length(all_times)))
  out$VV <- out$pairs <- out$rr
  for (i in unique(id)) {
    rows <- which(id == i)
    rows <- rows[order(times[rows])]
    D <- X[rows, , drop = FALSE] * fam$mu.eta(eta[rows])
    root <- sqrt(fam$variance(mu[rows]))
    V <- phi * outer(root, root) * correlation(corstr, alpha, times[rows], all_times)
    r <- y[rows] - mu[rows]
    out$B <- out$B + t(D) %*% solve(V, D)
    out$scores <- rbind(out$scores, as.vector(t(D) %*% solve(V, r)))
    out$omega <- out$omega + t(D) %*% (D / root^2) / phi
    out$gpl <- out$gpl + length(rows) * log(2 * pi) + as.numeric(determinant(V)$modulus) + sum(r * solve(V, r))
    at <- match(times[rows], all_times)
    out$rr[at, at] <- out$rr[at, at] + outer(r, r)
    out$VV[at, at] <- out$VV[at, at] + V
    out$pairs[at, at] <- out$pairs[at, at] + 1
  }
  out$quasi <- sum(quasi(fam$family, y, mu)) / phi
  out
}

fit_geese <- function(formula, data, fam, corstr, id, times) {
  if (corstr != "ar1") times <- NULL  # others need none here, and geepack may crash on waves of unstructured
  data$.id <- id
  data$.times <- times
  if (is.null(times))
    geese(formula, data = data, id = .id, family = fam, corstr = corstr, control = ctl)
  else
    geese(formula, data = data, id = .id, waves = .times, family = fam, corstr = corstr, control = ctl)
}

criteria <- function(name, formula, data, fam, corstr, id, times) {
  environment(formula) <- environment()
  g <- fit_geese(formula, data, fam, corstr, id, times)
  mf <- model.frame(formula, data)
  X <- model.matrix(formula, mf)
  s <- sums(X, model.response(mf), as.vector(X %*% g$beta), id, times, fam, corstr, g$alpha, g$gamma)
  V <- solve(s$B) %*% crossprod(s$scores) %*% solve(s$B)
  stopifnot(max(abs(V - g$vbeta)) < 1e-8 * max(abs(V)))
  G <- solve(s$B) %*% crossprod(s$scores)
  K <- length(unique(id)); p <- ncol(X); q <- length(g$alpha); k <- p + q
  c1 <- sum(diag(G)) / p; c2 <- sum(diag(G %*% G)) / p
  cic <- sum(diag(s$omega %*% V)); qic <- -2 * s$quasi + 2 * cic
  out <- list(corstr = corstr, n_clusters = K, coef = named(g$beta), alpha = plain(g$alpha), phi = unname(g$gamma),
    robust_se = se_of(g$vbeta), quasi_likelihood = s$quasi, qic = qic, qicu = -2 * s$quasi + 2 * p, cic = cic,
    qicc = qic + 2 * k * (k + 1) / (K - k - 1), c1 = c1, c2 = c2, rj = sqrt((1 - c1)^2 + (1 - c2)^2),
    dbar = c2 - 2 * c1 + 1, agpc = s$gpl + 2 * k, sgpc = s$gpl + log(K) * k)
  if (all(s$pairs > 0)) {
    ratio <- (s$rr / s$pairs) %*% solve(s$VV / s$pairs)
    out$pac <- abs(det(ratio) - 1)
    out$ghyc <- sum(diag((ratio - diag(nrow(ratio))) %*% (ratio - diag(nrow(ratio)))))
  }
  add(name, out)
}

# Generalised score test that the coefficients of `full` that `reduced` lacks are zero.
score <- function(name, reduced, full, data, fam, corstr, id, times) {
  environment(reduced) <- environment(full) <- environment()
  g <- fit_geese(reduced, data, fam, corstr, id, times)
  mf <- model.frame(full, data)
  X <- model.matrix(full, mf)
  X0 <- model.matrix(reduced, data)
  s <- sums(X, model.response(mf), as.vector(X0 %*% g$beta), id, times, fam, corstr, g$alpha, g$gamma)
  tested <- which(!colnames(X) %in% colnames(X0))
  L <- diag(ncol(X))[tested, , drop = FALSE]
  U <- colSums(s$scores)
  direction <- L %*% solve(s$B)
  b <- direction %*% U
  robust <- direction %*% crossprod(s$scores) %*% t(direction)
  naive <- L %*% solve(s$B) %*% t(L)
  add(name, list(corstr = corstr, n_clusters = length(unique(id)), tested = I(colnames(X)[tested]),
    restricted = named(g$beta), phi = unname(g$gamma), robust = as.numeric(t(b) %*% solve(robust, b)),
    naive = as.numeric(t(b) %*% solve(naive, b))))
}

binomial_ <- binomial(); poisson_ <- poisson(); gaussian_ <- gaussian()
ohio <- dataset("ohio")
epil <- dataset("epil")
dietox <- dataset("dietox")
waves <- read.csv("data/sim_waves.csv")
structures <- c(ind = "independence", exch = "exchangeable", ar1 = "ar1", unstr = "unstructured")
for (s in names(structures)) {
  criteria(paste0("ohio_", s), resp ~ age + smoke, ohio, binomial_, structures[s], ohio$id, ohio$age)
  criteria(paste0("epil_", s), y ~ trt + log(base / 4) + log(age), epil, poisson_, structures[s], epil$subject, epil$period)
  score(paste0("score_ohio_", s), resp ~ 1, resp ~ age + smoke, ohio, binomial_, structures[s], ohio$id, ohio$age)
  score(paste0("score_epil_", s), y ~ log(base / 4), y ~ log(base / 4) + trt + log(age), epil, poisson_, structures[s],
        epil$subject, epil$period)
}
for (s in c("ind", "exch", "ar1")) {
  # visits are missing
  criteria(paste0("waves_", s), y ~ g + x, waves, binomial_, structures[s], waves$id, waves$time)
  score(paste0("score_waves_", s), y ~ x, y ~ g + x, waves, binomial_, structures[s], waves$id, waves$time)
  criteria(paste0("dietox_", s), Weight ~ Time + Cu, dietox, gaussian_, structures[s], dietox$Pig, dietox$Time)
}

# Rao's score tests of independent rows, by R itself
full <- glm(resp ~ age * smoke, family = binomial, data = ohio, control = glm_ctl)
rao <- anova(update(full, . ~ age), full, test = "Rao")
add("rao_ohio", list(statistic = rao$Rao[2], df = rao$Df[2], p_value = rao$`Pr(>Chi)`[2]))
counts <- table(ohio$age, ohio$resp)
trend <- prop.trend.test(counts[, "1"], rowSums(counts), score = as.numeric(rownames(counts)))
add("trend_ohio", list(statistic = unname(trend$statistic), p_value = trend$p.value))
pearson <- chisq.test(counts, correct = FALSE)
add("pearson_ohio_age", list(statistic = unname(pearson$statistic), df = unname(pearson$parameter), p_value = pearson$p.value))

# Deletion of single rows. R's dfbeta() of a glm takes deviance residuals; the scoring step has those of the outcome.
deletion <- function(name, fit) {
  rows <- 1:12
  X <- model.matrix(fit)
  inverse <- summary(fit)$cov.unscaled
  step <- (X * (residuals(fit, "response") / (1 - hatvalues(fit)))) %*% inverse  # canonical links
  if (!inherits(fit, "glm")) stopifnot(max(abs(step - dfbeta(fit))) < 1e-10)
  add(name, list(coef = named(coef(fit)), hat = plain(hatvalues(fit)[rows]), cook = plain(cooks.distance(fit)[rows]),
                 dfbeta = square(step[rows, ])))
}
deletion("deletion_lm", lm(Weight ~ Time + Cu, data = dietox))
deletion("deletion_poisson", glm(y ~ trt + log(base / 4) + log(age), family = poisson, data = epil, control = glm_ctl))
deletion("deletion_logit", glm(resp ~ age + smoke, family = binomial, data = ohio, control = glm_ctl))

write_reference(entries, "gee_criteria.json", c("geepack", "jsonlite"))

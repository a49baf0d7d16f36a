# Reference results for GEE with weights for dropout. Writes dropout.json; see README.md.
source(local({
  f <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)[1])
  file.path(dirname(f), "common.R")
}))
suppressPackageStartupMessages({library(geepack); library(numDeriv)})

ctl <- geese.control(epsilon = 1e-13, maxit = 1000)
glm_ctl <- glm.control(epsilon = 1e-15, maxit = 200)

# ---------------------------------------------------------------------------------------------- data
# 160 patients, visits 0, 1, 2, 3: who has a complaint leaves more often. Rows of missed visits have NA.
set.seed(20260822)
K <- 160
visits <- 0:3
trt <- rep(0:1, length.out = K)
mass <- round(runif(K, 0.5, 2.5), 3)
effect <- rnorm(K)
d <- expand.grid(visit = visits, id = seq_len(K))[, 2:1]
d$trt <- trt[d$id]
d$mass <- mass[d$id]
d$complaint <- as.numeric(runif(nrow(d)) < plogis(-0.4 - 0.3 * d$visit * d$trt + effect[d$id]))
d$pain <- round(3 + 0.4 * d$visit - 0.5 * d$trt + d$complaint + effect[d$id] + rnorm(nrow(d)), 3)
stay <- plogis(1.9 - 1.3 * d$complaint - 0.2 * d$pain + 0.5 * d$trt)
left <- ave(as.numeric(runif(nrow(d)) > stay), d$id, FUN = function(x) cumsum(c(0, x[-length(x)]))) > 0
d[left, c("complaint", "pain")] <- NA
d <- write_sim(d, "dropout")
seen <- d[!is.na(d$complaint), ]
first <- !duplicated(seen$id)
final <- !duplicated(seen$id, fromLast = TRUE)
K <- length(unique(seen$id))
rows_of <- split(seq_len(nrow(seen)), seen$id)

# ---------------------------------------------------------------------------------------------- dropout model
at_risk <- seen$visit < max(visits)
back <- as.numeric(!final)[at_risk]
risk <- seen[at_risk, ]
risk$following <- factor(risk$visit + 1)
models <- list(visits = back ~ complaint + pain + trt + following, linear = back ~ complaint + trt + visit)

# Weights of rows as a function of the coefficients of the dropout model.
weights_of <- function(gamma, Z, level, cut = Inf) {
  stay <- rep(1, nrow(seen))
  stay[at_risk] <- plogis(Z %*% gamma)
  w <- rep(NA, nrow(seen))
  for (rows in rows_of) {
    last <- rows[length(rows)]
    so_far <- cumprod(c(1, stay[rows[-length(rows)]]))
    if (level == "observation") w[rows] <- 1 / so_far
    else w[rows] <- 1 / (so_far[length(rows)] * if (at_risk[last]) 1 - stay[last] else 1)
  }
  pmin(w, cut)
}

correlation <- function(structure, alpha, n) switch(structure,
  independence = diag(n), exchangeable = (1 - alpha) * diag(n) + alpha,
  ar1 = alpha^abs(outer(seq_len(n), seq_len(n), "-")))

# Score of each cluster: D' W^(1/2) V^-1 W^(1/2) (y - mu), and the bread; phi is 1.
pieces <- function(beta, w, X, y, family, structure, alpha) {
  eta <- as.vector(X %*% beta)
  mu <- family$linkinv(eta)
  scores <- matrix(0, K, ncol(X))
  bread <- matrix(0, ncol(X), ncol(X))
  for (i in seq_len(K)) {
    rows <- rows_of[[i]]
    D <- X[rows, , drop = FALSE] * (family$mu.eta(eta[rows]) * sqrt(w[rows]))
    A <- diag(sqrt(family$variance(mu[rows])), length(rows))
    V <- A %*% correlation(structure, alpha, length(rows)) %*% A
    scores[i, ] <- t(D) %*% solve(V, (y[rows] - mu[rows]) * sqrt(w[rows]))
    bread <- bread + t(D) %*% solve(V, D)
  }
  list(scores = scores, bread = bread)
}

entries <- list()
add <- function(name, outcome, level, structure, model = "visits", family = binomial(), cut = NULL, sampling = FALSE) {
  at <- if (is.null(cut)) Inf else cut
  mass <- if (sampling) seen$mass else rep(1, nrow(seen))
  risk_mass <<- mass[at_risk]
  glm_family <- if (sampling) quasibinomial() else binomial()
  drop_fit <- glm(models[[model]], glm_family, risk, weights = risk_mass, control = glm_ctl)
  Z <- model.matrix(drop_fit)
  gamma <- coef(drop_fit)
  stay <- as.vector(plogis(Z %*% gamma))
  information <- crossprod(Z * sqrt(risk_mass * stay * (1 - stay)))
  row_scores <- Z * (risk_mass * (back - stay))
  dropout_scores <- t(sapply(rows_of, function(rows) {
    mine <- match(rows[at_risk[rows]], which(at_risk))
    colSums(row_scores[mine, , drop = FALSE])
  }))
  seen$w <<- weights_of(gamma, Z, level, at) * mass
  seen$y <<- seen[[outcome]]
  # warns that weighted successes are no whole numbers
  fit <- suppressWarnings(
    geeglm(y ~ visit * trt, family = family, data = seen, id = id, weights = w, corstr = structure, control = ctl))
  g <- fit$geese
  X <- model.matrix(fit)
  alpha <- if (length(g$alpha)) unname(g$alpha) else 0
  at_fit <- pieces(g$beta, seen$w, X, seen$y, family, structure, alpha)
  total <- function(gamma) {
    w <- weights_of(gamma, Z, level, at) * mass
    colSums(pieces(g$beta, w, X, seen$y, family, structure, alpha)$scores)
  }
  slope <- jacobian(total, gamma)
  influence <- dropout_scores %*% solve(information)
  adjusted <- at_fit$scores + influence %*% t(slope)
  bread <- solve(at_fit$bread)
  known <- bread %*% crossprod(at_fit$scores) %*% bread
  stopifnot(max(abs(colSums(at_fit$scores))) < 1e-6 * nrow(seen), max(abs(known / g$vbeta - 1)) < 1e-5)
  # the published form: what is left of the scores after regression on those of the dropout model
  projected <- at_fit$scores -
    dropout_scores %*% solve(crossprod(dropout_scores), crossprod(dropout_scores, at_fit$scores))
  above <- weights_of(gamma, Z, level) > at
  entries[[name]] <<- list(
    outcome = outcome, family = family$family, weights = level, structure = structure, dropout_model = model,
    max_weight = cut, sampling = sampling,
    dropout_coef = plain(gamma), dropout_cov = if (sampling) NULL else square(vcov(polish_risk(drop_fit))),
    row_weights = plain(seen$w / mass), n_truncated = sum(if (level == "cluster") above[first] else above),
    coef = plain(g$beta), alpha = if (length(g$alpha)) alpha else NULL, phi = unname(g$gamma),
    known_cov = square(known), cov = square(bread %*% crossprod(adjusted) %*% bread),
    projected_cov = square(bread %*% crossprod(projected) %*% bread))
}
polish_risk <- function(fit) glm(fit$formula, binomial(), risk, start = coef(fit), control = glm_ctl)

add("rows", "complaint", "observation", "independence")
add("rows_linear", "complaint", "observation", "independence", model = "linear")
add("rows_truncated", "complaint", "observation", "independence", cut = 2)
add("rows_exchangeable", "complaint", "observation", "exchangeable")
add("rows_gaussian", "pain", "observation", "independence", family = gaussian())
add("rows_sampling", "complaint", "observation", "independence", sampling = TRUE)
add("clusters", "complaint", "cluster", "independence")
add("clusters_exchangeable", "complaint", "cluster", "exchangeable")
add("clusters_truncated", "complaint", "cluster", "exchangeable", cut = 4)
add("clusters_ar1", "pain", "cluster", "ar1", family = gaussian())
write_reference(entries, "dropout.json", c("geepack", "numDeriv"))

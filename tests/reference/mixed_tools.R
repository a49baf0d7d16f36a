# Exact optima and dense algebra of linear mixed models, for mixed.R.

# ---------------------------------------------------------------------------------------------- the optimum

# An optimizer for lmer(control = lmerControl(optimizer =)): three searches, then Newton's method with Richardson
# derivatives on the parameters that are not zero at the boundary, until its step is below the rounding of the deviance.
exact_optimizer <- function(fn, par, lower, upper, control) {
  f <- function(theta) as.numeric(fn(theta))
  search <- function(start) {
    found <- list(
      nloptr::bobyqa(start, f, lower = lower, control = list(xtol_rel = 1e-14, ftol_rel = 1e-15, maxeval = 20000))$par,
      nlminb(start, f, lower = lower, control = list(rel.tol = 1e-14, x.tol = 1e-12, eval.max = 5000, iter.max = 5000))$par)
    found[[which.min(sapply(found, f))]]
  }
  starts <- list(par, 0.3 * par, ifelse(lower == 0, 0.5, 0.2))
  best <- lapply(starts, search)
  theta <- search(best[[which.min(sapply(best, f))]])
  if (length(theta) > 1) {
    again <- minqa::bobyqa(theta, f, lower = lower, control = list(rhobeg = 0.02, rhoend = 1e-10, maxfun = 20000))$par
    if (f(again) < f(theta)) theta <- again
  }
  # to zero what is there but for the tolerance of the search
  for (k in which(lower == 0 & theta < 5e-3)) {
    zeroed <- replace(theta, k, 0)
    if (f(zeroed) <= f(theta) + 1e-7) theta <- zeroed
  }
  free <- which(!(lower == 0 & theta == 0))
  on_free <- function(x) f(replace(theta, free, x))
  decrement <- if (length(free)) Inf else 0
  for (iteration in 1:8) if (length(free)) {
    gradient <- grad(on_free, theta[free])
    step <- solve(hessian(on_free, theta[free]), gradient)
    decrement <- sum(gradient * step)
    moved <- replace(theta, free, theta[free] - step)
    if (f(moved) > f(theta) + 1e-9 || all(abs(step) < 1e-10)) break
    theta <- moved
  }
  if (!(decrement > -1e-11 && decrement < 1e-11)) warning("Newton decrement ", decrement, " at the end")
  list(par = theta, fval = f(theta), feval = 0L, conv = 0, convergence = 0, message = "")
}
exact_control <- lmerControl(
  optimizer = exact_optimizer, restart_edge = FALSE, boundary.tol = 0, calc.derivs = FALSE, check.conv.singular = "ignore",
  check.rankX = "stop.deficient", check.scaleX = "ignore", check.conv.grad = "ignore", check.conv.hess = "ignore")

# ---------------------------------------------------------------------------------------------- dense algebra

# The covariance of y and its derivatives by the elements of the random covariance matrices and sigma^2.
dense_model <- function(fm) {
  X <- getME(fm, "X")
  y <- getME(fm, "y") - getME(fm, "offset")
  sigma2 <- sigma(fm)^2
  w <- weights(fm)
  pieces <- list(diag(1 / w))
  value <- sigma2
  cnms <- fm@cnms
  for (k in seq_along(cnms)) {
    q <- length(cnms[[k]])
    G <- VarCorr(fm)[[k]]
    rows <- getME(fm, "Ztlist")[(cumsum(c(0, lengths(cnms)))[k] + 1):cumsum(lengths(cnms))[k]]
    Z <- lapply(rows, function(z) as.matrix(t(z)))
    for (i in 1:q) for (j in 1:i) {
      both <- tcrossprod(Z[[i]], Z[[j]])
      pieces <- c(pieces, list(if (i == j) both else both + t(both)))
      value <- c(value, G[i, j])
    }
  }
  V <- Reduce(`+`, Map(`*`, pieces, value))
  list(X = X, y = y, V = V, pieces = pieces, value = value)
}

# Log-likelihood; from exact score, observed and expected information of the variance parameters what a step of Newton's
# method would still gain, Satterthwaite and Kenward-Roger (1997; the covariance is linear in its parameters, so that no
# second derivatives enter).
dense_results <- function(fm, reml) {
  m <- dense_model(fm)
  X <- m$X
  U <- chol(m$V)
  Vi <- chol2inv(U)
  ViX <- Vi %*% X
  Phi <- solve(crossprod(X, ViX))
  P <- Vi - ViX %*% Phi %*% t(ViX)
  Py <- P %*% m$y
  n <- nrow(X)
  p <- ncol(X)
  loglik <- -0.5 * (2 * sum(log(diag(U))) + sum(m$y * Py) + (n - reml * p) * log(2 * pi))
  if (reml) loglik <- loglik + 0.5 * as.numeric(determinant(Phi)$modulus)

  k <- length(m$pieces)
  M <- if (reml) P else Vi
  MV <- lapply(m$pieces, function(piece) M %*% piece)
  VPy <- lapply(m$pieces, function(piece) piece %*% Py)
  observed <- expected <- matrix(0, k, k)
  for (i in 1:k) for (j in 1:k) {
    expected[i, j] <- 0.5 * sum(MV[[i]] * t(MV[[j]]))
    observed[i, j] <- sum(VPy[[i]] * (P %*% VPy[[j]])) - expected[i, j]
  }
  dPhi <- lapply(m$pieces, function(piece) Phi %*% crossprod(ViX, piece %*% ViX) %*% Phi)
  one_df <- function(information) {
    A <- solve(information)
    sapply(1:p, function(c) {
      g <- sapply(dPhi, function(d) d[c, c])
      2 * Phi[c, c]^2 / sum(g * (A %*% g))
    })
  }
  score <- sapply(VPy, function(v) 0.5 * sum(v * Py)) - sapply(MV, function(piece) 0.5 * sum(diag(piece)))
  out <- list(loglik = loglik, cov = Phi, decrement = try(sum(score * solve(observed, score)), silent = TRUE),
              satterthwaite = try(one_df(observed), silent = TRUE))
  if (reml) {
    W <- solve(expected)
    first <- lapply(m$pieces, function(piece) -crossprod(ViX, piece %*% ViX))
    inner <- matrix(0, p, p)
    for (i in 1:k) for (j in 1:k) {
      Q <- crossprod(m$pieces[[i]] %*% ViX, Vi %*% (m$pieces[[j]] %*% ViX))
      inner <- inner + W[i, j] * (Q - first[[i]] %*% Phi %*% first[[j]])
    }
    out$kr_cov <- Phi + 2 * Phi %*% inner %*% Phi
    out$kr_df <- one_df(expected)
  }
  out
}

# CR0: clusters of the outermost factor, residuals of the population model.
robust_cov <- function(fm, cluster) {
  X <- getME(fm, "X")
  L <- getME(fm, "Lambdat") %*% getME(fm, "Zt")
  V <- sigma(fm)^2 * (crossprod(L) + Diagonal(x = 1 / weights(fm)))
  e <- getME(fm, "y") - getME(fm, "offset") - X %*% fixef(fm)
  scores <- rowsum(X * as.vector(solve(V, e)), as.character(cluster))
  bread <- as.matrix(vcov(fm))
  bread %*% crossprod(scores) %*% bread
}

# ---------------------------------------------------------------------------------------------- what a fit tells

# Largest difference of two covariance matrices, in units of their standard deviations.
difference <- function(a, b) max(abs(a - b) / sqrt(outer(diag(b), diag(b))))

# The terms of the fit that belong to a factor: several if the covariance is diagonal, and lme4 may have turned them round.
terms_of <- function(fm, factor, s) {
  terms <- which(names(fm@cnms) == factor)
  terms[order(match(sapply(fm@cnms[terms], `[`, 1), c("(Intercept)", s$slopes[[factor]])))]
}

random_covariance <- function(fm, factor, s) {
  terms <- terms_of(fm, factor, s)
  as.matrix(bdiag(lapply(terms, function(k) as.matrix(VarCorr(fm)[[k]]))))
}

# Modes and their standard deviations given the parameters, from the Cholesky factor of the penalized system.
random_effects <- function(fm, factor, s) {
  terms <- terms_of(fm, factor, s)
  effects <- as.matrix(ranef(fm, condVar = FALSE)[[factor]][unlist(fm@cnms[terms])])
  Lambda <- t(getME(fm, "Lambdat"))
  C <- sigma(fm)^2 * Lambda %*% solve(getME(fm, "L"), t(Lambda), system = "A")
  sds <- sqrt(pmax(diag(C), 0))
  blocks <- lapply(terms, function(k) {
    rows <- (getME(fm, "Gp")[k] + 1):getME(fm, "Gp")[k + 1]
    matrix(sds[rows], ncol = length(fm@cnms[[k]]), byrow = TRUE)
  })
  sds <- do.call(cbind, blocks)
  if (length(terms) == 1) {
    theirs <- t(apply(attr(ranef(fm)[[factor]], "postVar"), 3, function(v) sqrt(diag(as.matrix(v)))))
    stopifnot(max(abs(sds - c(if (ncol(sds) == 1) t(theirs) else theirs))) < 1e-8 * max(sds, 1e-300))
  }
  list(levels = plain(rownames(effects)), effects = square(effects), sds = square(sds))
}

# Standard deviation of the error of predictions of the mean: of coefficients and effects at the estimated variances, and
# of the effects of a level that is not in the data. cov(y, prediction's effects) by levels shared with the data.
prediction_se <- function(fm, d, s, rows, conditional) {
  m <- dense_model(fm)
  Vi <- chol2inv(chol(m$V))
  Phi <- as.matrix(vcov(fm))
  x <- model.matrix(delete.response(terms(fm, fixed.only = TRUE)), rows)
  own <- numeric(nrow(rows))
  shared <- matrix(0, nrow(d), nrow(rows))
  for (g in if (conditional) s$groups) {
    design <- function(frame) do.call(cbind, lapply(unlist(fm@cnms[terms_of(fm, g, s)]), function(column)
      if (column == "(Intercept)") rep(1, nrow(frame)) else frame[[column]]))
    G <- random_covariance(fm, g, s)
    z <- design(rows)
    own <- own + rowSums((z %*% G) * z)
    shared <- shared + (design(d) %*% G %*% t(z)) * outer(as.character(d[[g]]), rows[[g]], "==")
  }
  left <- x - t(shared) %*% Vi %*% m$X
  sqrt(own - colSums(shared * (Vi %*% shared)) + rowSums((left %*% Phi) * left))
}

# -2 log-likelihood (ML) of standard deviations and correlations (lower triangles by column, as lme4's .sig01, ...),
# sigma and coefficients `fixed` (by number); other coefficients at their best.
deviance_of <- function(fm) {
  m <- dense_model(fm)
  n <- length(m$y)
  unpack <- function(x) {
    value <- x[length(x)]^2
    at <- 0
    for (names in fm@cnms) {
      q <- length(names)
      C <- diag(q)
      C[lower.tri(C, diag = TRUE)] <- x[at + seq_len(q * (q + 1) / 2)]
      at <- at + q * (q + 1) / 2
      s <- diag(C)
      diag(C) <- 1
      C[upper.tri(C)] <- t(C)[upper.tri(C)]
      G <- C * outer(s, s)
      for (i in 1:q) for (j in 1:i) value <- c(value, G[i, j])
    }
    value
  }
  function(x, fixed = NULL, at = NULL) {
    V <- Reduce(`+`, Map(`*`, m$pieces, unpack(x)))
    U <- try(chol(V), silent = TRUE)
    if (inherits(U, "try-error")) return(1e10)
    r <- backsolve(U, m$y - if (is.null(fixed)) 0 else m$X[, fixed] * at, transpose = TRUE)
    X <- backsolve(U, if (is.null(fixed)) m$X else m$X[, -fixed, drop = FALSE], transpose = TRUE)
    if (ncol(X)) r <- r - X %*% qr.solve(X, r)
    n * log(2 * pi) + 2 * sum(log(diag(U))) + sum(r^2)
  }
}

# The marginal likelihood of logistic mixed models, its maximum and its derivatives, for glmm.R. Written from the
# definition and independent of lme4; glmm.R compares the two at the same parameters.

# ---------------------------------------------------------------------------------------------- the model

# Columns of data, after one of ones if asked.
columns_of <- function(d, ones, columns) {
  M <- cbind(if (ones) rep(1, nrow(d)), as.matrix(d[columns]))
  colnames(M) <- c(if (ones) "(Intercept)", columns)
  M
}

# Linear predictor X beta + offset + sum over factors of Z T u of the row's level, u standard normal. `w` repeats rows.
model_of <- function(d, s) {
  n <- nrow(d)
  outer_code <- as.integer(d[[s$groups[1]]])
  nested <- all(sapply(s$groups, function(g) all(rowSums(table(d[[g]], outer_code) > 0) == 1)))
  cluster <- if (nested) outer_code else rep(1L, n)
  terms <- lapply(s$groups, function(g) {
    Z <- columns_of(d, s$random_intercept, s$slopes[[g]])
    q <- ncol(Z)
    code <- as.integer(d[[g]])
    list(name = g, Z = Z, q = q, code = code, levels = levels(d[[g]]),
         free = if (s$covariance == "full") lower.tri(diag(q), diag = TRUE) else diag(q) == 1,
         row = rep(seq_len(n), q), column = rep((code - 1) * q, q) + rep(seq_len(q), each = n),
         cluster = rep(cluster[match(seq_along(levels(d[[g]])), code)], each = q))
  })
  list(X = columns_of(d, s$intercept, s$features), y = d[[s$response]], nested = nested, cluster = cluster,
       terms = terms, w = if (is.null(s$frequency)) rep(1, n) else d[[s$frequency]],
       offset = if (is.null(s$offset)) rep(0, n) else d[[s$offset]],
       effect_cluster = unlist(lapply(terms, `[[`, "cluster")))
}

# Parameters are c(beta, free entries of T by factor, column by column).
unpack <- function(m, par) {
  p <- ncol(m$X)
  at <- p
  factors <- lapply(m$terms, function(t) {
    T <- matrix(0, t$q, t$q)
    T[t$free] <- par[at + seq_len(sum(t$free))]
    at <<- at + sum(t$free)
    T
  })
  list(beta = par[seq_len(p)], factors = factors)
}

pack <- function(m, beta, factors) unname(c(beta, unlist(Map(function(t, T) T[t$free], m$terms, factors))))

# Which parameters are on the diagonal of a T, and the signs of T's columns: both for each parameter.
on_diagonal <- function(m) pack(m, rep(FALSE, ncol(m$X)), lapply(m$terms, function(t) diag(t$q) == 1))
positive_diagonals <- function(m, par) {
  at <- unpack(m, par)
  pack(m, at$beta, lapply(at$factors, function(T) T %*% diag(ifelse(diag(T) < 0, -1, 1), nrow(T))))
}

# ---------------------------------------------------------------------------------------------- the likelihood

log_density <- function(m, eta) m$w * (m$y * eta - pmax(eta, 0) - log1p(exp(-abs(eta))))

# Newton's method for the modes of u. Its last step is below 1e-9, and it converges quadratically.
find_modes <- function(m, par, u) {
  at <- unpack(m, par)
  columns <- function(t, T)
    sparseMatrix(t$row, t$column, x = as.vector(t$Z %*% T), dims = c(length(m$y), t$q * length(t$levels)))
  A <- do.call(cbind, Map(columns, m$terms, at$factors))
  eta0 <- as.vector(m$X %*% at$beta) + m$offset
  value <- function(u) sum(log_density(m, eta0 + as.vector(A %*% u))) - sum(u^2) / 2
  factorized <- function(eta)
    Cholesky(crossprod(sqrt(m$w * dlogis(eta)) * A), perm = TRUE, LDL = FALSE, super = FALSE, Imult = 1)
  if (is.null(u)) u <- numeric(ncol(A))
  for (iteration in 1:200) {
    eta <- eta0 + as.vector(A %*% u)
    step <- as.vector(solve(factorized(eta), as.vector(crossprod(A, m$w * (m$y - plogis(eta)))) - u))
    size <- 1
    if (max(abs(step)) > 1e-4) while (value(u + size * step) < value(u)) size <- size / 2
    u <- u + size * step
    if (max(abs(step)) < 1e-9) break
  }
  stopifnot(iteration < 200)
  eta <- eta0 + as.vector(A %*% u)
  list(u = u, eta = eta, A = A, L = factorized(eta))
}

by_cluster <- function(m, x, cluster = m$cluster) as.vector(rowsum(x, cluster))

# Log-likelihood of each independent cluster. One node is Laplace's method; more are for one scalar effect.
cluster_loglik <- function(m, par, nodes, u = NULL) {
  found <- find_modes(m, par, u)
  log_root <- numeric(length(found$u))              # of the diagonal of the Cholesky factor of M, column by column
  log_root[found$L@perm + 1L] <- log(found$L@x[found$L@p[seq_along(found$u)] + 1L])
  if (nodes == 1)
    return(by_cluster(m, log_density(m, found$eta)) - by_cluster(m, found$u^2 / 2 + log_root, m$effect_cluster))
  stopifnot(length(m$terms) == 1, m$terms[[1]]$q == 1)
  code <- m$terms[[1]]$code
  scale <- exp(-log_root)
  slope <- rowSums(found$A)                         # one entry a row
  rule <- statmod::gauss.quad.prob(nodes, "normal")
  parts <- mapply(function(z, weight) {
    v <- found$u + scale * z
    by_cluster(m, log_density(m, found$eta + slope * (v - found$u)[code]), code) - v^2 / 2 + z^2 / 2 + log(weight)
  }, rule$nodes, rule$weights)
  largest <- apply(parts, 1, max)
  largest + log(rowSums(exp(parts - largest))) + log(scale)
}

# ---------------------------------------------------------------------------------------------- the maximum

# Gradient and Hessian by Richardson extrapolation, with steps of a tenth of `scale` and less.
derivatives <- function(f, at, scale) {
  k <- length(at)
  D <- genD(function(x) f(at + scale * (x - 1)), rep(1, k), method.args = list(d = 0.1))$D[1, ]
  H <- matrix(0, k, k)
  H[upper.tri(H, diag = TRUE)] <- D[-seq_len(k)]
  H <- H + t(H) - diag(diag(H), k)
  list(gradient = D[seq_len(k)] / scale, hessian = H / outer(scale, scale))
}

# From several starts; then Newton's method on the parameters that are not zero at the boundary. `decrement` is what its
# last step gained, twice, in the log-likelihood.
maximize <- function(m, nodes, starts) {
  criterion <- function(u) function(par) -sum(cluster_loglik(m, par, nodes, u))
  units <- function(f, par) {                       # rough standard errors
    h <- 1e-2 * c(apply(m$X, 2, function(x) 1 / max(sqrt(mean(x^2)), 1e-8)), rep(1, length(par) - ncol(m$X)))
    curvature <- sapply(seq_along(par), function(k) {
      e <- replace(numeric(length(par)), k, h[k])
      (f(par + e) + f(par - e) - 2 * f(par)) / h[k]^2
    })
    pmin(1 / sqrt(pmax(curvature, 1e-8)), 100 * h)
  }
  search <- function(par) {
    f <- criterion(find_modes(m, par, NULL)$u)
    scale <- units(f, par)
    settings <- list(rel.tol = 1e-13, x.tol = 1e-9, eval.max = 500)
    found <- nlminb(par / scale, function(x) f(x * scale), control = settings)
    list(par = found$par * scale, value = found$objective)
  }
  tried <- lapply(starts, search)
  values <- sapply(tried, `[[`, "value")
  par <- positive_diagonals(m, tried[[which.min(values)]]$par)
  f <- criterion(find_modes(m, par, NULL)$u)
  for (k in which(on_diagonal(m) & abs(par) < 0.02)) {
    zeroed <- replace(par, k, 0)
    if (f(zeroed) <= f(par) + 1e-7) par <- zeroed
  }
  zero <- which(on_diagonal(m) & par == 0)
  free <- setdiff(seq_along(par), zero)
  on_free <- function(x) f(replace(par, free, x))
  scale <- units(on_free, par[free])
  for (iteration in 1:8) {
    f <- criterion(find_modes(m, par, NULL)$u)
    d <- derivatives(on_free, par[free], scale)
    step <- solve(d$hessian, d$gradient)
    decrement <- sum(step * d$gradient)
    scale <- sqrt(diag(solve(d$hessian)))
    if (decrement < 1e-16) break
    par[free] <- par[free] - step
  }
  stopifnot(eigen(cov2cor(d$hessian))$values > 1e-8, abs(decrement) < 1e-13)
  # the criterion is even in an entry that is zero at the boundary: its curvature there is what tells a minimum
  for (k in zero) stopifnot(f(replace(par, k, 0.03)) > f(par) - 1e-10, f(replace(par, k, 0.1)) > f(par))
  covariance <- matrix(0, length(par), length(par))
  covariance[free, free] <- solve(d$hessian)
  list(par = par, value = f(par), covariance = covariance, free = free, zero = zero,
       scale = scale, decrement = decrement, spread = range(values) - f(par))
}

# Sandwich of the scores of independent clusters, all parameters that are not zero at the boundary.
sandwich <- function(m, nodes, best) {
  u <- find_modes(m, best$par, NULL)$u
  at <- best$par[best$free]
  of_clusters <- function(x) cluster_loglik(m, replace(best$par, best$free, at + best$scale * (x - 1)), nodes, u)
  J <- jacobian(of_clusters, rep(1, length(at)), method.args = list(d = 0.02))
  scores <- t(t(J) / best$scale)
  stopifnot(max(abs(colSums(scores) * best$scale)) < 1e-6)
  H <- best$covariance[best$free, best$free]
  (H %*% crossprod(scores) %*% H)[seq_len(ncol(m$X)), seq_len(ncol(m$X))]
}

# ---------------------------------------------------------------------------------------------- effects and predictions

# By factor: b = T u at the mode (levels, q), and standard deviations given the parameters, of T M^-1 T'.
effects_of <- function(m, par) {
  at <- unpack(m, par)
  found <- find_modes(m, par, NULL)
  C <- solve(found$L, Diagonal(length(found$u)), system = "A")
  first <- 0
  effects <- Map(function(t, T) {
    each <- lapply(seq_along(t$levels), function(l) first + (l - 1) * t$q + seq_len(t$q))
    first <<- first + t$q * length(t$levels)
    list(levels = t$levels, effects = do.call(rbind, lapply(each, function(k) as.vector(T %*% found$u[k]))),
         sds = do.call(rbind, lapply(each, function(k) sqrt(diag(T %*% as.matrix(C[k, k]) %*% t(T))))))
  }, m$terms, at$factors)
  names(effects) <- sapply(m$terms, `[[`, "name")
  effects
}

# Mean of plogis over a normal distribution.
integrated <- function(eta, variance) mapply(function(e, v) {
  if (v == 0) return(plogis(e))
  integrate(function(z) plogis(e + sqrt(v) * z) * dnorm(z), -12, 12, rel.tol = 1e-12, subdivisions = 2000)$value
}, eta, variance)

# Of rows of data: `linear` without random effects; `conditional` probabilities at the modes of known levels, integrated
# over the effects of others; `marginal`, integrated over all effects.
predictions_of <- function(m, rows, s, par, effects) {
  at <- unpack(m, par)
  linear <- as.vector(columns_of(rows, s$intercept, s$features) %*% at$beta)
  if (!is.null(s$offset)) linear <- linear + rows[[s$offset]]
  eta <- linear
  all <- unseen <- numeric(nrow(rows))
  for (k in seq_along(m$terms)) {
    t <- m$terms[[k]]
    z <- columns_of(rows, s$random_intercept, s$slopes[[t$name]])
    level <- match(rows[[t$name]], t$levels)
    own <- rowSums((z %*% at$factors[[k]])^2)
    all <- all + own
    unseen <- unseen + ifelse(is.na(level), own, 0)
    mode <- effects[[t$name]]$effects[ifelse(is.na(level), 1, level), , drop = FALSE]
    eta <- eta + ifelse(is.na(level), 0, rowSums(z * mode))
  }
  list(linear = plain(linear), conditional = plain(integrated(eta, unseen)), marginal = plain(integrated(linear, all)))
}

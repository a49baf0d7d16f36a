# Usage: Rscript rstanarm.R DATA N_FEATURES GROUPED N_DRAWS SEED CORES INTERCEPT_SCALE SLOPE_SCALE SD_MEAN DRAWS
# DATA holds doubles, column after column: y, features, and with GROUPED 1 numbers of levels of one factor.
# Writes the draws of intercept, slopes and standard deviation to DRAWS, as doubles whose first index is the draw, the
# second the chain; and JSON: seconds of the call alone, by the clock and of the processor, share of the warm-up in the
# work of the chains, and the shape of the draws.
args <- commandArgs(trailingOnly = TRUE)
suppressPackageStartupMessages(library(rstanarm))

n_features <- as.integer(args[2])
grouped <- args[3] == "1"
n_draws <- as.integer(args[4])
values <- readBin(args[1], "double", n = file.size(args[1]) / 8)
data <- as.data.frame(matrix(values, ncol = 1 + n_features + grouped))
rm(values)
features <- paste0("x", seq_len(n_features))
names(data) <- c("y", features, if (grouped) "g")
if (grouped) data$g <- factor(data$g)
model <- as.formula(paste("y ~ 1 +", paste(c(features, if (grouped) "(1 | g)"), collapse = " + ")))
scales <- as.numeric(args[7:9])
prior <- normal(0, scales[2], autoscale = FALSE)
prior_intercept <- normal(0, scales[1], autoscale = FALSE)
invisible(gc())

sample_all <- function(fit, ...) {
  fit(model, data = data, family = binomial, prior = prior, prior_intercept = prior_intercept, chains = 4,
      iter = 2 * n_draws, seed = as.integer(args[5]), cores = as.integer(args[6]), refresh = 0, ...)
}
begin <- proc.time()
found <- suppressWarnings(suppressMessages(
  # with one effect a level the trace is that of a gamma prior of the standard deviation; shape 1 is the exponential
  if (grouped) sample_all(stan_glmer, prior_covariance = decov(shape = 1, scale = scales[3])) else sample_all(stan_glm)
))
seconds <- as.list(proc.time() - begin)

spent <- colSums(rstan::get_elapsed_time(found$stanfit))
draws <- as.array(found)[, , c("(Intercept)", features), drop = FALSE]
if (grouped) {
  variance <- as.array(found)[, , "Sigma[g:(Intercept),(Intercept)]"]
  draws <- array(c(draws, sqrt(variance)), dim = dim(draws) + c(0, 0, 1))
}
writeBin(as.double(draws), args[10])
cat(sprintf('{"seconds": %.17g, "cpu_seconds": %.17g, "warm_up": %.17g, "shape": [%s]}\n', seconds$elapsed,
            seconds$user.self + seconds$sys.self, spent[["warmup"]] / sum(spent), paste(dim(draws), collapse = ", ")))

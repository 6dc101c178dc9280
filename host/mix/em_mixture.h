// Linear interpolation of models: p(t) = sum_m w_m p_m(t), weights on the simplex by EM.
//
//   r_m(t) = w_m p_m(t) / sum_j w_j p_j(t),   w_m <- mean_t r_m(t)
//
// All that is needed of a model is the probability it gave to every token of a text, its stream.
// The likelihood is concave in w, so EM from equal weights reaches its maximum. Dempster, Laird &
// Rubin, "Maximum likelihood from incomplete data via the EM algorithm", 1977; Jelinek & Mercer,
// 1980.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace unroll {

struct Mixture {
  std::vector<double> weights;  // one per stream, summing to 1
  double nats = 0;              // sum over tokens of log p under these weights
  int64_t tokens = 0;
  int rounds = 0;  // of EM
};

// Weights that make the text most likely: EM until a round gains less than `gain` nats per token,
// `max_rounds` at most. Throws Error(usage) without streams, Error(data) where the streams differ
// in length, hold what is no probability, or all give 0 to a token (it is named).
Mixture fit_mixture(std::span<const std::span<const double>> streams, double gain = 1e-10,
                    int max_rounds = 1000);

// Writes the interpolated probability of every token to p and returns the sum of its logarithms.
// Throws as fit_mixture().
double mix_streams(std::span<const std::span<const double>> streams,
                   std::span<const double> weights, std::span<double> p);

}  // namespace unroll

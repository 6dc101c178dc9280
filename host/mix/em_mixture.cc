// Linear interpolation of probability streams, weights by EM.
#include "host/mix/em_mixture.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/base/error.h"

namespace unroll {
namespace {

using Streams = std::span<const std::span<const double>>;

void check_streams(Streams streams) {
  if (streams.empty()) throw Error(ErrorKind::usage, "a mixture needs at least one model");
  for (size_t m = 0; m < streams.size(); ++m) {
    if (streams[m].empty()) {
      throw Error(ErrorKind::data, "a mixture needs at least one token; the text is empty");
    }
    if (streams[m].size() != streams[0].size()) {
      throw Error(ErrorKind::data,
                  fmt::format("model {} of the mixture has {} probabilities and model 1 has {}; "
                              "score the same text with both",
                              m + 1, streams[m].size(), streams[0].size()));
    }
    for (size_t t = 0; t < streams[m].size(); ++t) {
      // A hair above 1 is what a rounded softmax gives.
      if (!(streams[m][t] >= 0 && streams[m][t] <= 1 + 1e-4)) {
        throw Error(ErrorKind::data,
                    fmt::format("model {} of the mixture gives token {} the probability {}; it "
                                "must lie in [0, 1]",
                                m + 1, t, streams[m][t]));
      }
    }
  }
}

double mixed(Streams streams, std::span<const double> weights, size_t t) {
  double p = 0;
  for (size_t m = 0; m < streams.size(); ++m) p += weights[m] * streams[m][t];
  if (p > 0) return p;
  throw Error(ErrorKind::data,
              fmt::format("every model of the mixture gives token {} the probability 0; add a "
                          "smoothed model such as kn5",
                          t));
}

}  // namespace

Mixture fit_mixture(Streams streams, double gain, int max_rounds) {
  check_streams(streams);
  const size_t M = streams.size(), T = streams[0].size();
  Mixture mixture;
  mixture.weights.assign(M, 1 / double(M));
  mixture.tokens = int64_t(T);
  std::vector<double> responsibility(M);
  double before = -INFINITY;
  while (true) {
    mixture.nats = 0;
    responsibility.assign(M, 0);
    for (size_t t = 0; t < T; ++t) {
      const double p = mixed(streams, mixture.weights, t);
      mixture.nats += std::log(p);
      for (size_t m = 0; m < M; ++m) responsibility[m] += mixture.weights[m] * streams[m][t] / p;
    }
    // Stopping here, `nats` belongs to the weights returned.
    if (mixture.nats - before < gain * double(T) || mixture.rounds == max_rounds) return mixture;
    before = mixture.nats;
    for (size_t m = 0; m < M; ++m) mixture.weights[m] = responsibility[m] / double(T);
    ++mixture.rounds;
  }
}

double mix_streams(Streams streams, std::span<const double> weights, std::span<double> p) {
  check_streams(streams);
  UNROLL_CHECK(weights.size() == streams.size() && p.size() == streams[0].size(),
               "mix_streams: one weight per stream and one result per token");
  double nats = 0;
  for (size_t t = 0; t < p.size(); ++t) {
    p[t] = mixed(streams, weights, t);
    nats += std::log(p[t]);
  }
  return nats;
}

}  // namespace unroll

// Whole-model gradients in f64 against central differences: every cell, tied and untied, projected,
// residual, one and two biases, standard and locked dropout, embedding dropout and noise, weight
// drop, zoneout, recurrent dropout, layer normalisation, unequal widths, smoothed and capped and
// mixtures of softmaxes, padded lanes, accumulation.
#include <gtest/gtest.h>

#include "tests/harness/differences.h"
#include "tests/harness/tolerances.h"
#include "tests/host/core/tiny_lm.h"

namespace unroll::test {
namespace {

constexpr int V = 11, T = 4, B = 3;

struct Case {
  const char* name;
  Cell cell;
  int E, H, L;
  bool tied, residual;
  int biases;
  double dropout;
  bool locked, lengths;
  void (*more)(RnnLm::Config&) = nullptr;
};

const Case kCases[] = {
    {"lstm", Cell::lstm, 5, 7, 2, false, false, 2, 0, false, false},
    {"lstm_tied", Cell::lstm, 6, 6, 2, true, false, 2, 0, false, false},
    {"lstm_tied_projected", Cell::lstm, 4, 7, 1, true, false, 2, 0, false, false},
    {"lstm_residual_one_bias", Cell::lstm, 5, 5, 3, false, true, 1, 0, false, false},
    {"gru_dropout", Cell::gru, 5, 6, 2, false, false, 2, 0.4, false, false},
    {"tanh_locked", Cell::tanh, 4, 5, 2, true, true, 2, 0.4, true, false},
    {"relu", Cell::relu, 4, 5, 1, false, false, 1, 0, false, false},
    {"lstm_lengths", Cell::lstm, 5, 6, 2, false, false, 2, 0.3, true, true},
    {"gru_lengths", Cell::gru, 5, 6, 1, true, false, 1, 0, false, true},
    {"weight_drop", Cell::lstm, 5, 7, 2, false, false, 2, 0, false, false,
     [](RnnLm::Config& c) { c.weight_drop = 0.5; }},
    {"tied_unequal_widths", Cell::lstm, 5, 7, 3, true, false, 2, 0.4, true, false,
     [](RnnLm::Config& c) {
       c.H_last = 5;
       c.embedding_noise = 0.15;
       c.dropout_hidden = 0.2;
       c.dropout_embedding = 0.3;
       c.weight_drop = 0.4;
     }},
    {"gru_projected_weight_drop", Cell::gru, 4, 6, 2, true, false, 1, 0, false, true,
     [](RnnLm::Config& c) {
       c.H_last = 5;
       c.weight_drop = 0.3;
     }},
    {"smoothed_and_capped", Cell::gru, 5, 5, 1, true, false, 1, 0.2, false, true,
     [](RnnLm::Config& c) {
       c.output.options = {.label_smoothing = 0.1, .z_loss = 0.05, .soft_cap = 2};
     }},
    {"zoneout", Cell::lstm, 5, 6, 2, false, false, 2, 0.3, true, true,
     [](RnnLm::Config& c) {
       c.zoneout_h = 0.3;
       c.zoneout_c = 0.4;
       c.dropout_recurrent = 0.25;
       c.weight_drop = 0.2;
     }},
    {"gru_zoneout", Cell::gru, 4, 5, 2, false, false, 1, 0, false, false,
     [](RnnLm::Config& c) {
       c.zoneout_h = 0.3;
       c.dropout_recurrent = 0.4;
     }},
    {"layer_norm", Cell::lstm, 5, 6, 2, false, false, 2, 0.3, true, true,
     [](RnnLm::Config& c) {
       c.layer_norm = true;
       c.zoneout_h = 0.3;
       c.zoneout_c = 0.4;
       c.dropout_recurrent = 0.25;
       c.weight_drop = 0.2;
     }},
    {"gru_layer_norm", Cell::gru, 5, 6, 2, true, true, 2, 0, false, false,
     [](RnnLm::Config& c) {
       c.layer_norm = true;
       c.H_last = 5;
     }},
    {"tanh_layer_norm_one_bias", Cell::tanh, 4, 5, 2, false, false, 1, 0, false, true,
     [](RnnLm::Config& c) { c.layer_norm = true; }},
    {"mixture", Cell::lstm, 4, 6, 2, false, false, 2, 0.2, true, true,
     [](RnnLm::Config& c) { c.mixtures = 3; }},
    {"mixture_tied", Cell::lstm, 4, 6, 2, true, false, 2, 0.2, false, false,
     [](RnnLm::Config& c) {
       c.mixtures = 5;
       c.H_last = 7;
       c.dropout_latent = 0.4;
     }},
};

int32_t token(int64_t b, int64_t n) { return int32_t((17 * b + 5 * n + n * n) % V); }

HostChunk chunk_of(const Case& c, int64_t first) {
  HostChunk chunk = make_chunk(T, B, first, token);
  if (c.lengths) {
    chunk.lengths = {4, 2, 3};
    chunk.keep.assign(B, 0);
    for (int t = 0; t < T; ++t)
      for (int b = 0; b < B; ++b)
        if (t >= chunk.lengths[size_t(b)]) chunk.target[size_t(t * B + b)] = -1;
  }
  return chunk;
}

class ModelGradientTest : public testing::TestWithParam<Case> {
 protected:
  static RnnLm::Config config() {
    const Case& c = GetParam();
    RnnLm::Config config;
    config.cell = c.cell;
    config.V = V;
    config.E = c.E;
    config.H = c.H;
    config.L = c.L;
    config.tied = c.tied;
    config.residual = c.residual;
    config.biases = c.biases;
    config.dropout = c.dropout;
    config.locked = c.locked;
    config.init = 0.5;
    if (c.more) c.more(config);
    return config;
  }
  // A training step that leaves the weights alone: learning rate 0.
  static double objective(TinyLm& lm, const HostChunk& chunk, bool first = true, bool last = true) {
    StepScalars scalars;
    scalars.update = {0, 0};
    scalars.seed = 3;
    scalars.mask_step = 9;
    scalars.weight = 0.25;
    lm.scheduler->train(chunk, lm.state, scalars, first, last);
    return 0.25 * lm.scheduler->take_figures().at(0).nats;
  }
};

TEST_P(ModelGradientTest, EqualsCentralDifferences) {
  TinyLm lm(config(), T, B);
  const HostChunk chunk = chunk_of(GetParam(), 0);
  const double loss = objective(lm, chunk);
  ASSERT_TRUE(std::isfinite(loss));
  std::vector<std::vector<double>> gradients;
  for (size_t i = 0; i < lm.params.entries().size(); ++i) gradients.push_back(lm.gradient(int(i)));
  for (size_t i = 0; i < lm.params.entries().size(); ++i) {
    std::vector<double> w = lm.read(int(i));
    const std::vector<double> expected = central_differences(w, [&] {
      lm.write(int(i), w);
      return objective(lm, chunk);
    });
    lm.write(int(i), w);
    expect_close(gradients[i], expected, 1e-6, lm.params.entries()[i].name);
  }
}

TEST_P(ModelGradientTest, AccumulationAddsChunks) {
  TinyLm a(config(), T, B), b(config(), T, B), both(config(), T, B);
  // Three lanes' states start from zero in each model; chunk 2 carries the state of chunk 1 in all
  // of them.
  const HostChunk one = chunk_of(GetParam(), 0), two = chunk_of(GetParam(), T);
  objective(a, one);
  objective(b, one);
  objective(b, two);
  objective(both, one, true, false);
  objective(both, two, false, true);
  for (size_t i = 0; i < a.params.entries().size(); ++i) {
    std::vector<double> sum = a.gradient(int(i));
    const std::vector<double> second = b.gradient(int(i));
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += second[j];
    expect_close(both.gradient(int(i)), sum, 1e-13, a.params.entries()[i].name);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ModelGradientTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace unroll::test

// Trains a small LSTM language model on a text file through unroll's C++ interface, and prints its
// perplexity.
//   train_lm TRAIN VALID RUN_DIR
#include <unroll/unroll.h>

#include <cmath>
#include <cstdio>

struct PrintValidation : unroll::TrainObserver {
  void validation(const Validation& v) override {
    std::printf("epoch %ld: valid perplexity %.2f\n", long(v.epoch), std::exp(v.loss));
  }
};

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: train_lm TRAIN VALID RUN_DIR\n"), 2;
  unroll::Config config;
  config.hidden = config.emb = 64;
  config.layers = 1;
  config.epochs = 2;
  config.batch = 8;

  const unroll::Vocab vocab(unroll::count_types({argv[1]}, "TRAIN", unroll::Unit::word), {});
  const unroll::Corpus train({{argv[1]}, "TRAIN"}, vocab, "");
  const unroll::Corpus valid({{argv[2]}, "VALID"}, vocab, "");

  const unroll::Backend backend(unroll::Device::parse("auto"));
  unroll::ParamStore params;
  const auto model = unroll::make_model(config, vocab, params);
  params.materialize(backend, unroll::DType::f32, uint64_t(config.seed));

  PrintValidation observer;
  unroll::Trainer trainer({.backend = &backend,
                           .config = &config,
                           .model = model.get(),
                           .params = &params,
                           .data = {.vocab = &vocab, .train = &train, .valid = &valid},
                           .run = unroll::RunDir::create(argv[3]),
                           .observer = &observer});
  const unroll::TrainResult result = trainer.run();
  std::printf("%.2f\n", std::exp(result.valid.loss()));
} catch (const unroll::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return int(error.kind());
}

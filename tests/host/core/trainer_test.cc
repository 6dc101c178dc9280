// A trainer set up by a program, without recipe, files or listener.
#include "host/train/trainer.h"

#include <gtest/gtest.h>

#include "models/registry.h"
#include "tests/host/io/io_testing.h"

namespace unroll::test {
namespace {

struct Program {
  Program() : train(lines(60), 0), valid(lines(9), 0) {
    config.hidden = config.emb = 5;
    config.layers = 1;
    config.batch = 2;
    config.bptt = 4;
    config.epochs = 1;
  }

  static std::vector<std::vector<int32_t>> lines(int count) {
    return std::vector<std::vector<int32_t>>(size_t(count), {1, 2, 3});
  }

  TrainResult go() {
    ParamStore params;
    const auto model = make_model(config, vocab, params);
    params.materialize(backend, DType::f32, 1);
    Trainer trainer(
        {.backend = &backend,
         .config = &config,
         .model = model.get(),
         .params = &params,
         .data = {.vocab = &vocab, .train = &train, .valid = with_valid ? &valid : nullptr},
         .run = RunDir::create(dir / "run")});
    return trainer.run();
  }
  const Backend backend{Device::cpu(1)};
  const Vocab vocab = Vocab::parse("<eos>\na\nb\nc\n<unk>\n", Unit::word, "test");
  Corpus train, valid;
  Config config;
  bool with_valid = true;
  const TempDir dir;
};

TEST(Trainer, TrainsWithoutAListener) {
  Program program;
  const TrainResult result = program.go();
  EXPECT_EQ(result.valid.tokens, 36);
  EXPECT_LT(result.valid.loss(), std::log(5));
}

TEST(Trainer, RefusesSettingsOutOfRangeAndMissingTexts) {
  Program program;
  program.config.log_every = 0;
  expect_contains(error_of(ErrorKind::usage, [&] { program.go(); }), "log_every = '0'");
  program.config.log_every = 1;
  program.with_valid = false;
  expect_contains(error_of(ErrorKind::usage, [&] { program.go(); }), "validation text");
}

}  // namespace
}  // namespace unroll::test

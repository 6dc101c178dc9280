// A trainer set up by a program: without recipe, files or listener; and what it logs of the choices
// that were made for its model.
#include "host/train/trainer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/registry.h"
#include "tests/host/io/io_testing.h"

namespace unroll::test {
namespace {

// A model that says its layers walk as they would on a GPU.
class Chosen final : public LanguageModel {
 public:
  Chosen(const LanguageModel& model, const std::vector<ScheduleChoice>& schedules)
      : model_(model), schedules_(schedules) {}
  std::vector<StateShape> state_shape() const override { return model_.state_shape(); }
  Var hidden(Tape& tape, const Chunk& chunk, const State& state) const override {
    return model_.hidden(tape, chunk, state);
  }
  Tensor loss(Tape& tape, const Var& hidden, const Chunk& chunk) const override {
    return model_.loss(tape, hidden, chunk);
  }
  Tensor log_probabilities(Tape& tape, const Var& hidden) const override {
    return model_.log_probabilities(tape, hidden);
  }
  int vocabulary_size() const override { return model_.vocabulary_size(); }
  bool noisy() const override { return model_.noisy(); }
  std::vector<ScheduleChoice> schedules(const Exec&, DType, int, int) const override {
    return schedules_;
  }

 private:
  const LanguageModel& model_;
  const std::vector<ScheduleChoice>& schedules_;
};

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
    const Chosen chosen(*model, schedules);
    Trainer trainer(
        {.backend = &backend,
         .config = &config,
         .model = &chosen,
         .params = &params,
         .data = {.vocab = &vocab, .train = &train, .valid = with_valid ? &valid : nullptr},
         .run = resume ? RunDir::open(dir / "run") : RunDir::create(dir / "run"),
         .observer = observer,
         .stop = &stop,
         .softmax = softmax});
    if (resume) trainer.resume();
    return trainer.run();
  }
  // The records of one kind in the log, without time.
  std::vector<nlohmann::json> logged(const std::string& kind) const {
    std::vector<nlohmann::json> all;
    std::ifstream log(dir / "run" + "/log.jsonl");
    for (std::string line; std::getline(log, line);)
      if (auto record = nlohmann::json::parse(line); record["kind"] == kind) all.push_back(record);
    return all;
  }
  const Backend backend{Device::cpu(1)};
  const Vocab vocab = Vocab::parse("<eos>\na\nb\nc\n<unk>\n", Unit::word, "test");
  Corpus train, valid;
  Config config;
  std::vector<ScheduleChoice> schedules;
  std::string softmax = "full: so few words";
  TrainObserver* observer = nullptr;
  bool with_valid = true, resume = false;
  std::atomic<int> stop = 0;  // not 0: before the first step
  const TempDir dir;
};

TEST(Trainer, TrainsWithoutAListener) {
  Program program;
  const TrainResult result = program.go();
  EXPECT_EQ(result.valid.tokens, 36);
  EXPECT_LT(result.valid.loss(), std::log(5));
}

// The log names each layer's schedule once, and the reason, and so does the listener; again when a
// run goes on, since that may be elsewhere. The output layer is chosen once for all.
TEST(Trainer, LogsEveryChoiceOnceWithItsReason) {
  struct Listener : TrainObserver {
    std::vector<std::string> heard;
    void schedule(const std::string& text) override { heard.push_back(text); }
  } listener;
  Program program;
  program.observer = &listener;
  program.schedules = {{Schedule::persistent, "predicted: so"}, {Schedule::step, "asked for"}};
  program.go();
  EXPECT_EQ(listener.heard, (std::vector<std::string>{"layer 0   persistent (predicted: so)",
                                                      "layer 1   step (asked for)"}));
  const auto check = [&](size_t from) {
    const auto records = program.logged("schedule");
    ASSERT_EQ(records.size(), from + 2);
    for (size_t l = 0; l < 2; ++l) {
      EXPECT_EQ(records[from + l]["layer"], l);
      EXPECT_EQ(records[from + l]["schedule"], name_of(program.schedules[l].schedule));
      EXPECT_EQ(records[from + l]["reason"], program.schedules[l].reason);
    }
    const auto softmax = program.logged("softmax");
    ASSERT_EQ(softmax.size(), 1u);
    EXPECT_EQ(softmax[0]["choice"], "full: so few words");
  };
  check(0);
  program.resume = true;
  program.config.epochs = 2;
  program.go();
  check(2);
}

// As after a kill between the choices and the second state.
TEST(Trainer, ARunThatIsBackAtItsBeginningKeepsItsChoiceOfSoftmax) {
  Program program;
  program.stop = 15;
  EXPECT_EQ(program.go().why, TrainResult::Why::stopped);
  program.resume = true;
  program.stop = 0;
  program.softmax = "full";
  program.go();
  const auto records = program.logged("softmax");
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0]["choice"], "full: so few words");
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

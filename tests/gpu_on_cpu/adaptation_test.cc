// Caches and moving weights on the simulated runtime: captured segments give the bits of eager ones
// whatever the order of queued work, and what the CPU gives.
#include <gtest/gtest.h>

#include <vector>

#include "host/ops/neural_cache.h"
#include "host/score/dynamic_evaluation.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"
#include "tests/gpu_on_cpu/small_model.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using Numbers = std::vector<double>;

void append(Numbers& to, const Numbers& from) { to.insert(to.end(), from.begin(), from.end()); }

class TrainingText final : public ChunkSource {
 public:
  int64_t chunks(int64_t) const override { return 4; }
  void fill(int64_t, int64_t k, HostChunk& out) override { out = SmallModel::chunk(int(k)); }
  int max_T() const override { return SmallModel::kT; }
  int B() const override { return SmallModel::kB; }
};

class Follow final : public ScoreHook {
 public:
  Follow(NeuralCache& cache, DynamicWeights& weights) : cache_(cache), weights_(weights) {}
  void scored(Tape& tape, const Var& hidden, const Chunk& chunk) override {
    cache_.read_and_append(tape, hidden.matrix(), chunk.target);
  }
  void differentiated(const Exec& exec) override { weights_.update(exec); }

 private:
  NeuralCache& cache_;
  DynamicWeights& weights_;
};

// Statistics of a text, then seven segments of one lane: losses, the cache's shares, the weights
// before and after they are put back.
Numbers follow(SmallModel& m) {
  TrainingText text;
  const GradientStatistics statistics(m.backend, m.model, m.params, *m.scheduler, text);
  Numbers all{statistics.mean()};
  NeuralCache cache(m.backend, {{6, 0.5}, {11, 2}}, SmallModel::kT);
  const State state(m.backend, m.model.state_shape(), 1, m.params.act());
  {
    DynamicWeights weights(m.backend, m.params, statistics,
                           {.lr = 2e-3, .lambda = 0.05, .eps = 1e-4, .segment = SmallModel::kT});
    Follow hook(cache, weights);
    ScorePass pass{.mode = {.record = true, .noise = false}, .hook = &hook};
    pass.scalars.weight = 1.0 / SmallModel::kT;
    for (int segment = 0; segment < 7; ++segment) {
      HostChunk chunk = SmallModel::chunk(segment % 3);  // words come again
      chunk.B = 1;
      chunk.input.resize(SmallModel::kT);
      chunk.target.resize(SmallModel::kT);
      chunk.keep = {segment > 0 ? 1 : 0};
      append(all, m.scheduler->score(chunk, state, pass));
      append(all, cache.read(SmallModel::kT));
    }
    append(all, m.weights());
  }
  append(all, m.weights());
  return all;
}

class Adaptation : public testing::TestWithParam<DType> {};

TEST_P(Adaptation, CapturedSegmentsGiveTheBitsOfEagerOnesAndWhatTheCpuGives) {
  const SmallModel::Spec spec = SmallModel::spec(Cell::lstm, GetParam());
  SmallModel eager(Device::cuda(), spec, true);
  const Numbers trained = eager.weights(), expected = follow(eager);
  EXPECT_EQ(Numbers(expected.end() - int64_t(trained.size()), expected.end()), trained);
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    gpu_on_cpu::set_queue_seed(seed);
    SmallModel captured(Device::cuda(), spec, false);
    EXPECT_TRUE(follow(captured) == expected) << "captured differs from eager, seed " << seed;
    EXPECT_EQ(captured.scheduler->graphs(), 2u);
  }
  if (GetParam() == DType::bf16) return;
  SmallModel cpu(Device::cpu(1), spec, true);
  expect_close(expected, follow(cpu), 1e-4, "CPU and CUDA");
}

INSTANTIATE_TEST_SUITE_P(Types, Adaptation, testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace unroll::test

// The tape: first writer overwrites, later ones add, memory is given back on the way, records in
// order.
#include "host/tape/tape.h"

#include <gtest/gtest.h>

#include "host/ops/linear.h"
#include "tests/host/core/tiny_lm.h"

namespace unroll::test {
namespace {

struct Bench {
  Backend backend{Device::cpu(1)};
  ParamStore params;
  Arena arena{Device::cpu(1)};
  uint64_t counter[2] = {1, 2};
  Param W;

  Bench() {
    W = params.add("W", 3, 3, uniform(1));
    params.materialize(backend, DType::f64, 3);
    arena.reserve(1 << 20);
    // What no one wrote must show.
    std::fill_n(static_cast<double*>(params.gradient_slab().data), params.gradient_slab().n[0],
                NAN);
  }
  Tape tape(Mode mode = Mode::training(), bool add = false) {
    return Tape(backend.exec(), arena, params, mode, view_of(counter, 2), add);
  }
  Var input(const Tape& t) {
    Var x = t.var(t.tensor(DType::f64, {2, 2, 3}));
    for (int i = 0; i < 12; ++i) static_cast<double*>(x.matrix().data)[i] = i + 1;
    return x;
  }
  // dy = ones
  static void seed(Tape& t, const Var& y) {
    const GradientSink<2> sink = t.gradient_sink(y.slot());
    EXPECT_EQ(sink.mode, Accumulate::overwrite);
    std::fill_n(static_cast<double*>(sink.view.data), sink.view.size(), 1.0);
  }
  double dW(int i, int j) const { return static_cast<double*>(params.gradient(W).data)[3 * i + j]; }
};

TEST(TapeTest, WritesOnceAndThenAdds) {
  Bench b;
  Tape t = b.tape();
  const Var x = b.input(t);
  const Var y = add(t, linear(t, x, b.W), linear(t, x, b.W));  // W and x are used twice
  const auto slot = x.slot();
  Bench::seed(t, y);
  t.backward();
  // Twice the sum of each column of x: 1 + 4 + 7 + 10 and so on.
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) EXPECT_DOUBLE_EQ(b.dW(i, j), 2 * (22 + 4 * j));
  const double* w = static_cast<double*>(b.params.weight(b.W).data);
  for (int j = 0; j < 3; ++j)
    EXPECT_NEAR(static_cast<double*>(slot->gradient.matrix().data)[j],
                2 * (w[j] + w[3 + j] + w[6 + j]), 1e-15);
}

TEST(TapeTest, AddsToTheSlabWhenAsked) {
  Bench b;
  for (const bool more : {false, true}) {
    Tape t = b.tape(Mode::training(), more);
    const Var y = linear(t, b.input(t), b.W);
    Bench::seed(t, y);
    t.backward();
  }
  EXPECT_DOUBLE_EQ(b.dW(0, 0), 44);
}

TEST(TapeTest, GivesMemoryBackOnTheWay) {
  Bench b;
  {
    Tape t = b.tape();
    Var y = b.input(t);
    for (int layer = 0; layer < 5; ++layer) y = linear(t, y, b.W);
    const size_t forward = b.arena.in_use();
    EXPECT_EQ(forward, 6 * Arena::kAlignment);
    Bench::seed(t, y);
    y = Var();
    t.backward();
    EXPECT_EQ(b.arena.in_use(), 0u);
  }
  // Without recording a value dies with its name.
  Tape t = b.tape(Mode::evaluation());
  Var y = b.input(t);
  EXPECT_EQ(y.slot(), nullptr);
  for (int layer = 0; layer < 5; ++layer) y = linear(t, y, b.W);
  EXPECT_EQ(b.arena.in_use(), Arena::kAlignment);
}

// A tape with a side branch keeps what work aside reads and asks for until the branches are joined.
TEST(TapeTest, HoldsTheMemoryOfWorkAside) {
  Bench b;
  SideBranch side(Device::cpu(1), b.backend.stream());
  Tape t(b.backend.exec(), b.arena, b.params, Mode::training(), view_of(b.counter, 2), false,
         &side);
  size_t aside = 0, below = 0;
  t.record("below", [&](Tape& t) {
    below = b.arena.in_use();
    const GradientSink<2> dW = t.gradient_sink(b.W);  // the main branch adds to it: a join
    EXPECT_EQ(dW.mode, Accumulate::add);
    EXPECT_EQ(b.arena.in_use(), 0u);
  });
  t.record("op", [&](Tape& t) {
    const Tensor read = t.tensor(DType::f64, {3, 3});
    t.aside([read, &b](Tape& t) {
      Tensor holder;
      t.scratch(holder, 1000);
      EXPECT_EQ(t.gradient_sink(b.W).mode, Accumulate::overwrite);
    });
    aside = b.arena.in_use();
  });
  t.backward();
  EXPECT_EQ(aside, 5 * Arena::kAlignment);  // 72 bytes and 1000
  EXPECT_EQ(below, aside);
  EXPECT_EQ(b.arena.in_use(), 0u);
}

TEST(TapeTest, WorkAsideIsOfWeightsAndOfATapeThatRecords) {
  Bench b;
  SideBranch side(Device::cpu(1), b.backend.stream());
  const auto tape = [&](Mode mode) {
    return Tape(b.backend.exec(), b.arena, b.params, mode, view_of(b.counter, 2), false, &side);
  };
  Tape silent = tape(Mode::evaluation());
  EXPECT_THROW(silent.aside([](Tape&) {}), Error);
  Tape outer = tape(Mode::training());
  EXPECT_THROW(outer.aside([](Tape& t) { t.aside([](Tape&) {}); }), Error);
  Tape other = tape(Mode::training());
  const Var x = b.input(other);
  EXPECT_THROW(other.aside([&](Tape& t) { t.gradient_sink(x.slot()); }), Error);
}

// Whichever branch writes first, and whatever one has added in between.
TEST(TapeTest, OnlyTheFirstWriterOfEitherBranchOverwrites) {
  Bench b;
  SideBranch side(Device::cpu(1), b.backend.stream());
  const auto ones = [&b](Tape& t) {
    const GradientSink<2> dW = t.gradient_sink(b.W);
    double* values = static_cast<double*>(dW.view.data);
    for (int i = 0; i < 9; ++i) values[i] = dW.mode == Accumulate::add ? values[i] + 1 : 1;
  };
  for (const bool first_aside : {false, true}) {
    Tape t(b.backend.exec(), b.arena, b.params, Mode::training(), view_of(b.counter, 2), false,
           &side);
    for (int i = 0; i < 5; ++i)
      t.record("op", [&, aside = (i % 2 == 0) == first_aside](Tape& t) {
        aside ? t.aside(ones) : ones(t);
      });
    t.backward();
    EXPECT_EQ(b.dW(2, 2), 5);
  }
}

TEST(TapeTest, DumpNamesTheRecordsOfAModel) {
  RnnLm::Config config;
  config.V = 11;
  config.E = config.H = 6;
  config.L = 2;
  config.dropout = 0.5;
  config.residual = config.tied = true;
  TinyLm lm(config, 3, 2);
  Arena arena(Device::cpu(1));
  arena.reserve(1 << 20);
  uint64_t counter[2] = {1, 2};
  int32_t ids[6] = {1, 2, 3, 4, 5, 6}, keep[2] = {0, 0};
  double weight[6] = {1, 1, 1, 1, 1, 1};
  Chunk chunk;
  chunk.T = 3;
  chunk.B = 2;
  chunk.input = chunk.target = view_of(ids, 6);
  chunk.weight = view_of(weight, 6);
  chunk.keep = view_of(keep, 2);
  Tape t(lm.backend.exec(), arena, lm.params, Mode::training(), view_of(counter, 2));
  lm.model->loss(t, lm.model->hidden(t, chunk, lm.state), chunk);
  EXPECT_EQ(t.dump(),
            "embedding\ndropout\nrecurrent\nadd\ndropout\nrecurrent\nadd\ndropout\nlinear_softmax_"
            "xent\n");
  Tape silent(lm.backend.exec(), arena, lm.params, Mode::evaluation(), view_of(counter, 2));
  lm.model->loss(silent, lm.model->hidden(silent, chunk, lm.state), chunk);
  EXPECT_EQ(silent.dump(), "");
}

}  // namespace
}  // namespace unroll::test

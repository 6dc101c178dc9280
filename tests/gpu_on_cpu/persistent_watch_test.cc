// UNROLL_PERSISTENT_TIMEOUT through the host ops: a wait that is given up ends in an Error that says
// where, in either pass of a layer, of both directions at once and of a wavefront; and a program
// that is watched gives the bits of one that is not.
#include <gtest/gtest.h>

#include <cstdlib>

#include "host/ops/recurrent_wavefront.h"
#include "kernels/base/error.h"
#include "tests/gpu_on_cpu/rows.h"
#include "tests/gpu_on_cpu/small_model.h"

namespace unroll::test {
namespace {

constexpr int T = 7, B = 3, H = 37;
enum class Form { single, pair, wavefront };

class PersistentWatch : public testing::Test {
 protected:
  ~PersistentWatch() override { unsetenv("UNROLL_PERSISTENT_TIMEOUT"); }
  void look(const char* times) { setenv("UNROLL_PERSISTENT_TIMEOUT", times, 1); }

  // What a chunk throws whose forward and backward pass look at a word so many times.
  std::string error_of(Form form, Schedule schedule, const char* forward, const char* backward) {
    const Backend backend(Device::cuda());
    ParamStore params;
    RecurrentParams layers[2];
    for (int l = 0; l < 2; ++l)
      layers[l] = {params.add("W" + std::to_string(l), H, H, uniform(0.5)),
                   params.add("R" + std::to_string(l), H, H, uniform(0.25)),
                   {},
                   {}};
    params.materialize(backend, DType::bf16, 5);
    Arena arena(backend.device());
    arena.reserve(4 << 20);
    const State state(backend, std::vector<StateShape>(2, {H, false}), B, DType::bf16);
    Array<1> keep(backend, DType::i32, {B}), counter(backend, DType::u64, {2});
    keep.fill({1, 0, 1});
    counter.fill({1, 2});
    Tape tape(backend.exec(), arena, params, Mode::training(), counter);
    try {
      const Var x = tape.var(tape.tensor(DType::bf16, {T, B, H}));
      write_rows(backend, x.matrix(), random_values(T * B * H, DType::bf16, 1));
      const LayerOptions options = {.schedule = schedule};
      look(forward);
      const Var y =
          form == Form::single
              ? recurrent_layer(tape, Cell::tanh, layers[0], x, state[0], keep, {}, false, options)
          : form == Form::pair ? bidirectional_layer(tape, Cell::tanh, layers[0], layers[1], x,
                                                     state[0], state[1], keep, {}, options)
                               : recurrent_wavefront(tape,
                                                     {.cell = Cell::tanh,
                                                      .lower = layers[0],
                                                      .upper = layers[1],
                                                      .options = options},
                                                     x, state[0], state[1], keep)
                                     .y;
      const View2 dy = tape.gradient_sink(y.slot()).view;
      write_rows(backend, dy, random_values(dy.size(), DType::bf16, 2));
      look(backward);
      tape.backward();
      backend.stream().synchronize();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
};

TEST_F(PersistentWatch, SaysWhereAWaitWasGivenUp) {
  const char* ever = "4000000000";
  for (const Form form : {Form::single, Form::pair, Form::wavefront}) {
    SCOPED_TRACE(int(form));
    const auto expect = [&](const std::string& text, const char* place) {
      EXPECT_EQ(text.find(place), 0u) << text;
      for (const char* part : {"gave up in step", "results are wrong", "--schedule step"})
        EXPECT_NE(text.find(part), std::string::npos) << text;
    };
    expect(error_of(form, Schedule::persistent, "1", ever), "R0, forward pass over ");
    // In a wavefront the upper layer is the first to go back.
    expect(error_of(form, Schedule::persistent, ever, "1"),
           form == Form::wavefront ? "R1, backward pass over " : "R0, backward pass over ");
    EXPECT_EQ(error_of(form, Schedule::persistent, ever, ever), "");
  }
  EXPECT_EQ(error_of(Form::pair, Schedule::step, "1", "1"), "") << "waits for nothing";
}

TEST_F(PersistentWatch, RunsEagerlyWithTheSameBits) {
  SmallModel::Spec spec = SmallModel::spec(Cell::tanh, DType::bf16);
  spec.model.schedule = Schedule::persistent;
  const auto train = [&](size_t graphs) {
    SmallModel model(Device::cuda(), spec, false);
    for (int step = 0; step < 3; ++step) model.train(step);
    EXPECT_EQ(model.scheduler->graphs(), graphs);
    return Trained(model);
  };
  const Trained captured = train(1);
  look("4000000000");
  EXPECT_TRUE(train(0) == captured);
}

}  // namespace
}  // namespace unroll::test

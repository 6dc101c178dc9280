// Layer normalisation inside the loop: on the CPU in f64 forward against the oracle and gradients
// against complex step through the whole layer; elsewhere both against the CPU in f64.
#include "kernels/base/error.h"
#include "kernels/base/launch_count.h"
#include "kernels/recurrent/loop_norm_cuda.h"
#include "kernels/recurrent/recurrent_scratch.h"
#include "tests/kernels/recurrent/complex_step.h"
#include "tests/kernels/recurrent/loop_norm_case.h"

namespace unroll::test {
namespace {

#if !defined(UNROLL_GPU_ON_CPU)
TEST(LoopNorm, GradientEqualsComplexStepThroughTime) {
  constexpr NoiseCase kCases[] = {
      {{3, 2, 1, false, false, true, true, 0}, 0, 0, 0, false, false, false},
      {{4, 3, 5, false, false, true, true, 0}, 0, 0, 0, false, false, false},
      {{4, 3, 4, true, true, true, true, 2}, 0.4, 0.5, 0.3, false, false, true},
      {{4, 2, 3, false, false, true, true, 0}, 0.4, 0.5, 0, false, true, true},
  };
  const Target target{DeviceKind::cpu, DType::f64};
  const Backend cpu(Device::cpu(1));
  for (Cell cell : oracle::kAllCells)
    for (const NoiseCase& n : kCases) {
      SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << n);
      const oracle::NormedLayer<double> layer = normed_layer(cell, n, target);
      NormedArrays arrays(cpu, layer, n, target);
      const auto dh = random_values(arrays.T * arrays.B * arrays.H, DType::f64, 9);
      arrays.dh.fill(dh);
      arrays.run(cpu.exec());
      using Wide = oracle::NormedLayer<Complex>;
      const Wide wide = widened(layer);
      const auto derivative = [&](std::vector<Complex> Wide::*input, size_t at) {
        return layer_derivative(wide, dh, input, at);
      };
      const auto expect_all = [&](const char* what, Array<1>& got,
                                  std::vector<Complex> Wide::*input) {
        const std::vector<double> values = got.read();
        for (size_t i = 0; i < values.size(); ++i)
          EXPECT_NEAR(values[i], derivative(input, i), 1e-11) << what << " " << i;
      };
      const auto dWx = arrays.dWx.read(), dR = arrays.dR.read();
      for (size_t i = 0; i < dWx.size(); ++i)
        EXPECT_NEAR(dWx[i], derivative(&Wide::Wx, i), 1e-11) << "dWx " << i;
      for (size_t i = 0; i < dR.size(); ++i)
        EXPECT_NEAR(dR[i], derivative(&Wide::R, i), 1e-10) << "dR " << i;
      expect_all("db_W", arrays.db_W, &Wide::b_W);
      expect_all("db_R", arrays.db_R, &Wide::b_R);
      expect_all("dg_R", arrays.dg_R, &Wide::g_R);
      if (!arrays.two_states) continue;
      expect_all("dg_c", arrays.dg_c, &Wide::g_c);
      expect_all("db_c", arrays.db_c, &Wide::b_c);
    }
}
#endif

// Every schedule of a target that takes layer normalisation.
std::vector<Schedule> normed_schedules(const Target& target) {
  if (target.device == DeviceKind::cpu) return {Schedule::automatic};
  return {Schedule::alternating, Schedule::step};
}

class LoopNormTest : public RecurrentTest {
 protected:
  template <class Body>
  void run_case(Cell cell, const NoiseCase& n, const Body& body, Schedule schedule) {
    SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << name_of(schedule) << " " << n);
    oracle::NormedLayer<double> layer = normed_layer(cell, n, GetParam());
    NormedArrays arrays(backend(), layer, n, GetParam(), schedule);
    body(layer, arrays);
  }
  void expect_reference(oracle::NormedLayer<double>& layer, NormedArrays& arrays);
};

void LoopNormTest::expect_reference(oracle::NormedLayer<double>& layer, NormedArrays& arrays) {
  const auto dh = random_values(arrays.T * arrays.B * arrays.H, act(), 9);
  arrays.dh.fill(dh);
  arrays.run(exec());
  const Target exact{DeviceKind::cpu, DType::f64};
  const Backend cpu(Device::cpu(1));
  const auto run_exactly = [&](NormedArrays& a) {
    a.dh.fill(dh);
    a.run(cpu.exec());
    return a.results();
  };
  NormedArrays reference(cpu, layer, arrays.n, exact);
  const auto got = arrays.results(), expected = run_exactly(reference);
  std::vector<double> limits(got.size(), tolerance(GetParam()));
  if (act() == DType::bf16) {
    // Division by a small deviation enlarges what bf16 rounds off: by how much, another rounding of
    // R shows. Five things are rounded: h, saved numbers, R h normalised, dWx and dRh.
    oracle::NormedLayer<double> rounded_otherwise = layer;
    const auto signs = random_values(int64_t(layer.R.size()), DType::f64, 14);
    for (size_t i = 0; i < signs.size(); ++i)
      rounded_otherwise.R[i] *= 1 + (signs[i] < 0 ? -1 : 1) / 256.0;
    NormedArrays otherwise(cpu, rounded_otherwise, arrays.n, exact);
    const auto moved = run_exactly(otherwise);
    for (size_t i = 0; i < limits.size(); ++i)
      limits[i] = std::max(limits[i], 5 * relative_error(moved[i].second, expected[i].second));
  }
  // Of two numbers LN leaves the sign: the gradient of r and z of a single unit is what terms as
  // large as rstd g dN cancel to.
  double terms = 0;
  if (arrays.H == 1 && arrays.split) {
    const auto rstd = reference.Rh_rstd.read(), dN = reference.dN.read();
    for (int64_t t = 0; t < arrays.T; ++t)
      for (int64_t b = 0; b < arrays.B; ++b)
        for (int64_t k = 0; k < 2; ++k)
          terms = std::max(terms, rstd[size_t(t * 2 * arrays.B + b)] *
                                      std::abs(dN[size_t((t * arrays.B + b) * 3 + k)]));
  }
  for (size_t i = 0; i < got.size(); ++i)
    expect_close(got[i].second, expected[i].second, limits[i], got[i].first, terms);
  layer.forward();
  EXPECT_LE(relative_error(expected[0].second, layer.h), 1e-12);
  for (Array<3>* a :
       {&arrays.h, &arrays.c, &arrays.saved, &arrays.h_in, &arrays.Rh_hat, &arrays.Rh_rstd,
        &arrays.c_hat, &arrays.dWx, &arrays.dRh, &arrays.dN, &arrays.dn_c})
    EXPECT_TRUE(a->padding_untouched());
  EXPECT_TRUE(arrays.c_rstd.padding_untouched());
}

TEST_P(LoopNormTest, EqualsOracleAndCpu) {
  for (const Schedule schedule : normed_schedules(GetParam()))
    for (const Cell cell : oracle::kAllCells)
      for (const NoiseCase& n : kNormCases)
        run_case(
            cell, n,
            [&](oracle::NormedLayer<double>& layer, NormedArrays& arrays) {
              expect_reference(layer, arrays);
            },
            schedule);
}

// A single step, lanes beyond a tile and beyond a block of the product; TF32.
TEST_P(LoopNormTest, FusedStepAtItsEdges) {
  if (GetParam().device != DeviceKind::cuda) return;
  constexpr NoiseCase kEdges[] = {
      {{1, 9, 17, false, false, true, true, 0}, 0, 0, 0, false, false, false},
      {{2, 33, 5, true, true, false, true, 3}, 0, 0, 0.3, false, false, true},
  };
  const auto expect = [&](oracle::NormedLayer<double>& layer, NormedArrays& arrays) {
    expect_reference(layer, arrays);
  };
  run_case(Cell::lstm, kEdges[0], expect, Schedule::step);
  run_case(Cell::gru, kEdges[1], expect, Schedule::step);
  if (act() == DType::bf16) return;
  const Target tf32 = {DeviceKind::cuda, DType::f32, MatmulMode::tf32};
  const Backend rounding(Device::cuda(), MatmulMode::tf32);
  const oracle::NormedLayer<double> layer = normed_layer(Cell::gru, kNormCases[2], tf32);
  NormedArrays arrays(rounding, layer, kNormCases[2], tf32, Schedule::step);
  const Backend cpu(Device::cpu(1));
  NormedArrays reference(cpu, layer, kNormCases[2], {DeviceKind::cpu, DType::f64});
  const auto dh = random_values(arrays.T * arrays.B * arrays.H, act(), 9);
  arrays.dh.fill(dh);
  reference.dh.fill(dh);
  arrays.run(rounding.exec());
  reference.run(cpu.exec());
  expect_close(arrays.h.read(), reference.h.read(), tolerance(tf32), "h");
  expect_close(arrays.dWx.read(), reference.dWx.read(), tolerance(tf32), "dWx");
}

// A lane that is not a number stays one, and leaves the others alone.
TEST_P(LoopNormTest, NanOfOneLane) {
  for (const Schedule schedule : normed_schedules(GetParam())) {
    constexpr NoiseCase kPlain = {
        {3, 3, 9, false, false, true, true, 0}, 0, 0, 0, false, false, false};
    oracle::NormedLayer<double> layer = normed_layer(Cell::lstm, kPlain, GetParam());
    layer.h[size_t(layer.H) + 4] = NAN;  // of lane 1
    NormedArrays arrays(backend(), layer, kPlain, GetParam(), schedule);
    recurrent_forward(exec(), arrays.forward_args());
    synchronize();
    const std::vector<double> h = arrays.h.read();
    for (int t = 1; t <= layer.T_; ++t)
      for (int b = 0; b < layer.B; ++b)
        for (int u = 0; u < layer.H; ++u)
          EXPECT_EQ(std::isnan(h[size_t((t * layer.B + b) * layer.H + u)]), b == 1) << t << b << u;
  }
}

// More units than a block has threads.
TEST_P(LoopNormTest, WideLanes) {
  if (GetParam().device == DeviceKind::cpu || act() == DType::bf16) return;
  constexpr NoiseCase kWide = {
      {2, 1, 519, false, false, true, true, 0}, 0, 0, 0, false, false, false};
  run_case(
      Cell::tanh, kWide,
      [&](oracle::NormedLayer<double>& layer, NormedArrays& arrays) {
        expect_reference(layer, arrays);
      },
      Schedule::alternating);
}

// What both passes leave, and with the gradients of the weights.
std::vector<std::vector<unsigned char>> bytes_of_passes(NormedArrays& arrays) {
  std::vector<std::vector<unsigned char>> all;
  for (Array<3>* a : {&arrays.h, &arrays.c, &arrays.saved, &arrays.Rh_hat, &arrays.Rh_rstd,
                      &arrays.c_hat, &arrays.dWx, &arrays.dRh, &arrays.dN, &arrays.dn_c})
    all.push_back(a->bytes());
  return all;
}
std::vector<std::vector<unsigned char>> all_bytes(NormedArrays& arrays) {
  std::vector<std::vector<unsigned char>> all = bytes_of_passes(arrays);
  for (Array<1>* a : {&arrays.db_W, &arrays.db_R, &arrays.dg_R, &arrays.dg_c, &arrays.db_c})
    all.push_back(a->bytes());
  all.push_back(arrays.dR.bytes());
  return all;
}

TEST_P(LoopNormTest, TwiceGivesTheSameBits) {
  for (const Schedule schedule : normed_schedules(GetParam()))
    for (const Cell cell : {Cell::lstm, Cell::gru})
      run_case(
          cell, kNormCases[1],
          [&](oracle::NormedLayer<double>&, NormedArrays& arrays) {
            arrays.dh.fill(0.5);
            const auto bytes = [&] {
              arrays.run(exec());
              return all_bytes(arrays);
            };
            const auto first = bytes();
            EXPECT_EQ(first, bytes());
            // Evaluation keeps nothing, and computes the same.
            const auto h = arrays.h.bytes();
            recurrent_forward(exec(), arrays.forward_args(false));
            synchronize();
            EXPECT_EQ(arrays.h.bytes(), h);
          },
          schedule);
}

#if defined(UNROLL_GPU_ON_CPU)
// A lane without room in shared memory reads everything from where it is, to the same bits.
TEST_P(LoopNormTest, WithoutRoomInSharedMemory) {
  constexpr NoiseCase kOneStep = {
      {1, 3, 33, false, true, true, true, 1}, 0.3, 0.5, 0, false, false, false};
  for (const Cell cell : {Cell::lstm, Cell::gru})
    run_case(
        cell, kOneStep,
        [&](oracle::NormedLayer<double>& layer, NormedArrays& staged) {
          NormedArrays direct(backend(), layer, kOneStep, GetParam(), Schedule::alternating);
          staged.dh.fill(0.5);
          direct.dh.fill(0.5);
          const RecurrentForward f = staged.forward_args();
          recurrent_forward(exec(), f);
          // The product of the only step is still there.
          void* products =
              recurrent_scratch(f.scratch.data, cell, act(), direct.B, direct.H, true).Rh;
          const View2 Rh = view_of(products, DType::f32, direct.B, direct.GH);
          cuda::normed_forward_step(exec(), direct.forward_args(), Rh, 0, {.stage_bytes = 0});
          synchronize();
          recurrent_backward(exec(), staged.backward_args());
          cuda::normed_backward_step(exec(), direct.backward_args(), {}, 0, {.stage_bytes = 0});
          synchronize();
          EXPECT_TRUE(bytes_of_passes(direct) == bytes_of_passes(staged));
        },
        Schedule::alternating);
}
#endif

// The fused step reads R under a mask of its bits: as a masked copy of R, whose factor of 2 is exact.
TEST_P(LoopNormTest, FusedStepTakesAMaskOfR) {
  if (GetParam().device != DeviceKind::cuda) return;
  constexpr NoiseCase kPlain = {
      {2, 3, 37, false, false, true, true, 1}, 0, 0, 0, false, false, false};
  for (const Cell cell : {Cell::tanh, Cell::gru})
    run_case(
        cell, kPlain,
        [&](oracle::NormedLayer<double>& layer, NormedArrays& copied) {
          NormedArrays masked(backend(), layer, kPlain, GetParam(), Schedule::step);
          const int64_t H = masked.H, words = (H + 31) / 32;
          std::vector<double> R = layer.R, bits;
          for (int64_t i = 0; i < masked.GH * words; ++i)
            bits.push_back(double(uint32_t(i + 1) * 2654435761u));
          for (int64_t i = 0; i < masked.GH * H; ++i)
            R[size_t(i)] *=
                uint32_t(bits[size_t(i / H * words + i % H / 32)]) >> i % H % 32 & 1 ? 2 : 0;
          copied.R.fill(R);
          Array<2> drawn(backend(), DType::u32, {masked.GH, words});
          drawn.fill(bits);
          for (NormedArrays* a : {&copied, &masked}) {
            a->dh.fill(0.5);
            RecurrentForward f = a->forward_args();
            if (a == &masked) f.mask = {drawn, 0.5};
            recurrent_forward(exec(), f);
            RecurrentBackward b = a->backward_args();
            b.mask = f.mask;
            recurrent_backward(exec(), b);
            synchronize();
          }
          EXPECT_TRUE(bytes_of_passes(masked) == bytes_of_passes(copied));
        },
        Schedule::step);
}

// Kernels of a pass: in the alternating schedule one a step besides the product, in the fused step
// the product's too and two copies of its operands. The persistent one is refused.
TEST_P(LoopNormTest, TheScheduleAskedForRuns) {
  const auto choose = [&](Schedule asked) {
    return choose_schedule(exec(), asked, Cell::lstm, act(), 4, 8, 33, true);
  };
  const ScheduleChoice choice = choose(Schedule::automatic);
  if (GetParam().device != DeviceKind::cuda) {
    EXPECT_EQ(choice.schedule, Schedule::automatic);
    return;
  }
  EXPECT_EQ(choice.schedule, Schedule::step);
  EXPECT_NE(choice.reason.find("persistent cannot run: layer normalisation"), std::string::npos)
      << choice.reason;
  try {
    choose(Schedule::persistent);
    ADD_FAILURE() << "persistent";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(e.what()).find("layer normalisation needs"), std::string::npos)
        << e.what();
  }
  for (const Schedule schedule : normed_schedules(GetParam()))
    run_case(
        Cell::lstm, kNormCases[3],
        [&](oracle::NormedLayer<double>&, NormedArrays& arrays) {
          arrays.dh.fill(0.5);
          const int T = int(arrays.T);
          for (const bool backward : {false, true}) {
            const uint64_t before = gpu::launch_count();
            if (backward)
              recurrent_backward(exec(), arrays.backward_args());
            else
              recurrent_forward(exec(), arrays.forward_args());
            const int in_steps = backward ? 2 * T - 1 : 2 * T;
            EXPECT_EQ(int(gpu::launch_count() - before),
                      schedule == Schedule::alternating ? T : in_steps + 2);
          }
          synchronize();
          RecurrentForward f = arrays.forward_args();
          f.schedule = Schedule::persistent;
          EXPECT_THROW(recurrent_forward(exec(), f), Error);
        },
        schedule);
}

TEST_P(LoopNormTest, ErrorsNameTheArgument) {
  const auto body = [&](oracle::NormedLayer<double>&, NormedArrays& arrays) {
    const auto error_of = [&](auto op, const auto& args) {
      try {
        op(exec(), args);
      } catch (const Error& e) {
        return std::string(e.what());
      }
      return std::string("no error");
    };
    RecurrentForward f = arrays.forward_args();
    f.norm.g_c = {};
    EXPECT_NE(error_of(&recurrent_forward, f).find("norm.g_c is missing"), std::string::npos);
    f = arrays.forward_args();
    f.scratch.bytes -= 1;
    EXPECT_NE(error_of(&recurrent_forward, f).find("scratch is "), std::string::npos);
    RecurrentBackward b = arrays.backward_args();
    b.norm.c_hat = {};
    EXPECT_NE(error_of(&recurrent_backward, b).find("norm.c_hat is missing"), std::string::npos);
    b = arrays.backward_args();
    b.dRh = {};
    EXPECT_NE(error_of(&recurrent_backward, b).find("dRh is missing"), std::string::npos);
    b = arrays.backward_args();
    b.dn_c = {};
    EXPECT_NE(error_of(&recurrent_backward, b).find("dn_c is missing"), std::string::npos);
  };
  run_case(Cell::lstm, kNormCases[1], body, Schedule::automatic);
}

UNROLL_ON_TARGETS(LoopNormTest);

}  // namespace
}  // namespace unroll::test

// A chunk cut in parts of time, which know where they are in it, has the bits of the whole: draws,
// resets and lengths at the cuts and elsewhere, in every schedule.
#include "kernels/base/error.h"
#include "kernels/recurrent/backward_part.h"
#include "kernels/recurrent/wavefront.h"
#include "tests/kernels/recurrent/loop_norm_case.h"

namespace unroll::test {
namespace {

constexpr int kT = 7;
// Lanes that end before, at and after a cut.
const std::vector<int> kLengths = {7, 3, 6, 4, 1};
// A part of one step among them.
const std::vector<Steps> kParts = {{0, 2}, {2, 1}, {3, 4}};

// Few enough lanes that the CPU packs R for no part. Resets of steps 2 and 3, where the cuts are,
// are in lanes that have these steps.
constexpr NoiseCase kCases[] = {
    {{kT, 5, 13, false, true, true, true, 3}, 0.3, 0.5, 0.4, false, false, true},
    {{kT, 5, 9, true, true, false, true, 1}, 0.3, 0.5, 0.4, false, false, true},
    {{kT, 5, 11, false, true, true, false, 0}, 0, 0, 0.4, true, false, false},
    {{kT, 5, 8, false, false, true, true, 0}, 0.4, 0.2, 0, false, false, true},
};

void cut(View3& of_steps, const Steps& s) { of_steps = of_steps.slice(s.first, s.count); }

RecurrentForward part_of(RecurrentForward a, const Steps& s) {
  a.h = a.h.slice(s.first, s.count + 1);
  a.c = a.c.slice(s.first, s.count + 1);
  for (View3* x :
       {&a.saved, &a.h_in, &a.fresh, &a.Wx, &a.norm.Rh_hat, &a.norm.Rh_rstd, &a.norm.c_hat})
    cut(*x, s);
  a.norm.c_rstd = a.norm.c_rstd.slice(s.first, s.count);
  a.first_step = s.first;
  return a;
}

RecurrentBackward part_of(RecurrentBackward a, const Steps& s) {
  a.h = a.h.slice(s.first, s.count + 1);
  a.c = a.c.slice(s.first, s.count + 1);
  for (View3* x : {&a.dWx, &a.dRh, &a.dN, &a.dn_c, &a.dh, &a.saved, &a.fresh, &a.norm.Rh_hat,
                   &a.norm.Rh_rstd, &a.norm.c_hat})
    cut(*x, s);
  a.norm.c_rstd = a.norm.c_rstd.slice(s.first, s.count);
  a.first_step = s.first;
  return a;
}

template <class Arrays>
std::vector<std::vector<unsigned char>> of_forward(Arrays& a) {
  std::vector<std::vector<unsigned char>> all;
  for (Array<3>* x : {&a.h, &a.c, &a.saved, &a.h_in, &a.fresh}) all.push_back(x->bytes());
  return all;
}

// A layer on two sets of arrays, the one for the whole and the other for its parts.
template <class Layer, class Arrays>
struct Twice {
  Layer layer;
  Arrays whole, parts;
  Twice(const Backend& backend, Layer random, const NoiseCase& n, const Target& target,
        Schedule schedule)
      : layer([&] {
          if (n.layer.with_lengths) random.lengths = kLengths;
          return random;
        }()),
        whole(backend, layer, n, target, schedule),
        parts(backend, layer, n, target, schedule) {
    for (Arrays* a : {&whole, &parts})
      a->dh.fill(random_values(int64_t(kT) * a->B * a->H, target.act, 9));
  }
  void forward(const Exec& exec) {
    recurrent_forward(exec, whole.forward_args());
    for (size_t k = 0; k < kParts.size(); ++k)
      recurrent_forward(
          exec, part_of(parts.forward_args(), kParts[layer.reverse ? kParts.size() - 1 - k : k]));
  }
  // Backward from the last step: the whole, and the last part, which nothing follows.
  void backward_to_last_cut(const Exec& exec) {
    recurrent_backward(exec, whole.backward_args());
    recurrent_backward(exec, part_of(parts.backward_args(), kParts.back()));
  }
  // Of the last part.
  void expect_equal_gradients() {
    const size_t first = size_t(kParts.back().first * whole.B * whole.GH);
    for (const auto& [mine, theirs] :
         {std::pair{&parts.dWx, &whole.dWx}, {&parts.dRh, &whole.dRh}}) {
      const std::vector<double> got = mine->read(), expected = theirs->read();
      for (size_t i = first; i < got.size(); ++i)
        if (!std::isnan(expected[i])) {
          ASSERT_EQ(got[i], expected[i]) << i;
        }
    }
  }
};

class PartsTest : public RecurrentTest {
 protected:
  template <class Body>
  void for_cases(const Body& body) {
    for (const Schedule schedule : schedules(GetParam()))
      for (const Cell cell : {Cell::lstm, Cell::gru})
        for (const NoiseCase& n : kCases) {
          SCOPED_TRACE(testing::Message()
                       << info_of(cell).name << " " << name_of(schedule) << " " << n);
          Twice<oracle::Layer<double>, NoisyArrays> twice(
              backend(), noisy_layer(cell, n, GetParam()), n, GetParam(), schedule);
          body(twice);
        }
  }
};

TEST_P(PartsTest, HaveTheBitsOfTheWhole) {
  for_cases([&](auto& twice) {
    twice.forward(exec());
    synchronize();
    EXPECT_EQ(of_forward(twice.parts), of_forward(twice.whole));
    if (twice.layer.reverse) return;
    twice.backward_to_last_cut(exec());
    synchronize();
    twice.expect_equal_gradients();
  });
}

// From the last part to the first, with what one leaves to the one before it.
TEST_P(PartsTest, GoBackAsTheWhole) {
  for_cases([&](auto& twice) {
    NoisyArrays &whole = twice.whole, &parts = twice.parts;
    if (whole.schedule != Schedule::persistent || twice.layer.reverse) return;
    twice.forward(exec());
    recurrent_backward(exec(), whole.backward_args());
    Array<3> past_R(backend(), DType::f32, {2, parts.B, parts.H});
    for (size_t k = kParts.size(); k-- > 0;) {
      const int64_t end = kParts[k].first + kParts[k].count;
      const View3 dRh = parts.split ? parts.dRh.view : parts.dWx.view;
      recurrent_backward_part(
          exec(), part_of(parts.backward_args(), kParts[k]),
          {.dRh_next = end < kT ? dRh.at(end) : View2{}, .past_R = past_R.view});
    }
    synchronize();
    EXPECT_EQ(parts.dWx.bytes(), whole.dWx.bytes());
    EXPECT_EQ(parts.dRh.bytes(), whole.dRh.bytes());
  });
}

TEST_P(PartsTest, NormalisedHaveTheBitsOfTheWhole) {
  const Schedule schedule =
      GetParam().device == DeviceKind::cpu ? Schedule::automatic : Schedule::alternating;
  for (const Cell cell : {Cell::lstm, Cell::gru}) {
    SCOPED_TRACE(info_of(cell).name);
    const NoiseCase& n = kCases[0];
    Twice<oracle::NormedLayer<double>, NormedArrays> twice(
        backend(), normed_layer(cell, n, GetParam()), n, GetParam(), schedule);
    twice.forward(exec());
    twice.backward_to_last_cut(exec());
    synchronize();
    EXPECT_EQ(of_forward(twice.parts), of_forward(twice.whole));
    twice.expect_equal_gradients();
  }
}

TEST_P(PartsTest, WhatDoesNotFitIsAnError) {
  const auto error_of = [&](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const NoiseCase& n = kCases[0];
  const oracle::Layer<double> layer = noisy_layer(Cell::lstm, n, GetParam());
  NoisyArrays arrays(backend(), layer, n, GetParam());
  RecurrentForward f = part_of(arrays.forward_args(), kParts[2]);
  f.noise.resets = f.noise.resets.slice(0, 6);
  EXPECT_EQ(error_of([&] { recurrent_forward(exec(), f); }),
            "recurrent_forward: noise.resets is [6,5] i32, expected [T,B] = [7,5] i32");
  Array<3> past_R(backend(), accumulate_type(act()), {2, arrays.B, arrays.H});
  const BackwardCarry carry = {.dRh_next = arrays.dWx.view.at(3), .past_R = past_R.view};
  RecurrentBackward b = part_of(arrays.backward_args(), kParts[1]);
  b.noise.resets = b.noise.resets.slice(0, 3);
  EXPECT_EQ(error_of([&] { recurrent_backward_part(exec(), b, carry); }),
            "recurrent_backward_part: noise.resets ends with step 2, expected those of the whole "
            "chunk: step 3 follows on the part");
  b = part_of(arrays.backward_args(), kParts[1]);
  b.reverse = true;
  EXPECT_EQ(error_of([&] { recurrent_backward_part(exec(), b, carry); }),
            "recurrent_backward_part: the pass runs in reverse, expected one that does not; run "
            "it over the whole chunk at once");
}

UNROLL_ON_TARGETS(PartsTest);

}  // namespace
}  // namespace unroll::test

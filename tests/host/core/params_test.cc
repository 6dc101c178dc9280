// Weights and the learning rate: initial values, names, layout, schedules.
#include <gtest/gtest.h>

#include <cmath>

#include "host/memory/param_store.h"
#include "host/optim/lr_schedule.h"
#include "kernels/base/error.h"

namespace unroll::test {
namespace {

std::vector<float> values(const Backend& backend, const ParamStore& params, int index) {
  std::vector<float> v(size_t(params.entries()[size_t(index)].size()));
  params.read(backend, index, v.data());
  return v;
}

TEST(ParamStoreTest, ValuesDependOnSeedPlaceAndElementOnly) {
  const Backend backend(Device::cpu(1));
  const auto make = [&](uint64_t seed, int64_t rows, DType act = DType::f32) {
    auto params = std::make_unique<ParamStore>();
    params->add("a", rows, 300, uniform(0.5));
    params->add("b", 40, 7, uniform(0.5));
    params->add("c", 9, 0, zero());
    params->materialize(backend, act, seed);
    return params;
  };
  const auto one = make(1, 300), other_shape = make(1, 301), other_seed = make(2, 300);
  EXPECT_EQ(values(backend, *one, 1), values(backend, *other_shape, 1));
  EXPECT_NE(values(backend, *one, 1), values(backend, *other_seed, 1));
  const std::vector<float> a = values(backend, *one, 0), longer = values(backend, *other_shape, 0);
  EXPECT_TRUE(std::equal(a.begin(), a.end(), longer.begin()));
  EXPECT_EQ(values(backend, *one, 2), std::vector<float>(9, 0));
  // f64 holds the same numbers before rounding.
  const auto wide = make(1, 300, DType::f64);
  std::vector<double> w(280);
  wide->read(backend, 1, w.data());
  EXPECT_EQ(std::vector<float>(w.begin(), w.end()), values(backend, *one, 1));

  double sum = 0, squares = 0, largest = 0;
  for (float x : a) {
    sum += x;
    squares += double(x) * x;
    largest = std::max(largest, std::abs(double(x)));
  }
  const double n = double(a.size());  // 90,000
  EXPECT_NEAR(sum / n, 0, 4 * 0.289 / 300);
  EXPECT_NEAR(squares / n, 1.0 / 12, 0.002);
  EXPECT_LE(largest, 0.5);
  EXPECT_GT(largest, 0.4999);
  // Neighbours in place or element share nothing.
  const std::vector<float> b = values(backend, *one, 1);
  EXPECT_NE(a[0], b[0]);
  EXPECT_NE(a[0], a[1]);
}

TEST(ParamStoreTest, ForgetBiasGoesToTheSecondGate) {
  const Backend backend(Device::cpu(1));
  ParamStore params;
  Init init = zero();
  init.forget_bias = 1.5;
  params.add("bias", 12, 0, init);
  params.materialize(backend, DType::f32, 1);
  EXPECT_EQ(values(backend, params, 0),
            (std::vector<float>{0, 0, 0, 1.5, 1.5, 1.5, 0, 0, 0, 0, 0, 0}));
}

TEST(ParamStoreTest, SlicesAreAlignedAndPaddingIsZero) {
  const Backend backend(Device::cpu(1));
  ParamStore params;
  params.add("a", 3, 5, uniform(1));
  params.add("b", 7, 0, uniform(1));
  EXPECT_EQ(params.parameters(), 22);
  params.materialize(backend, DType::f32, 1);
  EXPECT_EQ(params.bytes(DType::f32), 2 * 128 * sizeof(float));
  EXPECT_EQ(params.slab().n[0], 128);
  const float* slab = static_cast<float*>(params.slab().data);
  for (int i = 0; i < 128; ++i) EXPECT_EQ(slab[i] == 0, !(i < 15 || (i >= 64 && i < 71))) << i;
  EXPECT_THROW(params.add("late", 1, 1, zero()), Error);
  ParamStore twice;
  twice.add("a", 1, 1, zero());
  EXPECT_THROW(twice.add("a", 1, 1, zero()), Error);
}

TEST(LrScheduleTest, Zaremba) {
  Config c;
  c.lr = 1;
  c.lr_schedule = "zaremba";
  c.lr_hold = 4;
  c.lr_decay = 2;
  const double expected[] = {1, 1, 1, 1, 0.5, 0.25, 0.125};
  for (int epoch = 0; epoch < 7; ++epoch)
    EXPECT_DOUBLE_EQ(learning_rate(c, epoch), expected[epoch]);
  c.lr_hold = 6;
  c.lr_decay = 1.2;  // Zaremba's medium model
  EXPECT_DOUBLE_EQ(learning_rate(c, 5), 1);
  EXPECT_NEAR(learning_rate(c, 38), std::pow(1.2, -33), 1e-15);
  for (const char* schedule : {"constant", "plateau"}) {
    c.lr_schedule = schedule;
    EXPECT_EQ(learning_rate(c, 30), 1);
  }
}

}  // namespace
}  // namespace unroll::test

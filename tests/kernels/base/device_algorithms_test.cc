// device_algorithms.h: the sort is a sort, is stable, and looks at the low bits only.
#include "kernels/base/device_algorithms.h"

#include <numeric>

#include "kernels/base/error.h"
#include "tests/harness/devices.h"

namespace unroll::test {
namespace {

class SortPairsTest : public OnTargets {
 protected:
  // Sorts `keys` with their positions as values and returns {keys, values}.
  std::pair<std::vector<double>, std::vector<double>> sorted(const std::vector<double>& keys,
                                                             int key_bits) {
    const int64_t N = int64_t(keys.size());
    std::vector<double> positions(keys.size());
    std::iota(positions.begin(), positions.end(), 0);
    Array<1> keys_in(backend(), DType::u32, {N}), values_in(backend(), DType::u32, {N});
    Array<1> keys_out(backend(), DType::u32, {N}), values_out(backend(), DType::u32, {N});
    keys_in.fill(keys);
    values_in.fill(positions);
    const size_t bytes = sort_pairs_scratch_bytes(exec(), int(N));
    Array<1> scratch(backend(), DType::u8, {int64_t(bytes)});
    sort_pairs(exec(), {.keys_out = keys_out,
                        .values_out = values_out,
                        .keys_in = keys_in,
                        .values_in = values_in,
                        .key_bits = key_bits,
                        .scratch = {scratch.view.data, bytes}});
    synchronize();
    EXPECT_EQ(keys_in.read(), keys) << "the input was changed";
    EXPECT_EQ(values_in.read(), positions) << "the input was changed";
    return {keys_out.read(), values_out.read()};
  }
};

TEST_P(SortPairsTest, EqualsStableSort) {
  for (int64_t N : {1, 2, 37, 1000})
    for (int key_bits : {1, 3, 8, 14, 17, 32}) {
      // Few distinct keys, so that stability is seen; and keys that use the top bit.
      std::vector<double> keys = random_ids(N, 29, unsigned(N));
      for (size_t i = 0; i < keys.size(); i += 3) keys[i] = 4294967295.0 - keys[i];
      const auto low = [&](double key) {
        return key_bits == 32 ? uint32_t(key) : uint32_t(key) & ((uint32_t(1) << key_bits) - 1);
      };
      std::vector<double> order(keys.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](double a, double b) {
        return low(keys[size_t(a)]) < low(keys[size_t(b)]);
      });
      std::vector<double> expected;
      for (double i : order) expected.push_back(keys[size_t(i)]);
      const auto [got_keys, got_values] = sorted(keys, key_bits);
      EXPECT_EQ(got_keys, expected) << N << " keys, " << key_bits << " bits";
      EXPECT_EQ(got_values, order) << N << " keys, " << key_bits << " bits";
    }
}

TEST_P(SortPairsTest, Empty) { EXPECT_TRUE(sorted({}, 32).first.empty()); }

TEST_P(SortPairsTest, ScratchTooSmallIsAnError) {
  Array<1> a(backend(), DType::u32, {64});
  EXPECT_THROW(
      sort_pairs(exec(),
                 {.keys_out = a, .values_out = a, .keys_in = a, .values_in = a, .scratch = {}}),
      Error);
}

UNROLL_ON_TARGETS(SortPairsTest);

}  // namespace
}  // namespace unroll::test

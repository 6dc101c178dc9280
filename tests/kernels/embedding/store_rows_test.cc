// store_rows.h: what is stored, what is left alone, and that stored gradients add up to their sum.
#include "kernels/embedding/store_rows.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "kernels/base/error.h"
#include "kernels/embedding/embedding.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

using StoreRowsTest = OnTargets;
constexpr int64_t V = 37;

// Sorted words, some several times, padding behind them.
std::vector<double> words_of(int64_t N, unsigned seed) {
  auto words = random_ids(N, 11, seed);
  words[0] = double(V - 1);
  if (N > 2) words[2] = double(V);
  std::sort(words.begin(), words.end());
  return words;
}

TEST_P(StoreRowsTest, StoresTheRowsOfWordsAndMarksTheOthers) {
  for (const auto& [N, P, D] : {std::tuple(7, 7, 13), std::tuple(1, 5, 1), std::tuple(33, 45, 36),
                                std::tuple(40, 41, 261)}) {
    const auto words = words_of(N, 3), values = random_values(N * D, acc(), 5);
    Array<1> g_words(backend(), DType::u32, {N}), ids(backend(), DType::i32, {P}, 3);
    Array<2> g_rows(backend(), acc(), {N, D}, row_pad(D, 1)),
        terms(backend(), acc(), {P, D}, row_pad(D, 3));
    g_words.fill(words);
    g_rows.fill(values);
    store_rows(exec(), {.ids = ids, .terms = terms, .g = {g_words, g_rows}, .V = V});
    synchronize();
    EXPECT_TRUE(ids.padding_untouched() && terms.padding_untouched());
    const auto got_ids = ids.read(), got = terms.read();
    for (int i = 0; i < P; ++i) {
      const size_t at = size_t(i);
      const bool has = i < N && words[at] < double(V) && (i == 0 || words[at - 1] != words[at]);
      ASSERT_EQ(got_ids[at], has ? words[at] : -1) << "place " << i << " of " << N;
      for (int d = 0; d < D; ++d) {
        const size_t entry = at * size_t(D) + size_t(d);
        if (has)
          ASSERT_EQ(got[entry], values[entry]);
        else
          ASSERT_TRUE(std::isnan(got[entry])) << "row " << i << " is of no word";
      }
    }
  }
}

// Two gradients, one behind the other, are the terms of their sum.
TEST_P(StoreRowsTest, StoredGradientsAddUp) {
  constexpr int64_t N = 9, P = 12, D = 13;
  Array<1> ids(backend(), DType::i32, {2 * P}), words(backend(), DType::u32, {2 * P});
  Array<2> terms(backend(), acc(), {2 * P, D}), rows(backend(), acc(), {2 * P, D});
  std::vector<double> expected(size_t(V * D), 0);
  for (int step = 0; step < 2; ++step) {
    const auto w = words_of(N, 10 + unsigned(step)), v = random_values(N * D, acc(), 20 + step);
    Array<1> g_words(backend(), DType::u32, {N});
    Array<2> g_rows(backend(), acc(), {N, D});
    g_words.fill(w);
    g_rows.fill(v);
    store_rows(exec(), {.ids = ids.view.slice(step * P, P),
                        .terms = terms.view.slice(step * P, P),
                        .g = {g_words, g_rows},
                        .V = V});
    synchronize();
    for (size_t i = 0; i < size_t(N); ++i)
      if (w[i] < double(V) && (i == 0 || w[i - 1] != w[i]))
        for (size_t d = 0; d < size_t(D); ++d) {
          double& sum = expected[size_t(w[i]) * D + d];
          sum = acc() == DType::f64 ? sum + v[i * D + d] : double(float(sum) + float(v[i * D + d]));
        }
  }
  const size_t bytes = embedding_scratch_bytes(exec(), acc(), int(2 * P), D);
  Array<1> scratch(backend(), DType::u8, {int64_t(bytes)});
  embedding_rows_backward(exec(), {.dE = {words, rows},
                                   .V = V,
                                   .dy = terms,
                                   .ids = ids,
                                   .scratch = {scratch.view.data, bytes}});
  synchronize();
  const auto w = words.read(), v = rows.read();
  std::vector<double> got(size_t(V * D), 0);
  for (size_t i = 0; i < w.size(); ++i)
    if (w[i] < double(V) && (i == 0 || w[i - 1] != w[i]))
      std::copy_n(v.begin() + int64_t(i) * D, D, got.begin() + int64_t(w[i]) * D);
  EXPECT_EQ(got, expected);
}

TEST_P(StoreRowsTest, RefusesMoreRowsThanPlaces) {
  Array<1> words(backend(), DType::u32, {5}), ids(backend(), DType::i32, {4});
  Array<2> rows(backend(), acc(), {5, 3}), terms(backend(), acc(), {4, 3});
  EXPECT_THROW(store_rows(exec(), {.ids = ids, .terms = terms, .g = {words, rows}, .V = V}), Error);
  store_rows(backend().measuring(), {});
}

UNROLL_ON_TARGETS(StoreRowsTest);

}  // namespace
}  // namespace unroll::test

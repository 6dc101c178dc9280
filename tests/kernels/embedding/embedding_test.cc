// embedding.h: gather, the gradient's order of additions, by table and by rows, padding ids,
// determinism.
#include "kernels/embedding/embedding.h"

#include <algorithm>
#include <random>

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

struct Case {
  int64_t N, V, D;
};
constexpr Case kCases[] = {{1, 37, 13}, {7, 1001, 1}, {33, 37, 13}, {33, 5, 36}, {200, 1001, 8}};

// Ids with repetitions, every ninth one padding.
std::vector<double> ids_of(const Case& c, unsigned seed) {
  std::vector<double> ids = random_ids(c.N, int(std::min<int64_t>(c.V, 11)), seed);
  for (size_t n = 4; n < ids.size(); n += 9) ids[n] = -1;
  if (c.N > 1) ids[0] = double(c.V - 1);
  return ids;
}

// A word's terms in the order of n, in groups of 32, then the groups' sums, all in the accumulate
// type, onto `before`: equality is exact.
template <class A>
std::vector<double> gradient_in_groups(const Case& c, const std::vector<double>& dy,
                                       const std::vector<double>& ids,
                                       const std::vector<double>& before) {
  std::vector<A> dE(before.begin(), before.end());
  std::vector<std::vector<int64_t>> terms(static_cast<size_t>(c.V));
  for (int64_t n = 0; n < c.N; ++n)
    if (ids[size_t(n)] >= 0) terms[size_t(ids[size_t(n)])].push_back(n);
  for (int64_t v = 0; v < c.V; ++v)
    for (int64_t d = 0; d < c.D; ++d)
      for (size_t first = 0; first < terms[size_t(v)].size(); first += 32) {
        A sum = 0;
        for (size_t i = first; i < std::min(first + 32, terms[size_t(v)].size()); ++i)
          sum += A(dy[size_t(terms[size_t(v)][i] * c.D + d)]);
        dE[size_t(v * c.D + d)] += sum;
      }
  return {dE.begin(), dE.end()};
}

// Ids by Zipf's law: word v as often as 1 / (v + 1).
std::vector<double> zipf_ids(const Case& c, unsigned seed) {
  std::vector<double> weight(static_cast<size_t>(c.V));
  for (size_t v = 0; v < weight.size(); ++v) weight[v] = 1 / double(v + 1);
  std::mt19937 random(seed);
  std::discrete_distribution<int> draw(weight.begin(), weight.end());
  std::vector<double> ids(static_cast<size_t>(c.N));
  for (double& id : ids) id = draw(random);
  return ids;
}

class EmbeddingTest : public OnTargets {
 protected:
  // Returns the bytes of dE, padding and all.
  std::vector<unsigned char> backward(const Exec& exec, Array<2>& dE, Accumulate to_dE,
                                      Array<2>& dy, Array<1>& ids) {
    const size_t bytes = embedding_scratch_bytes(exec, act(), int(ids.view.n[0]), dy.view.n[1]);
    Array<1> scratch(backend(), DType::u8, {int64_t(bytes)}, 64);
    embedding_backward(
        exec,
        {.dE = dE, .to_dE = to_dE, .dy = dy, .ids = ids, .scratch = {scratch.view.data, bytes}});
    synchronize();
    EXPECT_TRUE(scratch.padding_untouched()) << "wrote beyond embedding_scratch_bytes";
    EXPECT_TRUE(dE.padding_untouched());
    return dE.bytes();
  }
  std::vector<double> in_groups(const Case& c, const std::vector<double>& dy,
                                const std::vector<double>& ids, double before = 0) {
    const std::vector<double> start(size_t(c.V * c.D), before);
    return acc() == DType::f64 ? gradient_in_groups<double>(c, dy, ids, start)
                               : gradient_in_groups<float>(c, dy, ids, start);
  }
};

TEST_P(EmbeddingTest, ForwardGathersRowsAndZeroesPadding) {
  for (const Case& c : kCases) {
    const auto E_values = random_values(c.V * c.D, act(), 1);
    const auto ids_values = ids_of(c, 2);
    Array<2> E(backend(), act(), {c.V, c.D}, row_pad(c.D, 3)),
        y(backend(), act(), {c.N, c.D}, row_pad(c.D, 5));
    Array<1> ids(backend(), DType::i32, {c.N});
    E.fill(E_values);
    ids.fill(ids_values);
    embedding_forward(exec(), {.y = y, .E = E, .ids = ids});
    synchronize();
    std::vector<double> expected;
    for (double id : ids_values)
      for (int64_t d = 0; d < c.D; ++d)
        expected.push_back(id < 0 ? 0 : E_values[size_t(int64_t(id) * c.D + d)]);
    EXPECT_EQ(y.read(), expected);
    EXPECT_TRUE(y.padding_untouched());
  }
}

// All cases, and words so frequent that their terms are added in groups: one word alone, one with
// padding around it, and a text's frequencies.
TEST_P(EmbeddingTest, BackwardAddsInGroupsInTheOrderOfPositions) {
  struct Draw {
    Case c;
    std::vector<double> ids;
  };
  std::vector<Draw> draws;
  for (const Case& c : kCases) draws.push_back({c, ids_of(c, 4)});
  for (int64_t N : {32, 33, 301}) draws.push_back({{N, 5, 13}, std::vector<double>(size_t(N), 3)});
  for (const Case& c : {Case{301, 37, 13}, Case{1003, 1001, 36}})
    draws.push_back({c, zipf_ids(c, 13)});
  auto half = std::vector<double>(203, -1);
  std::fill(half.begin() + 20, half.begin() + 157, 36);
  draws.push_back({{203, 37, 133}, half});
  for (const auto& [c, ids_values] : draws) {
    const auto dy_values = random_values(c.N * c.D, act(), 3);
    Array<2> dE(backend(), acc(), {c.V, c.D}, row_pad(c.D, 3)),
        dy(backend(), act(), {c.N, c.D}, row_pad(c.D, 1));
    Array<1> ids(backend(), DType::i32, {c.N});
    dy.fill(dy_values);
    ids.fill(ids_values);
    for (Accumulate to : {Accumulate::overwrite, Accumulate::add}) {
      const bool add = to == Accumulate::add;
      if (add) dE.fill(1.0);
      const auto first = backward(exec(), dE, to, dy, ids);
      EXPECT_EQ(dE.read(), in_groups(c, dy_values, ids_values, add)) << c.N << " tokens";
      expect_close(dE.read(),
                   gradient_in_groups<double>(c, dy_values, ids_values,
                                              std::vector<double>(size_t(c.V * c.D), add)),
                   acc() == DType::f64 ? 1e-14 : 2e-6, "dE");
      if (add) dE.fill(1.0);
      EXPECT_EQ(backward(exec(), dE, to, dy, ids), first) << "a second run";
    }
  }
}

TEST_P(EmbeddingTest, RowsAreThoseOfTheTable) {
  for (const Case& c : {Case{1, 37, 13}, Case{33, 5, 36}, Case{203, 1001, 8}, Case{203, 1001, 7}})
    for (bool zipf : {false, true}) {
      const auto dy_values = random_values(c.N * c.D, act(), 3);
      const auto ids_values = zipf ? zipf_ids(c, 5) : ids_of(c, 4);
      Array<2> rows(backend(), acc(), {c.N, c.D}, row_pad(c.D, 3)),
          dy(backend(), act(), {c.N, c.D}, row_pad(c.D, 1));
      Array<1> ids(backend(), DType::i32, {c.N}), words(backend(), DType::u32, {c.N}, 3);
      dy.fill(dy_values);
      ids.fill(ids_values);
      const size_t bytes = embedding_scratch_bytes(exec(), act(), int(c.N), c.D);
      Array<1> scratch(backend(), DType::u8, {int64_t(bytes)}, 64);
      embedding_rows_backward(exec(), {.dE = {words, rows},
                                       .V = c.V,
                                       .dy = dy,
                                       .ids = ids,
                                       .scratch = {scratch.view.data, bytes}});
      synchronize();
      EXPECT_TRUE(scratch.padding_untouched() && rows.padding_untouched() &&
                  words.padding_untouched());
      std::vector<double> sorted = ids_values;
      for (double& id : sorted)
        if (id < 0) id = double(c.V);
      std::sort(sorted.begin(), sorted.end());
      const auto got_words = words.read(), got = rows.read();
      ASSERT_EQ(got_words, sorted);
      std::vector<double> dE(size_t(c.V * c.D), 0);
      for (int64_t i = 0; i < c.N; ++i) {
        const bool used = sorted[size_t(i)] < double(c.V) &&
                          (i == 0 || sorted[size_t(i)] != sorted[size_t(i) - 1]);
        for (int64_t d = 0; d < c.D; ++d) {
          const double v = got[size_t(i * c.D + d)];
          if (used)
            dE[size_t(int64_t(sorted[size_t(i)]) * c.D + d)] = v;
          else
            EXPECT_TRUE(std::isnan(v)) << "row " << i << " is of no word";
        }
      }
      EXPECT_EQ(dE, in_groups(c, dy_values, ids_values));
    }
}

// Two lists of ids are one list: words of both, padding in both, either of them empty.
TEST_P(EmbeddingTest, IdsMayLieInTwoLists) {
  const Case c = {75, 37, 13};
  const auto values = ids_of(c, 4);
  const size_t bytes = embedding_scratch_bytes(exec(), act(), int(c.N), c.D);
  Array<2> dy(backend(), act(), {c.N, c.D});
  Array<1> scratch(backend(), DType::u8, {int64_t(bytes)});
  dy.fill(random_values(c.N * c.D, act(), 3));
  std::vector<unsigned char> expected[2];
  for (const int64_t n : {c.N, int64_t(31), int64_t(0)}) {
    Array<1> ids(backend(), DType::i32, {n}), more(backend(), DType::i32, {c.N - n});
    ids.fill({values.begin(), values.begin() + n});
    more.fill({values.begin() + n, values.end()});
    Array<2> dE(backend(), acc(), {c.V, c.D}), rows(backend(), acc(), {c.N, c.D});
    Array<1> words(backend(), DType::u32, {c.N});
    embedding_backward(
        exec(),
        {.dE = dE, .dy = dy, .ids = ids, .more_ids = more, .scratch = {scratch.view.data, bytes}});
    embedding_rows_backward(exec(), {.dE = {words, rows},
                                     .V = c.V,
                                     .dy = dy,
                                     .ids = ids,
                                     .more_ids = more,
                                     .scratch = {scratch.view.data, bytes}});
    synchronize();
    const std::vector<unsigned char> got[2] = {dE.bytes(), rows.bytes()};
    for (int i = 0; i < 2; ++i) {
      if (n == c.N) expected[i] = got[i];
      EXPECT_EQ(got[i], expected[i]) << n << " in the first";
    }
  }
}

// The op is linear, so <dy, E[ids]> = <dE, E> is its whole gradient check.
TEST_P(EmbeddingTest, BackwardIsTheAdjointOfForward) {
  const Case c = {33, 37, 13};
  const auto E_values = random_values(c.V * c.D, act(), 7),
             dy_values = random_values(c.N * c.D, act(), 8);
  Array<2> E(backend(), act(), {c.V, c.D}), y(backend(), act(), {c.N, c.D}),
      dE(backend(), acc(), {c.V, c.D}), dy(backend(), act(), {c.N, c.D});
  Array<1> ids(backend(), DType::i32, {c.N});
  E.fill(E_values);
  dy.fill(dy_values);
  ids.fill(ids_of(c, 9));
  embedding_forward(exec(), {.y = y, .E = E, .ids = ids});
  backward(exec(), dE, Accumulate::overwrite, dy, ids);
  const auto y_values = y.read(), dE_values = dE.read();
  double outputs = 0, inputs = 0;
  for (size_t i = 0; i < y_values.size(); ++i) outputs += y_values[i] * dy_values[i];
  for (size_t i = 0; i < dE_values.size(); ++i) inputs += dE_values[i] * E_values[i];
  EXPECT_NEAR(outputs, inputs, (acc() == DType::f64 ? 1e-13 : 1e-5));
}

TEST_P(EmbeddingTest, TwoRunsAndAnyThreadCountAreBitEqual) {
  const Case c = {300, 1001, 8};
  Array<2> dy(backend(), act(), {c.N, c.D});
  Array<1> ids(backend(), DType::i32, {c.N});
  dy.fill(random_values(c.N * c.D, act(), 10));
  ids.fill(zipf_ids(c, 11));
  std::vector<unsigned char> first;
  for (int threads : {1, 2, 3, 3}) {
    Exec e = exec();
    e.threads = threads;
    Array<2> dE(backend(), acc(), {c.V, c.D}, row_pad(c.D, 3));
    const auto bytes = backward(e, dE, Accumulate::overwrite, dy, ids);
    if (first.empty()) first = bytes;
    EXPECT_EQ(bytes, first) << threads << " threads";
  }
}

TEST_P(EmbeddingTest, MeasuringRunTouchesNothing) {
  embedding_forward(backend().measuring(), {});
  embedding_backward(backend().measuring(), {});
  embedding_rows_backward(backend().measuring(), {});
  EXPECT_EQ(embedding_scratch_bytes(backend().measuring(), act(), 700, 200),
            embedding_scratch_bytes(exec(), act(), 700, 200));
}

TEST_P(EmbeddingTest, WrongShapesAreNamedInLetters) {
  Array<2> E(backend(), act(), {37, 13}), y(backend(), act(), {7, 12});
  Array<1> ids(backend(), DType::i32, {7});
  try {
    embedding_forward(exec(), {.y = y, .E = E, .ids = ids});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("y is [7,12]"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("[N,D] = [7,13]"), std::string::npos) << error.what();
  }
  Array<2> dE(backend(), acc(), {37, 13}), dy(backend(), act(), {7, 13});
  EXPECT_THROW(embedding_backward(exec(), {.dE = dE, .dy = dy, .ids = ids, .scratch = {}}), Error);
}

UNROLL_ON_TARGETS(EmbeddingTest);

}  // namespace
}  // namespace unroll::test

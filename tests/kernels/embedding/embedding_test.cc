// embedding.h: gather, the gradient's order of additions, padding ids, determinism.
#include "kernels/embedding/embedding.h"

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

// Terms added one by one in the order of n, in the accumulate type: equality is exact.
template <class A>
std::vector<double> gradient_in_order(const Case& c, const std::vector<double>& dy,
                                      const std::vector<double>& ids) {
  std::vector<A> dE(size_t(c.V * c.D), A(0));
  for (int64_t n = 0; n < c.N; ++n)
    for (int64_t d = 0; d < c.D && ids[size_t(n)] >= 0; ++d)
      dE[size_t(int64_t(ids[size_t(n)]) * c.D + d)] += A(dy[size_t(n * c.D + d)]);
  return {dE.begin(), dE.end()};
}

class EmbeddingTest : public OnTargets {
 protected:
  // Returns the bytes of dE, padding and all.
  std::vector<unsigned char> backward(const Exec& exec, Array<2>& dE, Accumulate to_dE,
                                      Array<2>& dy, Array<1>& ids) {
    const int N = int(ids.view.n[0]), V = int(dE.view.n[0]);
    const size_t bytes = embedding_scratch_bytes(exec, N, V);
    Array<1> scratch(backend(), DType::u8, {int64_t(bytes)}, 64);
    embedding_backward(
        exec,
        {.dE = dE, .to_dE = to_dE, .dy = dy, .ids = ids, .scratch = {scratch.view.data, bytes}});
    synchronize();
    EXPECT_TRUE(scratch.padding_untouched()) << "wrote beyond embedding_scratch_bytes";
    EXPECT_TRUE(dE.padding_untouched());
    return dE.bytes();
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

TEST_P(EmbeddingTest, BackwardAddsInTheOrderOfPositions) {
  for (const Case& c : kCases) {
    const auto dy_values = random_values(c.N * c.D, act(), 3);
    const auto ids_values = ids_of(c, 4);
    Array<2> dE(backend(), acc(), {c.V, c.D}, row_pad(c.D, 3)),
        dy(backend(), act(), {c.N, c.D}, row_pad(c.D, 1));
    Array<1> ids(backend(), DType::i32, {c.N});
    dy.fill(dy_values);
    ids.fill(ids_values);
    backward(exec(), dE, Accumulate::overwrite, dy, ids);
    EXPECT_EQ(dE.read(), acc() == DType::f64 ? gradient_in_order<double>(c, dy_values, ids_values)
                                             : gradient_in_order<float>(c, dy_values, ids_values));
  }
}

// Long runs may be summed in parts, in a fixed order.
TEST_P(EmbeddingTest, BackwardOfVeryFrequentWords) {
  for (const Case& c : {Case{301, 37, 13}, Case{1003, 5, 36}}) {
    const auto dy_values = random_values(c.N * c.D, act(), 12);
    auto ids_values = random_ids(c.N, 3, 13);
    for (size_t n = 0; n < 70; ++n) ids_values[n] = double(c.V - 1);
    Array<2> dE(backend(), acc(), {c.V, c.D}, row_pad(c.D, 3)),
        dy(backend(), act(), {c.N, c.D}, row_pad(c.D, 1));
    Array<1> ids(backend(), DType::i32, {c.N});
    dy.fill(dy_values);
    ids.fill(ids_values);
    const auto expected = gradient_in_order<double>(c, dy_values, ids_values);
    const auto first = backward(exec(), dE, Accumulate::overwrite, dy, ids);
    expect_close(dE.read(), expected, acc() == DType::f64 ? 1e-13 : 2e-6, "dE");
    EXPECT_EQ(backward(exec(), dE, Accumulate::overwrite, dy, ids), first);
  }
}

TEST_P(EmbeddingTest, BackwardAddsToWhatIsThere) {
  for (const Case& c : kCases) {
    const auto dy_values = random_values(c.N * c.D, act(), 5);
    const auto ids_values = ids_of(c, 6);
    Array<2> dE(backend(), acc(), {c.V, c.D}, row_pad(c.D, 2)), dy(backend(), act(), {c.N, c.D});
    Array<1> ids(backend(), DType::i32, {c.N});
    dE.fill(1.0);
    dy.fill(dy_values);
    ids.fill(ids_values);
    backward(exec(), dE, Accumulate::add, dy, ids);
    auto expected = gradient_in_order<double>(c, dy_values, ids_values);
    for (double& e : expected) e += 1;
    expect_close(dE.read(), expected, acc() == DType::f64 ? 1e-14 : 1e-6, "dE added to ones");
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
  const Case c = {200, 1001, 8};
  Array<2> dy(backend(), act(), {c.N, c.D});
  Array<1> ids(backend(), DType::i32, {c.N});
  dy.fill(random_values(c.N * c.D, act(), 10));
  ids.fill(ids_of(c, 11));
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
  EXPECT_EQ(embedding_scratch_bytes(backend().measuring(), 700, 10000),
            embedding_scratch_bytes(exec(), 700, 10000));
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

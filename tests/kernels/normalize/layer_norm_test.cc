// layer_norm.h: forward against the equations, gradients against complex step.
#include "kernels/normalize/layer_norm.h"

#include <complex>

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

using Z = std::complex<double>;

struct Dims {
  int64_t N, D;
};
constexpr Dims kDims[] = {{1, 1}, {3, 7}, {35, 5}, {2, 129}, {1, 1036}};

// y of one row.
template <class T>
std::vector<T> normed_row(const std::vector<T>& x, const double* g, const double* b, double eps) {
  T mean = 0, var = 0;
  for (const T& v : x) mean += v / double(x.size());
  for (const T& v : x) var += (v - mean) * (v - mean) / double(x.size());
  std::vector<T> y;
  for (size_t d = 0; d < x.size(); ++d)
    y.push_back(g[d] * (x[d] - mean) / std::sqrt(var + eps) + (b ? b[d] : 0.0));
  return y;
}

class LayerNormTest : public OnTargets {
 protected:
  struct Arrays {
    Array<2> x, y, x_hat, dy, dx;
    Array<1> rstd, g, b, dg;
    std::vector<double> in, gain, bias, dy_in;
    // Rows far from zero, where a variance of squares would lose its digits.
    Arrays(const Backend& backend, const Target& t, const Dims& n, int64_t pad)
        : x(backend, t.acc(), {n.N, n.D}, pad),
          y(backend, t.acc(), {n.N, n.D}, pad),
          x_hat(backend, t.act, {n.N, n.D}, pad),
          dy(backend, t.act, {n.N, n.D}, pad),
          dx(backend, t.act, {n.N, n.D}, pad),
          rstd(backend, t.acc(), {n.N}),
          g(backend, t.acc(), {n.D}),
          b(backend, t.acc(), {n.D}),
          dg(backend, t.acc(), {n.D}),
          in(random_values(n.N * n.D, t.acc(), 1, 2)),
          gain(random_values(n.D, t.acc(), 2)),
          bias(random_values(n.D, t.acc(), 3)),
          dy_in(random_values(n.N * n.D, t.act, 4)) {
      for (size_t i = 0; i < in.size(); ++i)
        in[i] = rounded(in[i] + double(i / size_t(n.D) % 3) * 4, t.acc());
      x.fill(in);
      g.fill(gain);
      b.fill(bias);
      dy.fill(dy_in);
    }
  };
  template <class Body>
  void for_all(const Body& body) {
    for (const Dims& n : kDims)
      for (const bool padded : {false, true}) {
        SCOPED_TRACE(testing::Message() << n.N << " x " << n.D << (padded ? " padded" : ""));
        Arrays a(backend(), GetParam(), n, padded ? row_pad(n.D, 3) : 0);
        body(n, a);
      }
  }
};

TEST_P(LayerNormTest, ForwardEqualsTheEquations) {
  for_all([&](const Dims& n, Arrays& a) {
    for (const bool with_b : {false, true}) {
      std::vector<double> expected;
      for (int64_t r = 0; r < n.N; ++r) {
        const auto first = a.in.begin() + r * n.D;
        const auto row = normed_row(std::vector<double>(first, first + n.D), a.gain.data(),
                                    with_b ? a.bias.data() : nullptr, 1e-5);
        expected.insert(expected.end(), row.begin(), row.end());
      }
      layer_norm_forward(exec(), {.y = a.y,
                                  .x = a.x,
                                  .x_hat = a.x_hat,
                                  .rstd = a.rstd,
                                  .g = a.g,
                                  .b = with_b ? a.b.view : View1{}});
      synchronize();
      // y is in the accumulate type, whatever act is.
      const double limit = act() == DType::f64 ? 1e-12 : 5e-6;
      expect_close(a.y.read(), expected, limit, "y");
      EXPECT_TRUE(a.y.padding_untouched() && a.x_hat.padding_untouched());
    }
    // In place, and with nothing kept.
    const auto y = a.y.read();
    layer_norm_forward(exec(), {.y = a.x, .x = a.x, .g = a.g, .b = a.b});
    synchronize();
    EXPECT_EQ(a.x.read(), y);
  });
}

TEST_P(LayerNormTest, GradientsEqualComplexStep) {
  for_all([&](const Dims& n, Arrays& a) {
    layer_norm_forward(exec(), {.y = a.y, .x = a.x, .x_hat = a.x_hat, .rstd = a.rstd, .g = a.g});
    a.dg.fill(1);
    const bool narrow = n.D <= 200;  // of which all columns are looked at
    if (narrow)
      layer_norm_gain_gradient(
          exec(), {.dg = a.dg, .dy = a.dy, .x_hat = a.x_hat, .to_dg = Accumulate::add});
    const LayerNormBackward backward{
        .dx = a.dx, .dy = a.dy, .x_hat = a.x_hat, .rstd = a.rstd, .g = a.g};
    layer_norm_backward(exec(), backward);
    synchronize();
    std::vector<double> dx, dg(size_t(n.D), 1.0);
    const std::vector<double> got = a.dx.read();
    std::vector<double> compared;
    for (int64_t r = 0; r < n.N; ++r) {
      std::vector<Z> row(a.in.begin() + r * n.D, a.in.begin() + (r + 1) * n.D);
      const auto y = normed_row<Z>(row, a.gain.data(), nullptr, 1e-5);
      for (int64_t d = 0; d < n.D; ++d) {
        const size_t i = size_t(r * n.D + d);
        dg[size_t(d)] += a.dy_in[i] * y[size_t(d)].real() / a.gain[size_t(d)];
        // Some columns of wide rows.
        if (!narrow && d % 97) continue;
        std::vector<Z> moved = row;
        moved[size_t(d)] += Z(0, 1e-100);
        const auto z = normed_row<Z>(moved, a.gain.data(), nullptr, 1e-5);
        double sum = 0;
        for (int64_t j = 0; j < n.D; ++j) sum += a.dy_in[size_t(r * n.D + j)] * z[size_t(j)].imag();
        dx.push_back(sum / 1e-100);
        compared.push_back(got[i]);
      }
    }
    const double limit = tolerance(GetParam());
    // A row of one element has no gradient: what is left is the size of eps against the gradient.
    expect_close(compared, dx, limit, "dx", n.D == 1 ? 1 : 0);
    if (narrow) expect_close(a.dg.read(), dg, limit, "dg");
    EXPECT_TRUE(a.dx.padding_untouched());
    // In place, twice the same bits.
    LayerNormBackward in_place = backward;
    in_place.dx = a.dy;
    layer_norm_backward(exec(), in_place);
    synchronize();
    EXPECT_EQ(a.dy.read(), got);
  });
}

TEST_P(LayerNormTest, ErrorsNameTheArgument) {
  Arrays a(backend(), GetParam(), {3, 7}, 0);
  const auto error_of = [&](const auto& run) {
    try {
      run();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(error_of([&] {
              layer_norm_forward(exec(), {.y = a.y, .x = a.x, .g = {}});
            }).find("layer_norm_forward: g is missing"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              layer_norm_forward(exec(), {.y = a.y, .x = a.x, .x_hat = a.x_hat, .g = a.g});
            }).find("layer_norm_forward: rstd is missing"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              layer_norm_gain_gradient(exec(), {.dg = a.g, .dy = a.dy, .x_hat = {}});
            }).find("layer_norm_gain_gradient: x_hat is missing"),
            std::string::npos);
}

UNROLL_ON_TARGETS(LayerNormTest);

}  // namespace
}  // namespace unroll::test

// CPU body of a normalised step: the lanes on the team of threads, the units of a lane one after the
// other as vector code, sums in f64.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/recurrent/loop_norm_lane.h"

namespace unroll::cpu {
namespace {

// Below this many units a step is quicker on one thread than the start of a team.
constexpr int64_t kParallelUnits = 1024;

struct OneThread {
  using Sum = double;
  bool leads() const { return true; }
  template <class F>
  void each(int64_t n, const F& f) const {
#pragma omp simd
    for (int64_t u = 0; u < n; ++u) f(u);
  }
  template <int N, class F>
  Sums<double, N> sum(int64_t n, const F& f) const {
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (int64_t u = 0; u < n; ++u) {
      const Sums<double, N> x = f(u);
      s0 += x.v[0];
      if constexpr (N > 1) s1 += x.v[1];
      if constexpr (N > 2) s2 += x.v[2];
      if constexpr (N > 3) s3 += x.v[3];
    }
    const double all[4] = {s0, s1, s2, s3};
    Sums<double, N> total;
    std::copy_n(all, N, total.v);
    return total;
  }
  // The loop's products read the arrays of the pass.
  template <class Act>
  void hand_on(int64_t, int64_t, Act) const {}
};

template <class Lane>
void for_lanes(int64_t B, int64_t H, const Lane& lane) {
#pragma omp parallel for schedule(static) if (B * H >= kParallelUnits)
  for (int64_t b = 0; b < B; ++b) lane(b);
}

}  // namespace

void normed_forward_step(const RecurrentForward& a, const View2& Rh, int64_t i) {
  with_cell(a.cell, [&](auto cell) {
    with_real("recurrent_forward", a.h.dtype, [&](auto real) {
      using T = decltype(real);
      const auto step = norm_forward_step<T, T>(a, Rh, i);
      for_lanes(a.h.n[1], a.h.n[2],
                [&](int64_t b) { forward_lane<decltype(cell)>(OneThread{}, step, b); });
    });
  });
}

void normed_backward_step(const RecurrentBackward& a, const View2& from_R, int64_t i) {
  with_cell(a.cell, [&](auto cell) {
    with_real("recurrent_backward", a.h.dtype, [&](auto real) {
      using T = decltype(real);
      const auto step = norm_backward_step<T, T>(a, from_R, i);
      for_lanes(a.h.n[1], a.h.n[2],
                [&](int64_t b) { backward_lane<decltype(cell)>(OneThread{}, step, b); });
    });
  });
}

}  // namespace unroll::cpu

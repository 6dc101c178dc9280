// The reference schedule of a recurrent layer, and the one of users without a GPU: a loop over
// time, per step one product R h and one pointwise pass of the cell over lanes and units. In f32
// the passes become vector code; R is packed once per call for the forward products.
#include <algorithm>
#include <optional>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/cpu_threads.h"
#include "kernels/cells/cell_types.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/packed_gemm.h"
#include "kernels/recurrent/loop_noise.h"
#include "kernels/recurrent/recurrent.h"
#include "kernels/recurrent/recurrent_scratch.h"

namespace unroll::cpu {
namespace {

// Packing costs about as much as one step at B = 20 and makes a step 1.1 to 2 times faster; with
// few lanes a step is bound by reading R, packed or not.
constexpr int kPackMinSteps = 4, kPackMinLanes = 8;

// Below this many units a pass is quicker on one thread than the start of a team.
constexpr int64_t kParallelUnits = 1024;

// Units of one lane that one thread takes at a time.
constexpr int64_t kBlock = 512;

// Calls body(b, first, last) for every lane and every block of its units, on the team of threads.
template <class Body>
void for_lanes_and_units(int64_t B, int64_t H, const Body& body) {
#pragma omp parallel for collapse(2) schedule(static) if (B * H >= kParallelUnits)
  for (int64_t b = 0; b < B; ++b)
    for (int64_t u = 0; u < H; u += kBlock) body(b, u, std::min(u + kBlock, H));
}

// The order of a pass over time, and where its states are. Lengths and noise know steps and slots
// by their numbers in the chunk: in_chunk() of one of the pass.
struct Walk {
  int64_t T, first_step;
  bool reverse;
  int64_t step(int64_t k) const { return reverse ? T - 1 - k : k; }
  int64_t slot_before(int64_t t) const { return reverse ? t + 1 : t; }
  int64_t slot_after(int64_t t) const { return reverse ? t : t + 1; }
  int64_t in_chunk(int64_t t) const { return first_step + t; }
  // Of the step after the k-th; -1: none.
  int64_t next_in_chunk(int64_t k) const { return k + 1 < T ? in_chunk(step(k + 1)) : -1; }
};

// Whether step t of the chunk lies within the length of lane b.
struct Valid {
  const int32_t* lengths;
  bool operator()(int64_t t, int64_t b) const { return !lengths || t < lengths[b]; }
};

template <class T>
const T* or_else(const View1& given, const void* zeros) {
  return static_cast<const T*>(given ? given.data : zeros);
}

// What one lane reads and writes at one step; every pointer is at unit 0 of the lane.
template <class T>
struct ForwardLane {
  const T *Wx, *Rh, *b_W, *b_R, *h_tm1, *c_tm1;
  T *h_t, *c_t, *saved;
};
template <class T>
struct BackwardLane {
  const T *saved, *h_tm1, *c_tm1, *h_t, *c_t, *dh_t;
  T *dh, *dc, *dWx, *dRh;
};

// One unit: gathers its numbers, calls the cell, scatters the results. A function of its own,
// because the compiler vectorises the loop over units only where these small arrays are gone from
// its body.
template <class C, class T, bool kSave>
inline void forward_unit(const ForwardLane<T>& lane, int64_t u, int64_t H) {
  T Wx[C::gates], Rh[C::gates], s_tm1[2], s_t[2], saved[C::saved + 1];
  for (int g = 0; g < C::gates; ++g) {
    Wx[g] = lane.Wx[g * H + u] + lane.b_W[g * H + u];
    Rh[g] = lane.Rh[g * H + u] + lane.b_R[g * H + u];
  }
  s_tm1[0] = lane.h_tm1[u];
  if constexpr (C::states == 2) s_tm1[1] = lane.c_tm1[u];
  C::forward(Wx, Rh, s_tm1, s_t, saved);
  lane.h_t[u] = s_t[0];
  if constexpr (C::states == 2) lane.c_t[u] = s_t[1];
  if constexpr (kSave)
    for (int s = 0; s < C::saved; ++s) lane.saved[s * H + u] = saved[s];
}

template <class C, class T>
inline void backward_unit(const BackwardLane<T>& lane, int64_t u, int64_t H) {
  T saved[C::saved + 1], s_tm1[2], s_t[2], ds_t[2], ds_tm1[2], dWx[C::gates], dRh[C::gates];
  for (int s = 0; s < C::saved; ++s) saved[s] = lane.saved[s * H + u];
  s_tm1[0] = lane.h_tm1[u];
  s_t[0] = lane.h_t[u];
  ds_t[0] = lane.dh_t[u] + lane.dh[u];
  if constexpr (C::states == 2) {
    s_tm1[1] = lane.c_tm1[u];
    s_t[1] = lane.c_t[u];
    ds_t[1] = lane.dc[u];
  }
  C::backward(saved, s_tm1, s_t, ds_t, dWx, dRh, ds_tm1);
  for (int g = 0; g < C::gates; ++g) {
    lane.dWx[g * H + u] = dWx[g];
    if constexpr (C::split) lane.dRh[g * H + u] = dRh[g];
  }
  lane.dh[u] = ds_tm1[0];
  if constexpr (C::states == 2) lane.dc[u] = ds_tm1[1];
}

// The draws of a block of units of one lane, in a slot of the chunk that its step t_next reads.
template <class T>
struct Draws {
  uint32_t of[kBlock];
  const LoopNoise<T>& noise;
  int64_t first, count;
  Draws(const LoopNoise<T>& noise, int64_t slot, int64_t b, int64_t first, int64_t last,
        int64_t t_next)
      : noise(noise), first(first), count(last - first) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) of[i] = noise.draw(slot, b, first + i, t_next);
  }
  // to = m from
  void hand_on(const T* from, T* to) const {
    for (int64_t i = 0; i < count; ++i) to[first + i] = noise.handed_on(of[i], from[first + i]);
  }
  // fresh = new_state, where it is asked for; new_state = k old_state + (1 - k) new_state
  template <class Kept>
  void zone(const T* old_state, T* new_state, T* fresh, const Kept& kept) const {
    if (fresh) std::copy_n(new_state + first, count, fresh + first);
    for (int64_t i = 0; i < count; ++i) {
      const T k = kept(of[i]);
      new_state[first + i] = k * old_state[first + i] + (1 - k) * new_state[first + i];
    }
  }
};

template <class C, class T>
void forward(const Exec& exec, const RecurrentForward& a) {
  const View<T, 3> h = a.h.as<T>(), c = a.c.as<T>(), saved = a.saved.as<T>(), Wx = a.Wx.as<T>(),
                   h_in = a.h_in.as<T>(), fresh = a.fresh.as<T>();
  const Walk walk{h.n[0] - 1, a.first_step, a.reverse};
  const int64_t B = h.n[1], H = h.n[2], GH = C::gates * H;
  const Valid valid{static_cast<const int32_t*>(a.lengths.data)};
  const RecurrentScratch scratch =
      recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, bool(a.norm));
  T* const zeros = static_cast<T*>(scratch.zeros);
  std::fill_n(zeros, GH, T(0));
  const T* const b_W = or_else<T>(a.b_W, zeros);
  const T* const b_R = or_else<T>(a.b_R, zeros);
  const View2 Rh_view = view_of(scratch.Rh, a.h.dtype, B, GH);
  T* const Rh = static_cast<T*>(scratch.Rh);
  const bool save = C::saved > 0 && a.saved;
  const LoopNoise<T> noise = loop_noise<T>(a.noise, B, H);
  const bool masked = a.noise.masks_h();
  if (masked) {
    const int64_t t = walk.step(0), slot = walk.slot_before(t);
    for_lanes_and_units(B, H, [&](int64_t b, int64_t first, int64_t last) {
      Draws<T>(noise, walk.in_chunk(slot), b, first, last, walk.in_chunk(t))
          .hand_on(&h(slot, b, 0), &h_in(t, b, 0));
    });
  }

  std::optional<PackedGemm> packed;
  if constexpr (std::is_same_v<T, float>) {
    const size_t bytes =
        recurrent_packed_bytes(exec, a.cell, a.h.dtype, int(walk.T), int(B), int(H));
    if (bytes)
      packed.emplace(exec, (masked ? a.h_in : a.h).at(0).as<float>(), a.R.as<float>(),
                     Transpose::yes, 0, Scratch{scratch.rest, bytes});
  }

  for (int64_t k = 0; k < walk.T; ++k) {
    const int64_t t = walk.step(k), before = walk.slot_before(t), after = walk.slot_after(t);
    const int64_t in_chunk = walk.in_chunk(t), slot = walk.in_chunk(after),
                  next = walk.next_in_chunk(k);
    const View2 x = masked ? a.h_in.at(t) : a.h.at(before);
    if constexpr (std::is_same_v<T, float>) {
      if (packed) packed->multiply(Rh, static_cast<const float*>(x.data));
    }
    if (!packed) cpu::gemm(exec, {.C = Rh_view, .A = x, .B = a.R, .transpose_B = Transpose::yes});
    if (a.norm) {
      normed_forward_step(a, Rh_view, k);
      continue;
    }
    for_lanes_and_units(B, H, [&](int64_t b, int64_t first, int64_t last) {
      const bool starts = valid(in_chunk, b) && noise.starts(in_chunk, b);
      const T* const h_tm1 = starts ? zeros : &h(before, b, 0);
      T* const h_t = &h(after, b, 0);
      const T* const c_tm1 = C::states == 2 ? (starts ? zeros : &c(before, b, 0)) : nullptr;
      T* const c_t = C::states == 2 ? &c(after, b, 0) : nullptr;
      const auto hand_on = [&](const Draws<T>& draws) {
        if (masked && next >= 0) draws.hand_on(h_t, &h_in(walk.step(k + 1), b, 0));
      };
      if (!valid(in_chunk, b)) {
        std::copy(h_tm1 + first, h_tm1 + last, h_t + first);
        if constexpr (C::states == 2) std::copy(c_tm1 + first, c_tm1 + last, c_t + first);
        if (masked) hand_on({noise, slot, b, first, last, next});
        return;
      }
      const ForwardLane<T> lane = {&Wx(t, b, 0), Rh + b * GH, b_W,
                                   b_R,          h_tm1,       c_tm1,
                                   h_t,          c_t,         save ? &saved(t, b, 0) : nullptr};
      if (save) {
#pragma omp simd
        for (int64_t u = first; u < last; ++u) forward_unit<C, T, true>(lane, u, H);
      } else {
#pragma omp simd
        for (int64_t u = first; u < last; ++u) forward_unit<C, T, false>(lane, u, H);
      }
      if (!noise.any) return;
      const Draws<T> draws(noise, slot, b, first, last, next);
      T* const kept = a.fresh ? &fresh(t, b, 0) : nullptr;
      if (a.noise.zoneout_h > 0)
        draws.zone(h_tm1, h_t, C::states == 1 ? kept : nullptr,
                   [&](uint32_t draw) { return noise.kept_h(draw); });
      if (a.noise.zoneout_c > 0)
        draws.zone(c_tm1, c_t, kept, [&](uint32_t draw) { return noise.kept_c(draw); });
      hand_on(draws);
    });
  }
}

template <class C, class T>
void backward(const Exec& exec, const RecurrentBackward& a) {
  const View<T, 3> h = a.h.as<T>(), c = a.c.as<T>(), saved = a.saved.as<T>(), dh_out = a.dh.as<T>(),
                   dWx = a.dWx.as<T>(), dRh = a.dRh.as<T>(), fresh = a.fresh.as<T>();
  const Walk walk{h.n[0] - 1, a.first_step, a.reverse};
  const int64_t B = h.n[1], H = h.n[2];
  const Valid valid{static_cast<const int32_t*>(a.lengths.data)};
  const RecurrentScratch scratch =
      recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, bool(a.norm));
  T* const dh = static_cast<T*>(scratch.dh);
  T* const dc = static_cast<T*>(scratch.dc);
  std::fill_n(dh, B * H, T(0));
  std::fill_n(dc, B * H, T(0));
  // What comes through R joins dh at once, or where it has to be masked at the step that it is for.
  const LoopNoise<T> noise = loop_noise<T>(a.noise, B, H);
  const bool masked = a.noise.masks_h();
  T* const from_R = static_cast<T*>(scratch.Rh);
  T* const zeros = static_cast<T*>(scratch.zeros);
  std::fill_n(zeros, H, T(0));
  const View2 product = view_of(masked ? scratch.Rh : scratch.dh, a.h.dtype, B, H);
  const View3& to_R = C::split || a.norm ? a.dRh : a.dWx;
  const double beta = masked ? 0 : 1;

  // In f32 a product with R as it lies is as fast.
  std::optional<PackedGemm> packed;
  if constexpr (std::is_same_v<T, float>) {
    const size_t bytes =
        recurrent_packed_bytes(exec, a.cell, a.h.dtype, int(walk.T), int(B), int(H));
    if (bytes && exec.matmul == MatmulMode::bf16)
      packed.emplace(exec, to_R.at(0).as<float>(), a.R.as<float>(), Transpose::no, beta,
                     Scratch{scratch.rest, bytes});
  }

  for (int64_t k = walk.T - 1; k >= 0; --k) {
    const int64_t t = walk.step(k), before = walk.slot_before(t), after = walk.slot_after(t),
                  in_chunk = walk.in_chunk(t);
    const auto one_step = [&](int64_t b, int64_t first, int64_t last) {
      const T* const dh_t = &dh_out(t, b, 0);
      T* const dWx_t = &dWx(t, b, 0);
      T* const dRh_t = C::split ? &dRh(t, b, 0) : nullptr;
      std::optional<Draws<T>> draws;
      if (noise.any)
        draws.emplace(noise, walk.in_chunk(after), b, first, last, walk.next_in_chunk(k));
      if (masked && k + 1 < walk.T)
        for (int64_t u = first; u < last; ++u)
          dh[b * H + u] += noise.handed_on(draws->of[u - first], from_R[b * H + u]);
      if (!valid(in_chunk, b)) {
        for (int64_t u = first; u < last; ++u) {
          dh[b * H + u] += dh_t[u];
          for (int g = 0; g < C::gates; ++g) {
            dWx_t[g * H + u] = T(0);
            if constexpr (C::split) dRh_t[g * H + u] = T(0);
          }
        }
        return;
      }
      const bool has_c = C::states == 2, starts = noise.starts(in_chunk, b);
      BackwardLane<T> lane = {C::saved ? &saved(t, b, 0) : nullptr,
                              starts ? zeros : &h(before, b, 0),
                              has_c ? (starts ? zeros : &c(before, b, 0)) : nullptr,
                              &h(after, b, 0),
                              has_c ? &c(after, b, 0) : nullptr,
                              dh_t,
                              dh + b * H,
                              dc + b * H,
                              dWx_t,
                              dRh_t};
      if (needs_fresh(a.cell, a.noise)) (has_c ? lane.c_t : lane.h_t) = &fresh(t, b, 0);
      T past_h[kBlock], past_c[kBlock];  // of the gradient, what zoneout takes past the cell
      if (noise.any) {
        for (int64_t u = first; u < last; ++u) {
          const int64_t i = u - first;
          const T ds = dh_t[u] + lane.dh[u];
          past_h[i] = noise.kept_h(draws->of[i]) * ds;
          lane.dh[u] = ds - past_h[i];
          past_c[i] = noise.kept_c(draws->of[i]) * lane.dc[u];
          lane.dc[u] -= past_c[i];
        }
        lane.dh_t = zeros;
      }
#pragma omp simd
      for (int64_t u = first; u < last; ++u) backward_unit<C>(lane, u, H);
      if (!noise.any) return;
      for (int64_t u = first; u < last; ++u) {
        lane.dh[u] = starts ? T(0) : lane.dh[u] + past_h[u - first];
        lane.dc[u] = starts ? T(0) : lane.dc[u] + past_c[u - first];
      }
    };
    if (a.norm)
      normed_backward_step(a, masked ? product : View2{}, walk.T - 1 - k);
    else
      for_lanes_and_units(B, H, one_step);
    // Nobody asks for the gradient of the carried-in state.
    if (k == 0) break;
    if constexpr (std::is_same_v<T, float>) {
      if (packed)
        packed->multiply(static_cast<float*>(product.data),
                         static_cast<const float*>(to_R.at(t).data));
    }
    if (!packed) cpu::gemm(exec, {.C = product, .A = to_R.at(t), .B = a.R, .beta = beta});
  }
}

}  // namespace

size_t recurrent_packed_bytes(const Exec& exec, Cell cell, DType act, int T, int B, int H) {
  if (act != DType::f32 || T < kPackMinSteps || B < kPackMinLanes) return 0;
  const int64_t GH = info_of(cell).gates * H;
  const size_t forward_bytes = PackedGemm::scratch_bytes(exec, {B, GH, H});
  if (exec.matmul != MatmulMode::bf16) return forward_bytes;
  return std::max(forward_bytes, PackedGemm::scratch_bytes(exec, {B, H, GH}));
}

void recurrent_forward(const Exec& exec, const RecurrentForward& a) {
  use_threads(exec);
  with_cell(a.cell, [&](auto cell) {
    with_real("recurrent_forward", a.h.dtype,
              [&](auto real) { forward<decltype(cell), decltype(real)>(exec, a); });
  });
}

void recurrent_backward(const Exec& exec, const RecurrentBackward& a) {
  use_threads(exec);
  with_cell(a.cell, [&](auto cell) {
    with_real("recurrent_backward", a.h.dtype,
              [&](auto real) { backward<decltype(cell), decltype(real)>(exec, a); });
  });
}

}  // namespace unroll::cpu

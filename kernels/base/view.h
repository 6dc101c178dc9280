// Views: a pointer, extents and a row stride. They own nothing and are trivially copyable.
//
//   View<T,R>     typed, used inside kernels; contiguous in the last axis; the leading axes
//                 form rows of equal stride: element (i,j,k) is data[(i*n[1] + j)*ld + k]
//   AnyView<R>    the same with the element type as a run-time value, used in argument structs
//   View1..View3  AnyView by rank
//
// A view with a null pointer is "not given"; argument structs say which fields may be so.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/base/dtype.h"
#include "kernels/base/host_device.h"

namespace unroll {

template <class T, int R>
struct View {
  T* data;
  int64_t n[R];
  int64_t ld;  // elements from one row to the next

  GPU_HD int64_t columns() const { return n[R - 1]; }
  GPU_HD int64_t rows() const {
    int64_t rows = 1;
    for (int r = 0; r + 1 < R; ++r) rows *= n[r];
    return rows;
  }
  GPU_HD int64_t size() const { return rows() * columns(); }
  GPU_HD explicit operator bool() const { return data != nullptr; }
  GPU_HD T* row(int64_t r) const { return data + r * ld; }

  GPU_HD T& operator()(int64_t i) const {
    static_assert(R == 1);
    return data[i];
  }
  GPU_HD T& operator()(int64_t i, int64_t j) const {
    static_assert(R == 2);
    return data[i * ld + j];
  }
  GPU_HD T& operator()(int64_t i, int64_t j, int64_t k) const {
    static_assert(R == 3);
    return data[(i * n[1] + j) * ld + k];
  }
};

template <int R>
struct AnyView {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t n[R] = {};
  int64_t ld = 0;

  explicit operator bool() const { return data != nullptr; }
  int64_t columns() const { return n[R - 1]; }
  int64_t rows() const {
    int64_t rows = 1;
    for (int r = 0; r + 1 < R; ++r) rows *= n[r];
    return rows;
  }
  int64_t size() const { return rows() * columns(); }

  // The caller has dispatched on dtype; a mismatch is a defect, asserted by the dispatchers.
  template <class T>
  View<T, R> as() const {
    View<T, R> v;
    v.data = static_cast<T*>(data);
    for (int r = 0; r < R; ++r) v.n[r] = n[r];
    v.ld = ld;
    return v;
  }
  // The leading axes folded into one: [T,B,H] read as [T*B,H].
  AnyView<2> matrix() const {
    AnyView<2> m;
    m.data = data;
    m.dtype = dtype;
    m.n[0] = rows();
    m.n[1] = columns();
    m.ld = ld;
    return m;
  }
  // Entry i of the first axis: step t of [T,B,H] is [B,H].
  AnyView<(R > 1 ? R - 1 : 1)> at(int64_t i) const {
    static_assert(R > 1, "at() needs a leading axis");
    return slice(i, 1).drop_first();
  }
  // `count` entries of the first axis from `first` on.
  AnyView slice(int64_t first, int64_t count) const {
    AnyView s = *this;
    int64_t step = R == 1 ? 1 : ld;
    for (int r = 1; r + 1 < R; ++r) step *= n[r];
    s.data = data ? static_cast<char*>(data) + first * step * int64_t(size_of(dtype)) : nullptr;
    s.n[0] = count;
    return s;
  }
  AnyView<(R > 1 ? R - 1 : 1)> drop_first() const {
    AnyView<(R > 1 ? R - 1 : 1)> d;
    d.data = data;
    d.dtype = dtype;
    for (int r = 1; r < R; ++r) d.n[r - 1] = n[r];
    d.ld = R == 2 ? n[1] : ld;
    return d;
  }
};

using View1 = AnyView<1>;
using View2 = AnyView<2>;
using View3 = AnyView<3>;

// A contiguous view of `data` with the given extents.
template <class... N>
AnyView<int(sizeof...(N))> view_of(void* data, DType dtype, N... extents) {
  constexpr int R = sizeof...(N);
  AnyView<R> v;
  v.data = data;
  v.dtype = dtype;
  const int64_t n[R] = {int64_t(extents)...};
  for (int r = 0; r < R; ++r) v.n[r] = n[r];
  v.ld = n[R - 1];
  return v;
}
template <class T, class... N>
requires(!std::is_void_v<T> &&
         (std::is_integral_v<N> && ...)) AnyView<int(sizeof...(N))> view_of(T* data, N... extents) {
  using U = std::remove_const_t<T>;
  return view_of(static_cast<void*>(const_cast<U*>(data)), DTypeOf<U>::value, extents...);
}

// Bytes that an op may use while it runs; asked for by its ..._scratch_bytes function.
struct Scratch {
  void* data = nullptr;
  size_t bytes = 0;
};

// Whether a gradient is written or added to: the first writer overwrites, later ones accumulate.
enum class Accumulate : uint8_t { overwrite, add };

}  // namespace unroll

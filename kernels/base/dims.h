// Shape checks that answer in letters: "recurrent: Wx is [70,20,800], expected [T,B,4H] =
// [70,20,2600]".
//
// T steps, B lanes, V vocabulary, E embedding, I input width, H hidden, G gates, N rows, D width.
#pragma once

#include <initializer_list>
#include <string>

#include "kernels/base/error.h"
#include "kernels/base/view.h"

namespace unroll {

template <int R>
std::string shape_text(const AnyView<R>& v) {
  std::string s = "[";
  for (int r = 0; r < R; ++r) {
    if (r) s += ',';
    s += std::to_string(v.n[r]);
  }
  return s + "]";
}

// Throws unless `v` is given, has extents `expected` and element type `dtype`.
//   check_shape("recurrent", "Wx", a.Wx, "[T,B,GH]", {T, B, G * H}, DType::f32)
template <int R>
void check_shape(const char* op, const char* name, const AnyView<R>& v, const char* letters,
                 std::initializer_list<int64_t> expected, DType dtype) {
  bool same =
      expected.size() == size_t(R) && v.data != nullptr && v.dtype == dtype && v.ld >= v.columns();
  std::string text;
  int r = 0;
  for (int64_t e : expected) {
    if (r < R && v.n[r] != e) same = false;
    if (r++) text += ',';
    text += std::to_string(e);
  }
  // An empty tensor may have a null pointer.
  if (!v.data && v.size() == 0 && v.n[0] == (expected.size() ? *expected.begin() : 0)) same = true;
  if (!same)
    throw Error(std::string(op) + ": " + name + " is " + (v.data ? "" : "missing or ") +
                shape_text(v) + " " + name_of(v.dtype) + ", expected " + letters + " = [" + text +
                "] " + name_of(dtype));
}

// The same for an argument that may be left out.
template <int R>
void check_optional(const char* op, const char* name, const AnyView<R>& v, const char* letters,
                    std::initializer_list<int64_t> expected, DType dtype) {
  if (v.data) check_shape(op, name, v, letters, expected, dtype);
}

}  // namespace unroll

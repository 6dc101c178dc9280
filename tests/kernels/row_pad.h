// Row strides that send kernels down both of their paths.
#pragma once

#include <cstdint>

namespace unroll::test {

// Elements between rows of D: an odd number leaves rows unaligned; where D is a multiple of 4, as
// many as start every row on a multiple of 8 elements, so that wide loads are taken, with a
// remainder.
inline int64_t row_pad(int64_t D, int64_t odd) { return D % 4 ? odd : (D + 7) / 8 * 8 + 8 - D; }

}  // namespace unroll::test

// Keeps a gradient by rows as terms of a sum: those of several chunks, one behind the other, are
// what embedding_rows_backward adds up.
//
//   ids[i] = words[i], terms[i] = rows[i]    where place i < N has the row of its word
//   ids[i] = -1                              elsewhere: the term is left as it is, and not read
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/row_gradient.h"

namespace unroll {

struct StoreRows {
  View1 ids;      // [P]    i32; out; P >= N
  View2 terms;    // [P,D]  acc; out
  RowGradient g;  // [N,D]  acc
  int64_t V = 0;  // words of the table
};
void store_rows(const Exec& exec, const StoreRows& args);

namespace cpu {
void store_rows(const Exec& exec, const StoreRows& args);
}
namespace cuda {
void store_rows(const Exec& exec, const StoreRows& args);
}

}  // namespace unroll

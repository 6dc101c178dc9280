// The second level of a softmax over classes of words: the loss within the class of the target.
//
//   p(w | x) = p(c(w) | x) p(w | c(w), x)         c(w): the class with bounds[c] <= w < bounds[c+1]
//   loss_n  += -log p(w_n | c(w_n), x_n) = logsumexp over w in c(w_n) of z_nw, less z_n,w_n    nats
//   z_nw     = W_w x_n + b_w, for the words of the target's class alone
//   dz = dloss_n (softmax(z_n) - onehot)    dx_n += dz W_c    dW_c = dz^T x    db = sum_n dz_n
//
// Goodman 2001 ("Classes for fast maximum entropy training"), eq. 2; Mikolov et al. 2011
// ("Extensions of recurrent neural network language model"), section 3. The first level is
// linear_softmax_xent over the classes, with partition_rows' `group` as its target; this op adds to
// its loss and dx.
//
// Rows come sorted by class (partition_rows), so that those of one class share its rows of W. On
// the CPU each class is a linear_softmax_xent of its own; on CUDA a block takes a row and a warp a
// row of dW, whatever the numbers of rows in the classes are: no size is read back.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct ClassXent {
  View1 loss;  // [N]    acc; in and out: added to
  View2 dx{};  // [N,D]  act; in and out: added to; left out in evaluation, and then dW and db too
  View2 dW{};  // [V,D]  acc; out
  View1 db{};  // [V]    acc; out; may be left out
  Accumulate to_dW = Accumulate::overwrite, to_db = Accumulate::overwrite;
  View2 x;                     // [N,D]  act: f32, f64, bf16
  View2 W;                     // [V,D]  act
  View1 b{};                   // [V]    acc; may be left out
  View1 target, order, group;  // [N]   i32; order and group from partition_rows
  View1 start, bounds;         // [C+1]  i32; from 0 to V
  View1 dloss{};               // [N]    acc; only with dx
  int64_t largest = 0;         // words of the largest class
  Scratch scratch{};           // class_xent_scratch_bytes, or more
};
void class_xent(const Exec& exec, const ClassXent& args);
// Bytes of scratch with which the op runs best within `budget` bytes; more than the budget only
// where the least it can do with is more. With less scratch the rows are done in more turns.
size_t class_xent_scratch_bytes(const Exec& exec, DType act, int64_t N, int64_t D, int64_t largest,
                                bool gradients, size_t budget);

// The whole distribution: scores of words, normalised within each class, times the class's own
// probability. In place: log_p[n,w] -= logsumexp over the words of c(w), += log_class[n,c(w)].
struct ClassLogSoftmax {
  View2 log_p;      // [N,V]  acc; in: scores, out: log-probabilities, nats
  View2 log_class;  // [N,C]  acc
  View1 bounds;     // [C+1]  i32, from 0 to V
};
void class_log_softmax(const Exec& exec, const ClassLogSoftmax& args);

namespace cpu {
void class_xent(const Exec& exec, const ClassXent& args);
size_t class_xent_scratch_bytes(const Exec& exec, DType act, int64_t N, int64_t D, int64_t largest,
                                bool gradients, size_t budget);
void class_log_softmax(const Exec& exec, const ClassLogSoftmax& args);
}  // namespace cpu
namespace cuda {
void class_xent(const Exec& exec, const ClassXent& args);
size_t class_xent_scratch_bytes(int64_t N, int64_t largest, size_t budget);
void class_log_softmax(const Exec& exec, const ClassLogSoftmax& args);
}  // namespace cuda

}  // namespace unroll

// Dropout of whole words: y[n] = x[n] m[ids[n]] / (1 - p), one Bernoulli(1 - p) draw per word of
// the vocabulary, so that a word that occurs twice in a chunk is kept or dropped in both places.
//
//   Gal & Ghahramani 2016, section 4.2; Merity, Keskar & Socher 2018, section 4.3.
//
// On looked-up rows it is dropout of rows of the table E itself, and its backward pass before the
// lookup's is that of the masked table. The output layer of a tied model reads E, not the masked
// rows. Word v is kept if word v mod 4 of Philox block v/4 is >= dropout_threshold(p). A negative
// id is padding: its row becomes 0.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/mask_key.h"
#include "kernels/base/view.h"

namespace unroll {

struct RowDropout {
  View2 y;       // [N,D]  act: f32, f64, bf16; out
  View2 x;       // [N,D]  act; may be the same as y
  View1 ids;     // [N]    i32
  double p = 0;  // 0 <= p < 1
  MaskKey key;
};
// Forward: x in, y out. Backward is the same map with x = dy and y = dx.
void row_dropout(const Exec& exec, const RowDropout& args);

namespace cpu {
void row_dropout(const Exec& exec, const RowDropout& args);
}
namespace cuda {
void row_dropout(const Exec& exec, const RowDropout& args);
}

}  // namespace unroll

// All weights of a model: named slices of one weight slab and one gradient slab, so that clipping,
// update and checkpoint are one pass each.
//
// The slabs are in the accumulate type (f32, or f64 in an f64 model). Where the model computes in
// bf16 a bf16 shadow of the weights is what ops read; every update writes it in the same pass.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "kernels/base/view.h"
#include "kernels/update/pieces.h"

namespace unroll {

// How a weight starts. Values come from Philox, keyed by seed, parameter and element: the same on
// every device.
struct Init {
  enum class Kind { zero, one, uniform } kind = Kind::zero;
  double bound = 0;        // uniform: U(-bound, bound)
  double forget_bias = 0;  // added to rows H .. 2H-1 of an LSTM bias
};
inline Init zero() { return {}; }
inline Init one() { return {Init::Kind::one, 0, 0}; }
inline Init uniform(double bound) { return {Init::Kind::uniform, bound, 0}; }

// A handle: which slice. Tied weights are one Param used twice.
struct Param {
  int index = -1;
  explicit operator bool() const { return index >= 0; }
};
// A handle to a vector that no update changes: bounds of word classes, the tables of a sampler.
struct Constant {
  int index = -1;
};

class ParamStore {
 public:
  // Declares a matrix [rows,columns], or a vector of `rows` if columns is 0. Names are PyTorch's.
  Param add(const std::string& name, int64_t rows, int64_t columns, const Init& init);

  // Says that a chunk's gradient of this matrix is 0 but for at most a row for each of its tokens
  // and `more` others: word vectors that no output layer shares, an output layer that is trained
  // on samples.
  void touch_by_rows(Param p, int64_t more = 0);

  // Before the slabs are reserved: of these matrices those of which an update of `chunks` chunks of
  // `tokens` tokens leaves rows out get no place in the gradient slab; see Tape::give_row_gradient.
  // For optimisers that leave rows without a gradient as they are.
  void keep_row_gradients(int64_t tokens, int64_t chunks = 1);

  // Declares a constant vector: i32 or u32 as `dtype` says, or f64 for the accumulate type.
  Constant add_constant(DType dtype, std::vector<double> values);

  // Reserves the slabs and sets every weight. `act` is the type that ops compute in.
  void materialize(const Backend& backend, DType act, uint64_t seed);

  DType act() const { return act_; }
  DType acc() const { return accumulate_type(act_); }

  View2 weight(Param p) const;    // [rows,columns]  act: what ops read
  View1 vector(Param p) const;    // [rows]          acc: biases are never rounded
  View2 gradient(Param p) const;  // [rows,columns]  acc
  View1 vector_gradient(Param p) const;
  View1 constant(Constant c) const;  // as declared
  View1 slab() const;                // all weights, padding between them zero
  View1 gradient_slab() const;       // of all weights but those whose gradients are kept by rows
  View1 shadow() const;              // bf16 rows of all matrices; not given unless act() is bf16

  // Recasts the bf16 shadow from the slab; nothing where there is none.
  void cast_shadow(const Exec& exec) const;

  // The weights whose gradients are kept by rows, in the order of the slab.
  std::vector<Param> row_params() const;
  bool in_rows(Param p) const { return entries_[size_t(p.index)].in_rows; }
  View2 of_slab(const View1& slab, Param p) const;  // [rows,columns] of a slab like slab()

  struct Entry {
    std::string name;
    int64_t rows, columns;  // columns 0: a vector
    Init init;
    int64_t offset = 0;  // in the slab, elements
    int64_t gradient_offset = 0, shadow_offset = 0, shadow_ld = 0;
    int64_t more_rows = -1;  // of touch_by_rows; below 0: a gradient has all rows
    bool in_rows = false;    // the gradient is kept by rows
    int64_t size() const { return rows * (columns ? columns : 1); }
  };
  const std::vector<Entry>& entries() const { return entries_; }
  // The slab in pieces, by rising clip group, for the passes of kernels/update; without groups all
  // are in group 0.
  std::vector<SlabPiece> pieces(const std::function<int(const Entry&)>& clip_group = {}) const;
  static Buffer to_device(const Backend& backend, const std::vector<SlabPiece>& pieces);
  static View2 piece_table(const Buffer& table);  // as ops take it
  int64_t parameters() const;                     // without padding
  size_t bytes(DType act) const;       // of slabs and shadow, once materialised with `act`
  size_t slab_bytes(DType act) const;  // of the slab of weights, or of a slot
  bool has(const std::string& name) const;

  // One weight to and from host memory in the accumulate type, row-major; both synchronise.
  void read(const Backend& backend, int index, void* to) const;
  void write(const Backend& backend, int index, const void* from) const;

 private:
  void lay_out();
  ParamStore laid_out() const;
  void* weight_at(const Entry& e) const;
  void* gradient_at(const Entry& e) const;
  DType act_ = DType::f32;
  std::vector<Entry> entries_;
  int64_t size_ = 0, gradient_size_ = 0, shadow_size_ = 0;  // elements
  struct ConstantEntry {
    DType dtype;
    std::vector<double> values;  // empty once they are on the device
    int64_t n = 0;
    Buffer on_device;
  };
  std::vector<ConstantEntry> constants_;
  Buffer weights_, gradients_, shadow_, pieces_;
};

}  // namespace unroll

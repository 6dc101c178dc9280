// A counted block of an arena with a shape. The last handle gives the block back, so C++ scope is
// the liveness analysis: a value that no record saved dies where its name goes out of scope.
#pragma once

#include <initializer_list>
#include <memory>

#include "host/memory/arena.h"
#include "kernels/base/error.h"
#include "kernels/base/view.h"

namespace unroll {

class Tensor {
 public:
  Tensor() = default;
  // Rows of bf16 start at multiples of 16 bytes; other types are contiguous. The content is
  // undefined.
  Tensor(Arena& arena, DType dtype, std::initializer_list<int64_t> shape) : dtype_(dtype) {
    int64_t rows = 1;
    for (int64_t n : shape) {
      if (rank_ > 0) rows *= n_[rank_ - 1];
      n_[rank_++] = n;
    }
    ld_ = n_[rank_ - 1];
    if (dtype == DType::bf16 && rank_ > 1) ld_ = (ld_ + 7) / 8 * 8;
    data_ = static_cast<char*>(arena.allocate(size_t(rows * ld_) * size_of(dtype)));
    block_ = std::shared_ptr<void>(data_, [&arena](void* block) { arena.release(block); });
  }

  explicit operator bool() const { return block_ != nullptr; }
  DType dtype() const { return dtype_; }
  int64_t extent(int axis) const { return n_[axis]; }
  int rank() const { return rank_; }

  template <int R>
  AnyView<R> view() const {
    UNROLL_CHECK(R == rank_, "tensor: viewed with another rank than it was made with");
    AnyView<R> v;
    v.data = data_;
    v.dtype = dtype_;
    for (int r = 0; r < R; ++r) v.n[r] = n_[r];
    v.ld = ld_;
    return v;
  }
  // The leading axes folded: [T,B,H] as [T*B,H].
  View2 matrix() const {
    View2 v;
    v.data = data_;
    v.dtype = dtype_;
    v.n[0] = 1;
    for (int r = 0; r + 1 < rank_; ++r) v.n[0] *= n_[r];
    v.n[1] = n_[rank_ - 1];
    v.ld = ld_;
    return v;
  }
  // Entries first .. first+count-1 of the first axis; shares the block.
  Tensor slice(int64_t first, int64_t count) const {
    Tensor t = *this;
    int64_t step = rank_ == 1 ? 1 : ld_;
    for (int r = 1; r + 1 < rank_; ++r) step *= n_[r];
    t.data_ = data_ + first * step * int64_t(size_of(dtype_));
    t.n_[0] = count;
    return t;
  }
  // A new tensor of the same shape and type.
  Tensor like(Arena& arena) const {
    switch (rank_) {
      case 1:
        return Tensor(arena, dtype_, {n_[0]});
      case 2:
        return Tensor(arena, dtype_, {n_[0], n_[1]});
      default:
        return Tensor(arena, dtype_, {n_[0], n_[1], n_[2]});
    }
  }

 private:
  std::shared_ptr<void> block_;
  char* data_ = nullptr;
  DType dtype_ = DType::f32;
  int rank_ = 0;
  int64_t n_[3] = {};
  int64_t ld_ = 0;
};

}  // namespace unroll

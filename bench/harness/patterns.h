// Random numbers to fill arrays with: a short pattern of each type is drawn once, and arrays are
// filled on the device. Drawing and sending 10^9 numbers would take longer than a benchmark.
#pragma once

#include <map>
#include <utility>

#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "kernels/base/dtype.h"

namespace unroll::bench {

class Patterns {
 public:
  explicit Patterns(const Backend& backend) : backend_(backend) {}
  // Fills device memory with uniform values in [-0.1, 0.1]; u types with random bits; i32 with ids
  // below `ids_below`. Arrays of different `turn` begin at different places of the pattern, so that
  // two of one size are not equal.
  void fill(void* data, DType dtype, size_t bytes, int ids_below, size_t turn);

 private:
  const Buffer& pattern(DType dtype, int ids_below);
  const Backend& backend_;
  std::map<std::pair<DType, int>, Buffer> patterns_;
};

}  // namespace unroll::bench

// The gradient of a table [V,D] of which N tokens use at most N rows: their words in rising order,
// and beside the first place of each word its row. How many there are is known on the device only,
// and nobody has to ask: the places of a word's repetitions are unused.
#pragma once

#include "kernels/base/host_device.h"
#include "kernels/base/view.h"

namespace unroll {

struct RowGradient {
  View1 words;  // [N]    u32, rising; V and above: padding
  View2 rows;   // [N,D]  acc
  explicit operator bool() const { return bool(rows); }
};

// Whether place i has the row of its word.
GPU_HD bool has_row(const uint32_t* words, int64_t i, int64_t V) {
  return int64_t(words[i]) < V && (i == 0 || words[i - 1] != words[i]);
}

// The first of places first .. last-1 whose word is not below `word`; `last` if there is none.
GPU_HD int64_t place_of(const uint32_t* words, int64_t first, int64_t last, uint64_t word) {
  while (first < last) {
    const int64_t middle = first + (last - first) / 2;
    if (words[middle] < word)
      first = middle + 1;
    else
      last = middle;
  }
  return first;
}

}  // namespace unroll

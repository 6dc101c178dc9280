// Gradients that are kept by rows, over the micro-steps of one update: each micro-step's rows are
// stored, and at the last they are added up by word, in the order of the micro-steps. Nothing is
// as large as the matrix.
#pragma once

#include <vector>

#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "host/tape/tape.h"

namespace unroll {

class RowSums {
 public:
  // For updates of at most `steps` micro-steps, of at most `tokens` tokens each.
  RowSums(const Backend& backend, const ParamStore& params, int steps, int64_t tokens);

  // Stores the tape's row gradients as those of micro-step `step`.
  void store(const Tape& tape, int step) const;
  // The sums over micro-steps 0 .. steps-1, in memory of the tape, which `holder` keeps.
  std::vector<RowGradient> sums(const Tape& tape, int steps, std::vector<Tensor>& holder) const;

  size_t bytes() const;

 private:
  struct Terms {
    int64_t places, V, D;  // places: of one micro-step
    DType dtype;
    Buffer ids, rows;  // [steps*places], [steps*places,D]

    View1 ids_of(int64_t first, int64_t count) const;
    View2 rows_of(int64_t first, int64_t count) const;
  };
  std::vector<Terms> terms_;  // of ParamStore::row_params()
};

}  // namespace unroll

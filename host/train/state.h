// The recurrent state that is carried from chunk to chunk, in persistent memory: h and, for cells
// with two states, c of every layer. A step reads it at its start and overwrites it in place.
#pragma once

#include <vector>

#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "kernels/base/view.h"

namespace unroll {

// What one layer carries.
struct LayerState {
  View2 h;  // [B,H]  act
  View2 c;  // [B,H]  acc; no data for cells with one state
};

// The shape of one layer's state; a model states one per layer (and direction).
struct StateShape {
  int H;
  bool has_c;
};

class State {
 public:
  State() = default;
  // Zero states for B lanes.
  State(const Backend& backend, const std::vector<StateShape>& shapes, int B, DType act);

  const LayerState& operator[](size_t layer) const { return layers_[layer]; }
  void reset(const Backend& backend) const;         // to zero, in stream order
  const Buffer& memory() const { return memory_; }  // all of it, for checkpoints
  static size_t bytes(const std::vector<StateShape>& shapes, int B, DType act);

 private:
  Buffer memory_;
  std::vector<LayerState> layers_;
};

}  // namespace unroll

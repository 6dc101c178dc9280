#include "host/train/state.h"

namespace unroll {
namespace {

// bf16 rows start at multiples of 16 bytes, like every bf16 tensor.
int64_t row_stride(int H, DType dtype) { return dtype == DType::bf16 ? (H + 7) / 8 * 8 : H; }
size_t block_bytes(int B, int H, DType dtype) {
  const size_t bytes = size_t(B) * size_t(row_stride(H, dtype)) * size_of(dtype);
  return (bytes + 255) / 256 * 256;
}

}  // namespace

size_t State::bytes(const std::vector<StateShape>& shapes, int B, DType act) {
  size_t total = 0;
  for (const StateShape& s : shapes)
    total += block_bytes(B, s.H, act) + (s.has_c ? block_bytes(B, s.H, accumulate_type(act)) : 0);
  return total;
}

State::State(const Backend& backend, const std::vector<StateShape>& shapes, int B, DType act)
    : memory_(backend.device(), MemoryKind::device, bytes(shapes, B, act)) {
  char* at = memory_.as<char>();
  const auto next = [&](int H, DType dtype) {
    View2 v = view_of(static_cast<void*>(at), dtype, B, H);
    v.ld = row_stride(H, dtype);
    at += block_bytes(B, H, dtype);
    return v;
  };
  for (const StateShape& s : shapes) {
    LayerState layer;
    layer.h = next(s.H, act);
    if (s.has_c) layer.c = next(s.H, accumulate_type(act));
    layers_.push_back(layer);
  }
  reset(backend);
  backend.stream().synchronize();
}

void State::reset(const Backend& backend) const {
  backend.stream().fill_zero(memory_.data(), memory_.bytes());
}

}  // namespace unroll

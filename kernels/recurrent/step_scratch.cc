#include "kernels/recurrent/step_cuda.h"

namespace unroll {
namespace {

constexpr int64_t kUnitTile = 16, kLanes = 32, kTileBytes = 512;

int64_t whole(int64_t n, int64_t piece) { return (n + piece - 1) / piece; }

}  // namespace

StepScratch step_scratch(void* base, Cell cell, DType act, int64_t B, int64_t H, bool backward) {
  const int64_t gates = info_of(cell).gates;
  // A pair of k-tiles is 64 bytes of every row and lane.
  const int64_t pairs = whole((backward ? gates * H : H) * int64_t(size_of(act)), 64);
  StepScratch s{};
  const auto take = [&](int64_t bytes) {
    void* part = base ? static_cast<char*>(base) + s.bytes : nullptr;
    s.bytes += size_t(whole(bytes, 256) * 256);
    return part;
  };
  s.weights = take(whole(H, kUnitTile) * pairs * 2 * (backward ? 1 : gates) * kTileBytes);
  for (void*& mail : s.mail) mail = take(whole(B, kLanes) * (kLanes / 8) * pairs * kTileBytes);
  if (backward) {
    s.carried_h = static_cast<float*>(take(B * H * 4));
    s.carried_c = static_cast<float*>(take(B * H * 4));
  }
  return s;
}

size_t step_scratch_bytes(Cell cell, DType act, int64_t B, int64_t H) {
  const size_t forward = step_scratch(nullptr, cell, act, B, H, false).bytes;
  const size_t backward = step_scratch(nullptr, cell, act, B, H, true).bytes;
  return forward > backward ? forward : backward;
}

}  // namespace unroll

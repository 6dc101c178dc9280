#include "bench/harness/patterns.h"

#include <algorithm>
#include <random>
#include <vector>

namespace unroll::bench {
namespace {

// No power of two, or the rows of most matrices would soon repeat.
constexpr size_t kAlignment = 64, kPlaces = 7813, kBytes = 2 * kPlaces * kAlignment;

template <class Element, class Draw>
void draw_all(void* data, Draw draw) {
  std::generate_n(static_cast<Element*>(data), kBytes / sizeof(Element), draw);
}

}  // namespace

const Buffer& Patterns::pattern(DType dtype, int ids_below) {
  Buffer& found = patterns_[{dtype, ids_below}];
  if (found) return found;
  Buffer host(backend_.device(), MemoryKind::host, kBytes);
  std::mt19937 engine(1);
  const auto uniform = [&] { return (float(engine() >> 8) / 8388608.0f - 1.0f) * 0.1f; };
  switch (dtype) {
    case DType::f32:
      draw_all<float>(host.data(), uniform);
      break;
    case DType::f64:
      draw_all<double>(host.data(), uniform);
      break;
    case DType::bf16:
      draw_all<bf16>(host.data(), [&] { return bf16(uniform()); });
      break;
    case DType::i32:
      draw_all<int32_t>(host.data(),
                        [&] { return int32_t(engine() % unsigned(std::max(ids_below, 1))); });
      break;
    case DType::u32:
    case DType::u64:
    case DType::u8:
      draw_all<uint32_t>(host.data(), [&] { return uint32_t(engine()); });
      break;
  }
  found = Buffer(backend_.device(), MemoryKind::device, kBytes);
  backend_.stream().copy(found.data(), host.data(), kBytes);
  backend_.stream().synchronize();
  return found;
}

void Patterns::fill(void* data, DType dtype, size_t bytes, int ids_below, size_t turn) {
  const size_t from = turn * 997 % kPlaces * kAlignment;
  char* to = static_cast<char*>(data);
  size_t filled = std::min(bytes, kBytes - from);
  backend_.stream().copy(to, pattern(dtype, ids_below).as<char>() + from, filled);
  while (filled < bytes) {
    const size_t more = std::min(filled, bytes - filled);
    backend_.stream().copy(to + filled, to, more);
    filled += more;
  }
}

}  // namespace unroll::bench

#include "host/train/step_inputs.h"

#include <cstring>
#include <string>

#include "kernels/base/error.h"

namespace unroll {

StepInputs::StepInputs(const Backend& backend, int max_tokens, int max_lanes, DType acc)
    : max_tokens_(max_tokens),
      max_lanes_(max_lanes),
      acc_(acc),
      copied_{Event(backend.device()), Event(backend.device())} {
  size_t end = 0;
  const auto place = [&](size_t bytes) {
    const size_t at = end;
    end += (bytes + 255) / 256 * 256;
    return at;
  };
  at_.update = place(sizeof(UpdateInputs));
  at_.counter = place(2 * sizeof(uint64_t));
  at_.input = place(size_t(max_tokens) * 4);
  at_.target = place(size_t(max_tokens) * 4);
  at_.weight = place(size_t(max_tokens) * size_of(acc));
  at_.lengths = place(size_t(max_lanes) * 4);
  at_.keep = place(size_t(max_lanes) * 4);
  at_.end = end;
  device_ = Buffer(backend.device(), MemoryKind::device, end);
  for (Buffer& pinned : pinned_) {
    pinned = Buffer(backend.device(), MemoryKind::pinned, end);
    std::memset(pinned.data(), 0, end);
  }
}

void StepInputs::send(const Backend& backend, const HostChunk& chunk, const StepScalars& scalars) {
  const size_t N = size_t(chunk.T) * size_t(chunk.B);
  UNROLL_CHECK(N <= size_t(max_tokens_) && chunk.B <= max_lanes_,
               "a chunk of " + std::to_string(chunk.T) + " steps x " + std::to_string(chunk.B) +
                   " lanes where " + std::to_string(max_tokens_) + " tokens in " +
                   std::to_string(max_lanes_) + " lanes have room");
  const int n = next_;
  next_ ^= 1;
  copied_[n].synchronize();
  char* host = pinned_[n].as<char>();
  std::memcpy(host + at_.update, &scalars.update, sizeof scalars.update);
  const uint64_t counter[2] = {scalars.seed, scalars.mask_step};
  std::memcpy(host + at_.counter, counter, sizeof counter);
  std::memcpy(host + at_.input, chunk.input.data(), N * 4);
  std::memcpy(host + at_.target, chunk.target.data(), N * 4);
  const auto fill_weights = [&](auto* weight) {
    for (size_t i = 0; i < N; ++i)
      weight[i] = std::decay_t<decltype(*weight)>(chunk.target[i] < 0 ? 0 : scalars.weight);
  };
  if (acc_ == DType::f64)
    fill_weights(reinterpret_cast<double*>(host + at_.weight));
  else
    fill_weights(reinterpret_cast<float*>(host + at_.weight));
  if (!chunk.lengths.empty())
    std::memcpy(host + at_.lengths, chunk.lengths.data(), chunk.lengths.size() * 4);
  std::memcpy(host + at_.keep, chunk.keep.data(), chunk.keep.size() * 4);
  backend.stream().copy(device_.data(), host, at_.end);
  copied_[n].record(backend.stream());
}

Chunk StepInputs::chunk(int T, int B, bool has_lengths) const {
  char* base = device_.as<char>();
  const auto i32 = [&](size_t offset, int64_t n) {
    return view_of(static_cast<void*>(base + offset), DType::i32, n);
  };
  Chunk c;
  c.T = T;
  c.B = B;
  const int64_t N = int64_t(T) * B;
  c.input = i32(at_.input, N);
  c.target = i32(at_.target, N);
  c.weight = view_of(static_cast<void*>(base + at_.weight), acc_, N);
  if (has_lengths) c.lengths = i32(at_.lengths, B);
  c.keep = i32(at_.keep, B);
  return c;
}
View1 StepInputs::update_inputs() const {
  return view_of(static_cast<void*>(device_.as<char>() + at_.update), DType::f64, kUpdateInputs);
}
View1 StepInputs::mask_counter() const {
  return view_of(static_cast<void*>(device_.as<char>() + at_.counter), DType::u64, 2);
}

}  // namespace unroll

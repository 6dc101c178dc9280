// A layer on the GPU with the persistent schedule's own scratch, in each of its precisions.
#pragma once

#include "kernels/recurrent/persistent_cuda.h"
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {

struct PersistentArrays : RecurrentArrays {
  Array<1> own_scratch, left;

  PersistentArrays(const Backend& backend, const oracle::Layer<double>& a, const Target& t,
                   int64_t pad)
      : RecurrentArrays(backend, a, t, pad),
        own_scratch(backend, DType::u8,
                    {int64_t(persistent_scratch_bytes(a.cell, t.act, T, B, H))}),
        left(backend, DType::u8, {own_scratch.view.n[0]}) {
    left.fill(0x3f);
  }
  // Full of words that are numbers, 0.7, as a pass of another layer would leave it.
  Scratch own() {
    const size_t bytes = size_t(own_scratch.view.n[0]);
    backend.stream().copy(own_scratch.view.data, left.view.data, bytes);
    return {own_scratch.view.data, bytes};
  }
  RecurrentForward persistent_forward_args() {
    RecurrentForward f = forward_args();
    f.scratch = own();
    return f;
  }
  RecurrentBackward persistent_backward_args() {
    RecurrentBackward b = backward_args();
    b.scratch = own();
    return b;
  }
};

class PersistentSuite : public OnTargets {};

#define UNROLL_ON_GPU_PRECISIONS(Suite)                                                            \
  INSTANTIATE_TEST_SUITE_P(Targets, Suite,                                                         \
                           testing::Values(Target{DeviceKind::cuda, DType::bf16},                  \
                                           Target{DeviceKind::cuda, DType::f32, MatmulMode::tf32}, \
                                           Target{DeviceKind::cuda, DType::f32}),                  \
                           [](const auto& info) { return name_of(info.param); })

}  // namespace unroll::test

// The only dispatcher: none | cpu | cuda. In a CPU-only build the CUDA branch is discarded at
// compile time, so no stubs are needed.
#pragma once

#include "kernels/base/error.h"
#include "kernels/base/exec.h"

namespace unroll {

#if defined(UNROLL_WITH_CUDA)
inline constexpr bool kBuiltWithCuda = true;
#else
inline constexpr bool kBuiltWithCuda = false;
#endif

// dispatch<cpu::gemm, cuda::gemm>(exec, args)
template <auto Cpu, auto Cuda, class Args>
void dispatch(const Exec& exec, const Args& args) {
  switch (exec.kind) {
    case DeviceKind::none:
      return;
    case DeviceKind::cpu:
      return Cpu(exec, args);
    case DeviceKind::cuda:
      if constexpr (kBuiltWithCuda) {
        return Cuda(exec, args);
      } else {
        throw Error(ErrorKind::resource,
                    "this unroll was built without CUDA; rebuild with a CUDA toolkit installed or "
                    "use --device cpu");
      }
  }
}

}  // namespace unroll

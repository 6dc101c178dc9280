// Exec: where and how an op runs. A borrowed bundle, built by host/device, passed first to every
// op.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;    // cudaStream_t
struct cublasContext;  // cublasHandle_t

namespace unroll {

// On `none` every op returns at once: a measuring run finds the arena's high-water mark before a
// byte is reserved.
enum class DeviceKind : uint8_t { none, cpu, cuda };

// How f32 matrix products are computed on CUDA. bf16 operands always use the tensor cores.
enum class MatmulMode : uint8_t { f32, tf32 };

struct Exec {
  DeviceKind kind = DeviceKind::cpu;
  CUstream_st* stream = nullptr;
  cublasContext* blas = nullptr;  // bound to `stream`, its workspace set explicitly
  MatmulMode matmul = MatmulMode::f32;
  int sm_count = 1;  // multiprocessors of the CUDA device
  int threads = 1;   // worker threads of the CPU backend
};

}  // namespace unroll

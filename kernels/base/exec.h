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

// How f32 matrix products are computed: of the operands as they are, rounded to TF32 (CUDA) or to
// bf16 (CPU); sums are kept in f32. bf16 operands always use CUDA's tensor cores.
enum class MatmulMode : uint8_t { f32, tf32, bf16 };

struct Exec {
  DeviceKind kind = DeviceKind::cpu;
  CUstream_st* stream = nullptr;
  cublasContext* blas = nullptr;  // bound to `stream`, its workspace set explicitly
  MatmulMode matmul = MatmulMode::f32;
  int sm_count = 1;  // multiprocessors of the CUDA device
  int threads = 1;   // worker threads of the CPU backend
  // Of MatmulMode::bf16: for every worker thread as many bytes, for operands once rounded.
  char* workspace = nullptr;
  size_t workspace_bytes = 0;
};

}  // namespace unroll

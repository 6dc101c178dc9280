#include "host/device/device.h"

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <thread>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/dispatch.h"
#include "kernels/base/error.h"

#if defined(UNROLL_WITH_CUDA)
#include "kernels/base/cuda_check.h"
#endif

namespace unroll {
namespace {

size_t available_host_memory() {
  // What the kernel thinks can be had without swapping; free pages alone would leave out its
  // caches.
  if (std::FILE* f = std::fopen("/proc/meminfo", "r")) {
    char line[128];
    unsigned long long kib = 0;
    while (std::fgets(line, sizeof line, f))
      if (std::sscanf(line, "MemAvailable: %llu", &kib) == 1) break;
    std::fclose(f);
    if (kib) return size_t(kib) * 1024;
  }
  return size_t(sysconf(_SC_AVPHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
}

}  // namespace

Device Device::cpu(int threads) {
  Device d;
  d.kind_ = DeviceKind::cpu;
  d.threads_ = threads > 0 ? threads : int(std::max(1u, std::thread::hardware_concurrency()));
  d.memory_bytes_ = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
  d.name_ = "CPU, " + std::to_string(d.threads_) + (d.threads_ == 1 ? " thread" : " threads");
  return d;
}

bool Device::multiplies_bf16() const { return kind_ == DeviceKind::cuda || cpu::multiplies_bf16(); }

bool Device::built_with_cuda() { return kBuiltWithCuda; }

Device Device::parse(const std::string& text, int threads) {
  if (text == "cpu") return cpu(threads);
  if (text == "auto") {
    std::string why;
    if (cuda_available(&why)) {
      Device d = cuda(0);
      d.threads_ = cpu(threads).threads_;
      return d;
    }
    Device d = cpu(threads);
    d.why_cpu_ = why;
    return d;
  }
  int ordinal = 0;
  bool known = text == "cuda";
  if (text.rfind("cuda:", 0) == 0) {
    const char* first = text.data() + 5;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(first, last, ordinal);
    known = error == std::errc() && end == last && first != last && ordinal >= 0;
  }
  if (!known)
    throw Error(ErrorKind::usage, "--device \"" + text +
                                      "\": expected auto, cpu, cuda or cuda:N, for example cuda:0");
  Device d = cuda(ordinal);
  d.threads_ = cpu(threads).threads_;
  return d;
}

#if defined(UNROLL_WITH_CUDA)

namespace {

// Why this build cannot use the device; empty where it can.
std::string obstacle(const cudaDeviceProp& prop) {
  if (prop.major >= kMinComputeMajor) return "";
  return std::string(prop.name) + " has compute capability " + std::to_string(prop.major) + "." +
         std::to_string(prop.minor) + "; unroll needs " + std::to_string(kMinComputeMajor) +
         ".0 or higher (Ampere and newer)";
}

}  // namespace

bool Device::cuda_available(std::string* why_not) {
  std::string ignored;
  std::string& why = why_not ? *why_not : ignored;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    why = driver == 0 ? std::string("no NVIDIA driver is installed")
                      : std::string("CUDA says: ") + cudaGetErrorString(status);
    if (driver != 0 && driver < CUDART_VERSION / 1000 * 1000)
      why = "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." +
            std::to_string(driver % 1000 / 10) + ", this build needs " +
            std::to_string(CUDART_VERSION / 1000) +
            ".0 or newer; update the driver (CUDA 13: 580 or later)";
    return false;
  }
  cudaDeviceProp prop{};
  CUDA_CHECK(cudaGetDeviceProperties(&prop, 0));
  why = obstacle(prop);
  return why.empty();
}

Device Device::cuda(int ordinal) {
  std::string why;
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    cuda_available(&why);
    throw Error(ErrorKind::resource, "--device cuda: " + why + "; use --device cpu");
  }
  if (ordinal >= count)
    throw Error(ErrorKind::resource, "--device cuda:" + std::to_string(ordinal) +
                                         ": the machine has " + std::to_string(count) +
                                         " CUDA device(s), numbered from 0");
  cudaDeviceProp prop{};
  CUDA_CHECK(cudaGetDeviceProperties(&prop, ordinal));
  why = obstacle(prop);
  if (!why.empty())
    throw Error(ErrorKind::resource,
                "--device cuda:" + std::to_string(ordinal) + ": " + why + "; use --device cpu");
  Device d;
  d.kind_ = DeviceKind::cuda;
  d.ordinal_ = ordinal;
  d.threads_ = cpu().threads_;
  d.sm_count_ = prop.multiProcessorCount;
  d.memory_bytes_ = prop.totalGlobalMem;
  d.name_ = prop.name;
  return d;
}

size_t Device::free_memory_bytes() const {
  if (kind_ != DeviceKind::cuda) return available_host_memory();
  make_current();
  size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return free;
}

void Device::make_current() const {
  if (kind_ == DeviceKind::cuda) CUDA_CHECK(cudaSetDevice(ordinal_));
}

void Device::synchronize() const {
  if (kind_ == DeviceKind::cuda) CUDA_CHECK(cudaDeviceSynchronize());
}

#else

bool Device::cuda_available(std::string* why_not) {
  if (why_not) *why_not = "this unroll was built without CUDA";
  return false;
}

Device Device::cuda(int) {
  throw Error(
      ErrorKind::resource,
      "--device cuda: this unroll was built without CUDA; install the CUDA toolkit, rebuild "
      "with ./dev build, or use --device cpu");
}

size_t Device::free_memory_bytes() const { return available_host_memory(); }
void Device::make_current() const {}
void Device::synchronize() const {}

#endif

}  // namespace unroll

// unroll_bench: microbenchmarks of the kernels on one device.
//
//   unroll_bench [--device cpu|cuda[:N]|auto] [--precision fp32|tf32|bf16] [--threads N]
//   [--quick] [--benchmark_...]
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "bench/harness/roofline.h"
#include "kernels/base/error.h"

namespace {

using namespace unroll;

// The value of `--name value` or `--name=value`, taken out of argv; `otherwise` if it is not there.
std::string take_flag(int& argc, char** argv, const std::string& name, std::string otherwise) {
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    int used = 0;
    if (arg == name && i + 1 < argc) {
      otherwise = argv[i + 1];
      used = 2;
    } else if (arg.rfind(name + "=", 0) == 0) {
      otherwise = arg.substr(name.size() + 1);
      used = 1;
    }
    if (!used) continue;
    std::memmove(argv + i, argv + i + used, size_t(argc - i - used + 1) * sizeof(char*));
    argc -= used;
    break;
  }
  return otherwise;
}

bool take_switch(int& argc, char** argv, const std::string& name) {
  const auto end = std::remove(argv + 1, argv + argc, name);
  const bool found = end != argv + argc;
  argc = int(end - argv);
  return found;
}

int run(int argc, char** argv) {
  const std::string device_text = take_flag(argc, argv, "--device", "auto");
  const std::string precision = take_flag(argc, argv, "--precision", "fp32");
  const std::string threads = take_flag(argc, argv, "--threads", "0");
  const bool quick = take_switch(argc, argv, "--quick");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (precision != "fp32" && precision != "tf32" && precision != "bf16")
    throw Error(ErrorKind::usage, "--precision \"" + precision + "\": expected fp32, tf32 or bf16");
  const Device device = Device::parse(device_text, std::atoi(threads.c_str()));
  const bool on_cuda = device.kind() == DeviceKind::cuda;
  if (precision == "tf32" && !on_cuda)
    throw Error(ErrorKind::usage,
                "--precision tf32 needs a CUDA device; use --precision fp32 or bf16 on the CPU");

  const bench::Bench bench(device, precision == "bf16" && on_cuda ? DType::bf16 : DType::f32,
                           precision == "tf32"               ? MatmulMode::tf32
                           : precision == "bf16" && !on_cuda ? MatmulMode::bf16
                                                             : MatmulMode::f32,
                           quick);
  int failed = 0;
  char machine[200];
  std::snprintf(machine, sizeof machine, "%s, %s: copies at %.1f GB/s, products at %.1f GFLOP/s",
                device.name().c_str(), precision.c_str(), bench.peak_bytes_per_second() * 1e-9,
                bench.peak_flops_per_second() * 1e-9);
  benchmark::AddCustomContext("machine", machine);
  for (const auto add :
       {bench::add_gemm, bench::add_recurrent, bench::add_recurrent_stacks,
        bench::add_recurrent_constants, bench::add_embedding, bench::add_elementwise,
        bench::add_regularize, bench::add_normalize, bench::add_heads, bench::add_output_layers,
        bench::add_update, bench::add_adaptation}) {
    try {
      add(bench);
    } catch (const Error& e) {  // the other families still run
      std::fprintf(stderr, "unroll_bench: %s\n", e.what());
      failed = 1;
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& e) {
    std::fprintf(stderr, "unroll_bench: %s\n", e.what());
    return int(e.kind());
  }
}

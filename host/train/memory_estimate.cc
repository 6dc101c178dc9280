#include "host/train/memory_estimate.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "host/io/metrics.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

// Libraries keep packing buffers and primitives per thread once a product has run: how much goes
// with the largest matrix, within bounds. Fitted to measured peaks, which tests/cli/memory_test.py
// repeats.
size_t cpu_library_bytes(const ParamStore& params) {
  size_t largest = 0;
  for (const ParamStore::Entry& e : params.entries())
    largest = std::max(largest, size_t(e.size()) * size_of(params.acc()));
  return (size_t(10) << 20) + std::min(largest, size_t(40) << 20);
}
constexpr size_t kCudaWorkspaceBytes = 2 * (size_t(32) << 20);  // of both BLAS handles

size_t resident_bytes() {
  unsigned long long pages = 0, resident = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%llu %llu", &pages, &resident) != 2) resident = 0;
    std::fclose(f);
  }
  return size_t(resident) * size_t(sysconf(_SC_PAGESIZE));
}

// What a setting would make smaller.
struct Remedy {
  size_t bytes;
  const char* flag;
};

[[noreturn]] void refuse(const Device& device, size_t need, size_t have, const std::string& parts,
                         std::vector<Remedy> remedies) {
  std::stable_sort(remedies.begin(), remedies.end(),
                   [](const Remedy& a, const Remedy& b) { return a.bytes > b.bytes; });
  throw Error(ErrorKind::resource,
              "this run does not fit " + device.name() + ": it needs " + human_bytes(double(need)) +
                  " (" + parts + "), " + human_bytes(double(have)) + " are free; lower " +
                  remedies[0].flag + ", " + remedies[1].flag + " or " + remedies[2].flag);
}

}  // namespace

size_t logits_budget(int64_t setting, const Device& device) {
  if (setting > 0) return size_t(setting);
  if (device.kind() == DeviceKind::cuda)
    return std::min(size_t(16) << 30, device.free_memory_bytes() / 4);
  return size_t(256) << 20;
}

MemoryEstimate estimate_memory(const Backend& backend, const ParamStore& params,
                               Scheduler& scheduler, const State& carried, const State& valid,
                               const MemoryNeeds& needs) {
  const bool cpu = backend.device().kind() == DeviceKind::cpu;
  MemoryEstimate e;
  e.weights = params.bytes(params.act());
  e.optimizer = needs.optimizer;
  const auto training = scheduler.measure(true, needs.T, needs.B, needs.sentences, carried);
  const auto evaluation =
      scheduler.measure(false, needs.eval_T, needs.eval_lanes, needs.sentences, valid);
  e.activations = std::max(training.bytes, evaluation.bytes);
  e.logits = std::max(training.logits, evaluation.logits);
  e.buffers = needs.states + scheduler.persistent_bytes() +
              (cpu ? cpu_library_bytes(params) : kCudaWorkspaceBytes);
  // Weights, slots and states stand by now, on a GPU the buffers too: what is in use beyond them is
  // the program itself, or the driver's context.
  const Device& device = backend.device();
  const size_t in_use = cpu ? resident_bytes() : device.memory_bytes() - device.free_memory_bytes();
  const size_t there = e.weights + e.optimizer + (cpu ? needs.states : e.buffers);
  e.process = in_use > there ? in_use - there : 0;
  return e;
}

void require_memory(const Backend& backend, const MemoryEstimate& e) {
  const size_t free = backend.device().free_memory_bytes();
  // The rest is allocated by now; on a CPU the buffers are in part, but not yet touched.
  const bool cpu = backend.device().kind() == DeviceKind::cpu;
  const size_t still = e.activations + (cpu ? e.buffers : 0);
  if (still <= free) return;
  const size_t logits = std::min(e.logits, e.activations), hidden = e.activations - logits;
  const size_t weights = e.weights + e.optimizer;
  refuse(backend.device(), still, free,
         "activations " + human_bytes(double(hidden)) + ", logits " + human_bytes(double(logits)) +
             ", buffers " + human_bytes(double(e.buffers)) + ", beside weights " +
             human_bytes(double(e.weights)) + " and optimiser " + human_bytes(double(e.optimizer)),
         {{logits, "--logits-memory"},
          {hidden, "--batch"},
          {hidden, "--bptt"},
          {weights, "--hidden"},
          {weights, "--vocab-size"}});
}

void require_weights(const Device& device, const ParamStore& params, DType act, int slots) {
  const size_t weights = params.bytes(act);
  const size_t slab = params.slab_bytes(act);
  const size_t need = weights + size_t(slots) * slab, free = device.free_memory_bytes();
  if (need > free)
    refuse(device, need, free,
           "weights and gradients " + human_bytes(double(weights)) + ", optimiser " +
               human_bytes(double(size_t(slots) * slab)),
           {{need, "--vocab-size"}, {need, "--hidden"}, {need, "--emb"}});
}

}  // namespace unroll

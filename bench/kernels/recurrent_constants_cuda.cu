// The kernels of recurrent_constants.h that load: exchange, launches, L2.
#include "bench/kernels/recurrent_constants.cuh"

namespace unroll::bench {
namespace {

constexpr uint32_t kSentinel = 0xffffffffu;

GPU_DEVICE const Words* words_at(const uint32_t* p, int64_t vector) {
  return reinterpret_cast<const Words*>(p + vector * 4);
}
GPU_DEVICE bool unready(const Words& w) {
  return w[0] == kSentinel || w[1] == kSentinel || w[2] == kSentinel || w[3] == kSentinel;
}

// Loads this thread's words of an entry once they have come, and returns their sum.
template <Exchange how>
GPU_DEVICE uint32_t gather(const uint32_t* entry, int vectors) {
  constexpr int kDeep = 6;  // loads under way, as in the persistent schedule
  const int lane = int(threadIdx.x) % gpu::kWarp;
  uint32_t sum = 0;
#pragma unroll 1
  for (int v0 = int(threadIdx.x) - lane; v0 < vectors; v0 += kDeep * kThreads) {
    Words w[kDeep];
#pragma unroll
    for (int j = 0; j < kDeep; ++j) {
      w[j] = Words{};
      if (v0 + lane + j * kThreads < vectors)
        w[j] = gpu::load_relaxed(words_at(entry, v0 + lane + j * kThreads));
    }
    if constexpr (how == Exchange::watch_all || how == Exchange::watch_one) {
      for (;;) {
        int late = -1;
#pragma unroll
        for (int j = kDeep - 1; j >= 0; --j)
          if (unready(w[j])) late = j;
        const uint32_t waiting = gpu::ballot(gpu::kFullMask, late >= 0);
        if (!waiting) break;
        if (late >= 0 && (waiting & ((1u << lane) - 1)) == 0) {
          const Words* watched = words_at(entry, v0 + lane + late * kThreads);
          // With watch_all every late word is loaded again in each turn.
          while (unready(gpu::poll_relaxed(watched)) && how == Exchange::watch_one) {
          }
        }
#pragma unroll
        for (int j = 0; j < kDeep; ++j)
          if (unready(w[j])) w[j] = gpu::load_relaxed(words_at(entry, v0 + lane + j * kThreads));
      }
    }
#pragma unroll
    for (int j = 0; j < kDeep; ++j) sum += w[j][0] + w[j][1] + w[j][2] + w[j][3];
  }
  return sum;
}

template <Exchange how>
GPU_KERNEL_BOUNDS(kThreads, 1)
void exchange_kernel(ExchangeRun run) {
  gpu::GridBarrier counter(run.counter);
  const int group = int(blockIdx.x) / run.shares, share = int(blockIdx.x) % run.shares;
  const int n = run.shares * run.block_words;
  uint32_t sum = 0;
#pragma unroll 1
  for (int i = 0; i < run.steps; ++i) {
    uint32_t* entry = run.words + (int64_t(i) * run.groups + group) * n;
    for (int j = int(threadIdx.x); j < run.block_words; j += kThreads)
      gpu::store_relaxed(entry + share * run.block_words + j, (sum + blockIdx.x + 1) & 0x7fffffffu);
    if constexpr (how == Exchange::grid_barrier) gpu::grid_sync();
    if constexpr (how == Exchange::counter) counter.sync();
    sum = gather<how>(entry, n / 4);
    // What a step does with the words needs all of them.
    gpu::sync_threads();
  }
  run.sums[blockIdx.x * kThreads + threadIdx.x] = sum;
}

// Words of two steps in turn: what a block writes in a step has been read by all that passed the
// barrier of the step before, or whose words of that step have come.
template <Exchange how>
GPU_KERNEL_BOUNDS(kThreads, 1)
void cluster_exchange_kernel(ExchangeRun run) {
  constexpr int kDeep = 6;
  constexpr bool kWatches = how == Exchange::cluster_watch;
  constexpr bool kWrites = kWatches || how == Exchange::cluster_write;
  const int tid = int(threadIdx.x), rank = gpu::cluster_rank();
  const int kept = kWrites ? run.shares * run.block_words : run.block_words;
  GPU_DYN_SHARED(raw);
  uint32_t* both = gpu::carve<uint32_t>(raw, size_t(2 * kept));
  uint32_t sum = 0;
  if constexpr (kWatches)
    for (int j = tid; j < 2 * kept; j += kThreads) both[j] = 0;
  gpu::cluster_sync();
#pragma unroll 1
  for (int i = 0; i < run.steps; ++i) {
    uint32_t* entry = both + i % 2 * kept;
    // Another one than in what stood there before.
    const uint32_t flag = kWatches ? ~uint32_t(i) >> 1 << 31 : 0;
    const uint32_t word = ((sum + blockIdx.x + 1) & 0x7fffffffu) | flag;
#pragma unroll 1
    for (int s = 0; s < (kWrites ? run.shares : 1); ++s) {
      // Not all blocks the same one at a time.
      uint32_t* to = kWrites
                         ? gpu::cluster_map(entry, (rank + s) % run.shares) + rank * run.block_words
                         : entry;
      for (int j = tid; j < run.block_words; j += kThreads) {
        if constexpr (kWatches)
          gpu::store_relaxed(to + j, word);
        else
          to[j] = word;
      }
    }
    if constexpr (!kWatches) gpu::cluster_sync();
    sum = 0;
    // The entry's vectors, which are blocks' pieces one after the other, among the threads in turn.
    const int vectors = (kWrites ? run.shares : 1) * run.block_words / 4;
#pragma unroll 1
    for (int s = 0; s < (kWrites ? 1 : run.shares); ++s) {
      const int owner = kWrites ? 0 : (rank + s) % run.shares;
      const uint32_t* from = kWrites ? entry : gpu::cluster_map(entry, owner);
      const int first = int(unsigned(tid - owner * vectors) % kThreads);
#pragma unroll 1
      for (int v0 = first; v0 < vectors; v0 += kDeep * kThreads) {
        Words w[kDeep];
#pragma unroll
        for (int j = 0; j < kDeep; ++j) {
          w[j] = Words{};
          if (v0 + j * kThreads >= vectors) continue;
          const Words* at = words_at(from, v0 + j * kThreads);
          if constexpr (kWatches)
            w[j] = gpu::load_relaxed(at);
          else
            w[j] = gpu::load_vec<4>(&(*at)[0]);
        }
#pragma unroll
        for (int j = 0; j < kDeep; ++j) {
          if constexpr (kWatches) {
            if (v0 + j * kThreads >= vectors) continue;
            while (((w[j][0] ^ flag) | (w[j][1] ^ flag) | (w[j][2] ^ flag) | (w[j][3] ^ flag)) >>
                   31)
              w[j] = gpu::poll_relaxed(words_at(from, v0 + j * kThreads));
          }
#pragma unroll
          for (int e = 0; e < 4; ++e) sum += w[j][e] & 0x7fffffffu;
        }
      }
    }
    // What a step does with the words needs all of them.
    gpu::sync_threads();
  }
  run.sums[blockIdx.x * kThreads + tid] = sum;
  gpu::cluster_sync();
}

GPU_KERNEL void fill_kernel(uint32_t* words, int64_t n, uint32_t value) {
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n;
       i += int64_t(gridDim.x) * kThreads)
    words[i] = value;
}

GPU_KERNEL void node_kernel(uint32_t* counter, bool early) {
  if (early) {
    gpu::wait_for_previous();
    gpu::let_next_start();
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) *counter += 1;
}

template <Load to>
GPU_KERNEL_BOUNDS(kThreads, 1)
void load_kernel(const uint32_t* data, uint32_t* sums) {
  constexpr int kVectors = kLoadWords / 4 / kThreads;
  GPU_DYN_SHARED(raw);
  uint32_t* kept = gpu::carve<uint32_t>(raw, to == Load::shared ? kLoadWords : 0);
  const uint32_t* from = data + int64_t(blockIdx.x) * kLoadWords;
  uint32_t x = 0;
  if constexpr (to == Load::registers) {
    Words held[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i)
      held[i] = gpu::load_relaxed(words_at(from, threadIdx.x + i * kThreads));
#pragma unroll
    for (int i = 0; i < kVectors; ++i) x ^= held[i][0] ^ held[i][1] ^ held[i][2] ^ held[i][3];
  }
  if constexpr (to == Load::shared) {
    for (int i = 0; i < kVectors; ++i)
      gpu::cp_async16(kept + (threadIdx.x + i * kThreads) * 4,
                      words_at(from, threadIdx.x + i * kThreads));
    gpu::cp_async_commit();
    gpu::cp_async_wait<0>();
    gpu::sync_threads();
#pragma unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const Words w = gpu::load_vec<4>(kept + (threadIdx.x + i * kThreads) * 4);
      x ^= w[0] ^ w[1] ^ w[2] ^ w[3];
    }
  }
  sums[blockIdx.x * kThreads + threadIdx.x] = x;
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void ingest_kernel(IngestRun run) {
  constexpr int kDeep = 8;
  const uint32_t* from = run.data + int64_t(blockIdx.x) * run.stride * 4;
  uint32_t x = 0;
#pragma unroll 1
  for (int round = 0; round < run.rounds; ++round) {
#pragma unroll 1
    for (int64_t v0 = threadIdx.x; v0 < run.vectors; v0 += kDeep * kThreads) {
      Words w[kDeep];
#pragma unroll
      for (int j = 0; j < kDeep; ++j) {
        w[j] = Words{};
        if (v0 + j * kThreads < run.vectors)
          w[j] = gpu::load_relaxed(words_at(from, v0 + j * kThreads));
      }
#pragma unroll
      for (int j = 0; j < kDeep; ++j) x ^= w[j][0] ^ w[j][1] ^ w[j][2] ^ w[j][3];
    }
    x = x << 1 | x >> 31;
  }
  run.sums[blockIdx.x * kThreads + threadIdx.x] = x;
}

GPU_KERNEL void chase_kernel(const uint32_t* data, uint32_t* last, int steps) {
  uint32_t at = 0;
  for (int i = 0; i < steps; ++i) at = gpu::load_relaxed(data + at);
  *last = at;
}

}  // namespace

namespace {

using ExchangeKernel = void (*)(ExchangeRun);

ExchangeKernel kernel_of(Exchange how) {
  switch (how) {
    case Exchange::grid_barrier:
      return exchange_kernel<Exchange::grid_barrier>;
    case Exchange::counter:
      return exchange_kernel<Exchange::counter>;
    case Exchange::watch_all:
      return exchange_kernel<Exchange::watch_all>;
    case Exchange::watch_one:
      return exchange_kernel<Exchange::watch_one>;
    case Exchange::cluster_read:
      return cluster_exchange_kernel<Exchange::cluster_read>;
    case Exchange::cluster_write:
      return cluster_exchange_kernel<Exchange::cluster_write>;
    case Exchange::cluster_watch:
      return cluster_exchange_kernel<Exchange::cluster_watch>;
  }
  return nullptr;
}

gpu::Launch launch_of(const ExchangeRun& run) {
  gpu::Launch shape = shape_of(run.groups * run.shares);
  shape.cooperative = !is_in_cluster(run.how);
  if (is_in_cluster(run.how)) {
    shape.cluster = unsigned(run.shares);
    const int kept = run.how == Exchange::cluster_read ? 1 : run.shares;
    shape.shared_bytes = gpu::carve_bytes<uint32_t>(size_t(2) * kept * run.block_words);
  }
  return shape;
}

}  // namespace

void run_exchange(CUstream_st* stream, const ExchangeRun& run) {
  gpu::launch(kernel_of(run.how), launch_of(run), stream, run);
}

int resident_groups(const ExchangeRun& run) {
  const int held = gpu::resident_clusters(kernel_of(run.how), launch_of(run));
  return is_in_cluster(run.how) ? held : held / run.shares;
}

void fill_words(CUstream_st* stream, uint32_t* words, int64_t n, uint32_t value) {
  const int64_t useful = (n + kThreads - 1) / kThreads;
  gpu::launch(fill_kernel, shape_of(int(useful < 1024 ? useful : 1024)), stream, words, n, value);
}

void run_node(CUstream_st* stream, uint32_t* counter, int blocks, bool early) {
  gpu::Launch shape = shape_of(blocks);
  shape.early_start = early;
  gpu::launch(node_kernel, shape, stream, counter, early);
}

void run_load(CUstream_st* stream, const uint32_t* data, uint32_t* sums, Load to, int blocks) {
  gpu::Launch shape = shape_of(blocks, size_t(kLoadWords) * 4);
  shape.cooperative = true;
  switch (to) {
    case Load::nothing:
      return gpu::launch(load_kernel<Load::nothing>, shape, stream, data, sums);
    case Load::registers:
      return gpu::launch(load_kernel<Load::registers>, shape, stream, data, sums);
    case Load::shared:
      return gpu::launch(load_kernel<Load::shared>, shape, stream, data, sums);
  }
}

void run_ingest(CUstream_st* stream, const IngestRun& run) {
  gpu::launch(ingest_kernel, shape_of(run.blocks), stream, run);
}

void run_chase(CUstream_st* stream, const uint32_t* data, uint32_t* last, int steps) {
  gpu::Launch shape;
  gpu::launch(chase_kernel, shape, stream, data, last, steps);
}

}  // namespace unroll::bench

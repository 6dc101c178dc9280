// Kernels that measure what the models of kernels/recurrent (planner.h, persistent_plan.h) take for
// given: how long blocks take to learn of each other's numbers, and how fast one multiprocessor and
// all of them load, multiply and sum. Each computes something that a test can check. CUDA only; all
// pointers are device memory.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace unroll::bench {

inline constexpr int kConstantsThreads = 256, kConstantsWarps = kConstantsThreads / 32;

// How the blocks of a group learn of each other's words.
enum class Exchange {
  grid_barrier,  // the cooperative grid's own barrier, then loads
  counter,       // gpu::GridBarrier, then loads
  watch_all,     // the words are the flag, and every one is loaded until it has come
  watch_one,     // the same, one word of a warp is watched: what the persistent schedule does
  // A group is a cluster, its words lie in shared memory, and the cluster's barrier is in between:
  cluster_read,   // each block keeps its words, and the others read them there
  cluster_write,  // each block writes its words to all others
  // Or none is: each block writes its words to all others, and the highest bit is the flag.
  cluster_watch
};
inline bool is_in_cluster(Exchange how) { return how >= Exchange::cluster_read; }

// `steps` times, each of groups * shares blocks publishes block_words words and then reads all words of
// its group. With S_j(i) the sum, modulo 2^32, that thread j of a block makes of the words it reads
// in step i, 16 bytes in turn for each thread,
//   word j of block b in step i = (S_{j mod 256}(i-1) + b + 1) mod 2^31,    S(-1) = 0
struct ExchangeRun {
  Exchange how;
  uint32_t* words;  // [steps,groups,shares*block_words]; filled with 0xff where words are the flag
  uint32_t* counter;  // 0; neither is used in clusters
  uint32_t* sums;     // [blocks,256], out: S of the last step
  int steps, groups, shares;
  int block_words;  // of a block in a step, a multiple of 4
};
void run_exchange(CUstream_st* stream, const ExchangeRun& run);
// How many groups of it the device holds at once.
int resident_groups(const ExchangeRun& run);
void fill_words(CUstream_st* stream, uint32_t* words, int64_t n, uint32_t value);

// Products as a step of the persistent schedule does them: 8 warps a block, each with 4 blocks of K
// for 4 tiles of 16 rows, times n_tiles tiles of 8 lanes.
struct MathRun {
  bool tf32, in_shared;  // the matrix in shared memory, not in registers
  int n_tiles;           // 1 to 3
  const uint32_t* a;     // [8,4,4,2,32,4] warp, block of K, tile of rows, half, lane, word
  const uint32_t* b;     // [8,4,n_tiles,32,4]
  float* d;              // [8,4,n_tiles,32,4], out: of the first block of the grid
  int rounds, blocks;
};
void run_math(CUstream_st* stream, const MathRun& run);
// mma instructions of one block in one round.
inline int64_t mma_of_block(const MathRun& run) {
  return int64_t(kConstantsWarps) * 4 * 4 * 2 * run.n_tiles;
}

// `rounds` sums over 8 warps of 4 * n_tiles fragments, through shared memory, with their barriers.
// total[256]: what every thread has added up, 28 for each number.
void run_reduce(CUstream_st* stream, float* total, int n_tiles, int rounds, int blocks);
inline int64_t reduce_bytes(int n_tiles) { return int64_t(2) * 4 * n_tiles * 8 * 32 * 16; }

// Adds 1 to *counter in a kernel of `blocks` blocks; with `early`, one that may start before the
// kernel ahead of it has ended.
void run_node(CUstream_st* stream, uint32_t* counter, int blocks, bool early);

// A cooperative launch whose blocks each load 2^15 words (128 KB) of data, their own piece of it, to
// registers or to shared memory, or nothing. sums[blocks,256]: thread j's are words of 16 bytes in
// turn, xored.
enum class Load { nothing, registers, shared };
void run_load(CUstream_st* stream, const uint32_t* data, uint32_t* sums, Load to, int blocks);
inline constexpr int kLoadWords = 1 << 15;

// Every block reads `vectors` words of 16 bytes, from 16 * stride * block on, `rounds` times, past
// the first cache. sums[blocks,256]: thread j's xored, of all rounds.
struct IngestRun {
  const uint32_t* data;
  uint32_t* sums;
  int64_t vectors, stride;
  int rounds, blocks;
};
void run_ingest(CUstream_st* stream, const IngestRun& run);
// Reads of shared memory, 16 bytes a thread: blocks of 64 KB, `rounds` times. sums[256]: as above,
// of words 0, 1, 2, ...
void run_shared(CUstream_st* stream, uint32_t* sums, int rounds, int blocks);
inline constexpr int kSharedWords = 1 << 14;

// One thread. next = data[next], `steps` times, past the first cache.
void run_chase(CUstream_st* stream, const uint32_t* data, uint32_t* last, int steps);
// y[32], in one warp: 64 * rounds times y = y / 2 + 1, each multiply-add 4 clocks after the one
// before it (issue latency on compute capability 8.0 to 9.0).
void run_clock(CUstream_st* stream, float* y, int rounds);

}  // namespace unroll::bench

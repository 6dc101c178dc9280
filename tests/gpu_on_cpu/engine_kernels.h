// Kernels for the engine's own tests; see engine_kernels.cu.
#pragma once

#include <cstdint>

namespace unroll::gpu_on_cpu {

// y[0..3] of every thread: warp sum, warp max, block sum, block max, for f32 and f64.
void launch_reduce(const float* x, float* y, int blocks, int threads);
void launch_reduce(const double* x, double* y, int blocks, int threads);
// y = 2 x, rows of `columns` numbers `ld` apart, by packs where the alignment allows; returns the
// width.
// A counter through every barrier of the grid; y[block] = number of blocks seen at each of `steps`.
void launch_grid_barriers(uint32_t* counts, uint32_t* arrived, uint32_t* y, int blocks, int steps);
// `rounds` times, in 8 x 2 blocks in clusters along x, each with n numbers of x, n a multiple of 4:
//   y[round][block] = sum over the ranks r of its cluster of (round + r + 1) x[round][block r] + rank
void launch_cluster_sums(const float* x, float* y, int n, int cluster, int rounds,
                         bool cooperative);
// y[block] = the numbers of the blocks of its cluster up to itself, added from block to block.
void launch_cluster_ring(float* y, int blocks, int cluster);
// x[block] = block + 1; y = their sum, of 40 threads a block, by way of one block of each cluster.
void launch_cluster_relay(float* x, uint32_t* told, float* y, int blocks, int cluster);
int resident_clusters_of(int threads, uint64_t shared_bytes, int cluster);
// Which thread came first, second, ... : order[position] = thread.
void launch_order(uint32_t* position, uint32_t* order, int blocks, int threads);
// Takes two pieces of `n` floats and writes `extra` past the first.
void launch_carve(float* y, int n, int extra, uint64_t shared_bytes);
// A barrier whose line is *line, needed for y[i] = i + 1.
void launch_one_barrier(float* y, int* line);
void launch_copy(const float* x, float* y, int n);
void launch_empty(unsigned blocks, unsigned threads, uint64_t shared_bytes, bool cooperative,
                  unsigned cluster = 1);

}  // namespace unroll::gpu_on_cpu

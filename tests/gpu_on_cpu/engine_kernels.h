// Kernels for the engine's own tests; see engine_kernels.cu.
#pragma once

#include <cstdint>

namespace unroll::gpu_on_cpu {

// y[0..3] of every thread: warp sum, warp max, block sum, block max, for f32 and f64.
void launch_reduce(const float* x, float* y, int blocks, int threads);
void launch_reduce(const double* x, double* y, int blocks, int threads);
// y = 2 x, rows of `columns` numbers `ld` apart, by packs where the alignment allows; returns the
// width.
int launch_double_rows(const float* x, float* y, int rows, int columns, int ld);
// A counter through every barrier of the grid; y[block] = number of blocks seen at each of `steps`.
void launch_grid_barriers(uint32_t* counts, uint32_t* arrived, uint32_t* y, int blocks, int steps);
// Which thread came first, second, ... : order[position] = thread.
void launch_order(uint32_t* position, uint32_t* order, int blocks, int threads);
// Takes two pieces of `n` floats and writes `extra` past the first.
void launch_carve(float* y, int n, int extra, uint64_t shared_bytes);
// A barrier whose line is *line, needed for y[i] = i + 1.
void launch_one_barrier(float* y, int* line);
void launch_copy(const float* x, float* y, int n);
void launch_empty(unsigned blocks, unsigned threads, uint64_t shared_bytes, bool cooperative);

}  // namespace unroll::gpu_on_cpu

// What both passes of the persistent schedule do on the host: plan, lay out, launch.
#pragma once

#include "kernels/recurrent/persistent_exchange.cuh"

namespace unroll::cuda {

// What the blocks are told of a pass over h [T+1,B,H], [B,H] of which are as in `task`. Throws an
// Error if the scratch is too small.
PersistentLayout persistent_layout(const PersistentPlan& plan, const PersistentTask& task,
                                   int64_t T, bool reverse, const View1& lengths,
                                   int64_t first_step, const Scratch& scratch);
// Fills the exchanges of one or two passes with sentinels and clears their reports; part of every
// launch sequence, so that a graph may be replayed.
void fill_exchanges(const Exec& exec, const PersistentLayout (&l)[2], int passes);
// Throws a usage Error if there is no plan for each of `passes` passes at once whose blocks can all
// be resident.
PersistentPlan require_plan(const Exec& exec, const PersistentTask& task, int passes = 1);

inline gpu::Launch persistent_launch(const PersistentPlan& plan, int passes) {
  gpu::Launch shape;
  shape.grid.x = unsigned(plan.blocks * passes);
  shape.block.x = kThreads;
  shape.shared_bytes = plan.shared_bytes;
  shape.cooperative = true;
  shape.cluster = unsigned(plan.cluster);
  return shape;
}

// How many of all the blocks of that many passes the device holds at once.
int64_t persistent_forward_fit(const PersistentTask& task, const PersistentPlan& plan, int passes);
int64_t persistent_backward_fit(const PersistentTask& task, const PersistentPlan& plan, int passes);

// Calls body(cell, product, Tiles<N>{}) for the kernel of a task and plan.
template <int N>
struct Tiles {
  static constexpr int value = N;
};
template <class Body>
void with_kernel(const PersistentTask& task, int n_tiles, Body&& body) {
  with_cell(task.cell, [&](auto cell) {
    if (task.act == DType::bf16) {
      if (n_tiles == 1) return body(cell, Bf16Product{}, Tiles<1>{});
      if (n_tiles == 2) return body(cell, Bf16Product{}, Tiles<2>{});
      return body(cell, Bf16Product{}, Tiles<3>{});
    }
    if (task.matmul == MatmulMode::tf32)
      return n_tiles == 1 ? body(cell, Tf32Product{}, Tiles<1>{})
                          : body(cell, Tf32Product{}, Tiles<3>{});
    return n_tiles == 1 ? body(cell, F32Product{}, Tiles<1>{})
                        : body(cell, F32Product{}, Tiles<3>{});
  });
}

// Kernels: a pass's kernel by cell, product and tiles, and Pass<E>, what one block is told.
template <class Kernels>
int64_t blocks_that_fit(const PersistentTask& task, const PersistentPlan& plan, int passes) {
  int64_t clusters = 0;
  with_kernel(task, plan.n_tiles, [&](auto c, auto p, auto n) {
    clusters =
        gpu::resident_clusters(Kernels::template of<decltype(c), decltype(p), decltype(n)::value>(),
                               persistent_launch(plan, passes));
  });
  return clusters * plan.cluster;
}

// Runs first, and second beside it unless that is null: pass_of(E{}, args, layout) is what the
// kernel is told of one of them.
template <class Kernels, class Args, class PassOf>
void launch_passes(const Exec& exec, const PersistentTask& task, const PersistentPlan& plan,
                   const Args& first, const Args* second, const PassOf& pass_of) {
  const auto layout = [&](const Args& a) {
    return persistent_layout(plan, task, a.h.n[0] - 1, a.reverse, a.lengths, a.first_step,
                             a.scratch);
  };
  const int count = second ? 2 : 1;
  const PersistentLayout l[2] = {layout(first), layout(second ? *second : first)};
  fill_exchanges(exec, l, count);
  with_kernel(task, plan.n_tiles, [&](auto c, auto p, auto n) {
    using P = decltype(p);
    using E = typename P::Element;
    Passes<typename Kernels::template Pass<E>> passes = {};
    passes.of[0] = pass_of(E{}, first, l[0]);
    if (second) passes.of[1] = pass_of(E{}, *second, l[1]);
    gpu::launch(Kernels::template of<decltype(c), P, decltype(n)::value>(),
                persistent_launch(plan, count), exec.stream, passes);
  });
}

}  // namespace unroll::cuda

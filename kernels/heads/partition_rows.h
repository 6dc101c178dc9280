// Rows of a chunk sorted by the range of words that holds their target: what every output layer in
// levels begins with.
//
//   group[n]  g with bounds[g] <= target[n] < bounds[g+1]; -1 where the target is negative
//   order     rows by group, those of one group by rising n, rows without a group last
//   start[g]  first place of group g in `order`; start[G]: number of rows that are in a group
//
// All sizes stay on the device: nothing is read back, and a captured graph holds for any targets.
// Whoever works on one group takes C of its rows by take_group, C at least their number; the host
// knows the targets before the device does, and so such a C. Grave, Joulin, Cisse, Grangier &
// Jegou 2017 ("Efficient softmax approximation for GPUs"), section 4, is what it is for.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct PartitionRows {
  View1 group;      // [N]    i32; out
  View1 order;      // [N]    i32; out
  View1 start;      // [G+1]  i32; out
  View1 target;     // [N]    i32; below bounds[G]
  View1 bounds;     // [G+1]  i32; from 0, not falling
  Scratch scratch;  // partition_rows_scratch_bytes
};
void partition_rows(const Exec& exec, const PartitionRows& args);
size_t partition_rows_scratch_bytes(const Exec& exec, int N);

// The rows of one group, in C places; places beyond the group's end hold -1, -1 and 0.
struct TakeGroup {
  View1 rows;           // [C]    i32; out: order[start[g] + c]
  View1 local;          // [C]    i32; out: target - bounds[g]
  View1 weight{};       // [C]    acc; out: dloss of the row; with dloss or not at all
  View1 order, target;  // [N]  i32
  View1 start, bounds;  // [G+1]  i32
  View1 dloss{};        // [N]  acc
  int64_t group = 0;
};
void take_group(const Exec& exec, const TakeGroup& args);

// Targets of a first level whose classes are the words of group 0, then one per further group:
// to[n] = target[n] in group 0, bounds[1] + group[n] - 1 otherwise, -1 where target[n] is negative.
struct ShortlistTargets {
  View1 to;             // [N]    i32; out
  View1 target, group;  // [N]    i32
  View1 bounds;         // [G+1]  i32
};
void shortlist_targets(const Exec& exec, const ShortlistTargets& args);

// y[rows[c]] += x[c] for rows[c] >= 0. A row occurs once at most, so the order does not matter.
struct AddToRows {
  View2 y;     // [N,D]  f32, f64, bf16
  View2 x;     // [C,D]  same type
  View1 rows;  // [C]    i32
  View1
      start{};  // [G+1]  i32; if given, y[rows[0]] becomes NaN where `group` has more than C rows:
                //        a loss that lacks terms must not pass for one
  int64_t group = 0;
};
void add_to_rows(const Exec& exec, const AddToRows& args);

namespace cpu {
void partition_rows(const Exec& exec, const PartitionRows& args);
void take_group(const Exec& exec, const TakeGroup& args);
void shortlist_targets(const Exec& exec, const ShortlistTargets& args);
void add_to_rows(const Exec& exec, const AddToRows& args);
}  // namespace cpu
namespace cuda {
void partition_rows(const Exec& exec, const PartitionRows& args);
void take_group(const Exec& exec, const TakeGroup& args);
void shortlist_targets(const Exec& exec, const ShortlistTargets& args);
void add_to_rows(const Exec& exec, const AddToRows& args);
}  // namespace cuda

}  // namespace unroll

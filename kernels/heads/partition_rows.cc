// Shape checks, dispatch and scratch size of the partition by groups.
#include "kernels/heads/partition_rows.h"

#include "kernels/base/device_algorithms.h"
#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void partition_rows(const Exec& exec, const PartitionRows& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "partition_rows";
  const int64_t N = args.target.n[0], G = args.bounds.n[0] - 1;
  UNROLL_CHECK(G >= 1, "partition_rows: bounds is " + shape_text(args.bounds) +
                           ", expected [G+1] with at least one group");
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "bounds", args.bounds, "[G+1]", {G + 1}, DType::i32);
  check_shape(op, "group", args.group, "[N]", {N}, DType::i32);
  check_shape(op, "order", args.order, "[N]", {N}, DType::i32);
  check_shape(op, "start", args.start, "[G+1]", {G + 1}, DType::i32);
  const size_t needed = partition_rows_scratch_bytes(exec, int(N));
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "partition_rows: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, partition_rows_scratch_bytes asks for " + std::to_string(needed));
  dispatch<cpu::partition_rows, cuda::partition_rows>(exec, args);
}

size_t partition_rows_scratch_bytes(const Exec& exec, int N) {
  return size_t(N) * 3 * sizeof(uint32_t) + 256 + sort_pairs_scratch_bytes(exec, N);
}

void take_group(const Exec& exec, const TakeGroup& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "take_group";
  const int64_t C = args.rows.n[0], N = args.order.n[0], G = args.bounds.n[0] - 1;
  check_shape(op, "rows", args.rows, "[C]", {C}, DType::i32);
  check_shape(op, "local", args.local, "[C]", {C}, DType::i32);
  check_shape(op, "order", args.order, "[N]", {N}, DType::i32);
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "bounds", args.bounds, "[G+1]", {G + 1}, DType::i32);
  check_shape(op, "start", args.start, "[G+1]", {G + 1}, DType::i32);
  if (args.dloss) {
    check_shape(op, "dloss", args.dloss, "[N]", {N}, accumulate_type(args.dloss.dtype));
    check_shape(op, "weight", args.weight, "[C]", {C}, args.dloss.dtype);
  }
  UNROLL_CHECK(args.group >= 0 && args.group < G,
               "take_group: group " + std::to_string(args.group) + " of " + std::to_string(G));
  if (C > 0) dispatch<cpu::take_group, cuda::take_group>(exec, args);
}

void shortlist_targets(const Exec& exec, const ShortlistTargets& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "shortlist_targets";
  const int64_t N = args.target.n[0], G = args.bounds.n[0] - 1;
  check_shape(op, "to", args.to, "[N]", {N}, DType::i32);
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "group", args.group, "[N]", {N}, DType::i32);
  check_shape(op, "bounds", args.bounds, "[G+1]", {G + 1}, DType::i32);
  if (N > 0) dispatch<cpu::shortlist_targets, cuda::shortlist_targets>(exec, args);
}

void add_to_rows(const Exec& exec, const AddToRows& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "add_to_rows";
  const int64_t C = args.x.n[0], N = args.y.n[0], D = args.y.n[1];
  check_shape(op, "y", args.y, "[N,D]", {N, D}, args.y.dtype);
  check_shape(op, "x", args.x, "[C,D]", {C, D}, args.y.dtype);
  check_shape(op, "rows", args.rows, "[C]", {C}, DType::i32);
  if (args.start) {
    check_shape(op, "start", args.start, "[G+1]", {args.start.n[0]}, DType::i32);
    UNROLL_CHECK(args.group >= 0 && args.group + 1 < args.start.n[0],
                 "add_to_rows: group " + std::to_string(args.group) + " of " +
                     std::to_string(args.start.n[0] - 1));
  }
  if (C > 0 && D > 0) dispatch<cpu::add_to_rows, cuda::add_to_rows>(exec, args);
}

}  // namespace unroll

// CPU bodies of the partition by groups: one counting sort.
#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/base/cpu_dtype.h"
#include "kernels/heads/partition_rows.h"

namespace unroll::cpu {

void partition_rows(const Exec&, const PartitionRows& args) {
  const int64_t N = args.target.n[0], G = args.bounds.n[0] - 1;
  const int32_t* target = args.target.as<int32_t>().data;
  const int32_t* bounds = args.bounds.as<int32_t>().data;
  int32_t* group = args.group.as<int32_t>().data;
  int32_t* order = args.order.as<int32_t>().data;
  int32_t* start = args.start.as<int32_t>().data;
  std::fill_n(start, G + 1, 0);
  for (int64_t n = 0; n < N; ++n) {
    group[n] = target[n] < 0
                   ? -1
                   : int32_t(std::upper_bound(bounds, bounds + G + 1, target[n]) - bounds) - 1;
    if (group[n] >= 0) ++start[group[n]];
  }
  int32_t sum = 0;
  for (int64_t g = 0; g < G; ++g) sum += std::exchange(start[g], sum);
  start[G] = sum;
  // start[g] is where the next row of group g goes, and at the end where group g+1 begins.
  for (int64_t n = 0; n < N; ++n) order[group[n] < 0 ? start[G]++ : start[group[n]]++] = int32_t(n);
  std::copy_backward(start, start + G, start + G + 1);
  start[0] = 0;
}

void take_group(const Exec&, const TakeGroup& args) {
  const int32_t* start = args.start.as<int32_t>().data + args.group;
  const int32_t* order = args.order.as<int32_t>().data + start[0];
  const int32_t* target = args.target.as<int32_t>().data;
  const int32_t bound = args.bounds.as<int32_t>()(args.group);
  const auto rows = args.rows.as<int32_t>(), local = args.local.as<int32_t>();
  const int64_t C = rows.n[0], count = std::min<int64_t>(C, start[1] - start[0]);
  for (int64_t c = 0; c < C; ++c) {
    rows(c) = c < count ? order[c] : -1;
    local(c) = c < count ? target[order[c]] - bound : -1;
  }
  if (args.dloss)
    with_real("take_group", args.dloss.dtype, [&](auto zero) {
      using T = decltype(zero);
      const auto weight = args.weight.as<T>(), dloss = args.dloss.as<T>();
      for (int64_t c = 0; c < C; ++c) weight(c) = c < count ? dloss(order[c]) : T(0);
    });
}

void shortlist_targets(const Exec&, const ShortlistTargets& args) {
  const auto to = args.to.as<int32_t>(), target = args.target.as<int32_t>(),
             group = args.group.as<int32_t>();
  const int32_t shortlist = args.bounds.as<int32_t>()(1);
  for (int64_t n = 0; n < to.n[0]; ++n)
    to(n) = group(n) <= 0 ? target(n) : shortlist + group(n) - 1;
}

void add_to_rows(const Exec& exec, const AddToRows& args) {
  with_real("add_to_rows", args.y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto y = args.y.as<T>(), x = args.x.as<T>();
    const auto rows = args.rows.as<int32_t>();
    const int64_t C = x.n[0], D = x.n[1];
#pragma omp parallel for num_threads(exec.threads) if (C * D > 1 << 14)
    for (int64_t c = 0; c < C; ++c)
      if (rows(c) >= 0)
        for (int64_t d = 0; d < D; ++d) y(rows(c), d) += x(c, d);
    if (!args.start) return;
    const int32_t* start = args.start.as<int32_t>().data + args.group;
    if (start[1] - start[0] > C) y(rows(0), 0) = std::numeric_limits<T>::quiet_NaN();
  });
}

}  // namespace unroll::cpu

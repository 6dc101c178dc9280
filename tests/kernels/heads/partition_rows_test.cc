// partition_rows.h: groups, order and starts against a plain sort; rows of one group with too much
// and too little room; first-level targets; sums into rows.
#include "kernels/heads/partition_rows.h"

#include <numeric>

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using Values = std::vector<double>;

class PartitionRowsTest : public OnTargets {
 protected:
  struct Parts {
    Values group, order, start;
  };
  Parts partition(const Values& target, const Values& bounds) {
    const int64_t N = int64_t(target.size()), G = int64_t(bounds.size()) - 1;
    Array<1> t(backend(), DType::i32, {N}), b(backend(), DType::i32, {G + 1}),
        group(backend(), DType::i32, {N}, 3), order(backend(), DType::i32, {N}, 3),
        start(backend(), DType::i32, {G + 1}, 3);
    t.fill(target);
    b.fill(bounds);
    const size_t bytes = partition_rows_scratch_bytes(exec(), int(N));
    EXPECT_EQ(bytes, partition_rows_scratch_bytes(backend().measuring(), int(N)));
    Array<1> scratch(backend(), DType::u8, {int64_t(bytes)}, 64);
    partition_rows(exec(), {.group = group,
                            .order = order,
                            .start = start,
                            .target = t,
                            .bounds = b,
                            .scratch = {scratch.view.data, bytes}});
    synchronize();
    EXPECT_TRUE(group.padding_untouched() && order.padding_untouched() &&
                start.padding_untouched() && scratch.padding_untouched());
    return {group.read(), order.read(), start.read()};
  }
};

TEST_P(PartitionRowsTest, EqualsAStableSort) {
  const Values bounds = {0, 3, 3, 10, 17, 101};  // one group is empty
  for (const int64_t N : {0, 1, 7, 33, 700}) {
    Values target = random_ids(N, 101, unsigned(N) + 1);
    for (size_t n = 1; n < target.size(); n += 4) target[n] = -1;
    if (N == 33) target.assign(33, 12);  // everything in one group
    if (N == 7) target.assign(7, -1);    // nothing in any
    Values group(target.size()), order(target.size()), start;
    for (size_t n = 0; n < target.size(); ++n) {
      group[n] = -1;
      for (size_t g = 0; g + 1 < bounds.size(); ++g)
        if (target[n] >= bounds[g] && target[n] < bounds[g + 1]) group[n] = double(g);
    }
    std::iota(order.begin(), order.end(), 0.0);
    const auto key = [&](double n) { return group[size_t(n)] < 0 ? 99 : group[size_t(n)]; };
    std::stable_sort(order.begin(), order.end(),
                     [&](double a, double b) { return key(a) < key(b); });
    for (size_t g = 0; g < bounds.size(); ++g)
      start.push_back(double(std::count_if(group.begin(), group.end(),
                                           [&](double x) { return x >= 0 && x < double(g); })));
    const Parts got = partition(target, bounds);
    EXPECT_EQ(got.group, group) << N;
    EXPECT_EQ(got.order, order) << N;
    EXPECT_EQ(got.start, start) << N;
  }
}

TEST_P(PartitionRowsTest, GivesTheRowsOfAGroupAndTakesTheirSums) {
  const Values bounds = {0, 4, 9, 20}, target = {5, 1, -1, 19, 8, 0, 4, 12, 3};
  const int64_t N = int64_t(target.size()), D = 5;
  const Parts parts = partition(target, bounds);
  Array<1> t(backend(), DType::i32, {N}), b(backend(), DType::i32, {4}),
      group(backend(), DType::i32, {N}), order(backend(), DType::i32, {N}),
      start(backend(), DType::i32, {4}), first(backend(), DType::i32, {N}, 2),
      dloss(backend(), acc(), {N});
  t.fill(target);
  b.fill(bounds);
  group.fill(parts.group);
  order.fill(parts.order);
  start.fill(parts.start);
  const Values weights = random_values(N, acc(), 3);
  dloss.fill(weights);
  shortlist_targets(exec(), {.to = first, .target = t, .group = group, .bounds = b});
  synchronize();
  EXPECT_EQ(first.read(), (Values{4, 1, -1, 5, 4, 0, 4, 5, 3}));
  EXPECT_TRUE(first.padding_untouched());

  const Values in_group = {0, 4, 6};
  for (const int64_t C : {3, 8, 2, 1}) {
    Array<1> rows(backend(), DType::i32, {C}, 2), local(backend(), DType::i32, {C}, 2),
        weight(backend(), acc(), {C}, 2);
    take_group(exec(), {.rows = rows,
                        .local = local,
                        .weight = weight,
                        .order = order,
                        .target = t,
                        .start = start,
                        .bounds = b,
                        .dloss = dloss,
                        .group = 1});
    Array<2> y(backend(), act(), {N, D}, 3), x(backend(), act(), {C, D}, 1);
    const Values old = random_values(N * D, act(), 5), terms = random_values(C * D, act(), 6);
    y.fill(old);
    x.fill(terms);
    add_to_rows(exec(), {.y = y, .x = x, .rows = rows});
    Array<2> loss(backend(), acc(), {N, 1}), part(backend(), acc(), {C, 1});
    loss.fill(1.0);
    part.fill(2.0);
    add_to_rows(exec(), {.y = loss, .x = part, .rows = rows, .start = start, .group = 1});
    synchronize();
    Values sum = old;
    const Values r = rows.read(), l = local.read(), w = weight.read(), total = loss.read();
    for (int64_t c = 0; c < C; ++c) {
      const bool there = c < 3;
      const size_t n = there ? size_t(in_group[size_t(c)]) : 0;
      EXPECT_EQ(r[size_t(c)], there ? double(n) : -1);
      EXPECT_EQ(l[size_t(c)], there ? target[n] - 4 : -1);
      EXPECT_EQ(w[size_t(c)], there ? weights[n] : 0);
      if (there)
        for (int64_t d = 0; d < D; ++d) sum[n * D + size_t(d)] += terms[size_t(c * D + d)];
    }
    expect_close(y.read(), sum, tolerance(GetParam()), "y");
    for (size_t n = 0; n < size_t(N); ++n)
      if (n == 0 && C < 3)
        EXPECT_TRUE(std::isnan(total[n])) << "a loss lacks terms";
      else
        EXPECT_EQ(total[n], std::count(r.begin(), r.end(), double(n)) ? 3 : 1);
    EXPECT_TRUE(rows.padding_untouched() && local.padding_untouched() &&
                weight.padding_untouched() && y.padding_untouched());
  }
}

TEST_P(PartitionRowsTest, RefusesBadArguments) {
  Array<1> t(backend(), DType::i32, {5}), b(backend(), DType::i32, {3});
  EXPECT_THROW(
      partition_rows(exec(),
                     {.group = t, .order = t, .start = b, .target = t, .bounds = b, .scratch = {}}),
      Error);
  EXPECT_THROW(
      take_group(
          exec(),
          {.rows = t, .local = t, .order = t, .target = t, .start = b, .bounds = b, .group = 2}),
      Error);
}

UNROLL_ON_TARGETS(PartitionRowsTest);

}  // namespace
}  // namespace unroll::test

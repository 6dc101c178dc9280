#include "host/ops/adaptive_softmax.h"

#include <algorithm>

#include "host/ops/taken_gradient.h"
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/embedding/embedding.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/class_xent.h"
#include "kernels/heads/linear_softmax_xent.h"
#include "kernels/heads/partition_rows.h"

namespace unroll {
namespace {

// One softmax of the two levels: its weights and where their gradients go.
struct Level {
  View2 W;
  View1 b{};
  GradientSink<2> dW{};
  GradientSink<1> db{};
  Level rows(int64_t first, int64_t count) const {
    Level part = *this;
    part.W = W.slice(first, count);
    if (b) part.b = b.slice(first, count);
    if (dW.view) part.dW.view = dW.view.slice(first, count);
    if (db.view) part.db.view = db.view.slice(first, count);
    return part;
  }
};

Level level_of(Tape& tape, Param W, Param b) {
  Level level{tape.params().weight(W), tape.params().vector(b)};
  if (!tape.mode().record) return level;
  level.dW = tape.gradient_sink(W);
  level.db = tape.vector_gradient_sink(b);
  return level;
}

// A vector as a matrix of one row, and of one column.
View2 row_of(const View1& v) { return view_of(v.data, v.dtype, int64_t(1), v.n[0]); }
View2 column_of(const View1& v) { return view_of(v.data, v.dtype, v.n[0], int64_t(1)); }

struct Rows {
  View2 x;
  View1 target, weight{}, loss;
  View2 dx{};
};

// `most`: the most rows the scratch has to be made for.
void softmax(Tape& tape, const Level& level, const Rows& rows, int64_t most, size_t logits_bytes) {
  const bool record = tape.mode().record;
  LinearSoftmaxXent args{
      .loss = rows.loss, .x = rows.x, .W = level.W, .b = level.b, .target = rows.target};
  if (record) {
    args.dx = rows.dx;
    args.dW = level.dW.view;
    args.to_dW = level.dW.mode;
    args.db = level.db.view;
    args.to_db = level.db.mode;
    args.dloss = rows.weight;
  }
  Tensor holder;
  args.scratch = tape.logits_scratch(
      holder, linear_softmax_xent_scratch_bytes(tape.exec(), tape.act(), most, rows.x.n[1],
                                                level.W.n[0], record, logits_bytes));
  if (record || rows.x.n[0] > 0) linear_softmax_xent(tape.exec(), args);
}

// The first level of a tied head: the shortlist's rows of E and the clusters' own, in one matrix.
struct Joined {
  Tensor W, b, dW, db;
};
Joined join(Tape& tape, const AdaptiveHead& head, bool record, Level* level) {
  const Level words = *level;
  const int64_t c0 = head.bounds[1], C = head.C(), D = words.W.n[1];
  Joined joined;
  joined.W = tape.tensor(tape.act(), {c0 + C, D});
  joined.b = tape.tensor(tape.acc(), {c0 + C});
  const View2 W = joined.W.matrix();
  const View1 b = joined.b.view<1>();
  const auto copy = [&](const View2& to, const View2& from) {
    add_scaled(tape.exec(), {.y = to, .x = from});
  };
  copy(W.slice(0, c0), words.W.slice(0, c0));
  copy(W.slice(c0, C), tape.params().weight(head.K));
  copy(row_of(b.slice(0, c0)), row_of(words.b.slice(0, c0)));
  copy(row_of(b.slice(c0, C)), row_of(tape.params().vector(head.k)));
  *level = {W, b};
  if (!record) return joined;
  joined.dW = tape.tensor(tape.acc(), {c0 + C, D});
  joined.db = tape.tensor(tape.acc(), {c0 + C});
  level->dW = {joined.dW.matrix(), Accumulate::overwrite};
  level->db = {joined.db.view<1>(), Accumulate::overwrite};
  return joined;
}

// The gradient of the joined matrix, back to where its rows came from.
void part(Tape& tape, const AdaptiveHead& head, const Joined& joined, const Level& words) {
  const int64_t c0 = head.bounds[1], C = head.C();
  const GradientSink<2> dK = tape.gradient_sink(head.K);
  const GradientSink<1> dk = tape.vector_gradient_sink(head.k);
  const View2 dW = joined.dW.matrix();
  const View1 db = joined.db.view<1>();
  const auto give = [&](const View2& to, Accumulate mode, const View2& from) {
    add_scaled(tape.exec(), {.y = to, .x = from, .to_y = mode});
  };
  give(words.dW.view.slice(0, c0), words.dW.mode, dW.slice(0, c0));
  give(row_of(words.db.view.slice(0, c0)), words.db.mode, row_of(db.slice(0, c0)));
  give(dK.view, dK.mode, dW.slice(c0, C));
  give(row_of(dk.view), dk.mode, row_of(db.slice(c0, C)));
}

struct Partition {
  Tensor group, order, start;
};
Partition partition(Tape& tape, const View1& target, const View1& bounds) {
  const int64_t N = target.n[0];
  Partition p{tape.tensor(DType::i32, {N}), tape.tensor(DType::i32, {N}),
              tape.tensor(DType::i32, {bounds.n[0]})};
  Tensor holder;
  const Scratch scratch = tape.scratch(holder, partition_rows_scratch_bytes(tape.exec(), int(N)));
  partition_rows(tape.exec(), {.group = p.group.view<1>(),
                               .order = p.order.view<1>(),
                               .start = p.start.view<1>(),
                               .target = target,
                               .bounds = bounds,
                               .scratch = scratch});
  return p;
}

// What the clusters share.
struct Whole {
  View2 x, dx;
  View1 target, weight, nll, bounds;
  size_t logits_bytes;
};

// Cluster i: its rows brought together, their softmax, and its share of loss and dx.
void cluster(Tape& tape, const AdaptiveHead& head, int64_t i, const Level& words,
             const Partition& p, const Whole& whole, int64_t room) {
  const Exec& exec = tape.exec();
  const bool record = tape.mode().record;
  const int64_t D = whole.x.n[1], group = i + 1;
  const View1 start = p.start.view<1>();
  int64_t count = room;
  if (exec.kind == DeviceKind::cpu) {
    const auto at = start.as<int32_t>();
    count = std::min<int64_t>(room, at(group + 1) - at(group));
  }
  const auto vector = [&](DType dtype) { return tape.tensor(dtype, {room}); };
  const Tensor rows = vector(DType::i32), local = vector(DType::i32), loss = vector(tape.acc());
  const Tensor weight = record ? vector(tape.acc()) : Tensor();
  TakeGroup take{.rows = rows.view<1>(),
                 .local = local.view<1>(),
                 .order = p.order.view<1>(),
                 .target = whole.target,
                 .start = start,
                 .bounds = whole.bounds,
                 .group = group};
  if (record) {
    take.weight = weight.view<1>();
    take.dloss = whole.weight;
  }
  take_group(exec, take);

  const View1 ids = rows.view<1>().slice(0, count);
  const Tensor x = tape.tensor(tape.act(), {room, D});
  const View2 x_c = x.matrix().slice(0, count);
  embedding_forward(exec, {.y = x_c, .E = whole.x, .ids = ids});
  Level level;
  Tensor h = x;
  if (head.tied()) {
    level = words.rows(head.bounds[size_t(group)],
                       head.bounds[size_t(group) + 1] - head.bounds[size_t(group)]);
  } else {
    const AdaptiveHead::Tail& tail = head.tails[size_t(i)];
    const View2 P = tape.params().weight(tail.P);
    level = level_of(tape, tail.U, {});
    h = tape.tensor(tape.act(), {room, P.n[0]});
    gemm(exec, {.C = h.matrix().slice(0, count), .A = x_c, .B = P, .transpose_B = Transpose::yes});
  }
  Rows at{.x = h.matrix().slice(0, count),
          .target = local.view<1>().slice(0, count),
          .loss = loss.view<1>().slice(0, count)};
  Tensor dh;
  if (record) {
    dh = h.like(tape.arena());
    at.weight = weight.view<1>().slice(0, count);
    at.dx = dh.matrix().slice(0, count);
  }
  softmax(tape, level, at, room, whole.logits_bytes);
  add_to_rows(exec, {.y = column_of(whole.nll),
                     .x = column_of(at.loss),
                     .rows = ids,
                     .start = start,
                     .group = group});
  if (!record) return;
  if (!head.tied()) {
    const AdaptiveHead::Tail& tail = head.tails[size_t(i)];
    const GradientSink<2> dP = tape.gradient_sink(tail.P);
    gemm(exec, {.C = dP.view,
                .A = at.dx,
                .B = x_c,
                .transpose_A = Transpose::yes,
                .beta = beta_of(dP.mode)});
    gemm(exec, {.C = x_c, .A = at.dx, .B = tape.params().weight(tail.P)});
  }
  add_to_rows(exec, {.y = whole.dx, .x = head.tied() ? at.dx : x_c, .rows = ids});
}

}  // namespace

Tensor adaptive_softmax_xent(Tape& tape, const AdaptiveHead& head, const Var& x,
                             const View1& target, const View1& weight, size_t logits_bytes,
                             const std::vector<int64_t>& room) {
  const bool record = tape.mode().record;
  const int64_t N = x.matrix().n[0], C = head.C();
  UNROLL_CHECK(room.empty() || int64_t(room.size()) == C, "adaptive_softmax_xent: room for " +
                                                              std::to_string(room.size()) +
                                                              " clusters of " + std::to_string(C));
  const View1 bounds = tape.params().constant(head.groups);
  const Tensor nll = tape.tensor(tape.acc(), {N});
  const Tensor dx = record ? x.value().like(tape.arena()) : Tensor();
  const Partition p = partition(tape, target, bounds);
  const Level words = level_of(tape, head.W, head.b);
  {
    const Tensor first = tape.tensor(DType::i32, {N});
    shortlist_targets(
        tape.exec(),
        {.to = first.view<1>(), .target = target, .group = p.group.view<1>(), .bounds = bounds});
    Level level = words;
    const Joined joined = head.tied() ? join(tape, head, record, &level) : Joined{};
    softmax(tape, level,
            {.x = x.matrix(),
             .target = first.view<1>(),
             .weight = weight,
             .loss = nll.view<1>(),
             .dx = record ? dx.matrix() : View2{}},
            N, logits_bytes);
    if (head.tied() && record) part(tape, head, joined, words);
  }
  const Whole whole{
      x.matrix(),  record ? dx.matrix() : View2{}, target, weight, nll.view<1>(), bounds,
      logits_bytes};
  for (int64_t i = 0; i < C; ++i)
    cluster(tape, head, i, words, p, whole,
            std::max<int64_t>(1, room.empty() ? N : std::min(N, room[size_t(i)])));
  record_taken_gradient(tape, "adaptive_softmax_xent", x, dx);
  return nll;
}

Tensor adaptive_log_softmax(Tape& tape, const AdaptiveHead& head, const Var& x) {
  const Exec& exec = tape.exec();
  const int64_t N = x.matrix().n[0], c0 = head.bounds[1], C = head.C(), V = head.bounds.back();
  const Tensor log_p = tape.tensor(tape.acc(), {N, V});
  const auto columns = [](View2 m, int64_t first, int64_t count) {
    m.data = static_cast<char*>(m.data) + first * int64_t(size_of(m.dtype));
    m.n[1] = count;
    return m;
  };
  const View2 all = log_p.matrix();
  Level words{tape.params().weight(head.W), tape.params().vector(head.b)};
  const Tensor first = tape.tensor(tape.acc(), {N, c0 + C});
  {
    Level level = words;
    const Joined joined = head.tied() ? join(tape, head, false, &level) : Joined{};
    linear_log_softmax(exec,
                       {.log_p = first.matrix(), .x = x.matrix(), .W = level.W, .b = level.b});
  }
  add_scaled(exec, {.y = columns(all, 0, c0), .x = columns(first.matrix(), 0, c0)});
  for (int64_t i = 0; i < C; ++i) {
    const int64_t from = head.bounds[size_t(i) + 1], count = head.bounds[size_t(i) + 2] - from;
    Level level;
    Tensor h;
    View2 rows = x.matrix();
    if (head.tied()) {
      level = words.rows(from, count);
    } else {
      const AdaptiveHead::Tail& tail = head.tails[size_t(i)];
      const View2 P = tape.params().weight(tail.P);
      h = tape.tensor(tape.act(), {N, P.n[0]});
      gemm(exec, {.C = h.matrix(), .A = rows, .B = P, .transpose_B = Transpose::yes});
      rows = h.matrix();
      level = {tape.params().weight(tail.U)};
    }
    const View2 z = columns(all, from, count);
    gemm(exec, {.C = z, .A = rows, .B = level.W, .transpose_B = Transpose::yes});
    if (level.b) bias_act_forward(exec, {.y = z, .x = z, .b = level.b});
  }
  class_log_softmax(exec, {.log_p = columns(all, c0, V - c0),
                           .log_class = columns(first.matrix(), c0, C),
                           .bounds = tape.params().constant(head.clusters)});
  return log_p;
}

std::vector<int64_t> adaptive_room(const AdaptiveHead& head, const std::vector<int32_t>& target) {
  const int64_t N = int64_t(target.size()), step = std::max<int64_t>(1, (N + 15) / 16);
  std::vector<int64_t> room(size_t(head.C()), 0);
  for (const int32_t t : target) {
    if (t < head.bounds[1]) continue;
    const auto above = std::upper_bound(head.bounds.begin(), head.bounds.end(), int64_t(t));
    ++room[size_t(above - head.bounds.begin()) - 2];
  }
  for (int64_t& r : room) r = std::min(N, std::max<int64_t>(1, (r + step - 1) / step) * step);
  return room;
}

}  // namespace unroll

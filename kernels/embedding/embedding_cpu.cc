// CPU bodies of the embedding ops.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/embedding/embedding.h"
#include "kernels/embedding/sorted_terms.h"

namespace unroll::cpu {
namespace {

// The terms of the gradient sorted by word, cut into groups: group g is terms starts[g] ..
// starts[g+1]-1. Padding is in none.
struct Groups {
  const uint32_t *words, *order;
  uint32_t* starts;
  int64_t count = 0;

  bool begins_word(int64_t g) const {
    return starts[g] == 0 || words[starts[g] - 1] != words[starts[g]];
  }
};

template <class Args>
Groups group_terms(const Exec& exec, const Args& args, int64_t V, uint32_t* words, char* scratch,
                   const EmbeddingScratch& at) {
  const auto array = [&](size_t offset) { return reinterpret_cast<uint32_t*>(scratch + offset); };
  const int64_t N = args.dy.n[0], n_first = args.ids.n[0];
  const auto ids = args.ids.template as<int32_t>(), more_ids = args.more_ids.template as<int32_t>();
  uint32_t *keys = array(at.keys), *positions = array(at.positions), *order = array(at.order);
  for (int64_t n = 0; n < N; ++n) {
    const int32_t id = n < n_first ? ids(n) : more_ids(n - n_first);
    keys[n] = id < 0 ? uint32_t(V) : uint32_t(id);
    positions[n] = uint32_t(n);
  }
  if (N > 0)
    cpu::sort_pairs(exec, {.keys_out = view_of(words, N),
                           .values_out = view_of(order, N),
                           .keys_in = view_of(keys, N),
                           .values_in = view_of(positions, N),
                           .key_bits = embedding_key_bits(V),
                           .scratch = {scratch + at.sort, at.bytes - at.sort}});
  Groups groups{words, order, array(at.starts)};
  int64_t i = 0, first = 0;  // of the word
  for (; i < N && int64_t(words[i]) < V; ++i) {
    if (words[i] != words[first]) first = i;
    if ((i - first) % kTermGroup == 0) groups.starts[groups.count++] = uint32_t(i);
  }
  groups.starts[groups.count] = uint32_t(i);
  return groups;
}

// row_of(g): where the sum of the word goes that begins with group g.
template <class T, class RowOf>
void sum_groups(const Exec& exec, const Groups& groups, const View<T, 2>& dy, bool add, T* partial,
                RowOf row_of) {
  constexpr int64_t kStrip = 128;  // columns at a time
  const int64_t D = dy.n[1], stride = EmbeddingScratch::partial_stride(D);
  const auto partial_of = [&](int64_t g) {
    return partial + int64_t(groups.starts[g]) / kTermGroup * stride;
  };
#pragma omp parallel num_threads(exec.threads)
  {
#pragma omp for schedule(dynamic, 16)
    for (int64_t g = 0; g < groups.count; ++g) {
      const bool first = groups.begins_word(g);
      T* to = first ? row_of(g) : partial_of(g);
      for (int64_t column = 0; column < D; column += kStrip) {
        const int64_t n = std::min(kStrip, D - column);
        T sum[kStrip];
        uint32_t i = groups.starts[g];
        std::copy_n(dy.row(groups.order[i]) + column, n, sum);
        for (++i; i < groups.starts[g + 1]; ++i) {
          const T* term = dy.row(groups.order[i]) + column;
          for (int64_t d = 0; d < n; ++d) sum[d] += term[d];
        }
        for (int64_t d = 0; d < n; ++d) {
          T& out = to[column + d];
          out = first && add ? out + sum[d] : sum[d];
        }
      }
    }
#pragma omp for schedule(dynamic, 16)
    for (int64_t g = 0; g < groups.count; ++g) {
      if (!groups.begins_word(g)) continue;
      T* sum = row_of(g);
      for (int64_t next = g + 1; next < groups.count && !groups.begins_word(next); ++next) {
        const T* term = partial_of(next);
        for (int64_t d = 0; d < D; ++d) sum[d] += term[d];
      }
    }
  }
}

}  // namespace

void embedding_forward(const Exec& exec, const EmbeddingForward& args) {
  with_real("embedding_forward", args.E.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto y = args.y.as<T>();
    const auto E = args.E.as<T>();
    const auto ids = args.ids.as<int32_t>();
    const int64_t N = y.n[0], D = y.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < N; ++n) {
      if (ids(n) < 0)
        std::fill_n(y.row(n), D, T(0));
      else
        std::copy_n(E.row(ids(n)), D, y.row(n));
    }
  });
}

void embedding_backward(const Exec& exec, const EmbeddingBackward& args) {
  const EmbeddingScratch at(exec, args.dy.dtype, int(args.dy.n[0]), args.dy.n[1]);
  const int64_t V = args.dE.n[0], D = args.dE.n[1];
  char* scratch = static_cast<char*>(args.scratch.data);
  uint32_t* words = reinterpret_cast<uint32_t*>(scratch + at.words);
  const Groups groups = group_terms(exec, args, V, words, scratch, at);
  with_real("embedding_backward", args.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto dE = args.dE.as<T>();
    const bool add = args.to_dE == Accumulate::add;
    if (!add) {
#pragma omp parallel for num_threads(exec.threads)
      for (int64_t v = 0; v < V; ++v) std::fill_n(dE.row(v), D, T(0));
    }
    sum_groups(exec, groups, args.dy.as<T>(), add, reinterpret_cast<T*>(scratch + at.partial),
               [&](int64_t g) { return dE.row(words[groups.starts[g]]); });
  });
}

void embedding_rows_backward(const Exec& exec, const EmbeddingRowsBackward& args) {
  const EmbeddingScratch at(exec, args.dy.dtype, int(args.dy.n[0]), args.dy.n[1]);
  char* scratch = static_cast<char*>(args.scratch.data);
  const Groups groups =
      group_terms(exec, args, args.V, static_cast<uint32_t*>(args.dE.words.data), scratch, at);
  with_real("embedding_rows_backward", args.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto rows = args.dE.rows.as<T>();
    sum_groups(exec, groups, args.dy.as<T>(), false, reinterpret_cast<T*>(scratch + at.partial),
               [&](int64_t g) { return rows.row(groups.starts[g]); });
  });
}

}  // namespace unroll::cpu

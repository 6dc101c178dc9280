// Gradients of long rows of logits: a row stands in shared memory, of one block or of the blocks of
// a cluster, each of which has a share of its words. One read and one write of a logit.
//
// Bytes of memory for N rows of V words in bf16: 4 N V, where walking a row twice takes 6 N V as
// soon as the rows under way no longer fit into L2: N, V = 4480, 267735 at 4.3 TB/s 1.1 for 1.7 ms,
// beside 9.3 ms of products. A bias is twice as wide as its logit and is needed twice: from L2 that
// is 8 N V bytes more, at 5.5 TB/s 1.7 ms. So clusters stay and take row after row, and a block
// keeps the bias of its words. The arithmetic of a logit is some 20 instructions, 0.8 ms, most of
// them beside the memory's work: as a strip of gradients leaves, the same strip of the next row is
// on its way to its place. None of these times was measured.
//
// Of a row each block sums up its share, writes what it has found to all blocks of its cluster, and
// after one barrier all of them put the sums together in the same order. What a block sends stands
// in two sets by turns, so that the barrier of the row between protects it: nobody writes to a set
// before all have passed the barrier after its last use. A thread touches no other's strips.
#pragma once

#include "kernels/heads/row_logits.cuh"

namespace unroll::cuda {

inline constexpr int kOnChipThreads = 512;
// Of a block where two of them share a multiprocessor of 227 KB: while one waits, the other works.
inline constexpr size_t kHalfOfSharedBytes = 112 * 1024;

// How many blocks share a row, how many strips of 16 bytes a thread keeps, and whether it keeps
// their bias.
struct OnChipPlan {
  unsigned cluster = 1;
  int strips = 0;
  bool keeps_bias = false;

  OnChipPlan(int64_t V, size_t element, unsigned cluster, bool keeps_bias)
      : cluster(cluster), keeps_bias(keeps_bias) {
    const int64_t words = int64_t(16 / element) * kOnChipThreads * cluster;
    strips = int((V + words - 1) / words);
  }
  size_t shared_bytes(size_t element) const {
    return size_t(strips) * kOnChipThreads * (16 + (keeps_bias ? 64 / element : 0));
  }
};

// What a block has found in its share of a row.
struct alignas(16) RowShare {
  float max, sum, total;
};

// What is known of a row before it is read; without a target, nobody asks for more.
struct RowInputs {
  int32_t target = -1;
  float z_target = 0, dloss = 0, shift = 0;

  template <class T>
  GPU_DEVICE RowInputs(const Rows<T>& a, int64_t n) {
    if (n >= a.z.n[0]) return;
    target = a.target[n];
    z_target = a.loss[n];
    dloss = a.dloss[n];
    if (a.shift) shift = a.shift[n];
  }
};

template <bool kOptions, class T>
class OnChipRow {
  static constexpr int N = kPack<T>, kBiases = N / 4;
  using Strip = gpu::Vec<T, N>;
  using Bias = gpu::Vec<float, 4>;

 public:
  // `shared`: plan.shared_bytes() of the block.
  GPU_DEVICE OnChipRow(const Rows<T>& a, const OnChipPlan& plan, unsigned char* shared, int rank)
      : a_(a),
        terms_(kOptions ? a.terms : XentTerms<float>(XentOptions{}, a.z.n[1])),
        V_(int(a.z.n[1])),
        rank_(rank),
        cluster_(int(plan.cluster)),
        keeps_bias_(plan.keeps_bias) {
    const size_t slots = size_t(plan.strips) * kOnChipThreads;
    kept_ = gpu::carve<Strip>(shared, slots) + threadIdx.x;
    if (keeps_bias_) bias_ = gpu::carve<Bias>(shared, slots * kBiases) + threadIdx.x;
    const int rest = V_ / N - column(0) / N, step = cluster_ * kOnChipThreads;
    whole_ = rest > 0 ? (rest + step - 1) / step : 0;
    has_end_ = V_ % N > 0 && rest == whole_ * step;
    if (!keeps_bias_) return;
    for (int i = 0; i < whole_ + has_end_; ++i) {
      float b[N];
      load_bias<false>(column(i), b);
#pragma unroll
      for (int k = 0; k < N; ++k) bias_[(i * kBiases + k / 4) * kOnChipThreads][k % 4] = b[k];
    }
  }

  // Begins to read the block's share of row n.
  GPU_DEVICE void fetch(int64_t n) const {
    for (int i = 0; i < whole_ + has_end_; ++i) fetch_strip(n, i);
    gpu::cp_async_commit();
  }
  // What the block finds in its share of the row that was fetched: for every thread.
  GPU_DEVICE RowShare read(const RowInputs& in) const {
    gpu::cp_async_wait<0>();
    RowSum<float> mine;
#pragma unroll 2
    for (int i = 0; i < whole_; ++i) add_strip<true>(mine, i, in);
    if (has_end_) add_strip<false>(mine, whole_, in);
    const float max = block_max(mine.max);
    const float own = mine.sum * exp_of<T>(mine.max - RowSum<float>::reference(max));
    return {max, block_sum(own), kOptions ? block_sum(mine.total) : 0};
  }
  // Writes the gradients of the share of row n that was read; `fetches`: and begins to read that of
  // row `next` in its place.
  GPU_DEVICE void write(int64_t n, const RowInputs& in, const RowGradient<float>& gradient,
                        bool fetches, int64_t next) const {
    T* out = a_.out.row(n);
#pragma unroll 2
    for (int i = 0; i < whole_; ++i) {
      write_strip<true>(out, i, gradient);
      if (fetches) fetch_strip(next, i);
    }
    if (has_end_) {
      write_strip<false>(out, whole_, gradient);
      if (fetches) fetch_strip(next, whole_);
    }
    gpu::cp_async_commit();
    const int strip = in.target / N;
    if (strip / kOnChipThreads % cluster_ == rank_ && strip % kOnChipThreads == int(threadIdx.x))
      out[in.target] = T(gradient.target * slope(in.z_target));
  }
  // The same of a row without a target, of which nothing is read.
  GPU_DEVICE void write_zeros(int64_t n) const {
    const float zeros[N] = {};
    for (int i = 0; i < whole_ + has_end_; ++i) store_row<N>(a_.out.row(n), column(i), V_, zeros);
  }

  GPU_DEVICE const XentTerms<float>& terms() const { return terms_; }

 private:
  GPU_DEVICE int column(int i) const {
    return ((i * cluster_ + rank_) * kOnChipThreads + int(threadIdx.x)) * N;
  }
  GPU_DEVICE void fetch_strip(int64_t n, int i) const {
    const int j = column(i), words = V_ - j < N ? V_ - j : N;
    gpu::cp_async16(&kept_[i * kOnChipThreads], a_.z.row(n) + j, words * int(sizeof(T)));
  }

  template <bool kWhole>
  GPU_DEVICE void add_strip(RowSum<float>& row, int i, const RowInputs& in) const {
    const int j = column(i);
    float v[N];
    logits<kWhole>(i, v);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      // The sum has to hold the very number that is subtracted from it.
      if constexpr (!std::is_same_v<T, float>) v[k] = j + k == in.target ? in.z_target : v[k];
      if (!kWhole && j + k >= V_) v[k] = kMinusInfinity;
    }
    add_logits<T>(row, v);
    if constexpr (kOptions) add_total(row, v, j, V_);
  }
  // As if none of the words were the target.
  template <bool kWhole>
  GPU_DEVICE void write_strip(T* out, int i, const RowGradient<float>& gradient) const {
    const int j = column(i);
    float v[N];
    logits<kWhole>(i, v);
#pragma unroll
    for (int k = 0; k < N; ++k)
      v[k] = (gradient.scale * exp_of<T>(v[k] - gradient.max) - gradient.uniform) * slope(v[k]);
    if constexpr (kWhole)
      store_from_float<N>(out + j, v);
    else
      store_row<N>(out, j, V_, v);
  }
  GPU_DEVICE float slope(float z) const { return kOptions ? terms_.slope(z) : 1.0f; }

  // A strip with bias and cap; what lies beyond the row's end is without meaning.
  template <bool kWhole>
  GPU_DEVICE void logits(int i, float (&v)[N]) const {
    const Strip z = kept_[i * kOnChipThreads];
    float bias[N] = {};
    if (keeps_bias_) {
#pragma unroll
      for (int k = 0; k < N; k += 4) {
        const Bias part = bias_[(i * kBiases + k / 4) * kOnChipThreads];
#pragma unroll
        for (int e = 0; e < 4; ++e) bias[k + e] = part[e];
      }
    } else if (a_.b) {
      load_bias<kWhole>(column(i), bias);
    }
#pragma unroll
    for (int k = 0; k < N; ++k) {
      v[k] = float(z[k]) + bias[k];
      if constexpr (kOptions) v[k] = terms_.capped(v[k]);
    }
  }
  template <bool kWhole>
  GPU_DEVICE void load_bias(int j, float (&bias)[N]) const {
    if (kWhole || j + N <= V_) {
      load_as_float<N>(a_.b + j, bias);
    } else {
#pragma unroll
      for (int k = 0; k < N; ++k) bias[k] = j + k < V_ ? a_.b[j + k] : 0.0f;
    }
  }

  const Rows<T>& a_;
  const XentTerms<float> terms_;
  Strip* kept_;
  Bias* bias_ = nullptr;
  const int V_, rank_, cluster_;
  const bool keeps_bias_;
  int whole_;     // strips of the thread that lie within the row
  bool has_end_;  // the thread has the strip after them, of which a part does
};

// With options a logit takes more than the 64 registers of two blocks to a multiprocessor.
template <bool kOptions, class T>
GPU_KERNEL_BOUNDS(kOnChipThreads, kOptions ? 1 : 2)
void on_chip_row_kernel(Rows<T> a, OnChipPlan plan) {
  GPU_DYN_SHARED(raw);
  GPU_SHARED(shares, RowShare[2][gpu::kMaxCluster]);
  const int cluster = int(plan.cluster), rank = cluster > 1 ? gpu::cluster_rank() : 0;
  const int64_t step = int(gridDim.x) / cluster;
  int64_t n = int(blockIdx.x) / cluster;
  const OnChipRow<kOptions, T> row(a, plan, raw, rank);
  RowInputs in(a, n);
  if (in.target >= 0) row.fetch(n);
  if (cluster > 1) gpu::cluster_sync();  // the others' shared memory is there
  for (int set = 0; n < a.z.n[0]; n += step) {
    const RowInputs next(a, n + step);
    if (in.target < 0) {
      row.write_zeros(n);
      if (next.target >= 0) row.fetch(n + step);
    } else {
      RowShare found = row.read(in);
      if (cluster > 1) {
        RowShare* const all = shares[set];
        if (int(threadIdx.x) < cluster) *gpu::cluster_map(&all[rank], int(threadIdx.x)) = found;
        gpu::cluster_sync();
        for (int i = 0; i < cluster; ++i) found.max = std::fmax(found.max, all[i].max);
        found.sum = found.total = 0;
        for (int i = 0; i < cluster; ++i) {
          found.sum += all[i].sum * exp_of<T>(all[i].max - RowSum<float>::reference(found.max));
          found.total += all[i].total;
        }
        set ^= 1;
      }
      RowSum<float> sum;
      sum.max = found.max;
      sum.sum = found.sum;
      sum.total = found.total;
      sum.target = in.z_target;
      const float nll = sum.loss(row.terms());
      if (rank == 0 && threadIdx.x == 0) a.loss[n] = nll;
      const float weight = a.shift ? adversarial_weight(in.dloss, nll, in.shift) : in.dloss;
      row.write(n, in, RowGradient<float>(sum, row.terms(), weight), next.target >= 0, n + step);
    }
    in = next;
  }
}

// Into loss: 0 for a row without a target, else the true class's logit for the kernel above, beside
// whose rows its loads would be waited for.
template <class T>
GPU_KERNEL_BOUNDS(RowTeam<gpu::kWarp>::kBlock, 1)
void true_logits_kernel(Rows<T> a) {
  using Team = RowTeam<gpu::kWarp>;
  const int64_t n = Team::row();
  if (n >= a.z.n[0]) return;  // a whole warp, or nobody
  const float z = a.target[n] < 0 ? 0 : true_logit<Team>(a, a.terms, n, a.target[n]);
  if (Team::thread() == 0) a.loss[n] = z;
}

// One cluster.
inline gpu::Launch on_chip_launch(const OnChipPlan& plan, size_t element) {
  gpu::Launch shape;
  shape.block.x = kOnChipThreads;
  shape.grid.x = shape.cluster = plan.cluster;
  shape.shared_bytes = plan.shared_bytes(element);
  return shape;
}

// In this division; false where the device cannot.
template <bool kOptions, class T>
bool launch_on_chip(const Exec& exec, const Rows<T>& rows, const OnChipPlan& plan) {
  gpu::Launch shape = on_chip_launch(plan, sizeof(T));
  const int64_t clusters = gpu::resident_clusters(on_chip_row_kernel<kOptions, T>, shape);
  if (clusters == 0) return false;
  gpu::launch(true_logits_kernel<T>, row_launch<gpu::kWarp>(rows.z.n[0]), exec.stream, rows);
  shape.grid.x = unsigned(rows.z.n[0] < clusters ? rows.z.n[0] : clusters) * plan.cluster;
  gpu::launch(on_chip_row_kernel<kOptions, T>, shape, exec.stream, rows, plan);
  return true;
}

// The fewest blocks to a row of which two fit a multiprocessor, else as many as there are, in the
// end without their bias. False where the row fits no cluster of the device. Rows of z and out, and
// b, start on 16 bytes.
template <bool kOptions, class T>
bool on_chip_rows(const Exec& exec, const Rows<T>& rows) {
  const auto plan = [&](unsigned cluster, bool keeps_bias) {
    return OnChipPlan(rows.z.n[1], sizeof(T), cluster, keeps_bias);
  };
  for (unsigned c = 1; c <= gpu::kMaxCluster; c *= 2) {
    const OnChipPlan p = plan(c, rows.b);
    if (p.shared_bytes(sizeof(T)) <= kHalfOfSharedBytes && launch_on_chip<kOptions>(exec, rows, p))
      return true;
  }
  for (const bool keeps_bias : {true, false})
    for (unsigned c = gpu::kMaxCluster; c > 0; c /= 2)
      if ((rows.b || !keeps_bias) && launch_on_chip<kOptions>(exec, rows, plan(c, keeps_bias)))
        return true;
  return false;
}

}  // namespace unroll::cuda

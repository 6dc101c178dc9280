// CPU body of the output layer: each thread walks a share of the vocabulary in pieces that stay in
// its cache, so that products, softmax and gradients of a piece meet there, and threads wait for
// each other twice per chunk of tokens.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/cpu_threads.h"
#include "kernels/base/fast_math.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/adversarial_row.h"
#include "kernels/heads/linear_softmax_xent.h"
#include "kernels/heads/xent_plan.h"
#include "kernels/heads/xent_row.h"

namespace unroll::cpu {
namespace {

// Adds the bias and caps. A -inf stays, see XentTerms::capped.
template <class T>
void finish_logits(T* z, const T* b, int64_t n, T cap) {
  if (b) {
    for (int64_t v = 0; v < n; ++v) z[v] += b[v];
  }
  if (cap > 0) {
#pragma omp simd
    for (int64_t v = 0; v < n; ++v)
      z[v] = z[v] == -T(INFINITY) ? z[v] : cap * fast_tanh(z[v] / cap);
  }
}

// Part of a row into its sum. A NaN may be lost in the maximum: the sum of exponentials brings it
// back. Up to 1024 terms are summed in T, their sums in f64.
template <class T>
void add_logits(RowSum<double>& row, const T* z, int64_t n, bool with_total) {
  for (int64_t first = 0; first < n; first += 1024) {
    const int64_t last = std::min(first + 1024, n);
    T top = -INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
    for (int64_t v = first; v < last; ++v) top = z[v] > top ? z[v] : top;
    const T reference = T(RowSum<double>::reference(std::max(row.max, double(top))));
#pragma omp simd reduction(+ : sum)
    for (int64_t v = first; v < last; ++v) sum += fast_exp_term(z[v] - reference);
    if (top > row.max) row.add_sum(double(top), 0);
    row.sum += double(sum);
    if (with_total) {
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t v = first; v < last; ++v) total += z[v];
      row.total += double(total);
    }
  }
}

// dz of part of a row; dz may be z. `target` is the true word's place in it, if it is there.
template <class T>
void write_gradient(T* dz, const T* z, int64_t n, int64_t target, const RowGradient<double>& row,
                    const XentTerms<double>& terms) {
  const bool here = target >= 0 && target < n;
  const double z_target = here ? double(z[target]) : 0;
  const T max = T(row.max), scale = T(row.scale), uniform = T(row.uniform), cap = T(terms.cap);
  if (cap > 0) {
#pragma omp simd
    for (int64_t v = 0; v < n; ++v) {
      const T ratio = z[v] == -T(INFINITY) ? T(1) : z[v] / cap;
      dz[v] = (scale * fast_exp_term(z[v] - max) - uniform) * (T(1) - ratio * ratio);
    }
  } else {
#pragma omp simd
    for (int64_t v = 0; v < n; ++v) dz[v] = scale * fast_exp_term(z[v] - max) - uniform;
  }
  if (here) dz[target] = T(row.target * terms.slope(z_target));
}

// The work of one call.
template <class T>
class Xent {
 public:
  Xent(const Exec& exec, const LinearSoftmaxXent& args)
      : args_(args),
        plan_(plan_xent(exec, args.x.dtype, args.x.n[0], args.x.n[1], args.W.n[0], bool(args.dx),
                        args.scratch.bytes)),
        terms_(args.options, args.W.n[0]),
        N_(args.x.n[0]),
        D_(args.x.n[1]),
        V_(args.W.n[0]),
        pieces_(plan_.pieces(V_)),
        ld_(plan_.columns + kXentPad),
        exec_(exec) {
    if (plan_.slices > 1) exec_.threads = 1;  // within a thread of its own
    char* at = static_cast<char*>(args.scratch.data);
    const auto take = [&](size_t bytes) {
      char* part = at;
      at += xent_part(bytes);
      return part;
    };
    const size_t S = size_t(plan_.slices), R = size_t(plan_.rows);
    sums_ = reinterpret_cast<RowSum<double>*>(take(S * R * sizeof(RowSum<double>)));
    work_bytes_ = xent_part(size_t(std::min(plan_.rows, kXentBlock)) * size_t(ld_) * sizeof(T));
    work_ = take(S * work_bytes_);
    if (!args.dx) return;
    gradients_ = reinterpret_cast<RowGradient<double>*>(take(R * sizeof(RowGradient<double>)));
    if (S > 1) dx_parts_ = reinterpret_cast<T*>(take(S * R * size_t(D_) * sizeof(T)));
    if (plan_.keep) kept_ = reinterpret_cast<T*>(at);
  }

  void run() {
    to_dW_ = args_.to_dW;
    to_db_ = args_.to_db;
    do {  // at least once, so that N = 0 still defines dW and db
      count_ = std::min(plan_.rows, N_ - first_);
      chunk();
      to_dW_ = to_db_ = Accumulate::add;
      first_ += count_;
    } while (first_ < N_);
  }

 private:
  // Rows of the chunk from the first to the last one of a block that has a target.
  struct Block {
    int64_t first, count;
  };
  int64_t blocks() const { return (count_ + kXentBlock - 1) / kXentBlock; }
  Block block(int64_t k) const {
    const int64_t height = (count_ + blocks() - 1) / blocks();
    int64_t first = std::min(k * height, count_), end = std::min(first + height, count_);
    while (first < end && target(first) < 0) ++first;
    while (first < end && target(end - 1) < 0) --end;
    return {first, end - first};
  }
  int32_t target(int64_t r) const { return args_.target.as<int32_t>()(first_ + r); }
  int64_t columns(int64_t piece) const {
    return std::min(plan_.columns, V_ - piece * plan_.columns);
  }
  int64_t slice_begin(int s) const { return pieces_ * s / plan_.slices; }
  View2 x(const Block& b) const { return args_.x.slice(first_ + b.first, b.count); }

  View2 work(int slice, int64_t rows, int64_t columns) const {
    View2 z = view_of(work_ + size_t(slice) * work_bytes_, args_.x.dtype, rows, columns);
    z.ld = ld_;
    return z;
  }
  View2 kept(int64_t piece, const Block& b) const {
    T* data = kept_ + (piece * plan_.rows + b.first) * ld_;
    View2 z = view_of(static_cast<void*>(data), args_.x.dtype, b.count, columns(piece));
    z.ld = ld_;
    return z;
  }
  View2 dx_part(int slice, const Block& b) const {
    if (!dx_parts_) return args_.dx.slice(first_ + b.first, b.count);
    T* data = dx_parts_ + (slice * plan_.rows + b.first) * D_;
    return view_of(static_cast<void*>(data), args_.x.dtype, b.count, D_);
  }

  void logits(const View2& z, int64_t piece, const Block& b) const {
    const int64_t v = piece * plan_.columns;
    cpu::gemm(exec_,
              {.C = z, .A = x(b), .B = args_.W.slice(v, z.n[1]), .transpose_B = Transpose::yes});
    const T* bias = args_.b ? args_.b.as<T>().data + v : nullptr;
    for (int64_t r = 0; r < z.n[0]; ++r)
      finish_logits(z.as<T>().row(r), bias, z.n[1], T(terms_.cap));
  }

  void sum_slice(int slice) const {
    RowSum<double>* sums = sums_ + slice * plan_.rows;
    std::fill_n(sums, count_, RowSum<double>());
    for (int64_t piece = slice_begin(slice); piece < slice_begin(slice + 1); ++piece)
      for (int64_t k = 0; k < blocks(); ++k) {
        const Block b = block(k);
        if (b.count == 0) continue;
        const View2 z = kept_ ? kept(piece, b) : work(slice, b.count, columns(piece));
        logits(z, piece, b);
        for (int64_t r = 0; r < b.count; ++r) {
          RowSum<double>& sum = sums[b.first + r];
          const T* row = z.as<T>().row(r);
          const int64_t t = target(b.first + r) - piece * plan_.columns;
          if (t >= 0 && t < z.n[1]) sum.target = double(row[t]);
          add_logits(sum, row, z.n[1], terms_.smoothing > 0);
        }
      }
  }

  void finish_row(int64_t r) const {
    const auto loss = args_.loss.as<T>(), dloss = args_.dloss.as<T>();
    RowSum<double> row = sums_[r];
    for (int s = 1; s < plan_.slices; ++s) {
      const RowSum<double>& other = sums_[s * plan_.rows + r];
      row.add_sum(other.max, other.sum);
      row.total += other.total;
      if (other.target > row.target || other.target != other.target) row.target = other.target;
    }
    const int64_t n = first_ + r;
    const double nll = row.loss(terms_);
    loss(n) = target(r) < 0 ? T(0) : T(nll);
    if (!gradients_) return;
    const auto shift = args_.shift.as<T>();
    const double weight = double(dloss(n));
    gradients_[r] = RowGradient<double>(
        row, terms_, shift ? adversarial_weight(weight, nll, double(shift(n))) : weight);
  }

  void differentiate_slice(int slice) const {
    const View2 dx = dx_part(slice, {0, count_});
    for (int64_t r = 0; r < count_; ++r) std::fill_n(dx.as<T>().row(r), D_, T(0));
    for (int64_t piece = slice_begin(slice); piece < slice_begin(slice + 1); ++piece) {
      bool written = false;
      for (int64_t k = 0; k < blocks(); ++k) {
        const Block b = block(k);
        if (b.count == 0) continue;
        differentiate(slice, piece, b, written);
        written = true;
      }
      if (!written) clear(piece);
    }
  }

  // The gradients of a block of tokens and a piece of the vocabulary.
  void differentiate(int slice, int64_t piece, const Block& b, bool written) const {
    const int64_t v = piece * plan_.columns;
    const View2 dz = work(slice, b.count, columns(piece));
    const View2 z = kept_ ? kept(piece, b) : dz;
    if (!kept_) logits(z, piece, b);
    for (int64_t r = 0; r < b.count; ++r) {
      const int64_t t = target(b.first + r);
      if (t < 0)
        std::fill_n(dz.as<T>().row(r), dz.n[1], T(0));
      else
        write_gradient(dz.as<T>().row(r), z.as<T>().row(r), dz.n[1], t - v, gradients_[b.first + r],
                       terms_);
    }
    cpu::gemm(exec_, {.C = dx_part(slice, b), .A = dz, .B = args_.W.slice(v, dz.n[1]), .beta = 1});
    cpu::gemm(exec_, {.C = args_.dW.slice(v, dz.n[1]),
                      .A = dz,
                      .B = x(b),
                      .transpose_A = Transpose::yes,
                      .beta = written ? 1 : beta_of(to_dW_)});
    if (!args_.db) return;
    T* db = args_.db.as<T>().data + v;
    if (!written && to_db_ == Accumulate::overwrite) std::fill_n(db, dz.n[1], T(0));
    for (int64_t r = 0; r < b.count; ++r) {
      const T* row = dz.as<T>().row(r);
      for (int64_t j = 0; j < dz.n[1]; ++j) db[j] += row[j];
    }
  }

  // A piece to which no token adds.
  void clear(int64_t piece) const {
    const int64_t v = piece * plan_.columns;
    const auto dW = args_.dW.as<T>();
    if (to_dW_ == Accumulate::overwrite)
      for (int64_t j = v; j < v + columns(piece); ++j) std::fill_n(dW.row(j), D_, T(0));
    if (args_.db && to_db_ == Accumulate::overwrite)
      std::fill_n(args_.db.as<T>().data + v, columns(piece), T(0));
  }

  void join_dx(int64_t r) const {
    T* dx = args_.dx.as<T>().row(first_ + r);
    std::fill_n(dx, D_, T(0));
    for (int s = 0; s < plan_.slices; ++s) {
      const T* part = dx_parts_ + (s * plan_.rows + r) * D_;
      for (int64_t d = 0; d < D_; ++d) dx[d] += part[d];
    }
  }

  void chunk() {
#pragma omp parallel num_threads(plan_.slices)
    {
#pragma omp for schedule(static, 1)
      for (int s = 0; s < plan_.slices; ++s) sum_slice(s);
#pragma omp for
      for (int64_t r = 0; r < count_; ++r) finish_row(r);
      if (gradients_) {
#pragma omp for schedule(static, 1)
        for (int s = 0; s < plan_.slices; ++s) differentiate_slice(s);
      }
      if (dx_parts_) {
#pragma omp for
        for (int64_t r = 0; r < count_; ++r) join_dx(r);
      }
    }
  }

  const LinearSoftmaxXent& args_;
  const XentPlan plan_;
  const XentTerms<double> terms_;
  const int64_t N_, D_, V_, pieces_, ld_;
  Exec exec_;
  RowSum<double>* sums_ = nullptr;            // [slices, rows]
  RowGradient<double>* gradients_ = nullptr;  // [rows]
  char* work_ = nullptr;                      // a block of a piece, per slice
  size_t work_bytes_ = 0;
  T* dx_parts_ = nullptr;  // [slices, rows, D]
  T* kept_ = nullptr;      // [pieces, rows, ld]
  Accumulate to_dW_ = Accumulate::overwrite, to_db_ = Accumulate::overwrite;
  int64_t first_ = 0, count_ = 0;  // the chunk
};

}  // namespace

void linear_softmax_xent(const Exec& exec, const LinearSoftmaxXent& args) {
  use_threads(exec);
  with_real("linear_softmax_xent", args.x.dtype,
            [&](auto zero) { Xent<decltype(zero)>(exec, args).run(); });
}

void linear_log_softmax(const Exec& exec, const LinearLogSoftmax& args) {
  cpu::gemm(exec, {.C = args.log_p, .A = args.x, .B = args.W, .transpose_B = Transpose::yes});
  with_real("linear_log_softmax", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto log_p = args.log_p.as<T>();
    const T* b = args.b.as<T>().data;
    const int64_t N = log_p.n[0], V = log_p.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < N; ++n) {
      T* z = log_p.row(n);
      finish_logits(z, b, V, T(args.soft_cap));
      RowSum<double> sum;
      add_logits(sum, z, V, false);
      const T lse = T(RowSum<double>::reference(sum.max) + std::log(sum.sum));
      for (int64_t v = 0; v < V; ++v) z[v] -= lse;
    }
  });
}

}  // namespace unroll::cpu

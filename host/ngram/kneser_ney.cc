// Interpolated modified Kneser-Ney: continuation counts along the links, discounts, probabilities.
#include "host/ngram/kneser_ney.h"

#include <fmt/format.h>
#include <omp.h>

#include <atomic>
#include <cmath>

#include "kernels/base/error.h"

namespace unroll {
namespace {

// Until the last pass the fields of an entry hold, one after the other:
//   log10_prob      raw count     -> p(w|h)
//   log10_backoff   adjusted count a(h,w) -> log10 gamma(h,w)
// so that estimation needs no memory besides the model itself.

// Visits the stored children of contexts in order and finds for each its suffix: the child of the
// context's link with the same word. Both lists ascend, so the search goes on from the last find.
class SuffixSearch {
 public:
  SuffixSearch(const NgramFile& file, NgramNode link) : level_(link.level()) {
    if (level_ == 0) return;
    words_ = file.level(level_ + 1).words;
    at_ = file.entry(link).first_child;
    end_ = (&file.entry(link))[1].first_child;
  }
  // Index of (link, word) in the level above the link. Every suffix of an n-gram of the corpus is
  // itself one, so the word is there.
  uint64_t find(uint32_t word) {
    if (level_ == 0) return word;
    uint64_t step = 1;
    while (at_ + step < end_ && words_[at_ + step] < word) step *= 2;
    const uint64_t last = std::min(at_ + step + 1, end_);
    at_ = uint64_t(std::lower_bound(words_ + at_ + step / 2, words_ + last, word) - words_);
    return at_;
  }

 private:
  int level_;
  const uint32_t* words_ = nullptr;
  uint64_t at_ = 0, end_ = 0;
};

// Calls f(h) for every n-gram h of level n in `threads` threads.
template <class F>
void for_each_entry(const NgramFile& file, int n, int threads, ProgressMeter& meter, F&& f) {
  const int64_t count = int64_t(file.level(n).count);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 256)
  for (int64_t h = 0; h < count; ++h) {
    f(uint64_t(h));
    if (h % 256 == 0 && omp_get_thread_num() == 0) meter.update(double(h) / double(count));
  }
}

// Sets the links of level n and adds 1 to the adjusted count of each n-gram's suffix.
void link_level(NgramFile& file, int n, int threads, ProgressMeter& meter) {
  const NgramLevel &contexts = file.level(n - 1), &level = file.level(n);
  for_each_entry(file, n - 1, threads, meter, [&](uint64_t h) {
    const NgramEntry& context = contexts.entries[h];
    SuffixSearch suffix(file, context.link());
    for (uint64_t c = context.first_child; c < (&context)[1].first_child; ++c) {
      const uint64_t s = suffix.find(level.words[c]);
      if (level.entries) level.entries[c].link_bits = NgramNode(n - 1, s).bits();
      std::atomic_ref(contexts.entries[s].log10_backoff).fetch_add(1, std::memory_order_relaxed);
    }
  });
}

double adjusted_count(const NgramLevel& level, uint64_t i) {
  return level.entries ? level.entries[i].log10_backoff : level.top[i];
}

NgramDiscounts count_of_counts(const NgramFile& file, int n) {
  NgramDiscounts discounts;
  const NgramLevel& level = file.level(n);
  const uint64_t count = n == 1 ? uint64_t(file.vocab_size()) : level.count;  // <s> is no event
  for (uint64_t i = 0; i < count; ++i) {
    const double a = adjusted_count(level, i);
    discounts.types += a > 0;
    if (a >= 1 && a <= 4) ++discounts.n[size_t(a) - 1];
  }
  return discounts;
}

// S(h) and gamma(h) of the children [begin, end).
struct ContextMass {
  double S = 0, gamma = 0;
  ContextMass(const NgramLevel& level, uint64_t begin, uint64_t end, const NgramDiscounts& D) {
    for (uint64_t c = begin; c < end; ++c) {
      const double a = adjusted_count(level, c);
      S += a;
      gamma += D.of(a);
    }
    gamma /= S;
  }
};

void estimate_unigrams(NgramFile& file, const NgramDiscounts& D) {
  const NgramLevel& level = file.level(1);
  const uint64_t V = uint64_t(file.vocab_size());
  const ContextMass mass(level, 0, V, D);
  for (uint64_t w = 0; w < V; ++w) {
    const double a = adjusted_count(level, w);
    level.log10_prob(w) = (a - D.of(a)) / mass.S + mass.gamma / double(V);
  }
}

void estimate_level(NgramFile& file, int n, const NgramDiscounts& D, int threads,
                    ProgressMeter& meter) {
  const NgramLevel &contexts = file.level(n - 1), &level = file.level(n);
  for_each_entry(file, n - 1, threads, meter, [&](uint64_t h) {
    NgramEntry& context = contexts.entries[h];
    const uint64_t begin = context.first_child, end = (&context)[1].first_child;
    if (begin == end) {
      context.log10_backoff = 0;
      return;
    }
    const ContextMass mass(level, begin, end, D);
    SuffixSearch suffix(file, context.link());
    for (uint64_t c = begin; c < end; ++c) {
      const double a = adjusted_count(level, c);
      const double lower = contexts.entries[suffix.find(level.words[c])].log10_prob;
      level.log10_prob(c) = (a - D.of(a)) / mass.S + mass.gamma * lower;
    }
    context.log10_backoff = std::log10(mass.gamma);
  });
}

}  // namespace

void compute_discounts(int order, const std::optional<std::array<double, 3>>& fallback,
                       NgramDiscounts& discounts) {
  const auto& n = discounts.n;
  std::string problem;
  for (size_t j = 1; j <= 3 && problem.empty(); ++j) {
    if (n[j - 1] == 0) problem = fmt::format("no n-gram has adjusted count {}", j);
  }
  if (problem.empty()) {
    const double Y = double(n[0]) / double(n[0] + 2 * n[1]);
    for (size_t j = 1; j <= 3; ++j) {
      const double D = double(j) - double(j + 1) * Y * double(n[j]) / double(n[j - 1]);
      discounts.D[j - 1] = D;
      if (!(D > 0 && D <= double(j)) && problem.empty()) {
        problem = fmt::format("D_{} = {:.4g} lies outside (0, {}]", j, D, j);
      }
    }
  }
  if (problem.empty()) return;
  if (!fallback) {
    throw Error(
        ErrorKind::data,
        fmt::format("Kneser-Ney discounts of order {} (n_1..n_4 = {}, {}, {}, {}): {}; the text is "
                    "too small or too regular for this order: lower --order, or accept the "
                    "fallback discounts {}, {}, {} with --discount-fallback",
                    order, n[0], n[1], n[2], n[3], problem, kFallbackDiscounts[0],
                    kFallbackDiscounts[1], kFallbackDiscounts[2]));
  }
  discounts.D = *fallback;
  discounts.fallback = true;
}

std::vector<NgramDiscounts> estimate_kneser_ney(
    NgramFile& file, const std::optional<std::array<double, 3>>& fallback, int threads,
    ProgressMeter& meter) {
  const int N = file.order();
  for (int n = 2; n <= N; ++n) {
    meter.begin("linking n-grams", 0.2 / (N - 1));
    link_level(file, n, threads, meter);
  }
  // N-grams after <s> have no word before them: they keep their raw counts. <s> has the highest
  // id, so they are the last of each level.
  uint64_t first_after_start = file.start_id();
  for (int n = 1; n < N; ++n) {
    const NgramLevel& level = file.level(n);
    for (uint64_t i = first_after_start; i < level.count; ++i) {
      level.entries[i].log10_backoff = level.entries[i].log10_prob;
    }
    first_after_start = level.entries[first_after_start].first_child;
  }

  std::vector<NgramDiscounts> discounts;
  for (int n = 1; n <= N; ++n) {
    discounts.push_back(count_of_counts(file, n));
    compute_discounts(n, fallback, discounts.back());
  }
  estimate_unigrams(file, discounts[0]);
  for (int n = 2; n <= N; ++n) {
    meter.begin("estimating probabilities", 0.2 / (N - 1));
    estimate_level(file, n, discounts[size_t(n) - 1], threads, meter);
  }
  meter.begin("taking logarithms", 0.05);
  file.level(1).log10_prob(file.start_id()) = 1;
  for (int n = 1; n <= N; ++n) {
    const NgramLevel& level = file.level(n);
    for_each_entry(file, n, threads, meter,
                   [&](uint64_t i) { level.log10_prob(i) = std::log10(level.log10_prob(i)); });
  }
  file.level(1).log10_prob(file.start_id()) = kLog10Zero;
  return discounts;
}

}  // namespace unroll

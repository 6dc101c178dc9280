// Cut-offs and entropy pruning of an n-gram model.
#include "host/ngram/prune.h"

#include <algorithm>
#include <cmath>

namespace unroll {
namespace {

double exp10_of(double log10) { return std::pow(10.0, log10); }

// p(word | context) by the recursion.
double probability(const NgramFile& file, NgramNode context, uint32_t word) {
  return exp10_of(file.advance(context, word));
}

// Mass of the stored children of a context, under it and under its link.
struct KeptMass {
  double here = 0, below = 0;
  double backoff() const {
    return here < 1 && below < 1 ? (1 - here) / (1 - below) : exp10_of(kLog10Zero);
  }
};

// An n-gram is kept with every n-gram that begins with it.
void keep_prefixes(const NgramFile& file, NgramKeep& keep) {
  for (int n = file.order() - 1; n >= 2; --n) {
    const NgramLevel& level = file.level(n);
    for (uint64_t i = 0; i < level.count; ++i) {
      const auto children = keep[size_t(n) + 1].begin();
      const auto begin = children + int64_t(level.entries[i].first_child);
      const auto end = children + int64_t(level.entries[i + 1].first_child);
      if (std::find(begin, end, uint8_t(1)) != end) keep[size_t(n)][i] = 1;
    }
  }
}

// Back-off weights, level by level: those of level n need the ones below.
void normalise(NgramFile& file) {
  for (int n = 1; n < file.order(); ++n) {
    const NgramLevel& level = file.level(n);
    const uint32_t* words = file.level(n + 1).words;
    for (uint64_t h = 0; h < level.count; ++h) {
      NgramEntry& context = level.entries[h];
      KeptMass mass;
      for (uint64_t c = context.first_child; c < level.entries[h + 1].first_child; ++c) {
        mass.here += exp10_of(file.level(n + 1).log10_prob(c));
        mass.below += probability(file, context.link(), words[c]);
      }
      context.log10_backoff = mass.here > 0 ? std::log10(mass.backoff()) : 0;
    }
  }
}

}  // namespace

NgramFile drop_ngrams(const NgramFile& file, NgramKeep keep,
                      std::vector<std::vector<uint64_t>>& counts, size_t memory,
                      const std::string& folder) {
  const int N = file.order();
  keep_prefixes(file, keep);
  std::vector<uint64_t> sizes = {file.level(1).count};
  for (int n = 2; n <= N; ++n) {
    const auto& kept = keep[size_t(n)];
    sizes.push_back(uint64_t(std::count(kept.begin(), kept.end(), uint8_t(1))));
  }
  NgramFile smaller = NgramFile::allocate(file.vocab_size(), file.eos(), sizes, memory, folder);
  for (int n = 1; n <= N; ++n) {
    const NgramLevel &from = file.level(n), &to = smaller.level(n);
    uint64_t at = 0, child = 0, children_seen = 0;
    const auto begin_children = [&](uint64_t i) {
      // Kept ones among the children of the entries before i.
      for (; children_seen < from.entries[i].first_child; ++children_seen) {
        child += keep[size_t(n) + 1][children_seen];
      }
      return child;
    };
    for (uint64_t i = 0; i < from.count; ++i) {
      if (n > 1 && !keep[size_t(n)][i]) continue;
      if (n > 1) to.words[at] = from.words[i];
      to.log10_prob(at) = from.log10_prob(i);
      if (n < N) to.entries[at].first_child = begin_children(i);
      if (!counts.empty()) counts[size_t(n)][at] = counts[size_t(n)][i];
      ++at;
    }
    if (n < N) to.entries[at].first_child = begin_children(from.count);
    if (!counts.empty()) counts[size_t(n)].resize(at);
  }
  smaller.set_links();
  normalise(smaller);
  return smaller;
}

NgramKeep keep_frequent(const std::vector<std::vector<uint64_t>>& counts,
                        const std::vector<uint64_t>& min_count) {
  NgramKeep keep(counts.size());
  for (size_t n = 2; n < counts.size(); ++n) {
    const uint64_t least = n <= min_count.size() ? min_count[n - 1] : 1;
    for (uint64_t count : counts[n]) keep[n].push_back(count >= least);
  }
  return keep;
}

NgramKeep keep_informative(const NgramFile& file, const std::vector<std::vector<uint64_t>>& counts,
                           double threshold) {
  const int N = file.order();
  NgramKeep keep(size_t(N) + 1);
  for (int n = 2; n <= N; ++n) keep[size_t(n)].assign(file.level(n).count, 1);
  // Every token has one history, <s> standing for the end of the sentence before.
  double tokens = 0;
  for (int64_t w = 0; w < file.vocab_size(); ++w) tokens += double(counts[1][size_t(w)]);

  for (int n = N; n >= 2; --n) {
    const NgramLevel &contexts = file.level(n - 1), &level = file.level(n);
    for (uint64_t h = 0; h < contexts.count; ++h) {
      const NgramEntry& context = contexts.entries[h];
      const uint64_t begin = context.first_child, end = contexts.entries[h + 1].first_child;
      KeptMass mass;
      for (uint64_t c = begin; c < end; ++c) {
        mass.here += exp10_of(level.log10_prob(c));
        mass.below += probability(file, context.link(), level.words[c]);
      }
      const double p_h = double(counts[size_t(n) - 1][h]) / tokens;
      const double log_b = context.log10_backoff * M_LN10;
      for (uint64_t c = begin; c < end; ++c) {
        if (n < N) {
          const auto children = keep[size_t(n) + 1].begin();
          const auto first = children + int64_t(level.entries[c].first_child);
          const auto last = children + int64_t(level.entries[c + 1].first_child);
          if (std::find(first, last, uint8_t(1)) != last) continue;
        }
        const double p = exp10_of(level.log10_prob(c));
        const double lower = probability(file, context.link(), level.words[c]);
        // Back-off weight without this n-gram; p_lower takes its place.
        const double log_b_new = std::log((1 - mass.here + p) / (1 - mass.below + lower));
        const double divergence = -p_h * (p * (std::log(lower) + log_b_new - std::log(p)) +
                                          (log_b_new - log_b) * (1 - mass.here));
        keep[size_t(n)][c] = std::expm1(divergence) >= threshold;
      }
    }
  }
  return keep;
}

}  // namespace unroll

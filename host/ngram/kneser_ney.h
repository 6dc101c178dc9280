// Interpolated modified Kneser-Ney estimation of an n-gram trie.
//
// With a(h,w) the raw count at the top order and after <s>, and the number of distinct words before
// (h,w) elsewhere, S(h) = sum_w a(h,w), and N_j(h) the number of words with a(h,w) = j:
//   p(w|h)   = max(a(h,w) - D(a(h,w)), 0) / S(h) + gamma(h) p(w|h')
//   gamma(h) = (D_1 N_1(h) + D_2 N_2(h) + D_3 N_3+(h)) / S(h)
//   D_j      = j - (j+1) Y n_{j+1} / n_j,  Y = n_1 / (n_1 + 2 n_2)
// per order, n_j being the number of n-grams of that order with a = j; below the unigrams stands
// the uniform distribution 1/V. Chen & Goodman, "An empirical study of smoothing techniques for
// language modeling", TR-10-98, section 4.3, equations 26 and 27 (and 21 for the lower orders).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "host/ngram/ngram_file.h"
#include "host/ngram/progress.h"

namespace unroll {

// The discounts of one order and what they came from.
struct NgramDiscounts {
  uint64_t types = 0;           // n-grams of this order
  std::array<uint64_t, 4> n{};  // n_1 .. n_4
  std::array<double, 3> D{};    // D_1, D_2, D_3+
  bool fallback = false;        // D was given, because the formula had no valid answer

  double of(double count) const { return count <= 0 ? 0 : D[count >= 3 ? 2 : size_t(count) - 1]; }
};

// Discounts for `fallback` where n_1, n_2 or n_3 is 0 or a D_j lies outside (0, j].
inline constexpr std::array<double, 3> kFallbackDiscounts = {0.5, 1.0, 1.5};

// Fills n and D of an order from its counts of counts. Throws Error(data) naming the order and the
// fallback where the formula has no valid answer and no fallback is given.
void compute_discounts(int order, const std::optional<std::array<double, 3>>& fallback,
                       NgramDiscounts& discounts);

// Turns the raw counts of count_ngrams() into log10 probabilities and back-off weights, and sets
// the links; returns the discounts of orders 1 .. N. Throws as compute_discounts().
std::vector<NgramDiscounts> estimate_kneser_ney(
    NgramFile& file, const std::optional<std::array<double, 3>>& fallback, int threads,
    ProgressMeter& meter);

}  // namespace unroll

// Which output layer a run gets: the automatic choice, the cut-offs of an adaptive softmax, classes
// of words.
//
// Time of a product of n rows with k words of width d, in multiply-adds:  g(n, k, d) = c + n k d
// Time of an output layer for n tokens, p_i the share of tokens with a word of cluster i:
//
//   full       g(n, V, D)
//   adaptive   g(n, c_0 + C, D) + sum over i of g(p_i n, D_i, D) + g(p_i n, V_i, D_i)
//
// Grave, Joulin, Cisse, Grangier & Jegou 2017 ("Efficient softmax approximation for GPUs"), section
// 4.1 and 4.2: c is what a product costs however small it is. The cut-offs are the best of a grid,
// for any number of clusters up to 4.
#pragma once

#include <string>
#include <vector>

#include "host/data/vocab.h"
#include "host/io/config.h"

namespace unroll {

// Where clusters begin (c_0, c_1, ..), V left out; empty where a full softmax is as fast. In a tied
// layer div_value is 1: clusters see all of the vectors.
std::vector<int64_t> choose_cutoffs(const std::vector<uint64_t>& counts, int64_t D,
                                    double div_value, int64_t tokens);
// Time of an adaptive softmax over that of a full one.
double adaptive_cost(const std::vector<uint64_t>& counts, const std::vector<int64_t>& cutoffs,
                     int64_t D, double div_value, int64_t tokens);

// Makes `softmax`, `adaptive_cutoffs` and `classes` of a configuration definite and says in a
// sentence what was chosen and why; a definite one stays as it is. Throws a usage Error where the
// vocabulary does not allow what is asked for: not sorted by count, no counts, cut-offs beyond it.
std::string choose_softmax(Config& config, const Vocab& vocab);

}  // namespace unroll

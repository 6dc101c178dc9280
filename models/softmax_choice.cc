#include "models/softmax_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "host/ops/adaptive_softmax.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr double kProduct = 2e7;       // c: 10 microseconds at 2 T multiply-adds/s
constexpr int kMostClusters = 4;       // as in the paper, more gain little
constexpr int64_t kLeastWidth = 16;    // of a cluster's vectors, where cut-offs are chosen
constexpr int64_t kFullBelow = 75000;  // words; as Merity et al. 2018 have it
constexpr double kWorthwhile = 0.5;    // of the full softmax's time

[[noreturn]] void usage(const std::string& message) { throw Error(ErrorKind::usage, message); }

double product(double n, double k, double d) { return kProduct + n * k * d; }

// share[v]: of tokens, words 0 .. v-1.
std::vector<double> shares(const std::vector<uint64_t>& counts) {
  std::vector<double> share = {0};
  for (const uint64_t n : counts) share.push_back(share.back() + double(n));
  for (double& s : share) s /= std::max(1.0, share.back());
  return share;
}

double cluster_cost(double rows, double words, int64_t D, int64_t width) {
  return (width < D ? product(rows, double(width), double(D)) : 0) +
         product(rows, words, double(width));
}

bool counted(const Vocab& vocab) {
  return std::any_of(vocab.counts().begin(), vocab.counts().end(),
                     [](uint64_t n) { return n > 0; });
}

void require_sorted(const Config& config, const Vocab& vocab) {
  const auto& n = vocab.counts();
  for (size_t v = 1; v < n.size(); ++v)
    if (n[v] > n[v - 1])
      usage(
          fmt::format("softmax = \"{}\" wants words by falling count, and word {} '{}' ({} times) "
                      "stands behind '{}' ({}); sort the file of --vocab, or leave it out",
                      config.softmax, v, escape_token(vocab.token(int32_t(v))), n[v],
                      escape_token(vocab.token(int32_t(v) - 1)), n[v - 1]));
}

std::string joined(const std::vector<int64_t>& cutoffs) {
  return fmt::format("{}", fmt::join(cutoffs, ","));
}

// Of the vectors that the output layer sees.
int64_t output_width(const Config& config) {
  if (config.tied || config.mixtures > 0) return config.emb;
  return config.hidden_last > 0 ? config.hidden_last : config.hidden;
}

}  // namespace

double adaptive_cost(const std::vector<uint64_t>& counts, const std::vector<int64_t>& cutoffs,
                     int64_t D, double div_value, int64_t tokens) {
  const std::vector<double> share = shares(counts);
  const double n = double(tokens), V = double(counts.size());
  double cost = product(n, double(cutoffs[0]) + double(cutoffs.size()), double(D));
  for (size_t i = 0; i < cutoffs.size(); ++i) {
    const int64_t from = cutoffs[i], to = i + 1 < cutoffs.size() ? cutoffs[i + 1] : int64_t(V);
    cost += cluster_cost((share[size_t(to)] - share[size_t(from)]) * n, double(to - from), D,
                         cluster_width(D, div_value, int64_t(i)));
  }
  return cost / product(n, V, double(D));
}

std::vector<int64_t> choose_cutoffs(const std::vector<uint64_t>& counts, int64_t D,
                                    double div_value, int64_t tokens) {
  const int64_t V = int64_t(counts.size());
  // Two figures, and V: 100, 108, .., 1000, 1100, ..; multiples of 4 keep biases aligned for vectors.
  std::vector<int64_t> grid;
  for (int64_t scale = 10; scale * 10 < V; scale *= 10)
    for (int64_t figure = 10; figure < 100 && figure * scale < V; ++figure)
      grid.push_back(figure * scale / 4 * 4);
  grid.push_back(V);
  const std::vector<double> share = shares(counts);
  const size_t G = grid.size();
  // best[i][a]: least time of clusters i, i+1, .. over the words from grid[a] on, and where cluster
  // i+1 begins. Each is an entry of the first level, too.
  struct Best {
    double cost = INFINITY;
    size_t next = 0;
  };
  std::vector<std::vector<Best>> best(kMostClusters + 1, std::vector<Best>(G));
  for (auto& level : best) level[G - 1].cost = 0;
  for (int i = kMostClusters - 1; i >= 0; --i) {
    const int64_t width = cluster_width(D, div_value, i);
    if (width < std::min(D, kLeastWidth)) continue;
    for (size_t a = 0; a + 1 < G; ++a)
      for (size_t b = a + 1; b < G; ++b) {
        const double rows = (share[size_t(grid[b])] - share[size_t(grid[a])]) * double(tokens);
        const double cost = double(tokens) * double(D) +
                            cluster_cost(rows, double(grid[b] - grid[a]), D, width) +
                            best[size_t(i) + 1][b].cost;
        if (cost < best[size_t(i)][a].cost) best[size_t(i)][a] = {cost, b};
      }
  }
  double least = product(double(tokens), double(V), double(D));
  size_t at = G - 1;
  for (size_t a = 0; a + 1 < G; ++a) {
    const double cost = product(double(tokens), double(grid[a]), double(D)) + best[0][a].cost;
    if (cost < least) {
      least = cost;
      at = a;
    }
  }
  std::vector<int64_t> cutoffs;
  for (size_t i = 0; grid[at] < V; at = best[i++][at].next) cutoffs.push_back(grid[at]);
  return cutoffs;
}

std::string choose_softmax(Config& config, const Vocab& vocab) {
  const int64_t V = vocab.size(), D = output_width(config), tokens = config.batch * config.bptt;
  const double div = config.tied ? 1 : config.div_value;
  std::string why;
  if (config.softmax == "auto") {
    config.softmax = "full";
    if (config.mixtures > 0) return "full softmaxes, mixed";
    if (config.label_smoothing > 0 || config.z_loss > 0 || config.soft_cap > 0)
      return "full: label_smoothing, z_loss and soft_cap are for it alone";
    if (std::max(config.adversarial, config.finetune_adversarial) > 0)
      return "full: adversarial is for it alone";
    if (V < kFullBelow) return fmt::format("full: {} words are fewer than {}", V, kFullBelow);
    if (!counted(vocab)) return "full: the vocabulary has no counts to choose cut-offs by";
    const std::vector<int64_t> cutoffs = config.adaptive_cutoffs.empty()
                                             ? choose_cutoffs(vocab.counts(), D, div, tokens)
                                             : config.cutoffs_of_clusters();
    const double cost =
        cutoffs.empty() ? 1 : adaptive_cost(vocab.counts(), cutoffs, D, div, tokens);
    if (cost > kWorthwhile)
      return fmt::format("full: an adaptive one would take {:.0f}% of its time", 100 * cost);
    config.softmax = "adaptive";
    why = fmt::format(", chosen for {} words (full below {})", V, kFullBelow);
  }
  if (config.softmax == "full") return "full";
  if (config.softmax != "nce" || config.sampler == "log-uniform") require_sorted(config, vocab);
  if (config.softmax == "adaptive") {
    if (config.adaptive_cutoffs.empty()) {
      if (!counted(vocab))
        usage(
            "softmax = \"adaptive\" chooses its cut-offs by the counts of words, and the "
            "vocabulary "
            "has none; give them, e.g. --adaptive-cutoffs 4000,20000");
      config.adaptive_cutoffs = joined(choose_cutoffs(vocab.counts(), D, div, tokens));
      if (config.adaptive_cutoffs.empty())
        usage(
            fmt::format("softmax = \"adaptive\": for {} words no cut-offs are faster than a full "
                        "softmax; use --softmax full, or give --adaptive-cutoffs",
                        V));
    }
    const std::vector<int64_t> cutoffs = config.cutoffs_of_clusters();
    if (cutoffs.back() >= V)
      usage(
          fmt::format("adaptive_cutoffs = '{}' reaches beyond the {} words of the vocabulary; "
                      "every cut-off has to be below that",
                      config.adaptive_cutoffs, V));
    if (cluster_width(D, div, int64_t(cutoffs.size()) - 1) < 1)
      usage(
          fmt::format("div_value = {} leaves no width for cluster {} of vectors of {}; give fewer "
                      "adaptive_cutoffs or a smaller div_value",
                      div, cutoffs.size(), D));
    std::string cost;
    if (counted(vocab))
      cost = fmt::format(": {:.1f}% of a full softmax's time by the cost model",
                         100 * adaptive_cost(vocab.counts(), cutoffs, D, div, tokens));
    return fmt::format("adaptive, clusters from {}{}{}", config.adaptive_cutoffs, cost, why);
  }
  if (config.softmax == "class") {
    if (config.classes == 0) config.classes = int64_t(std::ceil(std::sqrt(double(V))));
    config.classes = std::min(config.classes, V);
    return fmt::format("over {} classes, then within one", config.classes);
  }
  if (config.sampler == "unigram" && !counted(vocab))
    usage(
        "sampler = \"unigram\" draws words by their counts, and the vocabulary has none; use "
        "--sampler log-uniform");
  return fmt::format(
      "{}, {} {} samples a chunk while training, full in evaluation; losses of "
      "training are those of the sampled objective",
      config.softmax, config.samples, config.sampler);
}

}  // namespace unroll

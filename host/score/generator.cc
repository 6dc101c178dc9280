#include "host/score/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "kernels/base/error.h"
#include "kernels/base/philox.h"

namespace unroll {
namespace {

// The index drawn from exp(log_p / temperature) over the words that the options leave, with u in
// [0,1).
int32_t draw(const std::vector<double>& log_p, const SamplingOptions& o, int32_t banned, double u) {
  std::vector<int32_t> order(log_p.size());
  std::iota(order.begin(), order.end(), 0);
  if (banned >= 0) order.erase(order.begin() + banned);
  const auto likelier = [&](int32_t a, int32_t b) {
    return log_p[size_t(a)] != log_p[size_t(b)] ? log_p[size_t(a)] > log_p[size_t(b)] : a < b;
  };
  if (o.greedy) return *std::min_element(order.begin(), order.end(), likelier);
  // Sorted only as far as needed: whole vocabularies are long.
  const bool cut = o.top_k > 0 || o.top_p < 1;
  if (cut) std::sort(order.begin(), order.end(), likelier);
  if (o.top_k > 0 && size_t(o.top_k) < order.size()) order.resize(size_t(o.top_k));
  double highest = -INFINITY;
  for (int32_t v : order) highest = std::max(highest, log_p[size_t(v)]);
  std::vector<double> mass(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i)
    total += mass[i] = std::exp((log_p[size_t(order[i])] - highest) / o.temperature);
  size_t kept = order.size();
  if (o.top_p < 1) {
    double sum = 0;
    for (kept = 0; kept < order.size() && sum < o.top_p * total; ++kept) sum += mass[kept];
    total = sum;
  }
  double at = u * total;
  for (size_t i = 0; i < kept; ++i)
    if ((at -= mass[i]) < 0) return order[i];
  return order[kept - 1];
}

}  // namespace

void check_sampling(const SamplingOptions& o) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorKind::usage, what); };
  if (!(o.temperature > 0))
    refuse(fmt::format("--temperature {}", o.temperature) +
           ": has to be above 0; use --greedy for the likeliest words");
  if (o.top_k < 0) refuse("--top-k " + std::to_string(o.top_k) + ": has to be 0 (all) or more");
  if (!(o.top_p > 0 && o.top_p <= 1))
    refuse(fmt::format("--top-p {}", o.top_p) + ": has to be above 0 and at most 1");
  if (o.length < 0) refuse("--length " + std::to_string(o.length) + ": has to be 0 or more");
}

Generated generate(NextWord& model, const std::vector<int32_t>& prompt,
                   const SamplingOptions& options, int sample) {
  check_sampling(options);
  const Vocab& vocab = model.vocab();
  Generated out;
  out.prompt = prompt;
  model.reset();
  std::vector<double> log_p = model.feed(vocab.eos());
  for (int32_t token : prompt) log_p = model.feed(token);
  const int32_t banned = options.allow_unk ? -1 : vocab.unk().value_or(-1);
  for (int n = 0; n < options.length; ++n) {
    const Philox4 r = philox_block(options.seed, uint64_t(sample), 0, uint64_t(n));
    const double u = (double(r.v[0]) * 4294967296.0 + double(r.v[1])) / 18446744073709551616.0;
    const int32_t token = draw(log_p, options, banned, u);
    out.ids.push_back(token);
    out.nats.push_back(-log_p[size_t(token)]);
    if (options.until_eos && token == vocab.eos()) break;
    if (n + 1 < options.length) log_p = model.feed(token);
  }
  return out;
}

}  // namespace unroll

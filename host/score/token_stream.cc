// Cutting lines into chunks of one stream.
#include "host/score/token_stream.h"

namespace unroll {

void TokenStream::walk(const std::vector<TokenLine>& lines, int length,
                       const std::function<void(const HostChunk& chunk, size_t first)>& each) {
  HostChunk chunk;
  chunk.B = 1;
  size_t first = 0;
  const auto flush = [&] {
    if (chunk.target.empty()) return;
    chunk.T = int(chunk.target.size());
    chunk.tokens = chunk.T;
    chunk.keep = {fresh_ ? 0 : 1};
    each(chunk, first);
    fresh_ = false;
    first += chunk.target.size();
    chunk.input.clear();
    chunk.target.clear();
  };
  for (const TokenLine& line : lines)
    for (const int32_t id : line) {
      chunk.input.push_back(last_);
      chunk.target.push_back(last_ = id);
      if (int(chunk.target.size()) == length) flush();
    }
  flush();
}

std::vector<NatsLine> split_by_lines(const std::vector<TokenLine>& lines,
                                     const std::vector<double>& values) {
  std::vector<NatsLine> split;
  split.reserve(lines.size());
  auto at = values.begin();
  for (const TokenLine& line : lines) {
    split.emplace_back(at, at + int64_t(line.size()));
    at += int64_t(line.size());
  }
  return split;
}

size_t count_tokens(const std::vector<TokenLine>& lines) {
  size_t n = 0;
  for (const TokenLine& line : lines) n += line.size();
  return n;
}

}  // namespace unroll

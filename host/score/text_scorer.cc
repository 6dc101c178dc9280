#include "host/score/text_scorer.h"

namespace unroll {

void score_text(TokenScorer& scorer, TextSource& source,
                const std::function<void(const ScoredLine&)>& each_line) {
  const Vocab& vocab = scorer.vocab();
  std::vector<ScoredLine> lines;
  std::vector<TokenLine> ids;
  int64_t tokens = 0;
  const auto flush = [&] {
    std::vector<NatsLine> nats = scorer.score(ids);
    for (size_t i = 0; i < lines.size(); ++i) {
      lines[i].nats = std::move(nats[i]);
      lines[i].ids = std::move(ids[i]);
      each_line(lines[i]);
    }
    lines.clear();
    ids.clear();
    tokens = 0;
  };
  std::string text;
  std::vector<uint32_t> oov;
  while (source.next_line(text)) {
    ScoredLine line;
    TokenLine line_ids;
    oov.clear();
    vocab.encode(text, line_ids, &oov, source.place());
    line_ids.push_back(vocab.eos());
    line.unknown.assign(line_ids.size(), false);
    for (uint32_t position : oov) line.unknown[position] = true;
    for_each_token(vocab.unit(), text,
                   [&](std::string_view token) { line.tokens.emplace_back(token); });
    line.text = std::move(text);
    tokens += int64_t(line_ids.size());
    ids.push_back(std::move(line_ids));
    lines.push_back(std::move(line));
    if (tokens >= scorer.tokens_at_once()) flush();
  }
  flush();
  scorer.end_of_text();
}

void TextTotals::add(const ScoredLine& line) {
  ++lines;
  tokens += int64_t(line.ids.size());
  for (size_t i = 0; i < line.ids.size(); ++i) {
    nats += line.nats[i];
    if (!line.unknown[i]) continue;
    ++unknown;
    nats_unknown += line.nats[i];
  }
  for_each_token(Unit::word, line.text, [&](std::string_view) { ++words; });
  for (const char c : line.text) characters += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  ++characters;
}

}  // namespace unroll

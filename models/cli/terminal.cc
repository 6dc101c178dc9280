#include "models/cli/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "host/io/metrics.h"

namespace unroll::cli {
Terminal::Terminal(bool quiet) : quiet_(quiet), interactive_(isatty(STDERR_FILENO) != 0) {}
Terminal::~Terminal() { clear(); }

void Terminal::clear() {
  if (dirty_) std::fputs("\r\033[K", stderr);
  dirty_ = false;
}

void Terminal::say(const std::string& line) {
  if (!quiet_) notice(line);
}

void Terminal::notice(const std::string& line) {
  clear();
  std::fprintf(stderr, "%s\n", line.c_str());
}

void Terminal::progress(const Progress& p) {
  if (quiet_ || (!interactive_ && !p.logged)) return;
  const std::string line = fmt::format(
      "epoch {}{} | {}/{} {}% | loss {:.3f} ppl {} | {} w/s | lr {:.4g} | gnorm {:.3f} | ETA {}",
      p.epoch, p.epochs > 0 ? fmt::format("/{}", p.epochs) : "", p.chunk, p.chunks,
      100 * p.chunk / std::max<int64_t>(1, p.chunks), p.loss, human_perplexity(std::exp(p.loss)),
      human_count(p.words_per_second), p.lr, p.norm,
      p.eta_seconds < 0 ? "?" : human_duration(p.eta_seconds));
  refresh(line);
}

void Terminal::refresh(const std::string& line) {
  if (interactive_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    dirty_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

void Terminal::working(const std::string& line) {
  const auto now = std::chrono::steady_clock::now();
  if (quiet_ || (!interactive_ && now - last_working_ < std::chrono::seconds(10))) return;
  last_working_ = now;
  refresh(line);
}

void Terminal::validation(const Validation& v) {
  const std::string standing =
      v.is_best ? "new best"
                : fmt::format("best {} @ep {}, stalled {}{}",
                              human_perplexity(std::exp(v.best_loss)), v.best_epoch, v.stalled,
                              v.patience > 0 ? fmt::format("/{}", v.patience) : "");
  say(fmt::format("epoch {} | valid ppl {} ({}) in {} lanes, time {:.1f} s{}", v.epoch,
                  human_perplexity(std::exp(v.loss)), standing, v.lanes, v.seconds,
                  v.is_best ? ", saved" : ""));
}

void Terminal::sample(const std::string& text) {
  // The first lines of it, indented.
  std::string shown = "sample:";
  size_t lines = 0;
  for (size_t at = 0; at < text.size() && lines < 3;) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) {
      shown += "\n  " + text.substr(at, end - at);
      ++lines;
    }
    at = end + 1;
  }
  say(shown);
}

void Terminal::warning(const std::string& text) { notice("warning: " + text); }

}  // namespace unroll::cli

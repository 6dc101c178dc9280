// Standard error as people read it: messages, warnings, and one progress line that refreshes in
// place on a terminal and is printed once per line of the log elsewhere.
#pragma once

#include <chrono>
#include <string>

#include "host/train/trainer.h"

namespace unroll::cli {

class Terminal final : public TrainObserver {
 public:
  // quiet: warnings and notices only.
  explicit Terminal(bool quiet = false);
  ~Terminal() override;

  void say(const std::string& line);     // ends a refreshing line first; nothing where quiet
  void notice(const std::string& line);  // the same, quiet or not
  // A line about work that goes on: refreshed in place on a terminal, elsewhere one every ten
  // seconds.
  void working(const std::string& line);
  void progress(const Progress& p) override;
  void validation(const Validation& v) override;
  void sample(const std::string& text) override;
  void schedule(const std::string& text) override { say(text); }
  void phase(const std::string& text) override { say(text); }
  void warning(const std::string& text) override;

 private:
  void clear();
  void refresh(const std::string& line);
  bool quiet_, interactive_;
  bool dirty_ = false;  // a refreshing line stands
  std::chrono::steady_clock::time_point last_working_ = std::chrono::steady_clock::now();
};

}  // namespace unroll::cli

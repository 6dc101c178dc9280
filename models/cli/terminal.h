// Standard error as people read it: messages, warnings, and one progress line that refreshes in place on a
// terminal and is printed once per line of the log elsewhere.
#pragma once

#include <atomic>
#include <string>

#include "host/train/trainer.h"

namespace unroll::cli {

class Terminal final : public TrainObserver {
 public:
  explicit Terminal(bool quiet = false);
  ~Terminal() override;

  void say(const std::string& line);  // ends a refreshing line first
  void progress(const Progress& p) override;
  void validation(const Validation& v) override;
  void sample(const std::string& text) override;
  void message(const std::string& line) override;

 private:
  void clear();
  bool quiet_, interactive_;
  bool dirty_ = false;  // a refreshing line stands
};

// Ctrl-C and SIGTERM set the value to the signal's number; a second one ends the program at once with 128 plus
// the number.
const std::atomic<int>& catch_stop_signals();

}  // namespace unroll::cli

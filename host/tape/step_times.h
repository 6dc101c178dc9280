// Where the time of a training step goes: every op of the tape, forward and backward.
//
// On a GPU a time is that between two events on the main stream. It is the device's own as long as
// the host is ahead of it, so a step that is timed is issued without waiting, and one kernel after
// another: no graph, in which events would not be seen, and no side branch, whose work would count
// for the ops beside it. So the sum is more than a step takes otherwise.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "host/device/backend.h"

namespace unroll {

class StepTimes {
 public:
  explicit StepTimes(const Backend& backend);  // borrowed

  // Of a chunk, around all calls of the others for it.
  void begin();
  void end();
  // What ran since the call before was a part of the op under way, e.g. its loop.
  void part(const char* name);
  // What ran since the call before was the rest of this op's forward pass. Returns the op's number
  // for begin_backward().
  int end_forward(const char* op);
  // What runs between the two is an op's backward pass.
  void begin_backward(int op);
  void end_backward();

  // Seconds of a chunk, the mean of all chunks.
  struct Row {
    std::string op, part;  // the op's place among those of its name, where there are several; part
                           // is empty for what is left of the op
    double forward = 0, backward = 0;
  };
  struct Report {
    int64_t chunks = 0;  // without the first kWarmUp
    std::vector<Row> rows;
  };
  // Waits for the device.
  Report report();

  // Chunks that are not counted: libraries set themselves up, memory is touched for the first time.
  static constexpr int kWarmUp = 3;

 private:
  struct Mark {
    Event event;
    int op;  // -1: nothing; the op is not known yet
    const char* part;
    bool backward;
  };
  using Marks = std::vector<Mark>;  // of a chunk, in order
  struct Part {
    const char* name;
    double forward = 0, backward = 0;
  };
  struct Op {
    const char* name;
    int number;  // among those of its name, from 1
    std::vector<Part> parts;
  };
  void mark(const char* part);
  void collect(bool wait);
  void add(const Marks& marks);

  const Backend& backend_;
  std::vector<Op> ops_;
  std::map<std::pair<std::string, int>, int> op_of_;  // by name and number
  std::map<std::string, int> seen_;                   // in the chunk under way
  size_t unnamed_ = 0;                                // its first mark whose op is not known
  int in_backward_ = -1;
  std::deque<Marks> chunks_;  // whose times are not known yet, oldest first
  std::vector<Event> spare_;
  int64_t ended_ = 0;
};

}  // namespace unroll

#include "host/tape/step_times.h"

#include <algorithm>
#include <cstring>

namespace unroll {

StepTimes::StepTimes(const Backend& backend) : backend_(backend) {}

void StepTimes::begin() {
  collect(false);
  chunks_.emplace_back();
  seen_.clear();
  in_backward_ = -1;
  mark("");
  unnamed_ = 1;
}

void StepTimes::mark(const char* part) {
  if (spare_.empty()) spare_.emplace_back(backend_.device(), Event::Timing::on);
  Event event = std::move(spare_.back());
  spare_.pop_back();
  event.record(backend_.stream());
  chunks_.back().push_back({std::move(event), in_backward_, part, in_backward_ >= 0});
}

void StepTimes::part(const char* name) { mark(name); }

int StepTimes::end_forward(const char* op) {
  mark("");
  const int number = ++seen_[op];
  const auto [found, is_new] = op_of_.try_emplace({op, number}, int(ops_.size()));
  if (is_new) ops_.push_back({op, number, {}});
  Marks& marks = chunks_.back();
  for (; unnamed_ < marks.size(); ++unnamed_) marks[unnamed_].op = found->second;
  return found->second;
}

void StepTimes::begin_backward(int op) { in_backward_ = op; }
void StepTimes::end_backward() {
  mark("");
  in_backward_ = -1;
  unnamed_ = chunks_.back().size();
}

void StepTimes::end() { ++ended_; }

void StepTimes::collect(bool wait) {
  while (!chunks_.empty()) {
    const Event& last = chunks_.front().back().event;
    if (wait) last.synchronize();
    if (!last.done()) return;
    add(chunks_.front());
    for (Mark& m : chunks_.front()) spare_.push_back(std::move(m.event));
    chunks_.pop_front();
  }
}

void StepTimes::add(const Marks& marks) {
  // Of the chunks that have ended this is the oldest one left.
  if (ended_ - int64_t(chunks_.size()) < kWarmUp) return;
  for (size_t i = 1; i < marks.size(); ++i) {
    const Mark& m = marks[i];
    std::vector<Part>& parts = ops_[size_t(m.op)].parts;
    auto part = std::find_if(parts.begin(), parts.end(),
                             [&](const Part& p) { return std::strcmp(p.name, m.part) == 0; });
    if (part == parts.end()) part = parts.insert(parts.end(), {m.part});
    (m.backward ? part->backward : part->forward) += m.event.seconds_since(marks[i - 1].event);
  }
}

StepTimes::Report StepTimes::report() {
  collect(true);
  Report r;
  r.chunks = std::max<int64_t>(ended_ - kWarmUp, 0);
  if (r.chunks == 0) return r;
  for (const Op& op : ops_) {
    const bool several = op_of_.count({op.name, 2}) > 0;
    const std::string name = op.name + (several ? " " + std::to_string(op.number) : "");
    for (const Part& p : op.parts)
      r.rows.push_back({name, p.name, p.forward / double(r.chunks), p.backward / double(r.chunks)});
  }
  return r;
}

}  // namespace unroll

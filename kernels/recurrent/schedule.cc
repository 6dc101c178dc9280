#include "kernels/recurrent/schedule.h"

#include <cstdio>
#include <iterator>

#include "kernels/base/dispatch.h"
#include "kernels/base/error.h"
#include "kernels/recurrent/persistent_cuda.h"
#include "kernels/recurrent/planner.h"

namespace unroll {
namespace {

constexpr const char* kNames[] = {"auto", "persistent", "step", "alternating"};

// Why the schedule cannot run here; empty where it can.
std::string obstacle(const Exec& exec, Schedule schedule, Cell cell, DType act, int64_t B,
                     int64_t H, bool normalised) {
  if (normalised && schedule == Schedule::persistent)
    return "layer normalisation needs sums over all units of a lane, and this schedule, which "
           "spreads a lane over many blocks, would pay an exchange among them for each";
  if constexpr (kBuiltWithCuda) {
    if (schedule == Schedule::persistent) return cuda::persistent_obstacle(exec, cell, act, B, H);
  }
  return "";
}

std::string text_of(const StepTime& t) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f + %.1f us a step", t.forward, t.backward);
  return text;
}

}  // namespace

const char* name_of(Schedule schedule) { return kNames[size_t(schedule)]; }

Schedule schedule_of(const std::string& name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return Schedule(i);
  throw Error(ErrorKind::usage,
              "unknown schedule \"" + name + "\"; known: auto, persistent, step, alternating");
}

ScheduleChoice choose_schedule(const Exec& exec, Schedule asked, Cell cell, DType act, int64_t T,
                               int64_t B, int64_t H, bool normalised) {
  // A measuring run on behalf of CUDA carries its BLAS handle.
  const bool on_cuda = exec.kind == DeviceKind::cuda || exec.blas != nullptr;
  if (!on_cuda) {
    if (asked != Schedule::automatic)
      throw Error(ErrorKind::usage, std::string("schedule \"") + name_of(asked) +
                                        "\" is one of a GPU's, and the layer runs on the CPU, "
                                        "which has one loop; use --schedule auto");
    return {Schedule::automatic, "the CPU has one loop"};
  }
  if (asked != Schedule::automatic) {
    const std::string why_not = obstacle(exec, asked, cell, act, B, H, normalised);
    if (!why_not.empty())
      throw Error(ErrorKind::usage, std::string("schedule \"") + name_of(asked) + "\" cannot run " +
                                        info_of(cell).name + " with T " + std::to_string(T) +
                                        ", B " + std::to_string(B) + ", H " + std::to_string(H) +
                                        " in " + name_of(act) + ": " + why_not +
                                        "; use --schedule auto");
    return {asked, "asked for"};
  }
  const DeviceFigures device = device_figures(exec);
  const RecurrentShape shape = {cell, act, exec.matmul, T, B, H, normalised};
  ScheduleChoice best = {Schedule::alternating, ""};
  double best_us = 0;
  std::string others;
  for (const Schedule s : {Schedule::persistent, Schedule::step, Schedule::alternating}) {
    const std::string why_not = obstacle(exec, s, cell, act, B, H, normalised);
    const StepTime time = predict(s, shape, device);
    if (why_not.empty() && (best_us == 0 || time.both() < best_us)) {
      best.schedule = s;
      best_us = time.both();
    }
    others += std::string(others.empty() ? "" : ", ") + name_of(s) + " " +
              (why_not.empty() ? text_of(time) : "cannot run: " + why_not);
  }
  best.reason = "predicted: " + others;
  return best;
}

}  // namespace unroll

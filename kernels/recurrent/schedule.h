// How a recurrent layer walks through time on CUDA. All schedules compute the same equations; they
// differ in what stays on chip and in how often the device starts a kernel.
//
//   alternating   per step one library product and one pointwise kernel: any size
//   step          per step one kernel that does both; starts early on sm_90: any size. With layer
//                 normalisation two, both of which start early
//   persistent    one kernel for all steps, the recurrent weights stay on chip: sizes that fit
//
// The CPU has one loop, and no choice.
#pragma once

#include <string>

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/cells/cells.h"

namespace unroll {

enum class Schedule : uint8_t { automatic, persistent, step, alternating };

// As in --schedule: auto, persistent, step, alternating.
const char* name_of(Schedule schedule);
// Throws a usage Error that lists the known names.
Schedule schedule_of(const std::string& name);

// What one layer runs, and why, in a phrase for the log.
struct ScheduleChoice {
  Schedule schedule;  // never automatic, but on the CPU
  std::string reason;
};

// The schedule of both passes over a layer: the one asked for, or for Schedule::automatic the one
// that is predicted to be fastest among those that can run (planner.h). Throws a usage Error that
// says why where the one asked for cannot run; nothing else is ever run in its place.
// `normalised`: with layer normalisation (loop_norm.h).
ScheduleChoice choose_schedule(const Exec& exec, Schedule asked, Cell cell, DType act, int64_t T,
                               int64_t B, int64_t H, bool normalised = false);

}  // namespace unroll

#include "host/ops/persistent_watch.h"

#include "host/device/stream.h"
#include "kernels/base/dispatch.h"
#include "kernels/recurrent/persistent_cuda.h"
#include "kernels/recurrent/persistent_patience.h"

namespace unroll {
namespace {

// `name` of the pass in the error.
template <class Pass>
void watch(const Tape& tape, const DirectionRun& d, const Pass& pass, const char* name) {
  if constexpr (kBuiltWithCuda) {
    const Exec& exec = tape.exec();
    if (exec.kind != DeviceKind::cuda || !watches_passes()) return;
    const View3& h = pass.h;
    if (choose_schedule(exec, pass.schedule, pass.cell, h.dtype, h.n[0] - 1, h.n[1], h.n[2],
                        bool(pass.norm))
            .schedule != Schedule::persistent)
      return;
    cuda::PersistentReport report;
    copy_and_wait(exec, &report, pass.scratch.data, sizeof report);
    if (!report.timed_out) return;
    const std::string& weight = tape.params().entries()[size_t(d.p.R.index)].name;
    throw Error(weight + ", " + name + " over " + std::to_string(h.n[0] - 1) +
                " steps: " + cuda::text_of(report) +
                ". If the device was only slow, raise UNROLL_PERSISTENT_TIMEOUT; to go on without "
                "such waits, use --schedule step");
  }
}

}  // namespace

bool watches_passes() { return persistent_patience() > 0; }

void watch_pass(const Tape& tape, const DirectionRun& d, const RecurrentForward& pass) {
  watch(tape, d, pass, "forward pass");
}
void watch_pass(const Tape& tape, const DirectionRun& d, const RecurrentBackward& pass) {
  watch(tape, d, pass, "backward pass");
}

}  // namespace unroll

// With UNROLL_PERSISTENT_TIMEOUT in the environment (kernels/recurrent/persistent_cuda.h) every pass
// of the persistent schedule is asked whether a wait in it was given up: a hang becomes an error
// and not wrong numbers. The host waits for each pass then, so nothing is captured. Without the
// variable nothing is done.
#pragma once

#include "host/ops/recurrent_direction.h"

namespace unroll {

// Whether the variable is set.
bool watches_passes();

// After a pass was issued: throws an Error that names the weight R of its layer and direction, and
// says who waited for what.
void watch_pass(const Tape& tape, const DirectionRun& d, const RecurrentForward& pass);
void watch_pass(const Tape& tape, const DirectionRun& d, const RecurrentBackward& pass);

}  // namespace unroll

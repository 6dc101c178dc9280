// Ctrl-C and SIGTERM, taken by a thread of its own. There is no signal handler: a handler's frame
// goes onto the stack of whichever thread is interrupted, and the matrix kernels of oneDNN 2.6 use
// the stack pointer for data, so that a frame there overwrites the heap.
#pragma once

#include <atomic>

namespace unroll::cli {

// Starts taking both signals; to be called before any other thread exists, as these inherit that
// the signals are blocked. Until `stop_after_step` is called a signal ends the program at once with
// 128 plus its number.
void take_stop_signals();

// From here on the first signal only sets the value returned to its number and says so on standard
// error; the second one ends the program at once.
const std::atomic<int>& stop_after_step();

}  // namespace unroll::cli

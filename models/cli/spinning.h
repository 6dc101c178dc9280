// How long OpenMP's threads spin before they sleep.
//
// GNU OpenMP lets a thread that waits for the others spin for some 300,000 rounds, which is up to
// 20 ms. Beside another busy process that takes the core from the very thread waited for, and
// training runs at a third to a tenth of its speed; on a machine of its own the program is 5 to 15%
// faster so.
#pragma once

namespace unroll::cli {

// Where other processes were busy in the last minute, starts the program anew, in the same process
// and with the same arguments, with short spinning. OpenMP reads its environment before main, so
// that there is no later moment to say so. Returns, having done nothing, where OMP_WAIT_POLICY or
// GOMP_SPINCOUNT is set, as after that start, or where the program cannot be started: only speed
// depends on it. To be called before any thread is made and any input is read.
void limit_spinning(char** argv);

}  // namespace unroll::cli

#include "host/ops/adversarial_target.h"

#include "kernels/heads/adversarial_target.h"

namespace unroll {

Tensor adversarial_shift(Tape& tape, const Var& x, Param W, const View1& target, double eps) {
  if (eps == 0 || !tape.mode().record || !tape.mode().noise) return {};
  const Tensor shift = tape.tensor(tape.acc(), {x.matrix().n[0]});
  adversarial_shift(tape.exec(), {.shift = shift.view<1>(),
                                  .x = x.matrix(),
                                  .W = tape.params().weight(W),
                                  .target = target,
                                  .eps = eps});
  return shift;
}

}  // namespace unroll

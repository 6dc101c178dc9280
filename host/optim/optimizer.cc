#include "host/optim/optimizer.h"

#include "kernels/update/adam.h"
#include "kernels/update/sgd.h"

namespace unroll {

Optimizer::Optimizer(const Backend& backend, const ParamStore& params,
                     const OptimizerSettings& settings)
    : settings_(settings) {
  if (settings.rule != OptimizerSettings::Rule::adam) return;
  const size_t bytes = size_t(params.slab().n[0]) * size_of(params.acc());
  for (Buffer* slot : {&m_, &v_}) {
    *slot = Buffer(backend.device(), MemoryKind::device, bytes);
    backend.stream().fill_zero(slot->data(), bytes);
  }
  backend.stream().synchronize();
}

void Optimizer::update(const Exec& exec, const ParamStore& params, const View1& norm2,
                       const View1& inputs) const {
  const View1 theta = params.slab(), g = params.gradient_slab();
  if (settings_.rule == OptimizerSettings::Rule::sgd)
    sgd(exec, {.theta = theta, .g = g, .norm2 = norm2, .inputs = inputs, .decay = settings_.decay});
  else
    adam(exec, {.theta = theta,
                .m = view_of(m_.data(), params.acc(), theta.n[0]),
                .v = view_of(v_.data(), params.acc(), theta.n[0]),
                .g = g,
                .norm2 = norm2,
                .inputs = inputs,
                .beta1 = settings_.beta1,
                .beta2 = settings_.beta2,
                .eps = settings_.eps,
                .decay = settings_.decay});
  params.cast_shadow(exec);
}

std::vector<Optimizer::Slot> Optimizer::slots() const {
  if (settings_.rule != OptimizerSettings::Rule::adam) return {};
  return {{"adam.m", &m_}, {"adam.v", &v_}};
}

size_t Optimizer::bytes(const OptimizerSettings& settings, const ParamStore& params, DType act) {
  const size_t slab = params.bytes(accumulate_type(act)) / 2;  // one of the two slabs
  return settings.rule == OptimizerSettings::Rule::adam ? 2 * slab : 0;
}

}  // namespace unroll

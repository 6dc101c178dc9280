// Gradient statistics, and weights that move.
#include "host/score/dynamic_evaluation.h"

#include <cmath>
#include <cstdio>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/update/dynamic_update.h"

namespace unroll {
namespace {

class SquareSum final : public ScoreHook {
 public:
  SquareSum(const View1& sum, const View1& g) : sum_(sum), g_(g) {}
  void differentiated(const Exec& exec) override {
    accumulate_squares(exec, {.sum = sum_, .g = g_});
  }

 private:
  View1 sum_, g_;
};

// Sums of squares to RMS in place; the average over tensors of each one's mean.
template <class T>
double to_rms(std::vector<T>& values, const ParamStore& params, int64_t segments) {
  double means = 0;
  for (const ParamStore::Entry& e : params.entries()) {
    double sum = 0;
    for (int64_t i = e.offset; i < e.offset + e.size(); ++i) {
      const double rms = std::sqrt(double(values[size_t(i)]) / double(segments));
      values[size_t(i)] = T(rms);
      sum += rms;
    }
    means += sum / double(e.size());
  }
  return means / double(params.entries().size());
}

}  // namespace

GradientStatistics::GradientStatistics(const Backend& backend, const LanguageModel& model,
                                       const ParamStore& params, Scheduler& scheduler,
                                       ChunkSource& source) {
  const View1 slab = params.slab();
  rms_ = Buffer(backend.device(), MemoryKind::device, size_t(slab.n[0]) * size_of(slab.dtype));
  rms_view_ = view_of(rms_.data(), slab.dtype, slab.n[0]);
  // Padding between tensors is never written by a backward pass.
  backend.stream().fill_zero(rms_.data(), rms_.bytes());
  backend.stream().fill_zero(params.gradient_slab().data, rms_.bytes());
  SquareSum hook(rms_view_, params.gradient_slab());
  const State state(backend, model.state_shape(), source.B(), params.act());
  HostChunk chunk;
  segments_ = source.chunks(0);
  for (int64_t k = 0; k < segments_; ++k) {
    source.fill(0, k, chunk);
    ScorePass pass{.mode = {.record = true, .noise = false}, .hook = &hook};
    pass.scalars.weight = 1.0 / double(chunk.tokens);
    scheduler.score(chunk, state, pass);
  }
  finish(backend, params);
}

void GradientStatistics::finish(const Backend& backend, const ParamStore& params) {
  const auto run = [&](auto zero) {
    std::vector<decltype(zero)> values(size_t(rms_view_.n[0]));
    backend.stream().copy(values.data(), rms_.data(), rms_.bytes());
    backend.stream().synchronize();
    mean_ = to_rms(values, params, segments_);
    backend.stream().copy(rms_.data(), values.data(), rms_.bytes());
    backend.stream().synchronize();
  };
  if (rms_view_.dtype == DType::f64)
    run(double{});
  else
    run(float{});
  if (!(std::isfinite(mean_) && mean_ > 0))
    throw Error(ErrorKind::model,
                "the gradients of the training text are " +
                    std::string(mean_ == 0 ? "all zero" : "not finite") +
                    "; dynamic evaluation needs a trained model and the text it was trained on");
}

DynamicWeights::DynamicWeights(const Backend& backend, const ParamStore& params,
                               const GradientStatistics& statistics, const DynamicOptions& options)
    : backend_(backend),
      params_(params),
      statistics_(statistics),
      options_(options),
      trained_(backend.device(), MemoryKind::device,
               statistics.rms().n[0] * int64_t(size_of(params.acc()))) {
  backend.stream().copy(trained_.data(), params.slab().data, trained_.bytes());
}

DynamicWeights::~DynamicWeights() {
  try {
    backend_.stream().copy(params_.slab().data, trained_.data(), trained_.bytes());
    params_.cast_shadow(backend_.exec());
    backend_.stream().synchronize();
  } catch (const Error& e) {  // what made the device fail is on its way to the caller
    std::fprintf(stderr, "unroll: the trained weights could not be put back: %s\n", e.what());
  }
}

void DynamicWeights::update(const Exec& exec) const {
  const View1 theta = params_.slab();
  dynamic_update(exec, {.theta = theta,
                        .theta_0 = view_of(trained_.data(), theta.dtype, theta.n[0]),
                        .g = params_.gradient_slab(),
                        .rms = statistics_.rms(),
                        .lr = options_.lr,
                        .decay = options_.lambda / statistics_.mean(),
                        .eps = options_.eps});
  params_.cast_shadow(exec);
}

}  // namespace unroll

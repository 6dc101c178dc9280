#include "host/io/parse.h"
#include "host/optim/optimizer.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

UpdateRule rule_of(const std::string& name) {
  if (name == "sgd") return UpdateRule::sgd;
  if (name == "momentum") return UpdateRule::momentum;
  if (name == "asgd" || name == "nt-asgd") return UpdateRule::asgd;
  if (name == "adagrad") return UpdateRule::adagrad;
  if (name == "rmsprop") return UpdateRule::rmsprop;
  if (name == "adam") return UpdateRule::adam;
  if (name == "adamw") return UpdateRule::adamw;
  throw Error("optimizer \"" + name + "\" has no update rule");
}

// "rnn.*" or "rnn.*=0.1".
ClipGroup group_of(const std::string& text) {
  const size_t equals = text.find('=');
  ClipGroup group{text.substr(0, equals)};
  const auto bound =
      equals == std::string::npos ? std::optional<double>(-1) : parse_real(text.substr(equals + 1));
  if (group.pattern.empty() || !bound || (equals != std::string::npos && !(*bound >= 0)))
    throw Error(ErrorKind::usage, "clip_groups: '" + text +
                                      "', expected NAMES or NAMES=BOUND, e.g. \"rnn.*\" or "
                                      "\"encoder.weight=0.05\"; a bound of 0 does not clip");
  group.clip = *bound;
  return group;
}

}  // namespace

bool allows_row_gradients(const Config& config) {
  return leaves_untouched(rule_of(config.optimizer), config.weight_decay);
}

OptimizerSettings optimizer_settings(const Config& config) {
  OptimizerSettings s;
  s.rule = rule_of(config.optimizer);
  s.decay = config.weight_decay;
  s.momentum = config.momentum;
  s.nesterov = config.nesterov;
  s.beta1 = config.beta1;
  s.beta2 = s.rule == UpdateRule::rmsprop ? config.rms_decay : config.beta2;
  s.eps = config.eps;
  s.accumulator = config.accumulator;
  for (const std::string& text : config.clip_groups) s.clip_groups.push_back(group_of(text));
  return s;
}

}  // namespace unroll

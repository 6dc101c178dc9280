// Small models of every kind, for tests of how steps are scheduled.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/gpu_on_cpu/small_model.h"

namespace unroll::test {

inline std::vector<SmallModel::Spec> model_specs() {
  SmallModel::Spec adam = SmallModel::spec(), tied = adam, plain = adam, alternating = adam;
  SmallModel::Spec persistent = SmallModel::spec(Cell::lstm, DType::bf16);
  adam.rule = OptimizerSettings::Rule::adam;
  tied.model.tied = true;
  plain.model.dropout = 0;
  plain.model.L = 1;
  alternating.model.schedule = Schedule::alternating;
  persistent.model.schedule = Schedule::persistent;
  return {SmallModel::spec(),
          SmallModel::spec(Cell::lstm, DType::bf16),
          adam,
          SmallModel::spec(Cell::gru),
          SmallModel::spec(Cell::tanh),
          tied,
          plain,
          alternating,
          persistent};
}
constexpr const char* kModelNames[] = {"lstm", "lstm_bf16", "adam",        "gru",       "tanh",
                                       "tied", "plain",     "alternating", "persistent"};
inline std::string model_name(const testing::TestParamInfo<SmallModel::Spec>& info) {
  return kModelNames[info.index];
}

}  // namespace unroll::test

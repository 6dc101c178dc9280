#include "host/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>

namespace unroll {

double learning_rate(const Config& config, int64_t epoch) {
  if (config.lr_schedule != "zaremba") return config.lr;
  return config.lr /
         std::pow(config.lr_decay, double(std::max<int64_t>(0, epoch + 1 - config.lr_hold)));
}

}  // namespace unroll

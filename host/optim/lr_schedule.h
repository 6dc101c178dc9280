// The learning rate of an epoch.
#pragma once

#include <cstdint>

#include "host/io/config.h"

namespace unroll {

// lr of `epoch`, counted from 0, without the factors that training itself applies (plateau,
// roll-back).
//   constant, plateau   lr
//   zaremba             lr / lr_decay^max(0, epoch + 1 - lr_hold)
//
// zaremba: Zaremba, Sutskever & Vinyals 2014, with TensorFlow's counting of epochs.
double learning_rate(const Config& config, int64_t epoch);

}  // namespace unroll

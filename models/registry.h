// From settings to a model: the one place that knows which models there are.
#pragma once

#include <memory>

#include "host/io/config.h"
#include "host/memory/param_store.h"
#include "host/train/model.h"

namespace unroll {

// Declares the model's weights in `params`; V is the vocabulary's size. Throws a usage Error for an
// unknown cell.
std::unique_ptr<LanguageModel> make_model(const Config& config, int V, ParamStore& params);

}  // namespace unroll

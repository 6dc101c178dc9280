// From settings to a model: the one place that knows which models there are.
#pragma once

#include <memory>

#include "host/data/vocab.h"
#include "host/io/config.h"
#include "host/memory/param_store.h"
#include "host/train/model.h"

namespace unroll {

// Declares the model's weights in `params`. An output layer left to choice is chosen by the
// vocabulary and written into `config` (softmax_choice.h), so that the run's own record names it.
// Throws a usage Error for an unknown cell, or what choose_softmax throws.
std::unique_ptr<LanguageModel> make_model(Config& config, const Vocab& vocab, ParamStore& params);

}  // namespace unroll

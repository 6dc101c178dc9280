// Weights saved from PyTorch without our metadata: settings read off the shapes.
#pragma once

#include <string>

#include "host/io/checkpoint.h"

namespace unroll::cli {

// Settings of the model whose weights these are: widths, layers, biases, tying, and the cell by the
// rows per unit (4 LSTM, 3 GRU, 1 tanh, as torch.nn.RNN's default; `cell` "relu" or "tanh" decides
// between the last two). Names have to be ours: encoder.weight, rnn.weight_ih_l0 ...,
// decoder.weight (absent where tied), decoder.bias. Throws a model Error that names the tensor and
// shape that do not fit.
Config infer_config(const ModelFile& file, const std::string& cell);

}  // namespace unroll::cli

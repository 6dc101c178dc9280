// Everything a program that trains or uses a language model includes: <unroll/unroll.h> once
// installed.
#pragma once

#include "host/data/corpus.h"
#include "host/data/vocab.h"
#include "host/device/backend.h"
#include "host/io/config.h"
#include "host/io/run_dir.h"
#include "host/memory/param_store.h"
#include "host/score/generator.h"
#include "host/score/neural_scorer.h"
#include "host/score/text_scorer.h"
#include "host/train/trainer.h"
#include "host/train/weights_file.h"
#include "models/registry.h"
#include "models/rnn_lm.h"

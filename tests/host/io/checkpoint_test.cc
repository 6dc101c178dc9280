// Model and state files: exact values, any bytes, aliases, one bias, versions.
#include "host/io/checkpoint.h"

#include <cmath>
#include <limits>

#include "host/io/atomic_file.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;
using test::TempDir;

TEST(StateFile, ValuesComeBackExactly) {
  const TempDir dir;
  const double odd[] = {0.1, -0.0, 1e-320, 1e308, std::nextafter(1.0, 2.0), INFINITY, NAN};
  const std::string text("a\0b\xff\xc3\xa9\n", 7);
  StateMap state;
  for (int i = 0; i < 7; ++i) state.put("x" + std::to_string(i), odd[i]);
  state.put("step", std::numeric_limits<int64_t>::min());
  state.put("bytes", text);
  state.put("plain", "caf\xc3\xa9");
  const std::vector<float> h = {1, 2, 3};
  state.add("h", "F32", {3}, h.data());
  {
    const std::vector<uint64_t> gone = {1, ~uint64_t(0)};
    state.add_copy("order", "U64", {2}, gone.data());
  }
  state.write(dir / "s");

  const StateFile file(dir / "s");
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(file.real("x" + std::to_string(i)), odd[i]);
    EXPECT_EQ(std::signbit(file.real("x" + std::to_string(i))), std::signbit(odd[i]));
  }
  EXPECT_TRUE(std::isnan(file.real("x6")));
  EXPECT_EQ(file.integer("step"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(file.text("bytes"), text);
  EXPECT_EQ(file.text("plain"), "caf\xc3\xa9");
  std::vector<float> to(3);
  file.copy("h", "F32", to.data(), 12);
  EXPECT_EQ(to, h);
  uint64_t order[2];
  file.copy("order", "U64", order, 16);
  EXPECT_EQ(order[1], ~uint64_t(0));
  EXPECT_TRUE(file.has("h") && file.has("step") && file.has("bytes"));
  EXPECT_FALSE(file.has("epoch"));
  expect_contains(error_of(ErrorKind::model, [&] { file.integer("epoch"); }),
                  dir / "s" + ": the state has no value 'epoch'");
  expect_contains(error_of(ErrorKind::model, [&] { file.integer("plain"); }), "not a whole number");
  expect_contains(error_of(ErrorKind::model, [&] { file.real("plain"); }), "not a number");
}

ModelParts tiny_model(const std::vector<float>& data) {
  ModelParts parts;
  parts.tensors = {{"encoder.weight", "F32", {5, 2}, data.data()},
                   {"rnn.weight_ih_l0", "F32", {6, 2}, data.data()},
                   {"rnn.bias_ih_l0", "F32", {6}, data.data()}};
  parts.config = "cell = \"gru\"\nhidden = 2\nbiases = 1\n";
  parts.vocab = "a\nb\n\xff\n";
  parts.aliases = {{"decoder.weight", "encoder.weight"}};
  parts.extra = {{"step", "12"}};
  return parts;
}

TEST(ModelFile, AliasesOneBiasConfigAndVocabulary) {
  const TempDir dir;
  std::vector<float> data(12);
  for (int i = 0; i < 12; ++i) data[size_t(i)] = float(i) + 0.5f;
  write_model(dir / "m", tiny_model(data));
  const ModelFile m(dir / "m");
  EXPECT_EQ(m.vocab(), "a\nb\n\xff\n");
  EXPECT_EQ(m.extra("step"), "12");
  EXPECT_EQ(m.extra("none"), "");
  EXPECT_TRUE(m.has_config());
  EXPECT_EQ(m.config().cell, "gru");
  EXPECT_EQ(m.config().hidden, 2);
  EXPECT_EQ(m.file().metadata().at("format"), "pt");
  EXPECT_EQ(m.file().metadata().at("unroll_version"), version());
  EXPECT_EQ(m.file().metadata().at("decoder.weight"), "encoder.weight");
  // A tied matrix is stored once, a missing second bias as zeros.
  EXPECT_EQ(m.file().find("decoder.weight"), nullptr);
  EXPECT_TRUE(m.has("decoder.weight"));
  EXPECT_EQ(m.read<float>("decoder.weight", {5, 2}), m.read<float>("encoder.weight", {5, 2}));
  EXPECT_EQ(m.read<float>("rnn.bias_hh_l0", {6}), std::vector<float>(6, 0.0f));
  EXPECT_EQ(m.read_merged_bias<double>("rnn.bias_ih_l0", 6, "gru"),
            m.read<double>("rnn.bias_ih_l0", {6}));
  expect_contains(error_of(ErrorKind::model,
                           [&] {
                             m.read<float>("encoder.weight", {5, 3});
                           }),
                  "tensor 'encoder.weight' is [5,2], expected [5,3]");
  expect_contains(error_of(ErrorKind::model,
                           [&] {
                             m.read<float>("rnn.weight_hh_l0", {6, 2});
                           }),
                  "has no tensor 'rnn.weight_hh_l0'; it has ");
}

TEST(ModelFile, WeightsSavedFromPyTorch) {
  const TempDir dir;
  const std::vector<float> w = {1, 2, 3, 4}, ih = {1, 2, 3}, hh = {10, 20, 30}, hh0 = {10, 20, 0};
  // save_model keeps the alphabetically first name of a tied matrix.
  write_safetensors(dir / "t",
                    {{"decoder.weight", "F32", {2, 2}, w.data()},
                     {"rnn.bias_ih_l0", "F32", {3}, ih.data()},
                     {"rnn.bias_hh_l0", "F32", {3}, hh.data()},
                     {"rnn.bias_ih_l1", "F32", {3}, ih.data()},
                     {"rnn.bias_hh_l1", "F32", {3}, hh0.data()}},
                    {{"encoder.weight", "decoder.weight"}, {"format", "pt"}});
  const ModelFile m(dir / "t");
  EXPECT_EQ(m.read<float>("encoder.weight", {2, 2}), w);
  EXPECT_EQ(m.read_merged_bias<float>("rnn.bias_ih_l0", 3, "lstm"),
            (std::vector<float>{11, 22, 33}));
  EXPECT_EQ(m.read_merged_bias<float>("rnn.bias_ih_l1", 3, "gru"), (std::vector<float>{11, 22, 3}));
  expect_contains(
      error_of(ErrorKind::model, [&] { m.read_merged_bias<float>("rnn.bias_ih_l0", 3, "gru"); }),
      "set biases = 2");
  EXPECT_FALSE(m.has_config());
  expect_contains(error_of(ErrorKind::model, [&] { m.config(); }), "has no configuration");
  expect_contains(error_of(ErrorKind::model, [&] { m.vocab(); }), "has no vocabulary");
}

TEST(Checkpoint, KindsAndVersionsAreChecked) {
  const TempDir dir;
  const std::vector<float> data(12);
  write_model(dir / "m", tiny_model(data));
  StateMap().write(dir / "s");
  expect_contains(error_of(ErrorKind::model, [&] { StateFile(dir / "m"); }),
                  "not a training state of unroll; --resume needs");
  expect_contains(error_of(ErrorKind::model, [&] { ModelFile(dir / "s"); }),
                  "is a training state, not a model");
  write_safetensors(dir / "new", {}, {{"unroll_format", "999"}, {"unroll_version", "7.1"}});
  for (const std::string& message : {error_of(ErrorKind::model, [&] { ModelFile(dir / "new"); }),
                                     error_of(ErrorKind::model, [&] { StateFile(dir / "new"); })}) {
    expect_contains(message, "written by a newer unroll (7.1, file format 999)");
    expect_contains(message, "install the newer version");
  }
  write_safetensors(dir / "odd", {}, {{"unroll_format", "one"}});
  expect_contains(error_of(ErrorKind::model, [&] { ModelFile(dir / "odd"); }), "whole number");
  ModelParts broken = tiny_model(data);
  broken.config = "cell = \"gru\"\nhiden = 3\n";
  write_model(dir / "b", broken);
  expect_contains(
      error_of(ErrorKind::model, [&] { ModelFile(dir / "b").config(); }),
      dir / "b" + " (configuration):2: there is no setting 'hiden', did you mean 'hidden'?");
}

}  // namespace
}  // namespace unroll

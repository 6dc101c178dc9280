// Every recipe that is built in parses, fits together, and states what it should reach.
#include "models/recipes/recipes.h"

#include "host/io/config.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;

TEST(Recipes, AllParseAndValidate) {
  ASSERT_EQ(recipes().size(), 15u);
  for (const Recipe& r : recipes()) {
    Config c = Config::from_toml(r.text, "recipe " + r.name);
    c.train = {"train.txt"};
    c.valid = {"valid.txt"};
    EXPECT_NO_THROW(c.validate()) << r.name;
    EXPECT_GT(r.summary.size(), 20u) << r.name;
    EXPECT_NE(r.summary[0], '#') << r.name;
    EXPECT_EQ(&find_recipe(r.name), &r);
  }
}

TEST(Recipes, ZarembaAsPublished) {
  const struct {
    const char* name;
    int64_t width, bptt, hold, epochs;
    double radius, dropout, decay, clip;
    const char* published;
  } rows[] = {{"zaremba-small", 200, 20, 4, 13, 0.1, 0, 2, 5, "valid 120.7, test 114.5"},
              {"zaremba-medium", 650, 35, 6, 39, 0.05, 0.5, 1.2, 5, "valid 86.2, test 82.7"},
              {"zaremba-large", 1500, 35, 14, 55, 0.04, 0.65, 1.15, 10, "valid 82.2, test 78.4"}};
  for (const auto& row : rows) {
    const Recipe& r = find_recipe(row.name);
    expect_contains(r.summary, row.published);
    const Config c = Config::from_toml(r.text, r.name);
    EXPECT_EQ(c.emb, row.width);
    EXPECT_EQ(c.hidden, row.width);
    EXPECT_EQ(c.layers, 2);
    EXPECT_EQ(c.bptt, row.bptt);
    EXPECT_EQ(c.batch, 20);
    EXPECT_EQ(c.lr_hold, row.hold);
    EXPECT_EQ(c.lr_decay, row.decay);
    EXPECT_EQ(c.epochs, row.epochs);
    EXPECT_EQ(c.init_radius(), row.radius);
    EXPECT_EQ(c.dropout, row.dropout);
    EXPECT_EQ(c.clip, row.clip);
    EXPECT_EQ(c.lr, 1);
    EXPECT_EQ(c.loss, "sum_time");
    EXPECT_EQ(c.optimizer, "sgd");
    EXPECT_EQ(c.lr_schedule, "zaremba");
    EXPECT_FALSE(c.tied);
  }
}

TEST(Recipes, AwdLstmAsPublished) {
  const struct {
    const char* name;
    int64_t emb, hidden, last, mixtures, batch, epochs;
    double lr, finetune_lr, input, hidden_rate;
    const char* published;
  } rows[] = {
      {"awd-lstm", 400, 1150, 400, 0, 20, 500, 30, 0, 0.4, 0.25,
       "valid 60.7, test 58.8; fine-tuned 60.0, 57.3"},
      {"awd-lstm-mos", 280, 960, 620, 15, 12, 1000, 20, 25, 0.4, 0.225,
       "valid 58.08, test 55.97; fine-tuned 56.54, 54.44"},
      {"awd-lstm-mos-adv", 280, 960, 620, 15, 12, 1000, 20, 25, 0.4, 0.225,
       "valid 54.10, test 52.20"},
      {"awd-lstm-wikitext2", 400, 1150, 400, 0, 80, 750, 30, 0, 0.65, 0.2, "fine-tuned 68.6"},
  };
  for (const auto& row : rows) {
    const Recipe& r = find_recipe(row.name);
    expect_contains(r.summary, row.published);
    const Config c = Config::from_toml(r.text, r.name);
    EXPECT_EQ(c.emb, row.emb);
    EXPECT_EQ(c.hidden, row.hidden);
    EXPECT_EQ(c.hidden_last, row.last);
    EXPECT_EQ(c.layers, 3);
    EXPECT_EQ(c.mixtures, row.mixtures);
    EXPECT_EQ(c.batch, row.batch);
    EXPECT_EQ(c.epochs, row.epochs);
    EXPECT_EQ(c.finetune_epochs, row.epochs);
    EXPECT_EQ(c.lr, row.lr);
    EXPECT_EQ(c.finetune_lr, row.finetune_lr);
    EXPECT_EQ(c.dropout_input < 0 ? c.dropout : c.dropout_input, row.input);
    EXPECT_EQ(c.dropout_hidden, row.hidden_rate);
    EXPECT_EQ(c.dropout, 0.4);
    EXPECT_EQ(c.dropout_output, -1);
    EXPECT_EQ(c.dropout_embedding, 0.1);
    EXPECT_EQ(c.weight_drop, 0.5);
    EXPECT_EQ(c.dropout_kind, "locked");
    EXPECT_EQ(c.ar, 2);
    EXPECT_EQ(c.tar, 1);
    EXPECT_EQ(c.clip, 0.25);
    EXPECT_EQ(c.weight_decay, 1.2e-6);
    EXPECT_EQ(c.bptt, 70);
    EXPECT_EQ(c.nonmono, 5);
    EXPECT_EQ(c.optimizer, "nt-asgd");
    EXPECT_EQ(c.loss, "mean");
    EXPECT_TRUE(c.tied && c.bptt_random && c.biases == 2);
  }
}

TEST(Recipes, AdversarialAsPublished) {
  const Config c = Config::from_toml(find_recipe("awd-lstm-mos-adv").text, "awd-lstm-mos-adv");
  EXPECT_EQ(c.adversarial, 0.005);
  EXPECT_EQ(c.embedding_noise, 0.15);
  EXPECT_EQ(c.finetune_adversarial, 0.028);
  EXPECT_EQ(c.finetune_embedding_noise, 0);
  EXPECT_EQ(c.dropout_latent, 0.29);
  EXPECT_TRUE(c.partial_shuffle);
}

TEST(Recipes, UnknownNameGetsTheNearest) {
  const std::string message = error_of(ErrorKind::usage, [] { find_recipe("zaremba-smal"); });
  expect_contains(message, "there is no recipe 'zaremba-smal', did you mean 'zaremba-small'?");
  expect_contains(message, "recipes: zaremba-small, zaremba-medium");
}

}  // namespace
}  // namespace unroll

// Every recipe that is built in parses, fits together, and states what it should reach.
#include "models/recipes/recipes.h"

#include "host/io/config.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;

TEST(Recipes, AllParseAndValidate) {
  ASSERT_EQ(recipes().size(), 6u);
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
    EXPECT_EQ(c.schedule, "zaremba");
    EXPECT_FALSE(c.tied);
  }
}

TEST(Recipes, UnknownNameGetsTheNearest) {
  const std::string message = error_of(ErrorKind::usage, [] { find_recipe("zaremba-smal"); });
  expect_contains(message, "there is no recipe 'zaremba-smal', did you mean 'zaremba-small'?");
  expect_contains(message, "recipes: zaremba-small, zaremba-medium");
}

}  // namespace
}  // namespace unroll

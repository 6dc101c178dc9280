// Durations, byte counts and near names.
#include "host/io/parse.h"

#include <gtest/gtest.h>

namespace unroll {
namespace {

TEST(ParseDuration, UnitsAndSums) {
  EXPECT_EQ(parse_duration("90s"), 90);
  EXPECT_EQ(parse_duration("10m"), 600);
  EXPECT_EQ(parse_duration("8h"), 28800);
  EXPECT_EQ(parse_duration("30d"), 2592000);
  EXPECT_EQ(parse_duration("1h30m"), 5400);
  EXPECT_EQ(parse_duration("0.5h"), 1800);
  EXPECT_EQ(parse_duration("600"), 600);
  EXPECT_EQ(parse_duration("0"), 0);
}

TEST(ParseDuration, RefusesSlips) {
  for (const char* text :
       {"", "s", "-5s", "10x", "10 m", "1m2h", "1h1h", "m10", "1h30", "nan", "inf", "-1", "1.2.3s"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(ParseBytes, PowersOf1024) {
  EXPECT_EQ(parse_bytes("12"), 12);
  EXPECT_EQ(parse_bytes("64K"), 65536);
  EXPECT_EQ(parse_bytes("64kb"), std::nullopt);
  EXPECT_EQ(parse_bytes("64KiB"), 65536);
  EXPECT_EQ(parse_bytes("256M"), int64_t(256) << 20);
  EXPECT_EQ(parse_bytes("1.5GB"), int64_t(3) << 29);
  EXPECT_EQ(parse_bytes("2T"), int64_t(1) << 41);
  for (const char* text : {"", "M", "-1", "1X", "nan", "1e30", "iB"})
    EXPECT_FALSE(parse_bytes(text)) << text;
}

TEST(ParseNumber, WholeTextOnly) {
  EXPECT_EQ(parse_integer("-12"), -12);
  EXPECT_EQ(parse_integer("+12"), 12);
  EXPECT_EQ(parse_real("1e-3"), 0.001);
  for (const char* text : {"", "1 ", " 1", "1.5", "0x10", "99999999999999999999"})
    EXPECT_FALSE(parse_integer(text)) << text;
  EXPECT_FALSE(parse_real("1,5"));
}

TEST(NearestName, TypingErrorsButNotOtherWords) {
  const std::vector<std::string> names = {"batch", "bptt", "epochs", "lr", "layers", "vocab_size"};
  EXPECT_EQ(nearest_name("batc", names), "batch");
  EXPECT_EQ(nearest_name("bacth", names), "batch");
  EXPECT_EQ(nearest_name("vocabsize", names), "vocab_size");
  EXPECT_EQ(nearest_name("epoch", names), "epochs");
  EXPECT_EQ(nearest_name("rl", names), "lr");
  EXPECT_EQ(nearest_name("temperature", names), "");
  EXPECT_EQ(nearest_name("x", names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
  EXPECT_EQ(did_you_mean("layer", names), ", did you mean 'layers'?");
  EXPECT_EQ(did_you_mean("zzzzz", names), "");
}

}  // namespace
}  // namespace unroll

// EM weights, mixed streams and files of probabilities.
#include "host/mix/em_mixture.h"

#include "host/mix/probability_file.h"
#include "tests/host/ngram/ngram_harness.h"

namespace unroll::test {
namespace {

using Streams = std::vector<std::span<const double>>;

TEST(Mixture, FindsAKnownOptimum) {
  // 3 of 10 tokens are known to the first model only, 7 to the second only: w = 0.3, 0.7.
  const std::vector<double> p = {1, 0, 0, 1, 0, 0, 0, 1, 0, 0}, q = {0, 1, 1, 0, 1, 1, 1, 0, 1, 1};
  const Mixture mixture = fit_mixture(Streams{p, q});
  EXPECT_NEAR(mixture.weights[0], 0.3, 1e-12);
  EXPECT_NEAR(mixture.weights[1], 0.7, 1e-12);
  EXPECT_NEAR(mixture.nats, 3 * std::log(0.3) + 7 * std::log(0.7), 1e-12);
}

TEST(Mixture, IsAMaximumOfTheLikelihood) {
  std::mt19937 random(53);
  std::vector<std::vector<double>> p(3, std::vector<double>(5000));
  for (size_t t = 0; t < p[0].size(); ++t) {
    for (auto& stream : p) stream[t] = std::pow(double(random() % 1000 + 1) / 1000, 3);
  }
  const Streams streams(p.begin(), p.end());
  const Mixture mixture = fit_mixture(streams, 1e-13);
  EXPECT_NEAR(mixture.weights[0] + mixture.weights[1] + mixture.weights[2], 1, 1e-12);
  std::vector<double> mixed(p[0].size());
  EXPECT_EQ(mix_streams(streams, mixture.weights, mixed), mixture.nats);
  // The derivative by each weight is the same there, namely the number of tokens.
  for (size_t m = 0; m < 3; ++m) {
    double derivative = 0;
    for (size_t t = 0; t < mixed.size(); ++t) derivative += p[m][t] / mixed[t];
    EXPECT_NEAR(derivative / double(mixed.size()), 1, 1e-4) << m;
  }
}

TEST(Mixture, RefusesBadStreams) {
  const std::vector<double> p = {0.5, 0, 0.5}, q = {0.5, 0, 0.25}, shorter = {0.5, 0.5};
  message_of(ErrorKind::usage, [] { fit_mixture({}); });
  std::string message = message_of(ErrorKind::data, [&] { fit_mixture(Streams{p, q}); });
  EXPECT_NE(message.find("token 1"), std::string::npos) << message;
  message = message_of(ErrorKind::data, [&] { fit_mixture(Streams{p, shorter}); });
  EXPECT_NE(message.find("has 2 probabilities and model 1 has 3"), std::string::npos) << message;
  for (const double bad : {-0.1, 1.1, double(NAN)}) {
    const std::vector<double> r = {0.5, 0.5, bad};
    message = message_of(ErrorKind::data, [&] { fit_mixture(Streams{p, r}); });
    EXPECT_NE(message.find("model 2"), std::string::npos) << message;
    EXPECT_NE(message.find("token 2"), std::string::npos) << message;
  }
}

TEST(ProbabilityFile, GivesBackFloats) {
  const TemporaryFolder folder;
  const std::vector<double> p = {1, 0, 0.1f, 3e-7f, 0.25};
  for (const char* name : {"p.f32", "p.txt"}) {
    write_probabilities(folder.file(name), p);
    const std::vector<double> read = read_probabilities(folder.file(name), p.size());
    for (size_t i = 0; i < p.size(); ++i) EXPECT_EQ(float(read[i]), float(p[i])) << name;
  }
  EXPECT_EQ(read_bytes(folder.file("p.f32")).size(), 20u);
  EXPECT_EQ(read_bytes(folder.file("p.f32")).substr(16), std::string("\0\0\x80\x3e", 4));
  EXPECT_EQ(read_bytes(folder.file("p.txt")).substr(0, 8), "1\n0\n0.1\n");
  write_probabilities(folder.file("p.f32"), std::vector<double>{1e-90});
  EXPECT_GT(read_probabilities(folder.file("p.f32"), 1)[0], 0);  // unlikely is not impossible
}

TEST(ProbabilityFile, RefusesWhatDoesNotFit) {
  const TemporaryFolder folder;
  const std::string raw = folder.file("p.f32"), text = folder.file("p.txt");
  write_probabilities(raw, std::vector<double>(7, 0.5));
  std::string message = message_of(ErrorKind::data, [&] { read_probabilities(raw, 8); });
  EXPECT_NE(message.find("holds 7 probabilities, the text has 8"), std::string::npos) << message;
  write_bytes(raw, read_bytes(raw).substr(0, 26));
  message = message_of(ErrorKind::data, [&] { read_probabilities(raw, 7); });
  EXPECT_NE(message.find("byte offset 26"), std::string::npos) << message;
  write_probabilities(raw, std::vector<double>{0.5, 2, 0.5});
  message = message_of(ErrorKind::data, [&] { read_probabilities(raw, 3); });
  EXPECT_NE(message.find("byte offset 4"), std::string::npos) << message;
  write_bytes(text, "0.5\n0.25\nzero\n");
  message = message_of(ErrorKind::data, [&] { read_probabilities(text, 3); });
  EXPECT_NE(message.find(text + ":3"), std::string::npos) << message;
  message_of(ErrorKind::usage, [&] { read_probabilities(folder.file("absent"), 3); });
}

}  // namespace
}  // namespace unroll::test

// The learning curve: points from the log, well-formed SVG, thinning, runs that blew up.
#include "host/io/plot.h"

#include <cmath>

#include "host/io/atomic_file.h"
#include "host/io/run_log.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::expect_contains;
using test::TempDir;

size_t occurrences(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Plot, FromTheLog) {
  const TempDir dir;
  {
    RunLog log(dir / "log.jsonl");
    log.append(LogRecord().add("kind", "start").add("loss", 1.0));
    for (int step : {100, 200, 300})
      log.append(
          LogRecord().add("kind", "train").add("step", step).add("loss", 6.0 - step / 200.0));
    log.append(LogRecord().add("kind", "valid").add("step", 200).add("loss", std::log(118.4)));
    log.append(LogRecord().add("kind", "valid").add("step", 300).add("loss", std::log(119.9)));
    log.append(LogRecord().add("kind", "test").add("step", 300).add("loss", 1.0));
  }
  const LearningCurve curve = read_learning_curve(dir / "log.jsonl");
  ASSERT_EQ(curve.train.size(), 3u);
  EXPECT_EQ(curve.train[2].step, 300);
  EXPECT_EQ(curve.train[2].loss, 4.5);
  ASSERT_EQ(curve.valid.size(), 2u);
  write_plot(dir / "log.jsonl", dir / "plot.svg", "a < b & c");
  const std::string svg = read_file(dir / "plot.svg");
  expect_contains(svg, "a &lt; b &amp; c");
  expect_contains(svg, ">best 118.40<");
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(occurrences(svg, "<text"), occurrences(svg, "</text>"));
  expect_contains(svg, "</svg>\n");
}

TEST(Plot, PositionsAreLinearInStepAndLogInPerplexity) {
  LearningCurve curve;
  for (int i = 0; i <= 4; ++i) curve.train.push_back({i * 100, double(8 - i)});
  const std::string svg = render_svg(curve);
  // Margins of 4% of the range: 8 nats at y = 48 + 376 / 27, 4 nats at y = 424 - 376 / 27.
  expect_contains(svg, "M72.0 61.9L248.0 149.0L424.0 236.0L600.0 323.0L776.0 410.1");
}

TEST(Plot, ManyPointsAreAveraged) {
  LearningCurve curve;
  for (int i = 1; i <= 3000; ++i) curve.train.push_back({i, i % 2 ? 4.0 : 6.0});
  curve.valid.push_back({3000, 5.0});
  const std::string svg = render_svg(curve);
  const size_t path = svg.find("d=\"M", svg.find("perplexity (log scale)"));
  const std::string points = svg.substr(path, svg.find("\" fill", path) - path);
  EXPECT_EQ(occurrences(points, "L"), 299u);
  // All means are 5 nats: one height.
  EXPECT_EQ(occurrences(points, " 236.0"), 300u);
}

TEST(Plot, OddCurvesStillGiveAPicture) {
  expect_contains(render_svg({"empty", {}, {}}), "nothing logged yet");
  expect_contains(render_svg({"nan", {{1, NAN}}, {{1, INFINITY}}}), "nothing logged yet");
  for (const LearningCurve& curve :
       {LearningCurve{"one", {}, {{0, 5.0}}},
        LearningCurve{"blown up", {{1, 5.0}, {2, 199.0}, {3, 1e9}}, {}},
        LearningCurve{"narrow", {{1, 4.6}, {2, 4.61}}, {}},
        LearningCurve{"perfect", {{1, 0.0}}, {}}}) {
    const std::string svg = render_svg(curve);
    EXPECT_EQ(svg.find("nan"), std::string::npos) << curve.title;
    EXPECT_EQ(svg.find("inf"), std::string::npos) << curve.title;
    EXPECT_GE(occurrences(svg, "text-anchor=\"end\""), 3u) << curve.title;
    EXPECT_LE(occurrences(svg, "text-anchor=\"end\""), 12u) << curve.title;
  }
}

}  // namespace
}  // namespace unroll

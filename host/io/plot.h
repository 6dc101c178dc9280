// The learning curve of a run as SVG: training and validation perplexity over steps, log scale.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace unroll {

struct CurvePoint {
  int64_t step;
  double loss;  // nats per token
};

struct LearningCurve {
  std::string title;
  std::vector<CurvePoint> train, valid;  // by ascending step
};

// The points of a log.jsonl. Throws Error(usage), Error(data).
LearningCurve read_learning_curve(const std::string& log_path);

// An SVG of 800 x 480. Many training points are averaged (in nats) into at most 300; points that
// are not finite are left out. The lowest validation point is marked with its perplexity.
std::string render_svg(const LearningCurve& curve);

// Reads the log and writes the picture. Throws as the two above, and Error(disk).
void write_plot(const std::string& log_path, const std::string& svg_path, const std::string& title);

}  // namespace unroll

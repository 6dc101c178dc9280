// The learning curve drawn as SVG: linear steps, logarithmic perplexity.
#include "host/io/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "host/io/atomic_file.h"
#include "host/io/metrics.h"
#include "host/io/run_log.h"

namespace unroll {
namespace {

constexpr double kWidth = 800, kHeight = 480, kLeft = 72, kRight = 24, kTop = 48, kBottom = 56;
constexpr const char *kTrainColour = "#8da0b3", *kValidColour = "#c8511b";
constexpr size_t kMaxTrainPoints = 300;

// exp() of a larger loss is beyond what can be labelled, or infinite.
constexpr double kMaxNats = 200;

std::vector<CurvePoint> finite(const std::vector<CurvePoint>& points) {
  std::vector<CurvePoint> out;
  for (const CurvePoint& p : points)
    if (std::abs(p.loss) < kMaxNats) out.push_back(p);
  return out;
}

// Groups of neighbours become their mean, placed at the last step of the group.
std::vector<CurvePoint> thinned(const std::vector<CurvePoint>& points) {
  const size_t group = (points.size() + kMaxTrainPoints - 1) / kMaxTrainPoints;
  if (group <= 1) return points;
  std::vector<CurvePoint> out;
  for (size_t i = 0; i < points.size(); i += group) {
    const size_t n = std::min(group, points.size() - i);
    double sum = 0;
    for (size_t j = 0; j < n; ++j) sum += points[i + j].loss;
    out.push_back({points[i + n - 1].step, sum / double(n)});
  }
  return out;
}

// 1, 2 or 5 times a power of ten, at least `x`.
double nice_step(double x) {
  const double power = std::pow(10, std::floor(std::log10(x)));
  for (double m : {1.0, 2.0, 5.0})
    if (m * power >= x * (1 - 1e-9)) return m * power;
  return 10 * power;
}

// Perplexities to label: 1, 2, 5 per decade; evenly spaced ones when the range is too narrow for
// it.
std::vector<double> perplexity_ticks(double low, double high) {
  std::vector<double> ticks;
  for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high; decade *= 10)
    for (double m : {1.0, 2.0, 5.0})
      if (m * decade >= low && m * decade <= high) ticks.push_back(m * decade);
  // A run that blew up spans many decades; every power of ten, or fewer, is then enough.
  if (ticks.size() > 9) {
    ticks.clear();
    const double every = std::ceil(std::log10(high / low) / 8);
    for (double e = std::ceil(std::log10(low)); e <= std::log10(high); e += every)
      ticks.push_back(std::pow(10, e));
  }
  if (ticks.size() < 3) {
    ticks.clear();
    const double step = nice_step((high - low) / 6);
    for (double t = std::ceil(low / step) * step; t <= high; t += step) ticks.push_back(t);
  }
  return ticks;
}

std::string step_label(double step) {
  if (step >= 1e6) return fmt::format("{:g}M", step / 1e6);
  return step >= 1e4 ? fmt::format("{:g}k", step / 1e3) : fmt::format("{:g}", step);
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

// The frame of a picture: where a step and a loss in nats are drawn.
struct Axes {
  double last_step, low, high;  // low and high in nats, the logarithm of perplexity

  double x(double step) const { return kLeft + (kWidth - kLeft - kRight) * step / last_step; }
  double y(double nats) const {
    return kHeight - kBottom - (kHeight - kTop - kBottom) * (nats - low) / (high - low);
  }
};

Axes make_axes(const std::vector<CurvePoint>& train, const std::vector<CurvePoint>& valid) {
  Axes a{1, INFINITY, -INFINITY};
  for (const auto* curve : {&train, &valid})
    for (const CurvePoint& p : *curve) {
      a.last_step = std::max(a.last_step, double(p.step));
      a.low = std::min(a.low, p.loss);
      a.high = std::max(a.high, p.loss);
    }
  const double margin = std::max(0.04 * (a.high - a.low), 0.02);
  a.low -= margin;
  a.high += margin;
  return a;
}

std::string draw_axes(const Axes& a) {
  std::string svg;
  auto out = std::back_inserter(svg);
  const double right = kWidth - kRight, bottom = kHeight - kBottom;
  for (double ppl : perplexity_ticks(std::exp(a.low), std::exp(a.high))) {
    const double y = a.y(std::log(ppl));
    fmt::format_to(out,
                   "<line x1=\"{}\" y1=\"{:.1f}\" x2=\"{}\" y2=\"{:.1f}\" stroke=\"#e4e4e4\"/>\n",
                   kLeft, y, right, y);
    fmt::format_to(out, "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n", kLeft - 8,
                   y + 4, ppl);
  }
  const double step = std::max(1.0, nice_step(a.last_step / 7));
  for (double s = 0; s <= a.last_step; s += step) {
    fmt::format_to(out,
                   "<line x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\" stroke=\"#555\"/>\n",
                   a.x(s), bottom, bottom + 5);
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", a.x(s),
                   bottom + 20, step_label(s));
  }
  fmt::format_to(out, "<path d=\"M{0} {1}V{2}H{3}\" fill=\"none\" stroke=\"#555\"/>\n", kLeft, kTop,
                 bottom, right);
  fmt::format_to(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text>\n",
                 (kLeft + right) / 2, kHeight - 12);
  fmt::format_to(out,
                 "<text transform=\"translate(18 {}) rotate(-90)\" text-anchor=\"middle\">"
                 "perplexity (log scale)</text>\n",
                 (kTop + bottom) / 2);
  return svg;
}

std::string draw_curve(const Axes& a, const std::vector<CurvePoint>& points, const char* colour,
                       double width) {
  if (points.empty()) return "";
  std::string path;
  for (const CurvePoint& p : points)
    path +=
        fmt::format("{}{:.1f} {:.1f}", path.empty() ? 'M' : 'L', a.x(double(p.step)), a.y(p.loss));
  return fmt::format(
      "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" "
      "stroke-linejoin=\"round\"/>\n",
      path, colour, width);
}

std::string draw_best(const Axes& a, const std::vector<CurvePoint>& valid) {
  if (valid.empty()) return "";
  const CurvePoint best = *std::min_element(
      valid.begin(), valid.end(), [](const auto& p, const auto& q) { return p.loss < q.loss; });
  const double x = a.x(double(best.step)), y = a.y(best.loss);
  // Near the right edge the text goes to the left of its point.
  const bool left = x > kWidth - 180;
  return fmt::format(
      "<circle cx=\"{0:.1f}\" cy=\"{1:.1f}\" r=\"5\" fill=\"white\" stroke=\"{2}\" "
      "stroke-width=\"2\"/>\n<text x=\"{3:.1f}\" y=\"{4:.1f}\" text-anchor=\"{5}\" fill=\"{2}\" "
      "font-weight=\"bold\">best {6}</text>\n",
      x, y, kValidColour, x + (left ? 5 : -5), y - 12, left ? "end" : "start",
      human_perplexity(std::exp(best.loss)));
}

std::string draw_legend() {
  std::string svg;
  double x = kWidth - kRight - 190;
  for (const auto& [name, colour] :
       {std::pair{"training", kTrainColour}, {"validation", kValidColour}}) {
    svg += fmt::format(
        "<line x1=\"{0}\" y1=\"28\" x2=\"{1}\" y2=\"28\" stroke=\"{2}\" stroke-width=\"3\"/>\n"
        "<text x=\"{3}\" y=\"32\">{4}</text>\n",
        x, x + 20, colour, x + 26, name);
    x += 100;
  }
  return svg;
}

}  // namespace

LearningCurve read_learning_curve(const std::string& log_path) {
  LearningCurve curve;
  for (const LogRecord& r : RunLog::read(log_path)) {
    const std::string kind = r.text("kind");
    const double step = r.number("step");
    if (std::isnan(step) || (kind != "train" && kind != "valid")) continue;
    (kind == "train" ? curve.train : curve.valid).push_back({int64_t(step), r.number("loss")});
  }
  return curve;
}

std::string render_svg(const LearningCurve& curve) {
  const std::vector<CurvePoint> train = thinned(finite(curve.train)), valid = finite(curve.valid);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n"
      "<text x=\"{2}\" y=\"32\" font-size=\"15\" font-weight=\"bold\">{3}</text>\n",
      kWidth, kHeight, kLeft, escaped(curve.title));
  if (train.empty() && valid.empty()) {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">nothing logged yet</text>\n",
                       kWidth / 2, kHeight / 2);
  } else {
    const Axes axes = make_axes(train, valid);
    svg += draw_axes(axes) + draw_curve(axes, train, kTrainColour, 1.5) +
           draw_curve(axes, valid, kValidColour, 2.5) + draw_best(axes, valid) + draw_legend();
  }
  return svg + "</svg>\n";
}

void write_plot(const std::string& log_path, const std::string& svg_path,
                const std::string& title) {
  LearningCurve curve = read_learning_curve(log_path);
  curve.title = title;
  write_file(svg_path, render_svg(curve));
}

}  // namespace unroll

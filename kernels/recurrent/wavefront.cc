#include "kernels/recurrent/wavefront.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <limits>

#include "kernels/base/dispatch.h"
#include "kernels/base/error.h"
#include "kernels/recurrent/persistent_cuda.h"

namespace unroll {
namespace {

constexpr const char* kNames[] = {"auto", "on", "off"};
constexpr int64_t kFewestSteps = 8;  // of a part, unless there are only two

// Why the two layers cannot be one launch; empty where they can.
std::string obstacle(const Exec& exec, const WavefrontTask& t) {
  const ScheduleChoice schedule =
      choose_schedule(exec, t.schedule, t.cell, t.act, t.T, t.B, t.H_lower);
  if (schedule.schedule == Schedule::automatic) return "the CPU runs one layer after the other";
  if (!t.obstacle.empty()) return t.obstacle;
  if (schedule.schedule != Schedule::persistent)
    return std::string("the schedule is ") + name_of(schedule.schedule) +
           ", and the two layers share a launch in the persistent one only";
  if (t.T < 2) return "a chunk of one step has no parts";
  if constexpr (kBuiltWithCuda) {
    const std::string why = cuda::persistent_obstacle(exec, t.cell, t.act, t.B, t.H_lower, 2);
    if (!why.empty()) return "on half of the device, " + why;
  }
  return "";
}

std::string text_of(double us) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f us", us);
  return text;
}

}  // namespace

const char* name_of(Wavefront wavefront) { return kNames[size_t(wavefront)]; }

Wavefront wavefront_of(const std::string& name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return Wavefront(i);
  throw Error(ErrorKind::usage, "unknown wavefront \"" + name + "\"; known: auto, on, off");
}

Steps lower_part(int64_t T, int64_t P, int64_t k) {
  const int64_t n = T / P, r = T % P;
  return k == 0 ? Steps{0, n + r} : Steps{k * n + r, n};
}

Steps upper_part(int64_t T, int64_t P, int64_t k) {
  const int64_t n = T / P, r = T % P;
  return {k * n, k == P - 1 ? n + r : n};
}

double predict_wavefront(const RecurrentShape& s, int64_t parts, const DeviceFigures& d,
                         int more_kernels) {
  DeviceFigures half = d;
  half.multiprocessors /= 2;
  half.pairs /= 2;
  half.fours /= 2;
  // Of both passes, without what a launch costs, which predict() spreads over the steps.
  const auto step_us = [&](const DeviceFigures& share) {
    return predict(Schedule::persistent, s, share).both() - 2 * d.launch_us / double(s.T);
  };
  // Each way dropout and a product; what they compute is the same however it is cut, but W is read
  // anew.
  const double G = info_of(s.cell).gates, H = double(s.H), launch = 2 * d.launch_us;
  const double between =
      2 * (2 * d.node_gap_us + G * H * H * double(size_of(s.act)) / d.l2_bytes_per_us) +
      more_kernels * d.node_gap_us;
  if (parts == 1) return 2 * (double(s.T) * step_us(d) + launch) + between;
  const double n = double(s.T / parts), r = double(s.T % parts), P = double(parts);
  return 2 * (n + r) * step_us(d) + (P - 1) * n * step_us(half) + (P + 1) * launch + P * between;
}

WavefrontChoice choose_wavefront(const Exec& exec, const WavefrontTask& t) {
  if (t.asked == Wavefront::off) return {1, "not wanted"};
  if (t.H_lower != t.H_upper) return {1, "the layers differ in width"};
  const std::string why = obstacle(exec, t);
  if (!why.empty()) {
    if (t.asked == Wavefront::on)
      throw Error(ErrorKind::usage, "--wavefront on cannot run two layers of H " +
                                        std::to_string(t.H_lower) + " with T " +
                                        std::to_string(t.T) + " and B " + std::to_string(t.B) +
                                        ": " + why + "; use --wavefront auto");
    return {1, why};
  }
  const DeviceFigures device = device_figures(exec);
  const RecurrentShape shape = {t.cell, t.act, exec.matmul, t.T, t.B, t.H_lower};
  int64_t best = 2;
  double best_us = std::numeric_limits<double>::infinity();
  for (int64_t P = 2; P <= std::max<int64_t>(2, t.T / kFewestSteps); ++P) {
    const double us = predict_wavefront(shape, P, device, t.more_kernels);
    if (us < best_us) {
      best = P;
      best_us = us;
    }
  }
  if (t.asked == Wavefront::on) return {best, "asked for"};
  const double in_order = predict_wavefront(shape, 1, device, t.more_kernels);
  return {best_us < in_order ? best : 1, "predicted: " + text_of(best_us) + " in " +
                                             std::to_string(best) + " parts, " + text_of(in_order) +
                                             " in order"};
}

}  // namespace unroll

// Small kernels with one mistake each, and their correct twins. The lines a report should name end
// in
// "// planted:<name>".
#pragma once

namespace unroll::gpu_on_cpu {

// What a build is expected to say of a planted mistake: kinds of findings, any one of which will
// do, or that the result is wrong, or nothing because this build cannot see it.
struct PlantedBug {
  const char* name;
  bool (*run)(bool planted);  // whether the result was right
  const char* plain;          // "wrong", "missed" or kinds separated by spaces
  const char* asan;           // "" for what the plain build says
  const char* race;
};

extern const PlantedBug kPlantedBugs[];
extern const int kPlantedBugCount;

}  // namespace unroll::gpu_on_cpu

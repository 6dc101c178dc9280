// dims.h and dispatch.h: what errors say, and that a measuring run touches nothing.
#include "kernels/base/dims.h"

#include <gtest/gtest.h>

#include "kernels/base/dispatch.h"
#include "kernels/gemm/gemm.h"

namespace unroll {
namespace {

template <class Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Dims, SaysWhatItGotAndWhatItExpected) {
  float data[24] = {};
  const View3 Wx = view_of(data, 2, 3, 4);
  EXPECT_EQ(error_of([&] {
              check_shape("recurrent", "Wx", Wx, "[T,B,4H]", {2, 3, 8}, DType::f32);
            }),
            "recurrent: Wx is [2,3,4] f32, expected [T,B,4H] = [2,3,8] f32");
  EXPECT_EQ(error_of([&] {
              check_shape("recurrent", "Wx", Wx, "[T,B,4H]", {2, 3, 4}, DType::f64);
            }),
            "recurrent: Wx is [2,3,4] f32, expected [T,B,4H] = [2,3,4] f64");
  EXPECT_EQ(error_of([&] {
              check_shape("recurrent", "R", View2{}, "[4H,H]", {8, 2}, DType::f32);
            }),
            "recurrent: R is missing or [0,0] f32, expected [4H,H] = [8,2] f32");
  EXPECT_EQ(error_of([&] {
              check_shape("recurrent", "Wx", Wx, "[T,B,4H]", {2, 3, 4}, DType::f32);
            }),
            "no error");
}

TEST(Dims, RefusesRowsThatOverlap) {
  float data[24] = {};
  View2 x = view_of(data, 4, 6);
  x.ld = 5;
  EXPECT_NE(error_of([&] { check_shape("op", "x", x, "[N,D]", {4, 6}, DType::f32); }), "no error");
}

TEST(Dims, OptionalMayBeMissingButNotWrong) {
  float data[4] = {};
  EXPECT_EQ(error_of([&] { check_optional("op", "b", View1{}, "[D]", {3}, DType::f32); }),
            "no error");
  EXPECT_EQ(error_of([&] { check_optional("op", "b", view_of(data, 4), "[D]", {3}, DType::f32); }),
            "op: b is [4] f32, expected [D] = [3] f32");
}

TEST(Dims, EmptyArraysNeedNoMemory) {
  EXPECT_EQ(error_of([&] {
              check_shape("op", "x", view_of<float>(static_cast<float*>(nullptr), 0, 6), "[N,D]",
                          {0, 6}, DType::f32);
            }),
            "no error");
}

TEST(Dispatch, MeasuringRunReturnsBeforeItLooksAtAnything) {
  Exec exec;
  exec.kind = DeviceKind::none;
  EXPECT_EQ(error_of([&] { gemm(exec, Gemm{}); }), "no error");
}

TEST(Dispatch, CudaWithoutCudaSaysHowToGetIt) {
  if (kBuiltWithCuda) GTEST_SKIP() << "this build has CUDA";
  Exec exec;
  exec.kind = DeviceKind::cuda;
  float data[1] = {};
  const View2 x = view_of(data, 1, 1);
  const std::string error = error_of([&] { gemm(exec, {.C = x, .A = x, .B = x}); });
  EXPECT_NE(error.find("built without CUDA"), std::string::npos) << error;
  EXPECT_NE(error.find("--device cpu"), std::string::npos) << error;
}

}  // namespace
}  // namespace unroll

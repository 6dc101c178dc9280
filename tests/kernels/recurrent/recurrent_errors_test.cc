// What the recurrent ops say of arguments that do not fit.
#include "kernels/base/error.h"
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {
namespace {

class RecurrentErrorsTest : public RecurrentTest {
 protected:
  const RecurrentCase case_ = {2, 3, 5, false, true, true, true, 0};
  std::string type() const { return unroll::name_of(act()); }
  std::string acc_type() const { return unroll::name_of(acc()); }
  template <class Args>
  std::string error_of(void (*op)(const Exec&, const Args&), const Args& args) {
    try {
      op(exec(), args);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::internal);
      return e.what();
    }
    return "no error";
  }
};

TEST_P(RecurrentErrorsTest, NameTheArgumentInLetters) {
  const oracle::Layer<double> layer = random_layer(Cell::lstm, case_, GetParam());
  RecurrentArrays arrays(backend(), layer, GetParam(), 0);
  RecurrentForward f = arrays.forward_args();
  f.Wx = f.Wx.slice(0, 1);
  EXPECT_EQ(error_of(&recurrent_forward, f), "recurrent_forward: Wx is [1,3,20] " + acc_type() +
                                                 ", expected [T,B,GH] = [2,3,20] " + acc_type());
  f = arrays.forward_args();
  f.c = {};
  EXPECT_EQ(error_of(&recurrent_forward, f),
            "recurrent_forward: c is missing or [0,0,0] f32, expected "
            "[T+1,B,H] = [3,3,5] " +
                acc_type());
  f = arrays.forward_args();
  f.lengths.dtype = DType::u32;
  EXPECT_EQ(error_of(&recurrent_forward, f),
            "recurrent_forward: lengths is [3] u32, expected [B] = [3] i32");
  f = arrays.forward_args();
  f.h = f.h.slice(0, 1);
  EXPECT_EQ(error_of(&recurrent_forward, f),
            "recurrent_forward: h is [1,3,5], expected [T+1,B,H] with T, B and H at least 1");
  f = arrays.forward_args();
  f.scratch.bytes = 1;
  EXPECT_NE(error_of(&recurrent_forward, f).find("scratch is 1 bytes, expected"),
            std::string::npos);

  RecurrentBackward b = arrays.backward_args();
  b.saved = {};
  EXPECT_EQ(error_of(&recurrent_backward, b),
            "recurrent_backward: saved is missing or [0,0,0] f32, "
            "expected [T,B,SH] = [2,3,20] " +
                type());
  RecurrentWeightGradients w = arrays.weight_args(Accumulate::overwrite);
  w.db_R.n[0] = 19;
  EXPECT_EQ(error_of(&recurrent_weight_gradients, w), "recurrent_weight_gradients: db_R is [19] " +
                                                          acc_type() + ", expected [GH] = [20] " +
                                                          acc_type());
}

TEST_P(RecurrentErrorsTest, SplitCellNeedsBothGradients) {
  const oracle::Layer<double> layer = random_layer(Cell::gru, case_, GetParam());
  RecurrentArrays arrays(backend(), layer, GetParam(), 0);
  RecurrentBackward b = arrays.backward_args();
  b.dRh = {};
  EXPECT_EQ(error_of(&recurrent_backward, b),
            "recurrent_backward: dRh is missing or [0,0,0] f32, "
            "expected [T,B,GH] = [2,3,15] " +
                type());
}

TEST_P(RecurrentErrorsTest, MeasuringRunAsksForTheSameScratch) {
  const Exec measuring = backend().measuring();
  for (Cell cell : oracle::kAllCells)
    for (const RecurrentCase& c : kRecurrentCases)
      EXPECT_EQ(recurrent_scratch_bytes(measuring, cell, act(), c.T, c.B, c.H),
                recurrent_scratch_bytes(exec(), cell, act(), c.T, c.B, c.H));
  recurrent_forward(measuring, {.cell = Cell::lstm, .h = {}, .Wx = {}, .R = {}, .scratch = {}});
  recurrent_backward(measuring,
                     {.cell = Cell::lstm, .dWx = {}, .dh = {}, .h = {}, .R = {}, .scratch = {}});
  recurrent_weight_gradients(measuring,
                             {.cell = Cell::lstm, .dR = {}, .dWx = {}, .dRh = {}, .h = {}});
}

UNROLL_ON_TARGETS(RecurrentErrorsTest);

}  // namespace
}  // namespace unroll::test

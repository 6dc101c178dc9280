// CPU body of add_scaled. Converting to and from bf16 is part of the op, so bf16 is taken here too.
#include "kernels/base/error.h"
#include "kernels/elementwise/add.h"

namespace unroll::cpu {
namespace {

template <class Y, class X>
void run(const Exec& exec, const AddScaled& args) {
  using A = acc_t<X>;
  const auto y = args.y.as<Y>();
  const auto x = args.x.as<X>();
  const A a = A(args.a);
  const bool add = args.to_y == Accumulate::add;
#pragma omp parallel for num_threads(exec.threads)
  for (int64_t n = 0; n < y.n[0]; ++n) {
    Y* to = y.row(n);
    const X* from = x.row(n);
    if (add)
      for (int64_t d = 0; d < y.n[1]; ++d) to[d] = Y(A(to[d]) + a * A(from[d]));
    else
      for (int64_t d = 0; d < y.n[1]; ++d) to[d] = Y(a * A(from[d]));
  }
}

}  // namespace

void add_scaled(const Exec& exec, const AddScaled& args) {
  const DType y = args.y.dtype, x = args.x.dtype;
  if (y == DType::f64 && x == DType::f64) return run<double, double>(exec, args);
  if (y == DType::f32 && x == DType::f32) return run<float, float>(exec, args);
  if (y == DType::f32 && x == DType::bf16) return run<float, bf16>(exec, args);
  if (y == DType::bf16 && x == DType::f32) return run<bf16, float>(exec, args);
  if (y == DType::bf16 && x == DType::bf16) return run<bf16, bf16>(exec, args);
  throw Error(std::string("add_scaled: y is ") + name_of(y) + " and x is " + name_of(x) +
              "; expected f32, f64 or bf16");
}

}  // namespace unroll::cpu

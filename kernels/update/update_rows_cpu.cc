// CPU body of update_rows.
#include "kernels/base/cpu_dtype.h"
#include "kernels/update/rules.h"
#include "kernels/update/update_rows.h"

namespace unroll::cpu {

void update_rows(const Exec& exec, const UpdateRows& args) {
  const auto& scales = *static_cast<const UpdateScales*>(args.scales.data);
  if (scales.apply == 0) return;
  const auto words = args.g.words.as<uint32_t>();
  const int64_t N = words.n[0], V = args.theta.n[0], D = args.theta.n[1];
  const auto shadow = args.shadow.as<bf16>();
  with_real("update_rows", args.theta.dtype, [&](auto zero) {
    using T = decltype(zero);
    const RuleNumbers<T> numbers(scales, args.constants);
    const T factor = T(args.scales.as<double>()(kUpdateScales + args.group));
    const auto theta = args.theta.as<T>(), a = args.a.as<T>(), g = args.g.rows.as<T>();
    with_row_rule(args.rule, [&](auto rule) {
      using R = decltype(rule);
#pragma omp parallel for num_threads(exec.threads) schedule(dynamic, 16)
      for (int64_t i = 0; i < N; ++i) {
        if (!has_row(words.data, i, V)) continue;
        T* weight = theta.row(words(i));
        T* slot = R::kSlots > 0 ? a.row(words(i)) : nullptr;
        const T* gradient = g.row(i);
#pragma omp simd
        for (int64_t d = 0; d < D; ++d) {
          T none = 0, unused = 0;
          R::step(numbers, weight[d], factor * gradient[d], R::kSlots > 0 ? slot[d] : none, unused);
        }
        if (shadow)
          for (int64_t d = 0; d < D; ++d) shadow(words(i), d) = bf16(float(weight[d]));
      }
    });
  });
}

}  // namespace unroll::cpu

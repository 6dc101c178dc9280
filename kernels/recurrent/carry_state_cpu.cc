// The carried state on the CPU.
#include <algorithm>
#include <cstring>

#include "kernels/base/cpu_dtype.h"
#include "kernels/recurrent/carry_state.h"

namespace unroll::cpu {

void carry_state(const Exec&, const CarryState& a) {
  const int32_t* const keep = static_cast<const int32_t*>(a.keep.data);
  with_real("carry_state", a.x.dtype, [&](auto real) {
    using T = decltype(real);
    const View<T, 2> y = a.y.as<T>(), x = a.x.as<T>();
    for (int64_t b = 0; b < x.n[0]; ++b) {
      if (keep && !keep[b])
        std::fill_n(y.row(b), x.n[1], T(0));
      else
        std::memmove(y.row(b), x.row(b), size_t(x.n[1]) * sizeof(T));
    }
  });
}

}  // namespace unroll::cpu

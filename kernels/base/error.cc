#include "kernels/base/error.h"

namespace unroll {

void fail_check(const char* condition, const char* file, int line, const std::string& message) {
  throw Error(ErrorKind::internal,
              message + " (" + condition + ", " + file + ":" + std::to_string(line) + ")");
}

}  // namespace unroll

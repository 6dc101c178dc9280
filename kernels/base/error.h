// unroll::Error and UNROLL_CHECK: every public function throws Error with a message that names what
// was given, what was expected and the fix.
#pragma once

#include <stdexcept>
#include <string>

namespace unroll {

// Exit codes of the program; a library user reads them as kinds of error.
enum class ErrorKind : int {
  usage = 2,       // a flag, a file that cannot be opened, a combination of settings
  data = 3,        // the content of a corpus, vocabulary or label file
  model = 4,       // a model file, or a model that does not fit the text
  divergence = 5,  // training diverged and roll-backs did not help
  resource = 6,    // memory, device, driver
  disk = 7,        // writing failed
  internal = 70,   // a defect of unroll itself: shapes that do not fit and the like
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  explicit Error(const std::string& message) : Error(ErrorKind::internal, message) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// Throws an internal Error that names the place in the source.
[[noreturn]] void fail_check(const char* condition, const char* file, int line,
                             const std::string& message);

}  // namespace unroll

// UNROLL_CHECK(n > 0, "what was expected"): the message is only built when the check fails.
#define UNROLL_CHECK(condition, message)                                             \
  do {                                                                               \
    if (!(condition)) ::unroll::fail_check(#condition, __FILE__, __LINE__, message); \
  } while (false)

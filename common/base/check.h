// Checks of invariants: a failed one prints the place, the condition and the values, and aborts.
// For programmer errors only; expected failures are absl::Status. Thread-safe. Always on.
//
//   DTRPO_CHECK(block < blocks) << "block " << block << " of " << blocks;
//   DTRPO_CHECK_EQ(rows.size(), tokens.size());
//   DTRPO_CHECK_OK(status);
#pragma once

#include <memory>
#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace dtrpo::base::internal {

// Collects the streamed message; its destructor prints it to stderr and aborts.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  CheckFailure(const char* file, int line, const std::string& condition)
      : CheckFailure(file, line, condition.c_str()) {}
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;
  [[noreturn]] ~CheckFailure();

  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Makes both branches of the ?: in DTRPO_CHECK have type void.
struct Voidify {
  void operator&(std::ostream&) {}
};

// Null when the comparison holds, else the text "a == b (1 vs. 2)".
template <typename A, typename B, typename Op>
std::unique_ptr<std::string> CompareFailure(const A& a, const B& b, Op op, const char* text) {
  if (op(a, b)) return nullptr;
  std::ostringstream out;
  out << text << " (" << a << " vs. " << b << ")";
  return std::make_unique<std::string>(out.str());
}

inline const absl::Status& AsStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& AsStatus(const absl::StatusOr<T>& result) {
  return result.status();
}
// Null when OK, else the status as text.
std::unique_ptr<std::string> StatusFailure(const absl::Status& status, const char* text);

}  // namespace dtrpo::base::internal

#define DTRPO_CHECK(condition)                       \
  (condition) ? (void)0                              \
              : ::dtrpo::base::internal::Voidify() & \
                    ::dtrpo::base::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()

// `while` runs at most once: CheckFailure's destructor aborts.
#define DTRPO_CHECK_FAILURE_(failure)     \
  while (auto dtrpo_failure_ = (failure)) \
  ::dtrpo::base::internal::CheckFailure(__FILE__, __LINE__, *dtrpo_failure_).stream()

#define DTRPO_CHECK_OP_(a, op, b)                               \
  DTRPO_CHECK_FAILURE_(::dtrpo::base::internal::CompareFailure( \
      (a), (b), [](const auto& x, const auto& y) { return x op y; }, #a " " #op " " #b))
#define DTRPO_CHECK_EQ(a, b) DTRPO_CHECK_OP_(a, ==, b)
#define DTRPO_CHECK_NE(a, b) DTRPO_CHECK_OP_(a, !=, b)
#define DTRPO_CHECK_LT(a, b) DTRPO_CHECK_OP_(a, <, b)
#define DTRPO_CHECK_LE(a, b) DTRPO_CHECK_OP_(a, <=, b)
#define DTRPO_CHECK_GT(a, b) DTRPO_CHECK_OP_(a, >, b)
#define DTRPO_CHECK_GE(a, b) DTRPO_CHECK_OP_(a, >=, b)

#define DTRPO_CHECK_OK(expression)                             \
  DTRPO_CHECK_FAILURE_(::dtrpo::base::internal::StatusFailure( \
      ::dtrpo::base::internal::AsStatus(expression), #expression))

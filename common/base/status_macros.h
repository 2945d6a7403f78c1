// Early return on a failed absl::Status. Thread-safe: no state.
//
//   DTRPO_RETURN_IF_ERROR(store->Insert(item));
//   DTRPO_RETURN_IF_ERROR(Annotate(store->Insert(item), "while importing ", path));
//   DTRPO_ASSIGN_OR_RETURN(Config config, LoadConfig(path));
//   DTRPO_ASSIGN_OR_RETURN(auto bytes, Annotate(fs->Read(path), "while reading the manifest"));
//
// Both work in functions that return absl::Status or absl::StatusOr<T>.
// (Debian's Abseil 20220623 predates absl/status/status_macros.h; these have its shape.)
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace dtrpo::base {

// `status` with "<context>: " put before its message. Code and payloads (retry-after) are kept; OK
// stays OK.
template <typename... Context>
absl::Status Annotate(const absl::Status& status, const Context&... context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context..., ": ", status.message()));
  status.ForEachPayload([&annotated](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

template <typename T, typename... Context>
absl::StatusOr<T> Annotate(absl::StatusOr<T> result, const Context&... context) {
  if (result.ok()) return result;
  return Annotate(result.status(), context...);
}

}  // namespace dtrpo::base

#define DTRPO_STATUS_CONCAT_INNER_(x, y) x##y
#define DTRPO_STATUS_CONCAT_(x, y) DTRPO_STATUS_CONCAT_INNER_(x, y)

#define DTRPO_RETURN_IF_ERROR(expression)                                   \
  do {                                                                      \
    if (::absl::Status dtrpo_status_ = (expression); !dtrpo_status_.ok()) { \
      return dtrpo_status_;                                                 \
    }                                                                       \
  } while (false)

// `target` may be a declaration. A declaration with a comma outside parentheses needs an alias.
#define DTRPO_ASSIGN_OR_RETURN(target, ...)                                              \
  DTRPO_ASSIGN_OR_RETURN_IMPL_(DTRPO_STATUS_CONCAT_(dtrpo_status_or_, __LINE__), target, \
                               __VA_ARGS__)

#define DTRPO_ASSIGN_OR_RETURN_IMPL_(result, target, ...) \
  auto result = (__VA_ARGS__);                            \
  if (!result.ok()) return std::move(result).status();    \
  target = *std::move(result)

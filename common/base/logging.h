// Structured logs on stderr, one line each. Thread-safe; lines of several threads never mix.
//
//   LogInfo("weights swapped", {{"version", 3}, {"seconds", 0.12}, {"from", peer}});
//   2026-01-02T03:04:05.678Z INFO rollout weights swapped version=3 seconds=0.12 from="10.0.0.1:80"
//
// Values with spaces, quotes, '=' or control characters are quoted and escaped, so a line break in
// foreign data can't forge a log line.
#pragma once

#include <concepts>
#include <functional>
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace dtrpo::base {

enum class LogLevel { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

// "debug", "info", "warning", "error"; else INVALID_ARGUMENT.
absl::StatusOr<LogLevel> ParseLogLevel(absl::string_view name);

struct LogField {
  LogField(absl::string_view key, const absl::AlphaNum& value) : key(key), value(value.Piece()) {}
  LogField(absl::string_view key, const absl::Status& status)
      : key(key), value(status.ToString()) {}
  LogField(absl::string_view key, absl::Duration duration)
      : key(key), value(absl::FormatDuration(duration)) {}
  LogField(absl::string_view key, std::same_as<bool> auto flag)
      : key(key), value(flag ? "true" : "false") {}

  std::string key;
  std::string value;
};

// Once at the start of a process; before it lines carry no service name and level info.
void ConfigureLogging(absl::string_view service, LogLevel level);
void SetLogLevel(LogLevel level);
bool IsLogged(LogLevel level);

using LogFields = std::initializer_list<LogField>;
void Log(LogLevel level, absl::string_view message, LogFields fields = {});
inline void LogDebug(absl::string_view message, LogFields fields = {}) {
  Log(LogLevel::kDebug, message, fields);
}
inline void LogInfo(absl::string_view message, LogFields fields = {}) {
  Log(LogLevel::kInfo, message, fields);
}
inline void LogWarning(absl::string_view message, LogFields fields = {}) {
  Log(LogLevel::kWarning, message, fields);
}
inline void LogError(absl::string_view message, LogFields fields = {}) {
  Log(LogLevel::kError, message, fields);
}

// For tests: whole lines go to `sink` instead of stderr; null restores stderr.
void SetLogSinkForTest(std::function<void(const std::string& line)> sink);

}  // namespace dtrpo::base

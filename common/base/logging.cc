#include "common/base/logging.h"

#include <atomic>
#include <cstdio>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

namespace dtrpo::base {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};
absl::Mutex g_mutex(absl::kConstInit);

struct State {
  std::string service;
  std::function<void(const std::string&)> sink;
};

State& GetState() ABSL_EXCLUSIVE_LOCKS_REQUIRED(g_mutex) {
  static State* const state = new State;
  return *state;
}

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarning:
      return "WARNING";
    case LogLevel::kError:
      return "ERROR";
  }
  return "?";
}

bool IsPlain(absl::string_view value) {
  for (unsigned char c : value) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return false;
  }
  return !value.empty();
}

}  // namespace

absl::StatusOr<LogLevel> ParseLogLevel(absl::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  return absl::InvalidArgumentError(
      absl::StrCat("log level '", name, "' is not one of debug, info, warning, error"));
}

void ConfigureLogging(absl::string_view service, LogLevel level) {
  SetLogLevel(level);
  absl::MutexLock lock(&g_mutex);
  GetState().service = std::string(service);
}

void SetLogLevel(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }

bool IsLogged(LogLevel level) { return level >= g_level.load(std::memory_order_relaxed); }

void Log(LogLevel level, absl::string_view message, LogFields fields) {
  if (!IsLogged(level)) return;
  std::string tail = absl::StrCat(" ", absl::Utf8SafeCHexEscape(message));
  for (const LogField& field : fields) {
    absl::StrAppend(&tail, " ", field.key, "=");
    if (IsPlain(field.value)) {
      absl::StrAppend(&tail, field.value);
    } else {
      absl::StrAppend(&tail, "\"", absl::Utf8SafeCHexEscape(field.value), "\"");
    }
  }
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());

  absl::MutexLock lock(&g_mutex);
  const State& state = GetState();
  const std::string line = absl::StrCat(time, " ", LevelName(level), " ",
                                        state.service.empty() ? "-" : state.service, tail, "\n");
  if (state.sink) {
    state.sink(line);
  } else {
    std::fwrite(line.data(), 1, line.size(), stderr);
  }
}

void SetLogSinkForTest(std::function<void(const std::string& line)> sink) {
  absl::MutexLock lock(&g_mutex);
  GetState().sink = std::move(sink);
}

}  // namespace dtrpo::base

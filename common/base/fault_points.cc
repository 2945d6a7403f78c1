#include "common/base/fault_points.h"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"

namespace dtrpo::base {
namespace internal {
std::atomic<bool> any_fault_point_armed{false};
}  // namespace internal

namespace {

enum class Action { kKill, kError, kDelay };

struct ArmedPoint {
  Action action = Action::kError;
  absl::Duration delay;
  uint64_t only_hit = 0;  // 0: every hit
  uint64_t hits = 0;
};

absl::Mutex g_mutex(absl::kConstInit);

std::map<std::string, ArmedPoint, std::less<>>& Points() ABSL_EXCLUSIVE_LOCKS_REQUIRED(g_mutex) {
  static auto* const points = new std::map<std::string, ArmedPoint, std::less<>>;
  return *points;
}

absl::StatusOr<std::pair<std::string, ArmedPoint>> ParseSpec(absl::string_view spec) {
  spec = absl::StripAsciiWhitespace(spec);
  auto bad = [spec](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("fault point '", spec, "': ", why,
                                                   "; expected name:kill|error|delay:MS[@hit]"));
  };
  ArmedPoint point;
  std::pair<absl::string_view, absl::string_view> body_and_hit =
      absl::StrSplit(spec, absl::MaxSplits('@', 1));
  if (absl::StrContains(spec, '@') &&
      (!absl::SimpleAtoi(body_and_hit.second, &point.only_hit) || point.only_hit == 0)) {
    return bad("the hit is not a number from 1");
  }
  std::pair<absl::string_view, absl::string_view> name_and_action =
      absl::StrSplit(body_and_hit.first, absl::MaxSplits(':', 1));
  absl::string_view action = name_and_action.second;
  if (name_and_action.first.empty()) return bad("no name");
  if (action == "kill") {
    point.action = Action::kKill;
  } else if (action == "error") {
    point.action = Action::kError;
  } else if (absl::ConsumePrefix(&action, "delay:")) {
    int64_t ms = 0;
    if (!absl::SimpleAtoi(action, &ms) || ms < 0) return bad("the delay is not milliseconds");
    point.action = Action::kDelay;
    point.delay = absl::Milliseconds(ms);
  } else {
    return bad("unknown action");
  }
  return std::make_pair(std::string(name_and_action.first), point);
}

}  // namespace

absl::Status ArmFaultPoints(const std::vector<std::string>& specs) {
  std::map<std::string, ArmedPoint, std::less<>> parsed;
  for (const std::string& spec : specs) {
    DTRPO_ASSIGN_OR_RETURN(auto named_point, ParseSpec(spec));
    parsed.insert(std::move(named_point));
  }
  absl::MutexLock lock(&g_mutex);
  for (auto& [name, point] : parsed) Points()[name] = point;
  internal::any_fault_point_armed.store(!Points().empty(), std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status ArmFaultPointsFromEnvironment() {
  const char* value = std::getenv(kFaultPointsVariable);
  if (value == nullptr) return absl::OkStatus();
  std::vector<std::string> specs = absl::StrSplit(value, ',', absl::SkipWhitespace());
  return Annotate(ArmFaultPoints(specs), kFaultPointsVariable);
}

void DisarmFaultPoints() {
  absl::MutexLock lock(&g_mutex);
  Points().clear();
  internal::any_fault_point_armed.store(false, std::memory_order_relaxed);
}

uint64_t FaultPointHits(absl::string_view name) {
  absl::MutexLock lock(&g_mutex);
  auto found = Points().find(name);
  return found == Points().end() ? 0 : found->second.hits;
}

namespace internal {

absl::Status HitArmedFaultPoint(absl::string_view name) {
  ArmedPoint point;
  {
    absl::MutexLock lock(&g_mutex);
    auto found = Points().find(name);
    if (found == Points().end()) return absl::OkStatus();
    ++found->second.hits;
    point = found->second;
  }
  if (point.only_hit != 0 && point.hits != point.only_hit) return absl::OkStatus();
  switch (point.action) {
    case Action::kKill:
      ::kill(::getpid(), SIGKILL);
      return absl::OkStatus();
    case Action::kError:
      return absl::UnavailableError(absl::StrCat("fault point ", name, ", hit ", point.hits));
    case Action::kDelay:
      RealClock()->SleepFor(point.delay);
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace internal
}  // namespace dtrpo::base

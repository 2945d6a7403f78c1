#include "common/base/clock.h"

#include "absl/time/clock.h"

namespace dtrpo::base {
namespace {

class WallClock : public Clock {
 public:
  absl::Time Now() override { return absl::Now(); }

  void SleepUntil(absl::Time wakeup) override { absl::SleepFor(wakeup - absl::Now()); }

  bool AwaitUntil(absl::Mutex* mutex, const absl::Condition& condition,
                  absl::Time deadline) override ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return mutex->AwaitWithDeadline(condition, deadline);
  }
};

}  // namespace

Clock* RealClock() {
  static WallClock* const clock = new WallClock;  // never destroyed: threads may outlive main
  return clock;
}

}  // namespace dtrpo::base

// Not thread-safe: belongs to the coordinator's lock. Time comes in as an argument.
//
// What happened to one job, in words, for `dtrpoctl logs`: the newest events in order. They follow
// from the job's operations, so a restored job has the same ones.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::coordinator {

class JobEvents {
 public:
  explicit JobEvents(size_t max_events = 2000) : max_events_(max_events) {}

  // `kind` is a word of proto/dtrpo/v1/coordinator.proto, JobEvent.
  void Add(absl::Time now, absl::string_view kind, absl::string_view text) {
    Push(now, kind, text, /*warning=*/false);
  }
  void Warn(absl::Time now, absl::string_view kind, absl::string_view text) {
    Push(now, kind, text, /*warning=*/true);
  }

  // Those with a number above `after`, the oldest `max` of them; max 0: all.
  std::vector<v1::JobEvent> After(int64_t after, int32_t max) const {
    std::vector<v1::JobEvent> found;
    for (const v1::JobEvent& event : events_) {
      if (event.number() <= after) continue;
      if (max > 0 && found.size() == static_cast<size_t>(max)) break;
      found.push_back(event);
    }
    return found;
  }

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(last_, events_);
  }

 private:
  void Push(absl::Time now, absl::string_view kind, absl::string_view text, bool warning) {
    constexpr size_t kMaxTextBytes = 1000;
    v1::JobEvent& event = events_.emplace_back();
    event.set_number(++last_);
    event.set_unix_ms(absl::ToUnixMillis(now));
    event.set_kind(std::string(kind));
    event.set_text(std::string(text.substr(0, kMaxTextBytes)));
    event.set_warning(warning);
    if (events_.size() > max_events_) events_.pop_front();
  }

  const size_t max_events_;
  int64_t last_ = 0;
  std::deque<v1::JobEvent> events_;
};

}  // namespace dtrpo::coordinator

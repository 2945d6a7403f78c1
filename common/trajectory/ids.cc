#include "common/trajectory/ids.h"

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"

namespace dtrpo::trajectory {

std::string TrajectoryId(absl::string_view job_id, int64_t epoch, int64_t prompt, int32_t attempt,
                         int32_t sample) {
  return absl::StrCat(job_id, "/", epoch, "/", prompt, "/", attempt, "/", sample);
}

std::string PairId(absl::string_view job_id, int64_t epoch, int64_t prompt, int32_t attempt,
                   int32_t pair) {
  return absl::StrCat(job_id, "/", epoch, "/", prompt, "/", attempt, "/p", pair);
}

uint64_t TrajectorySeed(uint64_t job_seed, absl::string_view trajectory_id) {
  return base::StableHash(absl::string_view("sampler"), job_seed, trajectory_id);
}

}  // namespace dtrpo::trajectory

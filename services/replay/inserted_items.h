// Thread safety: a pure function.
// What an insert carries, checked and made ready to be stored.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/dtrpo/v1/replay.pb.h"
#include "services/replay/job_table.h"

namespace dtrpo::replay {

inline constexpr int kMaxGroupTrajectories = 1024;

// One for each pair, then one for each group; none for a request with `no_pair`. INVALID_ARGUMENT
// names the field. `vocabulary_size` 0: token ids are only checked to be >= 0.
absl::StatusOr<std::vector<StoredPair>> InsertedItems(const v1::InsertRequest& request,
                                                      int64_t vocabulary_size);

}  // namespace dtrpo::replay

// Thread safety: functions that may be called from many threads at once.
// Items of a table as a person or a script sees them: filters and pages.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "proto/dtrpo/v1/replay.pb.h"
#include "services/replay/job_table.h"

namespace dtrpo::replay {

// `body_format`: as in GetItemsRequest.
absl::Status FillItem(ItemView view, int32_t body_format, v1::ReplayItem* item);

// One page. INVALID_ARGUMENT for limits that make no sense.
absl::Status ListPage(const JobTable& table, const v1::ListItemsRequest& request,
                      v1::ListItemsResponse* response);

}  // namespace dtrpo::replay

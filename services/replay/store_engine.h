// Not thread-safe. Which storage engine a replay process uses, by its configuration.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/runtime/config_loader.h"
#include "common/storage/storage_engine.h"
#include "proto/dtrpo/v1/config.pb.h"

namespace dtrpo::replay {

std::vector<runtime::FieldProblem> CheckEngineConfig(const v1::ReplayConfig& config);

// Opens the store; recovery says in the log how far it is. REQUIRES: no problems.
absl::StatusOr<std::unique_ptr<storage::StorageEngine>> OpenEngine(const v1::ReplayConfig& config);

}  // namespace dtrpo::replay

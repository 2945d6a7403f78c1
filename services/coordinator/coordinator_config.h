// Thread safety: pure functions. The coordinator's configuration (proto/dtrpo/v1/config.proto) and
// what it means.
#pragma once

#include <vector>

#include "common/runtime/config_loader.h"
#include "common/storage/store_choice.h"
#include "proto/dtrpo/v1/config.pb.h"
#include "services/coordinator/coordinator.h"

namespace dtrpo::coordinator {

// The defaults that config.proto promises, but for `server`.
v1::CoordinatorConfig DefaultCoordinatorConfig();

// Empty when all is well.
std::vector<runtime::FieldProblem> CheckCoordinatorConfig(const v1::CoordinatorConfig& config);

// Where jobs are kept; without an engine: in the folder, if there is one, else in memory.
storage::StoreChoice ChoiceOf(const v1::CoordinatorConfig& config);

// REQUIRES: a checked configuration.
Coordinator::Options ToOptions(const v1::CoordinatorConfig& config);

}  // namespace dtrpo::coordinator

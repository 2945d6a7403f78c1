// The configuration that rollouts, references and learners share, and how they present themselves.
// Thread-safe: pure functions.
#pragma once

#include <string>
#include <vector>

#include "common/runtime/config_loader.h"
#include "common/runtime/service_host.h"
#include "proto/dtrpo/v1/config.pb.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::runtime {

// The defaults that config.proto promises, but for `server`.
v1::WorkerConfig DefaultWorkerConfig();

// Empty when all is well.
std::vector<FieldProblem> CheckWorkerConfig(const v1::WorkerConfig& config);

// What the worker in this process tells the coordinator of itself. REQUIRES: host.Start() was OK.
v1::RegisterWorkerRequest Registration(const ServiceHost& host, const std::string& role);

}  // namespace dtrpo::runtime

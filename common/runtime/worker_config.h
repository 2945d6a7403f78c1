// The configuration that rollouts, references and learners share, and how they present themselves.
// Thread-safe: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/runtime/config_loader.h"
#include "common/runtime/service_host.h"
#include "proto/dtrpo/v1/config.pb.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::runtime {

// The defaults that config.proto promises, but for `server`.
v1::WorkerConfig DefaultWorkerConfig();

// Empty when all is well.
std::vector<FieldProblem> CheckWorkerConfig(const v1::WorkerConfig& config);

// What a learner tells the other ranks to connect to; `bound`: where it listens.
std::string RendezvousAddressOf(const v1::WorkerConfig& config, const std::string& bound);

// A learner's order among the ranks, as `ordinal` gives it. INVALID_ARGUMENT for a host whose name
// doesn't end in digits.
absl::StatusOr<std::optional<int32_t>> OrdinalOf(const v1::WorkerConfig& config);
// Of a host's name: 3 of "learner-3", also with a domain; nullopt: it has none.
std::optional<int32_t> OrdinalOfHost(absl::string_view host_name);

// What others connect to when a worker is bound to `bound`: the same, but the address of this
// host's name in place of "every interface".
std::string ReachableAddress(const std::string& bound);

// What the worker in this process tells the coordinator of itself. REQUIRES: host.Start() was OK.
v1::RegisterWorkerRequest Registration(const ServiceHost& host, const std::string& role);

}  // namespace dtrpo::runtime

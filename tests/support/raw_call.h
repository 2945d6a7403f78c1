// Thread safety: pure functions but for the call; each makes a connection of its own.
//
// Our servers as foreign tools see them (grpcurl, a Kubernetes probe): raw bytes, no interceptors
// of ours.
#pragma once

#include <string>

namespace dtrpo::support {

// Sends one message on a stream of "/package.Service/Method", returns the first answer; empty after
// an error or 10 s.
std::string RawCall(const std::string& host_port, const std::string& method,
                    const std::string& request);

// grpc.health.v1: of "live" or "ready".
enum class Health { kNoAnswer, kServing, kNotServing };
Health CheckHealth(const std::string& host_port, const std::string& name);

// The answer of server reflection to "list services"; the names stand in it in plain text.
std::string ReflectedServices(const std::string& host_port);

}  // namespace dtrpo::support

// The part of every process's configuration that is the same. Thread-safe: pure functions.
#pragma once

#include <string>
#include <vector>

#include "common/runtime/config_loader.h"
#include "proto/dtrpo/v1/config.pb.h"

namespace dtrpo::runtime {

// The defaults that config.proto promises.
v1::ServerConfig DefaultServerConfig();

// Empty when all is well. `path` is where the message is: "server".
std::vector<FieldProblem> CheckServerConfig(const v1::ServerConfig& config,
                                            const std::string& path);

}  // namespace dtrpo::runtime

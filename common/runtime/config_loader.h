// YAML files that are protobuf messages: jobs, and the configuration of processes. Thread-safe:
// pure functions but for reading the file.
//
// Keys are the field names of the .proto, in snake_case. A field that the file names replaces what
// is in the message (a list wholly), a nested message is merged; so the caller fills in the
// defaults first. Every refusal is one line with file, line and field path:
//   job.yaml:7: training.step: unknown field; known are: steps, pairs_per_batch, ...
// Refused: unknown and repeated keys, keys without a value, wrong types, numbers out of their
// type's range or not finite, enum names that don't exist, two members of one oneof, several
// documents.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"

namespace dtrpo::runtime {

// What is wrong with one field, as found by a check of the filled message.
struct FieldProblem {
  std::string path;     // "server.max_threads", "replay[0]"
  std::string problem;  // "must be at least 1"
};
using ConfigCheck = std::function<std::vector<FieldProblem>()>;

// INVALID_ARGUMENT for a bad file, NOT_FOUND for none. `check` (may be null) runs after `message`
// is filled; its problems are reported with the line where the file sets that field. On an error
// `message` is half filled.
absl::Status LoadConfig(base::FileSystem* files, const std::string& path,
                        google::protobuf::Message* message, const ConfigCheck& check = nullptr);

// The same for a text; `name` stands for the file in errors.
absl::Status ParseConfig(absl::string_view text, const std::string& name,
                         google::protobuf::Message* message, const ConfigCheck& check = nullptr);

// The whole message as YAML that ParseConfig reads back to the same message; zeros are printed,
// `optional` fields that aren't set are left out.
std::string PrintConfig(const google::protobuf::Message& message);
// For people and logs: passwords in it are hidden (common/base/redact.h).
std::string PrintConfigWithoutSecrets(const google::protobuf::Message& message);

}  // namespace dtrpo::runtime

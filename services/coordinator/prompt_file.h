// Thread safety: plain data and a pure function but for the disk, which is passed in.
//
// The prompts of a job: JSONL, one object a line with an id, exactly one of "prompt" (text), "messages" (chat turns) or
// "prompt_tokens" (ids), and the answer. Everything that can be wrong with a line is found at submit and told with the
// file's name and the line's number, rather than by a worker an hour later.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/job/job_spec.h"
#include "nlohmann/json_fwd.hpp"

namespace dtrpo::coordinator {

inline constexpr size_t kMaxPromptLineBytes = size_t{1} << 20;
inline constexpr size_t kMaxPromptFileBytes = size_t{1} << 31;

// Prompt index -> the line as it stands (blank lines have no index).
using PromptLines = std::vector<std::string>;

// Tokens of a text prompt (chat template applied as the job says). Empty function: texts aren't measured.
using CountTokens = std::function<absl::StatusOr<int64_t>(const nlohmann::json& prompt)>;

// NOT_FOUND when the file is missing, INVALID_ARGUMENT "<path>:<line>: ..." for a bad line or an empty file.
absl::StatusOr<PromptLines> ReadPromptFile(base::FileSystem* files, const std::string& path,
                                           const job::DataSpec& data,
                                           const CountTokens& count_tokens);

}  // namespace dtrpo::coordinator

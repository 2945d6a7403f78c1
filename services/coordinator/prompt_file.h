// Thread safety: plain data and a pure function but for the disk, which is passed in.
//
// The prompts of a job: JSONL, see common/text/prompt_file.h for a line. Everything that can be
// wrong with one is found at submit and told with the file's name and the line's number, rather
// than by a worker an hour later.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"
#include "common/job/job_spec.h"

namespace dtrpo::coordinator {

inline constexpr size_t kMaxPromptLineBytes = size_t{1} << 20;
inline constexpr uint64_t kMaxPromptFileBytes = uint64_t{1} << 31;

// Prompt index -> the line as it stands (blank lines have no index).
using PromptLines = std::vector<std::string>;

// INVALID_ARGUMENT says what is wrong with a line. Called from one thread at a time.
using PromptCheck = std::function<absl::Status(absl::string_view line)>;

// Checks lines as the rollouts will read them: with the tokenizer and, if the job says so, the chat
// template of its checkpoint; the answer must be there, and the prompt at most
// data.max_prompt_tokens long.
absl::StatusOr<PromptCheck> MakePromptCheck(const job::JobSpec& spec);

// NOT_FOUND when the file is missing, INVALID_ARGUMENT "<path>:<line>: ..." for a bad line or an
// empty file.
absl::StatusOr<PromptLines> ReadPromptFile(base::FileSystem* files, const std::string& path,
                                           const PromptCheck& check);

// data.heldout in evaluation.layout and by its template: the lines of its questions
// (common/evaluation/question.h), evaluation.max_prompts of them.
absl::StatusOr<PromptLines> ReadQuestionFile(base::FileSystem* files, const job::JobSpec& spec,
                                             const PromptCheck& check);

}  // namespace dtrpo::coordinator

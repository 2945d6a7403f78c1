// Thread safety: pure but for the disk, which is passed in. The function it returns may run on one thread at a time.
#pragma once

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/job/job_spec.h"
#include "services/coordinator/prompt_file.h"

namespace dtrpo::coordinator {

// Measures prompts as the rollouts will see them: with the tokenizer of the job's checkpoint and, if the job says so, its
// chat template. A checkpoint without tokenizer files is fine as long as every prompt is given as token ids: the function
// then refuses texts.
absl::StatusOr<CountTokens> MakeTokenCounter(base::FileSystem* files, const job::JobSpec& spec);

}  // namespace dtrpo::coordinator

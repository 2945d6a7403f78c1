// Thread safety: immutable after it is made; Read() may run on many threads at once. No torch.
//
// Lines of a preference file (common/text/preference_file.h) as pairs of trajectories for one job:
// encoded, checked against what model and job allow, with an order of unmasking. A pure function of
// the job's seed, the line's number and its text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"
#include "common/job/job_spec.h"
#include "common/text/prompt_encoder.h"
#include "common/trajectory/external_pair.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::pairs {

struct ReadPair {
  trajectory::PreferencePair pair;  // its id is "line/<number>"
  bool heldout = false;             // by hash of the prompt: never trained on
};

class PairReader {
 public:
  PairReader(text::PromptEncoder encoder, const trajectory::CanvasRules& rules,
             const trajectory::SyntheticOrder& order, double heldout_share);

  // With the tokenizer, the rules and the options of the job's model folder.
  static absl::StatusOr<std::unique_ptr<PairReader>> Load(const job::JobSpec& job,
                                                          base::FileSystem* files);

  // INVALID_ARGUMENT says why the line can't be used.
  absl::StatusOr<ReadPair> Read(absl::string_view line, int64_t number) const;

 private:
  const text::PromptEncoder encoder_;
  const trajectory::CanvasRules rules_;
  const trajectory::SyntheticOrder order_;
  const double heldout_share_;
};

}  // namespace dtrpo::pairs

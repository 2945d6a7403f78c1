// Thread safety: one thread at a time, that of the run.
//
// What a learner's run does about data.pairs: imports them beside the training, and evaluates the
// held-out ones before it, at checkpoints and after it. The reference scores those once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"
#include "services/learner/learner_peers.h"
#include "services/learner/pair_importer.h"
#include "services/learner/pair_peers.h"

namespace dtrpo::learner {

class PairRun {
 public:
  // Repeats a call to a peer until it answers or the run is told to stop.
  using Persist = std::function<absl::Status(const std::string& what, const std::string& on_whom,
                                             const std::function<absl::Status(absl::Time)>& call)>;
  // The import begins at once.
  PairRun(const PairImporter::Options& options, const PairImporter::Deps& deps,
          LearnerPeers* reference);

  // Of the import; an error ends the run.
  absl::Status status() const { return importer_.status(); }

  // Waits until the file is read, or `leaving` says so. Each step is evaluated once. `plan`: of the
  // job (training::PlanOptions).
  absl::Status Evaluate(const model::Transformer& policy, const trajectory::MaskPlanOptions& plan,
                        int64_t step, const Persist& persist, const std::function<bool()>& leaving);

 private:
  absl::Status ScoreByReference(absl::Span<const trajectory::PreferencePair> heldout,
                                const trajectory::MaskPlanOptions& plan, const Persist& persist);

  const job::JobSpec spec_;
  PairPeers* const peers_;
  LearnerPeers* const reference_;
  base::Clock* const clock_;
  int64_t evaluated_step_ = -1;
  std::vector<std::vector<float>> reference_scores_;  // two per held-out pair
  PairImporter importer_;
};

}  // namespace dtrpo::learner

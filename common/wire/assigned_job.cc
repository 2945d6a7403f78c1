#include "common/wire/assigned_job.h"

#include "common/base/status_macros.h"
#include "common/job/job_paths.h"
#include "common/wire/job_codec.h"

namespace dtrpo::wire {

absl::StatusOr<job::JobSpec> AssignedJob(const v1::Assignment& assignment,
                                         const std::vector<std::string>& data_roots) {
  DTRPO_ASSIGN_OR_RETURN(job::JobSpec spec, FromProto(assignment.spec()));
  DTRPO_RETURN_IF_ERROR(job::CheckJobPaths(spec, data_roots));
  DTRPO_RETURN_IF_ERROR(
      base::Annotate(job::CheckPathIsBelow(assignment.resume_checkpoint(), data_roots),
                     "the checkpoint to go on from"));
  return spec;
}

}  // namespace dtrpo::wire

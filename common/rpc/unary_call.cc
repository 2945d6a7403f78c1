#include "common/rpc/unary_call.h"

#include "absl/strings/str_cat.h"
#include "common/rpc/metadata.h"

namespace dtrpo::rpc {

void PrepareContext(const CallOptions& options, grpc::ClientContext* context) {
  if (options.deadline != absl::InfiniteFuture()) {
    context->set_deadline(absl::ToChronoTime(options.deadline));
  }
  if (!options.job_id.empty()) context->AddMetadata(kJobKey, options.job_id);
  if (options.attempt != 0) context->AddMetadata(kAttemptKey, absl::StrCat(options.attempt));
}

}  // namespace dtrpo::rpc

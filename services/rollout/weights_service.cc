#include "services/rollout/weights_service.h"

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/rpc/serve.h"
#include "common/wire/weights_codec.h"

namespace dtrpo::rollout {
namespace {

// The new version must fit the model that serves: same tensors in the same places.
absl::Status CheckSameModel(const weights::Manifest& held, const weights::Manifest& pushed) {
  if (held.base_sha256 != pushed.base_sha256) {
    return absl::InvalidArgumentError(absl::StrCat(
        weights::Describe(pushed), " belongs to frozen weights with checksum ",
        pushed.base_sha256.empty() ? "none" : pushed.base_sha256, ", the base model here has ",
        held.base_sha256.empty() ? "none" : held.base_sha256,
        ": the two processes read different checkpoints, or train different parts"));
  }
  if (held.tensors.size() != pushed.tensors.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(weights::Describe(pushed), " has ", pushed.tensors.size(),
                     " tensors, the model has ", held.tensors.size()));
  }
  std::map<std::string, const weights::TensorSpec*> by_name;
  for (const weights::TensorSpec& tensor : held.tensors) by_name[tensor.name] = &tensor;
  for (const weights::TensorSpec& tensor : pushed.tensors) {
    const auto it = by_name.find(tensor.name);
    if (it == by_name.end() || it->second->shape != tensor.shape ||
        it->second->dtype != tensor.dtype) {
      return absl::InvalidArgumentError(
          absl::StrCat(weights::Describe(pushed), ": tensor ", tensor.name,
                       " isn't one of the model, or has another shape or type"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

WeightsService::WeightsService(weights::VersionStore* versions, base::Clock* clock,
                               const RolloutMetrics* metrics)
    : versions_(versions), clock_(clock), metrics_(metrics) {}

void WeightsService::AcceptJob(const std::string& job_id) {
  absl::MutexLock lock(&mutex_);
  if (job_id_ != job_id) newest_attempt_ = 0;
  job_id_ = job_id;
}

absl::Status WeightsService::CheckCaller(const v1::JobRef& job) {
  absl::MutexLock lock(&mutex_);
  if (job.job_id() != job_id_) {
    return absl::FailedPreconditionError(absl::StrCat("weights of job ", job.job_id(),
                                                      " came; this rollout works on ",
                                                      job_id_.empty() ? "no job" : job_id_));
  }
  if (job.attempt() < newest_attempt_) {
    absl::Status status = absl::FailedPreconditionError(
        absl::StrCat("attempt ", job.attempt(), " of job ", job.job_id(),
                     " was replaced by attempt ", newest_attempt_));
    base::SetReason(status, "stale_attempt");
    return status;
  }
  newest_attempt_ = job.attempt();
  return absl::OkStatus();
}

absl::Status WeightsService::Receive(grpc::ServerReader<v1::PushWeightsRequest>* reader,
                                     v1::PushWeightsResponse* response) {
  v1::PushWeightsRequest message;
  if (!reader->Read(&message) || !message.frame().has_manifest()) {
    return absl::InvalidArgumentError("the first message must hold the manifest");
  }
  DTRPO_RETURN_IF_ERROR(CheckCaller(message.job()));
  const std::shared_ptr<const weights::Image> newest = versions_->Newest();
  if (newest == nullptr) {
    absl::Status status = absl::UnavailableError("the base model isn't loaded yet");
    base::SetReason(status, "rollout_loading");
    return status;
  }
  const weights::Manifest& held = newest->manifest();
  // Not more than a little padding beyond what the model needs.
  DTRPO_ASSIGN_OR_RETURN(
      const weights::Manifest manifest,
      wire::FromProto(message.frame().manifest(),
                      held.size_bytes + held.tensors.size() * weights::kTensorAlignmentBytes));
  if (manifest.job_id != message.job().job_id()) {
    return absl::InvalidArgumentError(absl::StrCat("frame.manifest.job_id is ", manifest.job_id,
                                                   ", the caller's job is ",
                                                   message.job().job_id()));
  }
  DTRPO_RETURN_IF_ERROR(CheckSameModel(held, manifest));
  if (weights::SameBits(held, manifest)) {
    response->set_serving_version(manifest.version);
    response->set_already_held(true);
    return absl::OkStatus();
  }
  const absl::Time started = clock_->Now();
  weights::StagingArea staging(manifest);
  for (uint64_t i = 0; i < manifest.ChunkCount(); ++i) {
    if (!reader->Read(&message)) {
      return absl::DataLossError(absl::StrCat(weights::Describe(manifest), ": ended after ", i,
                                              " of ", manifest.ChunkCount(), " chunks"));
    }
    const v1::WeightsChunk& chunk = message.frame().chunk();
    DTRPO_RETURN_IF_ERROR(staging.AddChunk(chunk.index(), chunk.data(), chunk.crc32c()));
  }
  DTRPO_FAULT_POINT("rollout.before_swap");
  const absl::Time received = clock_->Now();
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<const weights::Image> image, staging.Finish());
  const absl::Time checked = clock_->Now();
  DTRPO_RETURN_IF_ERROR(versions_->Install(std::move(image)));
  metrics_->weights_receive_seconds->Observe(absl::ToDoubleSeconds(received - started));
  metrics_->weights_check_seconds->Observe(absl::ToDoubleSeconds(checked - received));
  metrics_->weights_install_seconds->Observe(absl::ToDoubleSeconds(clock_->Now() - checked));
  metrics_->weights_received_bytes->Increment(static_cast<double>(manifest.size_bytes));
  metrics_->weights_version->Set(static_cast<double>(manifest.version));
  response->set_serving_version(manifest.version);
  base::LogDebug("weights swapped",
                 {{"version", manifest.version}, {"bytes", manifest.size_bytes}});
  return absl::OkStatus();
}

grpc::Status WeightsService::PushWeights(grpc::ServerContext* context,
                                         grpc::ServerReader<v1::PushWeightsRequest>* reader,
                                         v1::PushWeightsResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
    const absl::Status status = Receive(reader, response);
    if (!status.ok()) {
      metrics_->weights_refused->Increment();
      base::LogWarning("push refused", {{"error", status}});
    }
    return status;
  });
}

}  // namespace dtrpo::rollout

#include "common/wire/weights_client.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/wire/weights_codec.h"
#include "proto/dtrpo/v1/weights.grpc.pb.h"

namespace dtrpo::wire {
namespace {

using Stub = v1::WeightsService::StubInterface;

void SetChunk(const weights::Image& image, uint64_t index, v1::WeightsFrame* frame) {
  const absl::string_view data = image.Chunk(index);
  v1::WeightsChunk* chunk = frame->mutable_chunk();
  chunk->set_index(index);
  chunk->set_data(data.data(), data.size());
  chunk->set_crc32c(base::Crc32c(data));
}

class GrpcWeightsClient : public WeightsClient {
 public:
  GrpcWeightsClient(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options)
      : options_(std::move(options)), stub_(v1::WeightsService::NewStub(channel)) {
    // The caller's deadline is for the whole transfer, however long it is.
    options_.retry.attempt_timeout = absl::InfiniteDuration();
  }

  absl::StatusOr<PushResult> Push(const JobAttempt& job, const weights::Image& image,
                                  absl::Time deadline) override {
    const std::string what = absl::StrCat("push of ", weights::Describe(image.manifest()));
    base::ScopedWait wait(options_.waits, what, options_.target);
    return base::Retry(options_.retry, Call(what, deadline), [&](absl::Time attempt_deadline) {
      return PushOnce(job, image, attempt_deadline);
    });
  }

 private:
  base::RetryCall Call(const std::string& what, absl::Time deadline) const {
    return {.what = absl::StrCat(what, ", ", options_.target),
            .deadline = deadline,
            .seed = options_.seed,
            .stop = options_.stop};
  }

  absl::StatusOr<PushResult> PushOnce(const JobAttempt& job, const weights::Image& image,
                                      absl::Time deadline) {
    grpc::ClientContext context;
    rpc::PrepareContext({.deadline = deadline, .job_id = job.job_id, .attempt = job.attempt},
                        &context);
    v1::PushWeightsResponse response;
    auto stream = stub_->PushWeights(&context, &response);
    v1::PushWeightsRequest first;
    first.mutable_job()->set_job_id(job.job_id);
    first.mutable_job()->set_attempt(job.attempt);
    ToProto(image.manifest(), first.mutable_frame()->mutable_manifest());
    bool open = stream->Write(first);
    for (uint64_t i = 0; open && i < image.manifest().ChunkCount(); ++i) {
      if (options_.stop != nullptr && options_.stop->stopped()) {
        context.TryCancel();
        break;
      }
      v1::PushWeightsRequest request;
      SetChunk(image, i, request.mutable_frame());
      // False: the receiver has ended the call, with an error or because it holds the version
      // already.
      open = stream->Write(request);
    }
    if (open) stream->WritesDone();
    const grpc::Status status = stream->Finish();
    if (!status.ok()) return rpc::FromGrpcStatus(status);
    return PushResult{response.serving_version(), response.already_held()};
  }

  ClientOptions options_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace

std::unique_ptr<WeightsClient> MakeWeightsClient(const std::shared_ptr<grpc::Channel>& channel,
                                                 ClientOptions options) {
  return std::make_unique<GrpcWeightsClient>(channel, std::move(options));
}

}  // namespace dtrpo::wire

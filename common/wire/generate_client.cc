#include "common/wire/generate_client.h"

#include "common/rpc/unary_call.h"
#include "proto/dtrpo/v1/generate.grpc.pb.h"

namespace dtrpo::wire {
namespace {

class GrpcGenerateClient : public GenerateClient {
 public:
  explicit GrpcGenerateClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::GenerateService::NewStub(channel)) {}

  absl::Status Generate(const v1::GenerateRequest& request, const OnMessage& on_message,
                        absl::Time deadline) override {
    grpc::ClientContext context;
    rpc::PrepareContext({.deadline = deadline, .job_id = request.job_id()}, &context);
    const auto stream = stub_->Generate(&context, request);
    v1::GenerateResponse response;
    bool complete = false;
    while (stream->Read(&response)) {
      complete = response.has_summary();
      if (!on_message(response)) {
        context.TryCancel();
        stream->Finish();
        return absl::CancelledError("the reader has had enough");
      }
    }
    const absl::Status end = rpc::FromGrpcStatus(stream->Finish());
    if (end.ok() && !complete) return absl::DataLossError("the answer ended without a summary");
    return end;
  }

 private:
  const std::unique_ptr<v1::GenerateService::StubInterface> stub_;
};

}  // namespace

std::unique_ptr<GenerateClient> MakeGenerateClient(const std::shared_ptr<grpc::Channel>& channel) {
  return std::make_unique<GrpcGenerateClient>(channel);
}

}  // namespace dtrpo::wire

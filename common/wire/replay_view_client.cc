#include "common/wire/replay_view_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "proto/dtrpo/v1/replay.grpc.pb.h"

namespace dtrpo::wire {
namespace {

using Stub = v1::ReplayService::StubInterface;

class GrpcReplayViewClient : public ReplayViewClient {
 public:
  GrpcReplayViewClient(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options)
      : options_(std::move(options)), stub_(v1::ReplayService::NewStub(channel)) {}

  absl::StatusOr<v1::ListReplayJobsResponse> ListJobs(absl::Time deadline) override {
    return CallService(options_, "list of jobs", stub_.get(), &Stub::ListReplayJobs,
                       v1::ListReplayJobsRequest(), {}, deadline);
  }

  absl::StatusOr<v1::GetReplayStatsResponse> GetStats(const std::string& job_id,
                                                      absl::Time deadline) override {
    v1::GetReplayStatsRequest request;
    request.mutable_job()->set_job_id(job_id);
    return CallService(options_, absl::StrCat("statistics of job ", job_id), stub_.get(),
                       &Stub::GetReplayStats, request, {job_id}, deadline);
  }

  absl::StatusOr<v1::ListItemsResponse> ListItems(const v1::ListItemsRequest& request,
                                                  absl::Time deadline) override {
    return CallService(options_, absl::StrCat("items of job ", request.job().job_id()), stub_.get(),
                       &Stub::ListItems, request, {request.job().job_id()}, deadline);
  }

  absl::StatusOr<v1::ReplayItem> GetItem(const std::string& job_id, int64_t item,
                                         absl::Time deadline) override {
    v1::GetItemRequest request;
    request.mutable_job()->set_job_id(job_id);
    request.set_item(item);
    DTRPO_ASSIGN_OR_RETURN(v1::GetItemResponse response,
                           CallService(options_, absl::StrCat("item ", item, " of job ", job_id),
                                       stub_.get(), &Stub::GetItem, request, {job_id}, deadline));
    return std::move(*response.mutable_item());
  }

  absl::StatusOr<v1::InsertResponse> Insert(const v1::InsertRequest& request,
                                            absl::Time deadline) override {
    return CallService(options_, absl::StrCat("inserting into job ", request.job().job_id()),
                       stub_.get(), &Stub::Insert, request, {request.job().job_id()}, deadline);
  }

 private:
  const ClientOptions options_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace

std::unique_ptr<ReplayViewClient> MakeReplayViewClient(
    const std::shared_ptr<grpc::Channel>& channel, ClientOptions options) {
  return std::make_unique<GrpcReplayViewClient>(channel, std::move(options));
}

}  // namespace dtrpo::wire

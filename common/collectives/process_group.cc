#include "common/collectives/process_group.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/collectives/rendezvous_store.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::collectives {
namespace {

// How soon an abort is noticed.
constexpr absl::Duration kLookAgain = absl::Milliseconds(100);

// c10d's destructors wait for threads that may be in a call to a peer that is gone.
void LetGo(std::shared_ptr<Backend> backend) {
  if (backend == nullptr) return;
  std::thread([backend = std::move(backend)]() mutable {
    model::TorchBoundary([&] { backend.reset(); }).IgnoreError();
  }).detach();
}

struct Joining {
  absl::Notification done;
  absl::Status status;
  std::shared_ptr<Backend> host_backend, device_backend;
};

}  // namespace

ProcessGroup::ProcessGroup(Options options) : options_(std::move(options)) {
  DTRPO_CHECK(options_.rank >= 0 && options_.rank < options_.world)
      << options_.rank << " of " << options_.world;
}

ProcessGroup::~ProcessGroup() {
  absl::MutexLock lock(&mutex_);
  LetGo(std::move(device_backend_));
  LetGo(std::move(host_backend_));
}

std::string ProcessGroup::Who() const {
  return absl::StrCat("rank ", options_.rank, " of ", options_.world);
}

absl::Status ProcessGroup::status() const {
  absl::MutexLock lock(&mutex_);
  return broken_;
}

// The one place where a failure becomes a Status. The first one is the group's end.
absl::Status ProcessGroup::Failed(absl::string_view what, absl::Status status) {
  std::shared_ptr<Backend> host_backend, device_backend;
  absl::Status broken;
  {
    absl::MutexLock lock(&mutex_);
    if (broken_.ok()) {
      broken_ = absl::UnavailableError(absl::StrCat(Who(), ", ", what, ": ", status.message()));
      host_backend = host_backend_;
      device_backend = device_backend_;
    }
    broken = broken_;
  }
  for (const auto& backend : {device_backend, host_backend}) {
    if (backend != nullptr) model::TorchBoundary([&] { backend->Abort(); }).IgnoreError();
  }
  return broken;
}

void ProcessGroup::Abort(const std::string& why) {
  Failed("broken off", absl::UnavailableError(why)).IgnoreError();
}

absl::Status ProcessGroup::Join() {
  DTRPO_ASSIGN_OR_RETURN(const HostAndPort store, ParseHostAndPort(options_.store));
  const BackendOptions backend{.rank = options_.rank,
                               .world = options_.world,
                               .name = options_.name,
                               .store_host = store.host,
                               .store_port = store.port,
                               .host = options_.host.empty() ? "127.0.0.1" : options_.host,
                               .device = options_.device,
                               .join_timeout = options_.join_timeout,
                               .timeout = options_.timeout};
  // On a thread of its own: nothing can break off c10d's own waiting for the store and the peers.
  const auto joining = std::make_shared<Joining>();
  std::thread([joining, backend] {
    joining->status = model::TorchBoundary([&] {
      joining->host_backend = MakeGlooBackend(backend);
      joining->device_backend =
          backend.device.is_cpu() ? joining->host_backend : MakeNcclBackend(backend);
    });
    joining->done.Notify();
  }).detach();
  const absl::Time deadline = absl::Now() + options_.join_timeout + absl::Seconds(5);
  while (!joining->done.WaitForNotificationWithTimeout(kLookAgain)) {
    DTRPO_RETURN_IF_ERROR(status());
    if (absl::Now() > deadline) return Failed("joining", absl::DeadlineExceededError("no answer"));
  }
  if (!joining->status.ok()) return Failed("joining", joining->status);
  absl::MutexLock lock(&mutex_);
  host_backend_ = joining->host_backend;
  device_backend_ = joining->device_backend;
  return broken_;
}

ProcessGroup::Pending ProcessGroup::Start(
    std::string what, std::shared_ptr<Backend> backend,
    const std::function<std::shared_ptr<Operation>(Backend&)>& call) {
  Pending pending;
  pending.what_ = std::move(what);
  pending.started_ = status();
  if (!pending.started_.ok()) return pending;
  DTRPO_CHECK(backend != nullptr) << "Join() comes first";
  pending.started_ = model::TorchBoundary([&] { pending.operation_ = call(*backend); });
  return pending;
}

ProcessGroup::Pending ProcessGroup::StartReduceScatter(const torch::Tensor& input,
                                                       const torch::Tensor& output) {
  std::shared_ptr<Backend> backend;
  {
    absl::MutexLock lock(&mutex_);
    backend = device_backend_;
  }
  return Start("reduce-scatter", backend,
               [&](Backend& b) { return b.ReduceScatter(input, output); });
}

ProcessGroup::Pending ProcessGroup::StartAllGather(const torch::Tensor& input,
                                                   const torch::Tensor& output) {
  std::shared_ptr<Backend> backend;
  {
    absl::MutexLock lock(&mutex_);
    backend = input.device().is_cpu() ? host_backend_ : device_backend_;
  }
  return Start("all-gather", backend, [&](Backend& b) { return b.AllGather(input, output); });
}

absl::Status ProcessGroup::Await(Pending& pending) {
  if (!pending.started_.ok()) return Failed(pending.what_, pending.started_);
  const absl::Time deadline = absl::Now() + options_.timeout;
  const std::shared_ptr<Operation> operation = std::move(pending.operation_);
  for (;;) {
    DTRPO_RETURN_IF_ERROR(status());
    const absl::StatusOr<bool> done =
        model::TorchBoundary([&] { return operation->Wait(kLookAgain); });
    if (!done.ok()) return Failed(pending.what_, done.status());
    if (*done) return absl::OkStatus();
    if (absl::Now() > deadline) {
      return Failed(pending.what_,
                    absl::DeadlineExceededError(absl::StrCat(
                        "not done by all ranks within ", absl::FormatDuration(options_.timeout))));
    }
  }
}

absl::StatusOr<std::vector<std::string>> ProcessGroup::AllGatherBytes(absl::string_view own) {
  const auto gather = [&](const torch::Tensor& input) -> absl::StatusOr<torch::Tensor> {
    torch::Tensor output = torch::empty({world() * input.numel()}, input.options());
    Pending pending = StartAllGather(input, output);
    DTRPO_RETURN_IF_ERROR(Await(pending));
    return output;
  };
  torch::Tensor size = torch::full({1}, static_cast<int64_t>(own.size()), torch::kInt64);
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor sizes, gather(size));
  const int64_t* lengths = sizes.const_data_ptr<int64_t>();
  const int64_t longest = std::max<int64_t>(1, *std::max_element(lengths, lengths + world()));
  torch::Tensor padded = torch::zeros({longest}, torch::kUInt8);
  std::memcpy(padded.mutable_data_ptr<uint8_t>(), own.data(), own.size());
  DTRPO_ASSIGN_OR_RETURN(const torch::Tensor all, gather(padded));
  std::vector<std::string> words;
  const char* bytes = reinterpret_cast<const char*>(all.const_data_ptr<uint8_t>());
  for (int r = 0; r < world(); ++r) words.emplace_back(bytes + r * longest, lengths[r]);
  return words;
}

}  // namespace dtrpo::collectives

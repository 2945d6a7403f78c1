#include "services/coordinator/peer_watch.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/wait_states.h"

namespace dtrpo::coordinator {
namespace {

constexpr absl::Duration kInterval = absl::Seconds(1);
constexpr absl::Duration kPatience = absl::Seconds(2);
constexpr size_t kMaxLost = 20;

}  // namespace

PeerWatch::PeerWatch(std::vector<Shard> shards, const base::WaitStateRegistry* own_waits,
                     const CoordinatorMetrics* metrics, base::Clock* clock)
    : shards_(std::move(shards)), own_waits_(own_waits), metrics_(metrics), clock_(clock) {
  metrics_->replay_shards->Set(static_cast<double>(shards_.size()));
  for (const Shard& shard : shards_) {
    v1::WorkerStatus& status = shard_status_.emplace_back();
    status.set_worker_id(absl::StrCat("replay-", shard_status_.size() - 1));
    status.set_role("replay");
    status.set_address(shard.address);
    status.set_state("not asked yet");
  }
}

void PeerWatch::OnLost(const v1::WorkerStatus& worker) {
  absl::MutexLock lock(&mutex_);
  lost_.push_front(worker);
  if (lost_.size() > kMaxLost) lost_.pop_back();
}

void PeerWatch::OnRegistered(const std::string& role, const std::string& address) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(lost_, [&](const v1::WorkerStatus& worker) {
    return worker.role() == role && worker.address() == address;
  });
}

void PeerWatch::Step() {
  int answering = 0;
  for (size_t i = 0; i < shards_.size(); ++i) {
    const absl::StatusOr<Shard::Answer> answer = shards_[i].ask(clock_->Now() + kPatience);
    answering += answer.ok();
    absl::MutexLock lock(&mutex_);
    v1::WorkerStatus& status = shard_status_[i];
    if (!answer.ok()) {
      status.set_state(absl::StrCat("doesn't answer: ", answer.status().message()));
      continue;
    }
    status.set_last_heartbeat_unix_ms(absl::ToUnixMillis(clock_->Now()));
    status.set_state(answer->state);
    status.mutable_waits()->Assign(answer->waits.begin(), answer->waits.end());
  }
  metrics_->replay_answering->Set(answering);
}

void PeerWatch::Run(base::StopSignal& stop) {
  do {
    Step();
  } while (!stop.SleepFor(*clock_, kInterval));
}

void PeerWatch::Fill(v1::ListWorkersResponse* response) const {
  for (const base::WaitState& wait : own_waits_->Snapshot()) {
    *response->add_coordinator_waits() = wire::ToProto(wait);
  }
  response->set_now_unix_ms(absl::ToUnixMillis(clock_->Now()));
  absl::MutexLock lock(&mutex_);
  response->mutable_lost()->Assign(lost_.begin(), lost_.end());
  response->mutable_replay_shards()->Assign(shard_status_.begin(), shard_status_.end());
}

}  // namespace dtrpo::coordinator

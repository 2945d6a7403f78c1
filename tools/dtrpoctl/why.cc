#include "tools/dtrpoctl/why.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "common/wire/job_codec.h"
#include "tools/dtrpoctl/display.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo::ctl {
namespace {

// Heartbeats come twice a second; replay shards are asked once a second.
constexpr int64_t kSilentMs = 3000;
// Shorter waits are everyday life.
constexpr int64_t kNotableMs = 1000;

struct Peer {
  v1::WorkerStatus status;
  bool lost = false;  // given up by the coordinator
};

class Explainer {
 public:
  Explainer(const v1::JobStatus& job, const v1::ListWorkersResponse& workers)
      : job_(job), now_(workers.now_unix_ms()) {
    for (const v1::WorkerStatus& worker : workers.workers()) peers_.push_back({worker});
    for (const v1::WorkerStatus& shard : workers.replay_shards()) peers_.push_back({shard});
    for (const v1::WorkerStatus& worker : workers.lost()) peers_.push_back({worker, true});
    Peer coordinator;
    coordinator.status.set_worker_id("coordinator");
    coordinator.status.set_role("coordinator");
    coordinator.status.set_last_heartbeat_unix_ms(now_);
    coordinator.status.set_state("answers");
    *coordinator.status.mutable_waits() = workers.coordinator_waits();
    peers_.push_back(coordinator);
  }

  Explanation Run() {
    const bool over = wire::IsFinal(job_.state());
    Say(0, absl::StrCat("job ", job_.job_id(), " is ", StateWord(job_.state()), " at step ",
                        job_.step(), " of ", job_.total_steps(),
                        job_.reason().empty() ? "" : absl::StrCat(": ", job_.reason())));
    if (over) return std::move(result_);
    Follow("learner", 1);
    // Nobody may wait for them at this moment, and yet the job will.
    for (const Peer& peer : peers_) {
      if (Silent(peer) && !seen_.contains(peer.status.worker_id())) Visit(peer, 1);
    }
    // The coordinator itself asks the replay store.
    if (result_.blocked.empty()) Follow("coordinator", 1);
    if (result_.blocked.empty()) result_.blocked = std::move(waiting_);
    return std::move(result_);
  }

 private:
  bool Silent(const Peer& peer) const {
    return peer.lost || now_ - peer.status.last_heartbeat_unix_ms() > kSilentMs;
  }

  // "rollout-2" is one, "rollouts" and "replay 127.0.0.1:4003" are all of a role.
  std::vector<const Peer*> Named(absl::string_view on_whom) const {
    std::vector<const Peer*> exact, of_role;
    for (const Peer& peer : peers_) {
      if (peer.status.worker_id() == on_whom) exact.push_back(&peer);
      if (absl::StartsWith(on_whom, peer.status.role())) of_role.push_back(&peer);
    }
    return exact.empty() ? of_role : exact;
  }

  std::string For(int64_t since_unix_ms) const {
    return absl::StrFormat("for %.1f s", static_cast<double>(now_ - since_unix_ms) / 1000);
  }

  void Say(int depth, const std::string& text) {
    result_.lines.push_back(std::string(static_cast<size_t>(2 * depth), ' ') + text);
  }

  void Follow(absl::string_view on_whom, int depth) {
    const std::vector<const Peer*> peers = Named(on_whom);
    if (peers.empty()) Say(depth, absl::StrCat(on_whom, ": none is registered"));
    for (const Peer* peer : peers) Visit(*peer, depth);
  }

  void Visit(const Peer& peer, int depth) {
    const v1::WorkerStatus& status = peer.status;
    const std::string& who = status.worker_id();
    if (!seen_.insert(who).second) return;
    const std::string where =
        status.address().empty() ? who : absl::StrCat(who, " (", status.address(), ")");
    if (Silent(peer)) {
      const int64_t heard = status.last_heartbeat_unix_ms();
      Say(depth, absl::StrCat(where, " hasn't answered ",
                              heard == 0 ? "since the coordinator started" : For(heard),
                              peer.lost ? "; the coordinator has given it up" : "",
                              "; last: ", status.state()));
      result_.blocked.push_back({who, "hasn't answered", heard});
      return;
    }
    std::vector<v1::WaitState> waits(status.waits().begin(), status.waits().end());
    std::erase_if(waits, [this](const v1::WaitState& wait) {
      return now_ - wait.since_unix_ms() < kNotableMs;
    });
    if (waits.empty()) return Say(depth, absl::StrCat(where, " works: ", status.state()));
    std::stable_sort(waits.begin(), waits.end(), [](const auto& a, const auto& b) {
      return a.since_unix_ms() < b.since_unix_ms();
    });
    for (const v1::WaitState& wait : waits) {
      const std::string text = absl::StrCat("waits for ", wait.what(), " from ", wait.on_whom());
      Say(depth, absl::StrCat(where, " ", text, " ", For(wait.since_unix_ms())));
      const size_t said = result_.lines.size();
      Follow(wait.on_whom(), depth + 1);
      if (result_.lines.size() == said) waiting_.push_back({who, text, wait.since_unix_ms()});
    }
  }

  const v1::JobStatus& job_;
  const int64_t now_;
  std::vector<Peer> peers_;
  std::set<std::string> seen_;
  std::vector<Blockage> waiting_;
  Explanation result_;
};

}  // namespace

Explanation Explain(const v1::JobStatus& job, const v1::ListWorkersResponse& workers) {
  return Explainer(job, workers).Run();
}

int Why(const Session& session, const std::string& job_id) {
  const absl::Time deadline = session.clock->Now() + session.timeout;
  const auto job = session.client->Get(job_id, /*include_steps=*/false, deadline);
  if (!job.ok()) return Report(session, job.status());
  const auto workers = session.client->ListWorkers(deadline);
  if (!workers.ok()) return Report(session, workers.status());
  const Explanation why = Explain(*job, *workers);
  if (session.json) {
    nlohmann::ordered_json json = {{"job_id", job_id}, {"state", StateWord(job->state())}};
    json["blocked"] = nlohmann::json::array();
    for (const Blockage& end : why.blocked) {
      json["blocked"].push_back(
          {{"who", end.who}, {"reason", end.reason}, {"since_unix_ms", end.since_unix_ms}});
    }
    json["chain"] = why.lines;
    *session.out << json.dump() << "\n";
    return kOk;
  }
  for (const std::string& line : why.lines) *session.out << line << "\n";
  for (const Blockage& end : why.blocked) {
    *session.out << "blocked: " << end.who << " " << end.reason << " since "
                 << absl::FormatTime("%H:%M:%S", absl::FromUnixMillis(end.since_unix_ms),
                                     absl::LocalTimeZone())
                 << "\n";
  }
  if (why.blocked.empty()) *session.out << "nobody is blocked\n";
  return kOk;
}

}  // namespace dtrpo::ctl

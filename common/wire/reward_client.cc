#include "common/wire/reward_client.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/rpc/unary_call.h"
#include "proto/dtrpo/v1/reward.grpc.pb.h"

namespace dtrpo::wire {
namespace {

using reward::AnsweredQuestion;
using reward::Judgements;
using Stub = v1::RewardService::StubInterface;

// How often a wait looks whether it is still wanted.
constexpr absl::Duration kLook = absl::Milliseconds(100);

bool NotNow(const absl::Status& status) {
  return base::IsRetryable(status) && !absl::IsDeadlineExceeded(status);
}

bool Hopeless(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsInvalidArgument(status) ||
         absl::IsUnimplemented(status) || absl::IsPermissionDenied(status) ||
         absl::IsUnauthenticated(status);
}

class GrpcRewardClient : public reward::RemoteReward {
 public:
  GrpcRewardClient(const std::shared_ptr<grpc::Channel>& channel, RewardClientOptions options)
      : options_(std::move(options)), stub_(v1::RewardService::NewStub(channel)) {}

  Judgements JudgeAll(const std::string& reward, absl::Span<const AnsweredQuestion> items,
                      const reward::KeepGoing& keep_going) override {
    base::ScopedWait wait(options_.waits,
                          absl::StrCat("reward '", reward, "' of ", items.size(), " answers"),
                          options_.target);
    Judgements results(items.size(), absl::UnknownError("not judged"));
    const size_t size = static_cast<size_t>(options_.items_per_call);
    const size_t chunks = (items.size() + size - 1) / size;
    std::atomic<size_t> next = 0;
    auto work = [&] {
      for (size_t chunk = next++; chunk < chunks; chunk = next++) {
        JudgeChunk(reward, items, chunk * size, std::min(items.size(), (chunk + 1) * size),
                   keep_going, results);
      }
    };
    std::vector<std::thread> others;
    while (others.size() + 1 < std::min<size_t>(options_.calls_in_flight, chunks)) {
      others.emplace_back(work);
    }
    work();
    for (std::thread& other : others) other.join();
    return results;
  }

 private:
  // Writes only results [begin, end).
  void JudgeChunk(const std::string& reward, absl::Span<const AnsweredQuestion> items, size_t begin,
                  size_t end, const reward::KeepGoing& keep_going, Judgements& results) {
    std::vector<size_t> pending;
    for (size_t i = begin; i < end; ++i) pending.push_back(i);
    base::Backoff backoff(options_.backoff, base::StableHash(reward, begin));
    std::optional<absl::Time> out_since;
    for (int attempt = 0;;) {
      const absl::Status called = Call(reward, items, keep_going, pending, results);
      if (pending.empty()) return;
      if (options_.failed_calls != nullptr) options_.failed_calls->Increment();
      std::string gave_up;
      const absl::Time now = base::RealClock()->Now();
      if (!keep_going()) {
        for (size_t i : pending) results[i] = absl::CancelledError("not wanted any more");
        return;
      }
      if (NotNow(called)) {
        if (!out_since) {
          out_since = now;
          base::LogWarning("reward service unreachable",
                           {{"service", options_.target}, {"error", called}});
        }
        if (now - *out_since >= options_.outage) {
          gave_up = absl::StrCat(" for ", absl::FormatDuration(options_.outage));
        }
      } else {
        out_since.reset();
        if (Hopeless(called) || ++attempt >= options_.attempts) {
          gave_up = absl::StrCat(" (attempts: ", std::max(1, attempt), ")");
        }
      }
      if (!gave_up.empty()) {
        for (size_t i : pending) {
          const absl::Status why = called.ok() ? results[i].status() : called;
          results[i] =
              absl::Status(why.code(), absl::StrCat("reward '", reward, "' from ", options_.target,
                                                    ": ", why.message(), gave_up));
        }
        return;
      }
      const absl::Time until =
          now + backoff.Next(called.ok() ? results[pending[0]].status() : called);
      while (keep_going() && base::RealClock()->Now() < until) {
        absl::SleepFor(std::min(kLook, until - base::RealClock()->Now()));
      }
    }
  }

  // Once. Takes what has a judgement out of `pending`, and gives the others their reason unless the
  // call failed as a whole.
  absl::Status Call(const std::string& reward, absl::Span<const AnsweredQuestion> items,
                    const reward::KeepGoing& keep_going, std::vector<size_t>& pending,
                    Judgements& results) {
    v1::JudgeRequest request;
    request.set_reward(reward);
    for (size_t i : pending) {
      const reward::Question& question = *items[i].question;
      const reward::Answer& answer = items[i].answer;
      v1::RewardItem* item = request.add_items();
      item->set_id(absl::StrCat(i));
      item->set_prompt(question.prompt);
      item->set_answer(std::string(answer.text));
      item->set_expected(question.expected);
      item->set_data_json(question.data_json);
      item->set_finished(answer.finished);
      item->set_tokens(answer.tokens);
    }
    v1::JudgeResponse response;
    const grpc::Status status = Send(request, keep_going, response);
    if (!status.ok()) return rpc::FromGrpcStatus(status);

    std::map<std::string, const v1::RewardResult*> by_id;
    for (const v1::RewardResult& result : response.results()) by_id[result.id()] = &result;
    std::vector<size_t> failed;
    for (size_t i : pending) {
      const auto found = by_id.find(absl::StrCat(i));
      results[i] = found == by_id.end() ? absl::DataLossError("the service didn't answer for it")
                                        : Take(*found->second);
      if (!results[i].ok()) failed.push_back(i);
    }
    pending = std::move(failed);
    return absl::OkStatus();
  }

  static absl::StatusOr<reward::Judgement> Take(const v1::RewardResult& result) {
    if (!result.has_judgement()) {
      return absl::AbortedError(result.error().empty() ? "no judgement" : result.error());
    }
    const v1::RewardJudgement& judgement = result.judgement();
    if (!std::isfinite(judgement.reward())) {
      return absl::AbortedError(absl::StrCat("the reward is ", judgement.reward(), ", no number"));
    }
    return reward::Judgement{judgement.reward(), judgement.correct(), judgement.reason()};
  }

  // A call that isn't wanted any more is cancelled.
  grpc::Status Send(const v1::JudgeRequest& request, const reward::KeepGoing& keep_going,
                    v1::JudgeResponse& response) {
    grpc::ClientContext context;
    rpc::PrepareContext(
        {.deadline = base::RealClock()->Now() + options_.timeout, .job_id = options_.job_id},
        &context);
    absl::Notification done;
    grpc::Status status;
    stub_->async()->Judge(&context, &request, &response, [&](grpc::Status result) {
      status = std::move(result);
      done.Notify();
    });
    bool cancelled = false;
    while (!done.WaitForNotificationWithTimeout(kLook)) {
      if (!cancelled && !keep_going()) {
        cancelled = true;
        context.TryCancel();
      }
    }
    return status;
  }

  const RewardClientOptions options_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace

RewardClientOptions RewardOptions(const job::RewardServiceSpec& service) {
  RewardClientOptions options;
  options.target = absl::StrCat("reward service ", service.address);
  options.timeout = absl::Milliseconds(service.timeout_ms);
  options.attempts = service.attempts;
  options.outage = absl::Milliseconds(service.outage_ms);
  return options;
}

std::unique_ptr<reward::RemoteReward> MakeRewardClient(
    const std::shared_ptr<grpc::Channel>& channel, RewardClientOptions options) {
  return std::make_unique<GrpcRewardClient>(channel, std::move(options));
}

}  // namespace dtrpo::wire

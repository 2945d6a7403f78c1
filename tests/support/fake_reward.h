// Thread safety: may be called from many threads.
//
// A reward service for tests: judges each item as the test says, and counts.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "common/rpc/serve.h"
#include "proto/dtrpo/v1/reward.grpc.pb.h"

namespace dtrpo::support {

class FakeReward : public v1::RewardService::Service {
 public:
  // Of the call's number, from 1: what the call as a whole is answered.
  std::function<absl::Status(int)> call = [](int) { return absl::OkStatus(); };
  // Fills the result of one item; the second argument: how often that answer was judged before.
  std::function<void(const v1::RewardItem&, int, v1::RewardResult&)> judge =
      [](const v1::RewardItem& item, int, v1::RewardResult& result) {
        const bool right = item.answer() == item.expected();
        result.mutable_judgement()->set_reward(right ? 1 : 0);
        result.mutable_judgement()->set_correct(right);
        result.mutable_judgement()->set_reason("as the fake says");
      };

  grpc::Status Judge(grpc::ServerContext* context, const v1::JudgeRequest* request,
                     v1::JudgeResponse* response) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
      int number = 0;
      {
        absl::MutexLock lock(&mutex_);
        number = ++calls_;
        last_ = *request;
      }
      const absl::Status status = call(number);
      if (!status.ok()) return status;
      for (const v1::RewardItem& item : request->items()) {
        int before = 0;
        {
          absl::MutexLock lock(&mutex_);
          before = judged_[item.data_json() + " " + item.answer()]++;
        }
        v1::RewardResult& result = *response->add_results();
        result.set_id(item.id());
        judge(item, before, result);
      }
      return status;
    });
  }

  int calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }
  v1::JudgeRequest last() const {
    absl::MutexLock lock(&mutex_);
    return last_;
  }

 private:
  mutable absl::Mutex mutex_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int> judged_ ABSL_GUARDED_BY(mutex_);
  v1::JudgeRequest last_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::support

// One call of the coordinator that may change something. Not thread-safe: it lives while the
// coordinator's lock is held.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/message_lite.h"
#include "services/coordinator/coordinator.h"

namespace dtrpo::coordinator {

class Coordinator::Operation {
 public:
  // `message`, if any, outlives the operation.
  Operation(Coordinator* coordinator, OperationKind kind, std::string name = "",
            const google::protobuf::MessageLite* message = nullptr) ABSL_NO_THREAD_SAFETY_ANALYSIS
      : coordinator_(coordinator),
        message_(message),
        revisions_(coordinator->Revisions()) {
    logged_.kind = kind;
    logged_.name = std::move(name);
    logged_.time = coordinator->Now();
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  ~Operation() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!always_ && coordinator_->Revisions() == revisions_) return;
    if (message_ != nullptr) logged_.message = message_->SerializeAsString();
    logged_.digest = coordinator_->Digest();
    logged_.given_up = coordinator_->TakeGivenUp();
    coordinator_->Log(logged_, std::move(bodies_));
  }

  // The one time of the operation.
  absl::Time now() const { return logged_.time; }
  // It is logged also when no job shows a change.
  void Always() { always_ = true; }
  LoggedOperation& logged() { return logged_; }
  void AddBody(std::string body) { bodies_.push_back(std::move(body)); }

 private:
  Coordinator* const coordinator_;
  const google::protobuf::MessageLite* const message_;
  const uint64_t revisions_;
  LoggedOperation logged_;
  bool always_ = false;
  std::vector<std::string> bodies_;
};

}  // namespace dtrpo::coordinator

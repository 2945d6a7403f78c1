#include "common/base/wait_states.h"

#include <pthread.h>

#include <utility>

namespace dtrpo::base {

std::vector<WaitState> WaitStateRegistry::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  std::vector<WaitState> waits;
  for (const auto& [id, wait] : waits_) waits.push_back(wait);
  return waits;
}

namespace {

std::string ThreadName() {
  char name[16] = "";  // the kernel's limit
  pthread_getname_np(pthread_self(), name, sizeof(name));
  return name;
}

}  // namespace

uint64_t WaitStateRegistry::Begin(std::string what, std::string on_whom) {
  const absl::Time since = clock_->Now();
  absl::MutexLock lock(&mutex_);
  waits_[next_id_] = {std::move(what), std::move(on_whom), since, ThreadName()};
  return next_id_++;
}

void WaitStateRegistry::End(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  waits_.erase(id);
}

ScopedWait::ScopedWait(WaitStateRegistry* registry, std::string what, std::string on_whom)
    : registry_(registry) {
  if (registry_ != nullptr) id_ = registry_->Begin(std::move(what), std::move(on_whom));
}

ScopedWait::~ScopedWait() {
  if (registry_ != nullptr) registry_->End(id_);
}

}  // namespace dtrpo::base

// The engines that a test program runs the common tests with. Each program defines both functions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/storage/storage_engine.h"

namespace dtrpo::storage {

// One store; its engines are opened one after the other.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual absl::StatusOr<std::unique_ptr<StorageEngine>> Open() = 0;
  virtual bool durable() const = 0;
};

std::vector<std::string> StoreKinds();
std::unique_ptr<StoreUnderTest> MakeStore(const std::string& kind);

}  // namespace dtrpo::storage

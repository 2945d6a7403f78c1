// The engines that need no server.
#include "common/storage/memory_engine.h"
#include "common/storage/rocksdb_engine.h"
#include "tests/unit/storage/engine_under_test.h"
#include "tests/unit/storage/scratch_folder.h"

namespace dtrpo::storage {
namespace {

class MemoryStore : public StoreUnderTest {
 public:
  absl::StatusOr<std::unique_ptr<StorageEngine>> Open() override {
    return std::make_unique<MemoryEngine>();
  }
  bool durable() const override { return false; }
};

class RocksDbStore : public StoreUnderTest {
 public:
  absl::StatusOr<std::unique_ptr<StorageEngine>> Open() override {
    return OpenRocksDb({.folder = folder_.path()});
  }
  bool durable() const override { return true; }

 private:
  ScratchFolder folder_;
};

}  // namespace

std::vector<std::string> StoreKinds() { return {"memory", "rocksdb"}; }

std::unique_ptr<StoreUnderTest> MakeStore(const std::string& kind) {
  if (kind == "memory") return std::make_unique<MemoryStore>();
  return std::make_unique<RocksDbStore>();
}

}  // namespace dtrpo::storage

// A replay service on a disk that gets full, read-only or stops syncing under it: no confirmation
// that isn't true, a status that says why, and everything that was confirmed is there afterwards.
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/fake_metrics.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/storage/rocksdb_engine.h"
#include "common/wire/replay_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "services/replay/replay_service.h"
#include "tests/unit/replay/test_pair.h"
#include "tests/unit/storage/scratch_folder.h"
#include "tests/unit/storage/test_disk.h"

namespace dtrpo::faults {
namespace {

using ::testing::HasSubstr;

constexpr char kJob[] = "disk-1";

class BrokenDiskTest : public ::testing::Test {
 protected:
  // A replay service as of one process.
  struct Service {
    explicit Service(std::unique_ptr<storage::StorageEngine> opened)
        : engine(std::move(opened)),
          metrics(&registry),
          store({.engine = engine.get(),
                 .metrics = &metrics,
                 .on_store_failed =
                     [this](const absl::Status& why) {
                       absl::MutexLock lock(&mutex);
                       failed = why;
                     }}),
          service(&store),
          factory(rpc::ChannelOptions{.identity = {.role = "rollout"}, .faults = {}}) {
      const absl::Status restored = store.Restore();
      EXPECT_TRUE(restored.ok()) << restored;
      server = *rpc::RpcServer::Start({}, {&service});
      wire::ClientOptions options;
      options.target = "replay";
      options.retry.max_attempts = 1;
      client = *wire::MakeReplayClient({*factory.Create(server->address().ToString())}, options);
    }
    absl::Status Failed() {
      absl::MutexLock lock(&mutex);
      return failed;
    }

    std::unique_ptr<storage::StorageEngine> engine;
    base::FakeMetrics registry;
    replay::ReplayMetrics metrics;
    absl::Mutex mutex;
    absl::Status failed;
    replay::ReplayStore store;
    replay::ReplayService service;
    std::unique_ptr<rpc::RpcServer> server;
    rpc::ChannelFactory factory;
    std::unique_ptr<wire::ReplayClient> client;
  };

  BrokenDiskTest()
      : disk_(std::make_shared<storage::TestDisk>()), env_(rocksdb::NewCompositeEnv(disk_)) {
    Start(folder_.path(), env_.get());
    v1::ReplayJobOptions options;
    options.set_pairs_per_batch(2);
    options.set_publish_every(1);
    options.set_max_staleness(100);
    options.set_max_pairs_per_prompt(2);
    options.set_total_steps(1000);
    options.set_max_items(1000);
    EXPECT_TRUE(service_->client->OpenJob(kJob, options, Soon()).ok());
    for (int64_t prompt = 0; prompt < 3; ++prompt) EXPECT_TRUE(Insert(prompt).ok());
  }

  void Start(const std::string& folder, rocksdb::Env* env) {
    auto engine = storage::OpenRocksDb({.folder = folder, .env = env});
    ASSERT_TRUE(engine.ok()) << engine.status();
    service_ = std::make_unique<Service>(*std::move(engine));
  }

  absl::Time Soon() const { return absl::Now() + absl::Seconds(60); }
  absl::StatusOr<wire::InsertResult> Insert(int64_t prompt,
                                            absl::Duration timeout = absl::Seconds(60)) {
    wire::PromptOutcome outcome;
    outcome.prompt_index = prompt;
    outcome.pairs.push_back(replay::TestPair(absl::StrCat("p", prompt), 0));
    return service_->client->Insert({kJob}, outcome, absl::Now() + timeout);
  }

  // The disk fails, and is well again for the next process.
  void BreakAndMend(storage::TestDisk::Failure failure, const std::string& word) {
    disk_->Break(failure);
    const absl::Status refused = Insert(3).status();
    EXPECT_FALSE(refused.ok());
    EXPECT_THAT(refused.message(), HasSubstr(word)) << refused;
    EXPECT_FALSE(Insert(0).ok()) << "nothing is confirmed any more, also what was stored before";
    EXPECT_THAT(service_->Failed().message(), HasSubstr(word)) << "whoever ends the process knows";
    EXPECT_GE(service_->client->GetStats(kJob, Soon())->inserted_prompts(), 3);
    service_.reset();
    // This process can't open that folder any more; another one would find this.
    std::filesystem::copy(folder_.path(), copy_.path(), std::filesystem::copy_options::recursive);
    Start(copy_.path(), nullptr);
    for (int64_t prompt = 0; prompt < 3; ++prompt) {
      const auto again = Insert(prompt);
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_TRUE(again->duplicate) << "prompt " << prompt << " was confirmed and is lost";
    }
    EXPECT_TRUE(Insert(3).ok());
  }

  const storage::ScratchFolder folder_, copy_;
  const std::shared_ptr<storage::TestDisk> disk_;
  const std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<Service> service_;
};

TEST_F(BrokenDiskTest, AReadOnlyDiskIsSaidAndLosesNothingConfirmed) {
  BreakAndMend(storage::TestDisk::Failure::kReadOnly, "Read-only");
}

TEST_F(BrokenDiskTest, ADiskThatIsFullWithoutWarningIsSaidAndLosesNothingConfirmed) {
  BreakAndMend(storage::TestDisk::Failure::kFull, "space");
}

TEST_F(BrokenDiskTest, ADiskThatStopsSyncingConfirmsNothingUntilItSyncs) {
  disk_->HoldSyncs();
  const auto unconfirmed = Insert(3, absl::Seconds(1));
  EXPECT_FALSE(unconfirmed.ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(unconfirmed.status()) ||
              absl::IsUnavailable(unconfirmed.status()))
      << unconfirmed.status();
  disk_->ReleaseSyncs();
  const auto confirmed = Insert(3);
  ASSERT_TRUE(confirmed.ok()) << confirmed.status();
  EXPECT_TRUE(confirmed->duplicate);
  EXPECT_EQ(confirmed->durability, v1::SYNC);
  EXPECT_TRUE(service_->Failed().ok());
}

}  // namespace
}  // namespace dtrpo::faults

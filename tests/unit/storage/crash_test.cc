// Kills the process that has a store open, again and again, and looks at what is there.
//
// The seed is printed; DTRPO_CRASH_SEED repeats a run. DTRPO_CRASH_KILLS sets the number of kills
// (default 60 for RocksDB and 25 for PostgreSQL; the long run has 1000).
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/fault_points.h"
#include "common/storage/postgres_engine.h"
#include "common/storage/rocksdb_engine.h"
#include "gtest/gtest.h"
#include "tests/unit/storage/postgres_server.h"
#include "tests/unit/storage/scratch_folder.h"
#include "tests/unit/storage/store_script.h"

namespace dtrpo::storage {
namespace {

constexpr int kLogs = 4;

uint64_t NumberFrom(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  uint64_t number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : otherwise;
}

class Child {
 public:
  Child(const std::string& kind, const std::string& target, uint64_t seed,
        const std::string& fault_points) {
    int ends[2];
    DTRPO_CHECK_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const std::string program = absl::StrCat(DTRPO_BIN_DIR, "/dtrpo-storage-crash-child");
    const std::string seed_text = absl::StrCat(seed);
    const std::string variable = absl::StrCat(base::kFaultPointsVariable, "=", fault_points);
    std::array<const char*, 5> arguments = {program.c_str(), kind.c_str(), target.c_str(),
                                            seed_text.c_str(), nullptr};
    std::array<const char*, 2> environment = {variable.c_str(), nullptr};
    pid_ = ::fork();
    DTRPO_CHECK(pid_ >= 0);
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::execve(program.c_str(), const_cast<char**>(arguments.data()),
               const_cast<char**>(environment.data()));
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ends[0];
  }
  ~Child() {
    Kill();
    ::close(output_);
  }

  // Reads what it says until `until`, or its end. True: it has ended.
  bool Listen(absl::Time until) {
    while (!ended_) {
      const int64_t left_ms = absl::ToInt64Milliseconds(until - absl::Now());
      pollfd waiting = {.fd = output_, .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, static_cast<int>(std::max<int64_t>(left_ms, 0))) == 0) return false;
      char buffer[65536];
      const ssize_t size = ::read(output_, buffer, sizeof(buffer));
      if (size <= 0) {
        ended_ = true;
        DTRPO_CHECK_EQ(::waitpid(pid_, &status_, 0), pid_);
        break;
      }
      text_.append(buffer, static_cast<size_t>(size));
      Digest();
    }
    return true;
  }
  void Kill() {
    if (!ended_) ::kill(pid_, SIGKILL);
    Listen(absl::InfiniteFuture());
  }
  bool ready() const { return ready_; }
  const std::string& wrong() const { return wrong_; }
  int64_t confirmed(int log) const { return confirmed_[static_cast<size_t>(log)]; }
  int64_t all_confirmed() const {
    int64_t sum = 0;
    for (int64_t steps : confirmed_) sum += steps;
    return sum;
  }
  bool killed() const { return WIFSIGNALED(status_) && WTERMSIG(status_) == SIGKILL; }

 private:
  void Digest() {
    for (size_t end = 0; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1)) {
      const std::string line = text_.substr(0, end);
      if (line == "ready") ready_ = true;
      if (absl::StartsWith(line, "wrong ")) wrong_ = line;
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      int64_t log = 0;
      int64_t steps = 0;
      if (words.size() == 3 && words[0] == "c" && absl::SimpleAtoi(words[1], &log) &&
          absl::SimpleAtoi(words[2], &steps)) {
        confirmed_[static_cast<size_t>(log)] = steps;
      }
    }
  }

  pid_t pid_ = -1;
  int output_ = -1;
  std::string text_;
  bool ready_ = false;
  bool ended_ = false;
  int status_ = 0;
  std::string wrong_;
  std::array<int64_t, kLogs> confirmed_ = {};
};

// What must be there, and never less: what was seen confirmed or found before.
class Model {
 public:
  explicit Model(uint64_t seed) : seed_(seed) {}
  void Confirmed(const Child& child) {
    for (int log = 0; log < kLogs; ++log) {
      least_[static_cast<size_t>(log)] =
          std::max(least_[static_cast<size_t>(log)], child.confirmed(log));
    }
  }
  void Check(const StorageEngine& engine) {
    for (int log = 0; log < kLogs; ++log) {
      const StoreScript script(seed_, absl::StrCat("log-", log));
      const absl::StatusOr<ScriptState> found = script.Check(engine);
      ASSERT_TRUE(found.ok()) << found.status();
      ASSERT_GE(found->steps, least_[static_cast<size_t>(log)]) << "of log " << log;
      least_[static_cast<size_t>(log)] = found->steps;
    }
  }
  int64_t steps() const {
    int64_t sum = 0;
    for (int64_t steps : least_) sum += steps;
    return sum;
  }

 private:
  const uint64_t seed_;
  std::array<int64_t, kLogs> least_ = {};
};

struct Kills {
  int at_random = 0;
  std::map<std::string, int> at_point;
};

std::string Summary(const Kills& kills, int64_t steps) {
  std::string text = absl::StrCat(kills.at_random, " kills at random points");
  for (const auto& [point, count] : kills.at_point) {
    absl::StrAppend(&text, ", ", count, " at ", point);
  }
  return absl::StrCat(text, "; ", steps, " steps");
}

// Every third child dies where a fault point says, in turn; the others at random moments, also
// while they open the store.
void KillOften(const std::string& kind, const std::string& target,
               const std::vector<std::string>& points, uint64_t kills_wanted,
               const std::function<absl::StatusOr<std::unique_ptr<StorageEngine>>()>& open) {
  const uint64_t seed = NumberFrom("DTRPO_CRASH_SEED", std::random_device()() % 1000000);
  std::cout << kind << ": DTRPO_CRASH_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  Model model(seed);
  Kills kills;
  size_t next_point = 0;
  for (uint64_t kill = 0; kill < kills_wanted; ++kill) {
    SCOPED_TRACE(absl::StrCat("kill ", kill, ", seed ", seed));
    std::string point;
    std::string spec;
    if (kill % 2 == 0) {
      point = points[next_point++ % points.size()];
      spec = absl::StrCat(point, ":kill@", 1 + random() % (point == "storage.takeover" ? 1 : 4));
    }
    Child child(kind, target, seed, spec);
    if (point.empty()) {
      child.Listen(absl::Now() + absl::Milliseconds(random() % 400));
      child.Kill();
      ++kills.at_random;
    } else if (child.Listen(absl::Now() + absl::Seconds(60))) {
      ++kills.at_point[point];
    } else {
      ADD_FAILURE() << spec << " wasn't reached";
      child.Kill();
    }
    ASSERT_EQ(child.wrong(), "");
    ASSERT_TRUE(child.killed()) << spec;
    model.Confirmed(child);
    auto engine = open();
    ASSERT_TRUE(engine.ok()) << engine.status();
    model.Check(**engine);
    if (::testing::Test::HasFatalFailure()) return;
  }
  std::cout << kind << ": " << Summary(kills, model.steps()) << std::endl;
  for (const std::string& point : points) EXPECT_GE(kills.at_point[point], 1) << point;
  EXPECT_GT(model.steps(), 0);
}

TEST(StorageCrashTest, RocksDbKeepsWhatItConfirmedWheneverItIsKilled) {
  const ScratchFolder folder;
  KillOften(
      "rocksdb", folder.path(),
      {"storage.before_sync", "storage.after_sync", "storage.before_log", "storage.before_snapshot",
       "storage.after_snapshot", "storage.in_flush", "storage.in_compaction"},
      NumberFrom("DTRPO_CRASH_KILLS", 60),
      [&folder] { return OpenRocksDb({.folder = folder.path()}); });
}

TEST(StorageCrashTest, PostgresKeepsWhatItConfirmedWheneverItsClientIsKilled) {
  PostgresServer server;
  KillOften(
      "postgres", server.connection(),
      {"storage.before_sync", "storage.after_sync", "storage.before_snapshot", "storage.takeover"},
      NumberFrom("DTRPO_CRASH_KILLS", 25),
      [&server] { return OpenPostgres({.connection = server.connection()}); });
}

TEST(StorageCrashTest, PostgresKeepsWhatItConfirmedWheneverTheServerIsKilled) {
  const uint64_t seed = NumberFrom("DTRPO_CRASH_SEED", std::random_device()() % 1000000);
  std::cout << "postgres server: DTRPO_CRASH_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  PostgresServer server;
  Model model(seed);
  Child child("postgres", server.connection(), seed, "");
  const uint64_t kills = NumberFrom("DTRPO_CRASH_KILLS", 15);
  for (uint64_t kill = 0; kill < kills; ++kill) {
    // In the middle of transactions: the child never pauses.
    const int64_t before = child.all_confirmed();
    const absl::Time give_up = absl::Now() + absl::Seconds(60);
    while (child.all_confirmed() < before + 20 && absl::Now() < give_up) {
      ASSERT_FALSE(child.Listen(absl::Now() + absl::Milliseconds(5))) << child.wrong();
    }
    ASSERT_GE(child.all_confirmed(), before + 20) << "kill " << kill;
    child.Listen(absl::Now() + absl::Milliseconds(random() % 30));
    server.Kill();
    server.Start();
  }
  child.Kill();
  ASSERT_EQ(child.wrong(), "");
  model.Confirmed(child);
  auto engine = OpenPostgres({.connection = server.connection()});
  ASSERT_TRUE(engine.ok()) << engine.status();
  model.Check(**engine);
  std::cout << "postgres server: " << kills << " kills; " << model.steps() << " steps" << std::endl;
}

}  // namespace
}  // namespace dtrpo::storage

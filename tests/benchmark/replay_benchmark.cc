// How fast a replay store takes and gives items, what an item costs in memory, and how long a
// restart takes. One JSON object a line for each measurement.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/benchmark/replay_backend.h"

namespace dtrpo::benchmark {
namespace {

// Calls in flight, items of each.
using Calls = std::vector<std::pair<int, int>>;
const Calls kSmallItems = {{1, 1}, {32, 1}, {2, 16}, {1, 64}};
const Calls kLargeItems = {{1, 1}, {8, 1}};

using Make = ReplayBackend* (*)(const BackendOptions&);

struct Flags {
  std::string backend;
  std::string folder = "replay-benchmark";
  double seconds = 5;
  int64_t items = 100000;  // of memory and restart
  std::string filter;
  bool quick = false;
};

double Seconds(absl::Time since) { return absl::ToDoubleSeconds(absl::Now() - since); }

int64_t ResidentBytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// Of the process so far, user and system.
double CpuSeconds(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  std::getline(file, line);
  // Behind the program's name, which may hold blanks: state, then numbers.
  const std::vector<std::string> fields =
      absl::StrSplit(line.substr(std::min(line.size(), line.rfind(')') + 2)), ' ');
  int64_t user = 0, system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return 0;
  }
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// How often a second this disk makes 6 KiB durable, one after the other.
double SyncsPerSecond(const std::string& folder, double seconds) {
  const std::string path = folder + "/fdatasync";
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  const std::string block(6144, 'x');
  int64_t syncs = 0;
  const absl::Time begin = absl::Now();
  while (file >= 0 && Seconds(begin) < seconds) {
    if (write(file, block.data(), block.size()) < 0 || fdatasync(file) != 0) break;
    ++syncs;
  }
  const double rate = static_cast<double>(syncs) / Seconds(begin);
  close(file);
  std::filesystem::remove(path);
  return rate;
}

class Benchmark {
 public:
  Benchmark(const Flags& flags, Make make) : flags_(flags), make_(make) {}

  bool Run() {
    std::filesystem::create_directories(flags_.folder);
    Print({{"measure", "fdatasync"},
           {"per_second", SyncsPerSecond(flags_.folder, std::min(flags_.seconds, 2.0))}});
    for (const int64_t tokens : {int64_t{512}, int64_t{34144}}) {
      for (const std::string durability : {"log", "sync"}) {
        for (const int writers : {1, 4}) {
          for (const auto& [in_flight, per_call] : tokens == 512 ? kSmallItems : kLargeItems) {
            if (!Insert(tokens, durability, writers, in_flight, per_call)) return false;
          }
        }
      }
      for (const std::string selector : {"uniform", "prioritised"}) {
        if (!Sample(tokens, selector)) return false;
      }
    }
    return MemoryAndRestart();
  }

 private:
  // A part of a measurement's name is enough: "insert/512/log/4/32/1" has 4 writers, each with 32
  // calls of one item in flight.
  template <typename... Parts>
  bool Wanted(const Parts&... parts) const {
    return absl::StrContains(absl::StrJoin(std::make_tuple(parts...), "/"), flags_.filter);
  }

  std::unique_ptr<ReplayBackend> Start(const std::string& durability, const std::string& selector,
                                       int64_t tokens) {
    const std::string folder = flags_.folder + "/store";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    return std::unique_ptr<ReplayBackend>(
        make_({.folder = std::filesystem::absolute(folder).string(),
               .durability = durability,
               .selector = selector,
               .tokens = tokens}));
  }

  static void Print(const nlohmann::json& line) { std::cout << line.dump() << std::endl; }

  // In rounds until the time is over. `in_flight`: calls; `per_call`: items of each.
  bool Insert(int64_t tokens, const std::string& durability, int writers, int in_flight,
              int per_call) {
    if (!Wanted("insert", tokens, durability, writers, in_flight, per_call)) return true;
    const auto backend = Start(durability, "fifo", tokens);
    std::atomic<int64_t> inserted = 0;
    std::atomic<bool> failed = false;
    std::vector<std::unique_ptr<ReplayWriter>> all;
    for (int i = 0; i < writers; ++i) all.push_back(backend->MakeWriter(i));
    auto insert = [&](ReplayWriter& writer, int64_t calls) {
      return per_call > 1 ? writer.InsertMany(calls, per_call, in_flight)
                          : writer.Insert(calls, in_flight);
    };
    for (auto& writer : all) failed = failed || !insert(*writer, in_flight);  // connects
    const double cpu = CpuSeconds(backend->server_pid());
    const absl::Time begin = absl::Now();
    std::vector<std::thread> threads;
    for (auto& writer : all) {
      threads.emplace_back([&, writer = writer.get()] {
        const int64_t round = 4 * in_flight;
        while (!failed && Seconds(begin) < flags_.seconds) {
          if (!insert(*writer, round)) failed = true;
          inserted += round * per_call;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const double rate = static_cast<double>(inserted) / Seconds(begin);
    Print({{"measure", "insert"},
           {"bytes", 12 * tokens},
           {"durability", durability},
           {"writers", writers},
           {"in_flight", in_flight},
           {"items_per_call", per_call},
           {"items_per_second", rate},
           {"server_cpu_us_per_item",
            1e6 * (CpuSeconds(backend->server_pid()) - cpu) / static_cast<double>(inserted)},
           {"mb_per_second", rate * 12 * static_cast<double>(tokens) / 1e6}});
    return !failed;
  }

  bool Sample(int64_t tokens, const std::string& selector) {
    if (!Wanted("sample", tokens, selector)) return true;
    const auto backend = Start("log", selector, tokens);
    const int64_t stored = tokens == 512 ? (flags_.quick ? 500 : 5000) : 200;
    if (!backend->MakeWriter(0)->Insert(stored, 8)) return false;
    const auto sampler = backend->MakeSampler();
    if (!sampler->Sample(64)) return false;
    int64_t sampled = 0;
    const double cpu = CpuSeconds(backend->server_pid());
    const absl::Time begin = absl::Now();
    while (Seconds(begin) < flags_.seconds) {
      if (!sampler->Sample(512)) return false;
      sampled += 512;
    }
    Print({{"measure", "sample"},
           {"bytes", 12 * tokens},
           {"selector", selector},
           {"stored", stored},
           {"server_cpu_us_per_item",
            1e6 * (CpuSeconds(backend->server_pid()) - cpu) / static_cast<double>(sampled)},
           {"items_per_second", static_cast<double>(sampled) / Seconds(begin)}});
    return true;
  }

  bool MemoryAndRestart() {
    if (!Wanted("memory")) return true;
    const auto backend = Start("log", "fifo", 512);
    const auto writer = backend->MakeWriter(0);
    // The engine's buffers fill first: what comes after is the items' own.
    const int64_t warm = flags_.items / 5;
    if (!writer->Insert(warm, 32)) return false;
    const int64_t before = ResidentBytes(backend->server_pid());
    if (!writer->Insert(flags_.items - warm, 32)) return false;
    const int64_t after = ResidentBytes(backend->server_pid());
    Print({{"measure", "memory"},
           {"items", flags_.items},
           {"resident_bytes", after},
           {"bytes_per_item", static_cast<double>(after) / static_cast<double>(flags_.items)},
           {"bytes_per_further_item",
            static_cast<double>(after - before) / static_cast<double>(flags_.items - warm)}});
    const double seconds = backend->Restart();
    Print({{"measure", "restart after SIGKILL"},
           {"items", flags_.items},
           {"seconds", seconds},
           {"resident_bytes", ResidentBytes(backend->server_pid())}});
    return true;
  }

  const Flags flags_;
  const Make make_;
};

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Measures a replay store; a JSON object a line.", "replay_benchmark");
  app.add_option("--backend", flags.backend,
                 "Shared library with DtrpoMakeReplayBackend; default: dtrpo-replay on RocksDB");
  app.add_option("--folder", flags.folder, "Scratch on the disk to be measured")
      ->capture_default_str();
  app.add_option("--seconds", flags.seconds, "Of each measurement")->capture_default_str();
  app.add_option("--items", flags.items, "For memory and restart")->capture_default_str();
  app.add_option(
      "--filter", flags.filter,
      "Only measurements with this in insert/TOKENS/DURABILITY/WRITERS/IN-FLIGHT/PER-CALL, "
      "sample/TOKENS/SELECTOR or memory");
  app.add_flag("--quick", flags.quick, "Short: shows that it runs");
  CLI11_PARSE(app, argc, argv);
  if (flags.quick) {
    flags.seconds = 0.2;
    flags.items = std::min<int64_t>(flags.items, 2000);
  }
  Make make = &DtrpoMakeReplayBackend;
  if (!flags.backend.empty()) {
    void* library = dlopen(flags.backend.c_str(), RTLD_NOW);
    make = library == nullptr ? nullptr
                              : reinterpret_cast<Make>(dlsym(library, "DtrpoMakeReplayBackend"));
    if (make == nullptr) {
      std::cerr << flags.backend << ": " << dlerror() << "\n";
      return 2;
    }
  }
  const bool done = Benchmark(flags, make).Run();
  std::filesystem::remove_all(flags.folder);
  return done ? 0 : 1;
}

}  // namespace
}  // namespace dtrpo::benchmark

int main(int argc, char** argv) { return dtrpo::benchmark::Main(argc, argv); }

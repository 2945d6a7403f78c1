// A replay store as the benchmark's loops see it, so that other stores can be run by the same ones:
// a shared library with DtrpoMakeReplayBackend is loaded with --backend FILE. Writers and samplers
// belong to one thread each; the rest is called by one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

namespace dtrpo::benchmark {

struct BackendOptions {
  std::string folder;      // empty, of this run
  std::string durability;  // "memory", "log", "sync"
  std::string selector;    // "uniform", "prioritised", "fifo"
  int64_t tokens = 512;    // of an item: id, step and log-probability each, 12 bytes
  int64_t items = 0;       // that will be inserted
  int32_t batch = 32;      // items of a sampled batch
};

class ReplayWriter {
 public:
  virtual ~ReplayWriter() = default;
  // Inserts `count` items with at most `in_flight` unconfirmed; returns when all are confirmed.
  // False: something failed, and was printed.
  virtual bool Insert(int64_t count, int in_flight) = 0;
  // The same with `calls` calls of `items` items, at most `in_flight` calls unconfirmed.
  virtual bool InsertMany(int64_t calls, int items, int in_flight) = 0;
};

class ReplaySampler {
 public:
  virtual ~ReplaySampler() = default;
  virtual bool Sample(int64_t count) = 0;
};

class ReplayBackend {
 public:
  virtual ~ReplayBackend() = default;
  virtual std::unique_ptr<ReplayWriter> MakeWriter(int index) = 0;
  virtual std::unique_ptr<ReplaySampler> MakeSampler() = 0;
  virtual pid_t server_pid() const = 0;
  // Kills the server, starts it again, and returns when it answers; seconds.
  virtual double Restart() = 0;
};

}  // namespace dtrpo::benchmark

extern "C" {
dtrpo::benchmark::ReplayBackend* DtrpoMakeReplayBackend(
    const dtrpo::benchmark::BackendOptions& options);
}

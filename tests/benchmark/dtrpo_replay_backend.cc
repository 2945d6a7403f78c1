// dtrpo-replay on RocksDB, as a process of its own.
#include <atomic>
#include <deque>
#include <filesystem>
#include <iostream>
#include <map>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/philox.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/metadata.h"
#include "common/wire/item_body.h"
#include "common/wire/replay_client.h"
#include "common/wire/replay_view_client.h"
#include "proto/dtrpo/v1/replay.grpc.pb.h"
#include "tests/benchmark/replay_backend.h"
#include "tests/faults/replay_process.h"

namespace dtrpo::benchmark {
namespace {

constexpr char kJob[] = "benchmark";

// One trajectory of `tokens` tokens in blocks of 32, as a group of one: what Reverb's items held.
v1::TrajectoryGroup MakeItem(int64_t tokens, uint64_t seed) {
  base::CounterRng random(seed, 0);
  v1::TrajectoryGroup group;
  group.set_id("g");
  v1::Trajectory* t = group.add_trajectories();
  t->set_format_version(1);
  t->set_id("t");
  t->set_block_size(32);
  t->set_block_origin(v1::RESPONSE);
  t->set_stop_index(-1);
  t->set_finish_reason(v1::LENGTH);
  t->set_seed("1");
  t->add_weights_version(0);
  t->add_prompt_tokens(1);
  v1::SamplerParameters* sampler = t->mutable_sampler();
  sampler->set_unmask("threshold:0.9");
  sampler->set_confidence("untempered");
  sampler->set_top_p(1);
  sampler->set_max_new_tokens(static_cast<int32_t>(tokens));
  sampler->set_first_token(v1::NO_FIRST_TOKEN);
  for (int64_t i = 0; i < tokens; ++i) {
    t->add_response_tokens(static_cast<int32_t>(random.UniformInt(32000)));
    t->add_unmask_step(static_cast<int32_t>(1 + i % 32 / 2));
    t->add_behaviour_logprob(static_cast<float>(-random.Uniform01()));
  }
  return group;
}

class Writer : public ReplayWriter {
 public:
  Writer(const std::string& address, const BackendOptions& options, int index)
      : factory_({.identity = {.role = "rollout"}, .faults = {}}),
        channel_(*factory_.Create(address)),
        stub_(v1::ReplayService::NewStub(channel_)),
        client_(wire::MakeReplayViewClient(channel_, {.target = "replay", .retry = {}})),
        next_prompt_(int64_t{index} << 32) {
    for (uint64_t i = 0; i < 16; ++i) {
      v1::InsertRequest& request = requests_.emplace_back();
      request.mutable_job()->set_job_id(kJob);
      *request.add_groups() = MakeItem(options.tokens, 100 * index + i);
    }
  }

  bool Insert(int64_t count, int in_flight) override {
    grpc::CompletionQueue queue;
    int64_t sent = 0, confirmed = 0;
    while (confirmed < count) {
      while (sent < count && sent - confirmed < in_flight) {
        v1::InsertRequest& request = requests_[sent++ % requests_.size()];
        request.set_prompt_index(next_prompt_++);
        auto call = std::make_unique<Call>();
        call->context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Minutes(1)));
        call->reader = stub_->AsyncInsert(&call->context, request, &queue);
        Call* tag = call.release();
        tag->reader->Finish(&tag->response, &tag->status, tag);
      }
      void* tag = nullptr;
      bool ok = false;
      DTRPO_CHECK(queue.Next(&tag, &ok));
      const std::unique_ptr<Call> done(static_cast<Call*>(tag));
      if (!done->status.ok()) {
        std::cerr << "insert: " << done->status.error_message() << "\n";
        return false;
      }
      ++confirmed;
    }
    return true;
  }

  bool InsertMany(int64_t calls, int items, int in_flight) override {
    std::atomic<bool> failed = false;
    std::vector<std::thread> threads;
    for (int i = 0; i < in_flight; ++i) {
      const int64_t part = calls * (i + 1) / in_flight - calls * i / in_flight;
      threads.emplace_back([&, part] { failed = !CallInsertMany(part, items) || failed; });
    }
    for (std::thread& thread : threads) thread.join();
    return !failed;
  }

 private:
  // By the client, which tries again what a busy disk refuses for now.
  bool CallInsertMany(int64_t calls, int items) {
    std::vector<v1::InsertRequest> prompts;
    for (int i = 0; i < items; ++i) prompts.push_back(requests_[i % requests_.size()]);
    for (int64_t call = 0; call < calls; ++call) {
      for (v1::InsertRequest& prompt : prompts) prompt.set_prompt_index(next_prompt_++);
      for (const auto& result :
           client_->InsertMany(kJob, prompts, absl::Now() + absl::Minutes(1))) {
        if (result.ok()) continue;
        std::cerr << result.status() << "\n";
        return false;
      }
    }
    return true;
  }

  struct Call {
    grpc::ClientContext context;
    v1::InsertResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::InsertResponse>> reader;
  };

  rpc::ChannelFactory factory_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::ReplayService::Stub> stub_;
  const std::unique_ptr<wire::ReplayViewClient> client_;
  std::deque<v1::InsertRequest> requests_;
  std::atomic<int64_t> next_prompt_;
};

// Batches in order, each acknowledged with the next one.
class Sampler : public ReplaySampler {
 public:
  Sampler(const std::string& address, const BackendOptions& options)
      : batch_(options.batch),
        factory_({.identity = {.role = "learner"}, .faults = {}}),
        stub_(v1::ReplayService::NewStub(*factory_.Create(address))) {}

  bool Sample(int64_t count) override {
    for (int64_t got = 0; got < count; got += batch_) {
      v1::GetBatchRequest request;
      request.mutable_job()->set_job_id(kJob);
      request.set_batch(++n_);
      request.set_world(1);
      request.set_body_format(wire::kItemBodyFormat);
      v1::GetBatchResponse response;
      if (!Ok(stub_->GetBatch(Context().get(), request, &response))) return false;
      for (v1::BatchItem& item : *response.mutable_items()) {
        const absl::Status unpacked = wire::UnpackItemBody(&item);
        DTRPO_CHECK(unpacked.ok()) << unpacked;
      }
      if (n_ % 16 != 0) continue;
      v1::AcknowledgeRequest acknowledge;
      acknowledge.mutable_job()->set_job_id(kJob);
      acknowledge.set_up_to_batch(n_);
      v1::AcknowledgeResponse nothing;
      if (!Ok(stub_->Acknowledge(Context().get(), acknowledge, &nothing))) return false;
    }
    return true;
  }

 private:
  static std::unique_ptr<grpc::ClientContext> Context() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(absl::Now() + absl::Minutes(1)));
    return context;
  }
  static bool Ok(const grpc::Status& status) {
    if (!status.ok()) std::cerr << "sample: " << status.error_message() << "\n";
    return status.ok();
  }

  const int64_t batch_;
  rpc::ChannelFactory factory_;
  const std::unique_ptr<v1::ReplayService::Stub> stub_;
  int64_t n_ = 0;
};

class DtrpoReplay : public ReplayBackend {
 public:
  explicit DtrpoReplay(const BackendOptions& options)
      : options_(options),
        process_(options.folder,
                 absl::StrCat("engine: rocksdb\npath: \"", options.folder, "/store\"\n"),
                 "  max_threads: 320\n") {
    const absl::Status started = process_.Start();
    DTRPO_CHECK(started.ok()) << started;
    v1::ReplayJobOptions job;
    job.set_pairs_per_batch(options.batch);
    job.set_publish_every(1 << 20);
    job.set_max_uses(1 << 10);
    job.set_max_items(std::max<int64_t>(int64_t{1} << 34, options.items));
    job.set_max_bytes(int64_t{1} << 40);
    job.set_max_pairs_per_prompt(1);
    job.set_total_steps(int64_t{1} << 30);
    job.set_checkpoint_every(16);
    job.set_durability(options.durability == "memory" ? v1::MEMORY
                       : options.durability == "log"  ? v1::LOG
                                                      : v1::SYNC);
    job.set_selector(options.selector == "uniform"       ? v1::UNIFORM
                     : options.selector == "prioritised" ? v1::PRIORITISED
                                                         : v1::FIFO);
    job.set_priority_exponent(0.8);
    rpc::ChannelFactory factory({.identity = {.role = "coordinator"}, .faults = {}});
    wire::ClientOptions client;
    client.target = "replay";
    const absl::Status opened =
        (*wire::MakeReplayClient({*factory.Create(process_.address())}, client))
            ->OpenJob(kJob, job, absl::Now() + absl::Seconds(30));
    DTRPO_CHECK(opened.ok()) << opened;
  }
  ~DtrpoReplay() override { process_.Stop(); }

  std::unique_ptr<ReplayWriter> MakeWriter(int index) override {
    return std::make_unique<Writer>(process_.address(), options_, index);
  }
  std::unique_ptr<ReplaySampler> MakeSampler() override {
    return std::make_unique<Sampler>(process_.address(), options_);
  }
  pid_t server_pid() const override { return process_.pid(); }
  double Restart() override {
    process_.Kill();
    const absl::Time begin = absl::Now();
    const absl::Status started = process_.Start();
    DTRPO_CHECK(started.ok()) << started;
    return absl::ToDoubleSeconds(absl::Now() - begin);
  }

 private:
  const BackendOptions options_;
  faults::ReplayProcess process_;
};

}  // namespace
}  // namespace dtrpo::benchmark

dtrpo::benchmark::ReplayBackend* DtrpoMakeReplayBackend(
    const dtrpo::benchmark::BackendOptions& options) {
  return new dtrpo::benchmark::DtrpoReplay(options);
}

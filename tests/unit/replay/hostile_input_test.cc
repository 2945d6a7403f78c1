// What no well-behaved client sends: refused by field, and the service goes on.
#include <grpcpp/generic/generic_stub.h>

#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/rpc/status_translation.h"
#include "tests/unit/replay/replay_service_fixture.h"

namespace dtrpo::replay {
namespace {

using ::testing::HasSubstr;

class HostileInputTest : public ReplayServiceTest {
 protected:
  HostileInputTest() {
    v1::ReplayJobOptions options = Options();
    options.set_vocabulary_size(100);
    options.set_max_items(10000);
    options.set_total_steps(100000);
    EXPECT_TRUE(client_->OpenJob(kJob, options, Soon()).ok());
    good_.mutable_job()->set_job_id(kJob);
    wire::ToProto(TestPair("p", 0), good_.add_pairs());
  }
  ~HostileInputTest() override {
    // It goes on.
    EXPECT_TRUE(Insert(1000000, 1).ok());
  }

  v1::InsertRequest good_;
};

TEST_F(HostileInputTest, EachFieldIsRefusedByItsName) {
  using Break = std::function<void(v1::Trajectory*)>;
  const std::vector<std::pair<const char*, Break>> cases = {
      {"response_tokens", [](auto* t) { t->set_response_tokens(1, 100); }},
      {"response_tokens", [](auto* t) { t->set_response_tokens(1, -1); }},
      {"response_tokens", [](auto* t) { t->clear_response_tokens(); }},
      {"prompt_tokens", [](auto* t) { t->set_prompt_tokens(0, 1 << 30); }},
      {"prompt_tokens", [](auto* t) { t->clear_prompt_tokens(); }},
      {"unmask_step", [](auto* t) { t->mutable_unmask_step()->RemoveLast(); }},
      {"unmask_step", [](auto* t) { t->add_unmask_step(1); }},
      {"unmask_step", [](auto* t) { t->set_unmask_step(0, -2); }},
      {"behaviour_logprob", [](auto* t) { t->mutable_behaviour_logprob()->RemoveLast(); }},
      {"behaviour_logprob", [](auto* t) { t->set_behaviour_logprob(0, std::nanf("")); }},
      {"behaviour_logprob", [](auto* t) { t->set_behaviour_logprob(0, -INFINITY); }},
      {"block_size", [](auto* t) { t->set_block_size(-4); }},
      {"block_size", [](auto* t) { t->set_block_size(std::numeric_limits<int32_t>::max()); }},
      {"max_new_tokens", [](auto* t) { t->mutable_sampler()->set_max_new_tokens(-1); }},
      {"sub_block", [](auto* t) { t->mutable_sampler()->set_sub_block(-1); }},
      {"temperature", [](auto* t) { t->mutable_sampler()->set_temperature(std::nan("")); }},
      {"weights_version", [](auto* t) { t->set_weights_version(0, -5); }},
      {"reward", [](auto* t) { t->set_reward(std::nan("")); }},
      {"reward", [](auto* t) { t->set_reward(INFINITY); }},
      {"stop_index", [](auto* t) { t->set_stop_index(1 << 30); }},
      {"id", [](auto* t) { t->set_id(std::string(1 << 20, 'x')); }},
      {"format_version", [](auto* t) { t->set_format_version(-1); }},
  };
  for (const auto& [field, damage] : cases) {
    for (const bool chosen : {true, false}) {
      v1::InsertRequest bad = good_;
      damage(chosen ? bad.mutable_pairs(0)->mutable_chosen()
                    : bad.mutable_pairs(0)->mutable_rejected());
      const absl::Status status = InsertRaw(bad);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field << ": " << status;
      EXPECT_THAT(status.message(), HasSubstr(field));
      EXPECT_THAT(status.message(), HasSubstr("pairs[0]"));
    }
  }
  EXPECT_EQ(client_->GetStats(kJob, Soon())->items(), 0);
}

TEST_F(HostileInputTest, HugeRewardsGiveAPriorityThatTheTableCanHold) {
  v1::InsertRequest huge = good_;
  huge.mutable_pairs(0)->mutable_chosen()->set_reward(std::numeric_limits<double>::max());
  huge.mutable_pairs(0)->mutable_rejected()->set_reward(std::numeric_limits<double>::lowest());
  EXPECT_TRUE(InsertRaw(huge).ok());
}

TEST_F(HostileInputTest, OptionsThatMakeNoSenseAreRefusedByField) {
  const std::vector<std::pair<const char*, std::function<void(v1::ReplayJobOptions*)>>> cases = {
      {"pairs_per_batch", [](auto* o) { o->set_pairs_per_batch(-1); }},
      {"max_uses", [](auto* o) { o->set_max_uses(-1); }},
      {"max_bytes", [](auto* o) { o->set_max_bytes(-1); }},
      {"priority_exponent", [](auto* o) { o->set_priority_exponent(std::nan("")); }},
      {"priority_exponent", [](auto* o) { o->set_priority_exponent(-1); }},
      {"samples_per_insert", [](auto* o) { o->set_samples_per_insert(-1); }},
      {"min_items", [](auto* o) { o->set_min_items(-1); }},
      {"min_items", [](auto* o) { o->set_min_items(int64_t{1} << 60); }},
      {"vocabulary_size", [](auto* o) { o->set_vocabulary_size(-1); }},
      {"selector", [](auto* o) { o->set_selector(static_cast<v1::ReplaySelector>(77)); }},
      {"priority", [](auto* o) { o->set_priority(static_cast<v1::ReplayPriority>(77)); }},
      {"durability", [](auto* o) { o->set_durability(static_cast<v1::Durability>(77)); }},
  };
  for (const auto& [field, damage] : cases) {
    v1::ReplayJobOptions options = Options();
    damage(&options);
    const absl::Status status = client_->OpenJob("other", options, Soon());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(status.message(), HasSubstr(field));
  }
}

// 1 GiB made of one page over and over: the server refuses by the length, before the bytes.
TEST_F(HostileInputTest, AMessageOfAGibibyteIsResourceExhausted) {
  static const std::vector<char> page(16 << 20, 'x');
  std::vector<grpc::Slice> slices;
  for (int i = 0; i < 64; ++i) {
    slices.emplace_back(page.data(), page.size(), grpc::Slice::STATIC_SLICE);
  }
  const grpc::ByteBuffer message(slices.data(), slices.size());
  ASSERT_EQ(message.Length(), size_t{1} << 30);
  rpc::ChannelFactory factory(
      {.identity = {.role = "rollout"}, .max_message_bytes = int64_t{2047} << 20, .faults = {}});
  grpc::GenericStub stub(*factory.Create(server_->address().ToString()));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
  grpc::CompletionQueue queue;
  auto call = stub.PrepareUnaryCall(&context, "/dtrpo.v1.ReplayService/Insert", message, &queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
}

// Valid requests with random bytes changed: whatever gets in is a valid item, the rest is refused,
// and a later look at every item works.
TEST_F(HostileInputTest, RandomDamageIsRefusedOrHarmless) {
  base::CounterRng random(4, 0);
  auto stub = v1::ReplayService::NewStub(channel_);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    v1::InsertRequest request = good_;
    request.set_prompt_index(i);
    std::string bytes = request.SerializeAsString();
    for (uint64_t n = 1 + random.UniformInt(4); n > 0; --n) {
      bytes[random.UniformInt(bytes.size())] = static_cast<char>(random.UniformInt(256));
    }
    v1::InsertRequest damaged;
    if (!damaged.ParseFromString(bytes)) continue;
    const absl::Status status = InsertRaw(damaged);
    refused += !status.ok();
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
                absl::IsFailedPrecondition(status) || absl::IsResourceExhausted(status))
        << status;
  }
  EXPECT_GT(refused, 100);
  v1::ListItemsRequest list;
  list.mutable_job()->set_job_id(kJob);
  list.set_max_items(1000);
  EXPECT_TRUE(rpc::UnaryCall(stub.get(), &v1::ReplayService::StubInterface::ListItems, list,
                             {.deadline = Soon()})
                  .ok());
}

}  // namespace
}  // namespace dtrpo::replay

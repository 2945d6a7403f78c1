#include "common/wire/job_codec.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>

#include "google/protobuf/descriptor.h"

namespace dtrpo::wire {
namespace {

using testing::HasSubstr;

// The fields that have no default.
v1::JobSpec Minimal() {
  v1::JobSpec spec;
  spec.set_name("add");
  spec.mutable_model()->set_path("/model");
  spec.mutable_data()->set_prompts("/p.jsonl");
  spec.mutable_training()->set_steps(10);
  spec.set_output("/out");
  return spec;
}

v1::JobSpec Resolve(const v1::JobSpec& spec) {
  const auto resolved = FromProto(spec);
  EXPECT_TRUE(resolved.ok()) << resolved.status();
  v1::JobSpec proto;
  if (resolved.ok()) ToProto(*resolved, &proto);
  return proto;
}

TEST(JobCodecTest, AFieldThatIsntSetTakesTheDomainsDefault) {
  const auto spec = FromProto(Minimal());
  ASSERT_TRUE(spec.ok()) << spec.status();
  const job::JobSpec defaults;
  EXPECT_EQ(spec->seed, defaults.seed);
  EXPECT_EQ(spec->data.answer_field, "answer");
  EXPECT_TRUE(spec->data.apply_chat_template);
  EXPECT_TRUE(spec->data.shuffle);
  EXPECT_EQ(spec->sampling.temperature, 1);
  EXPECT_EQ(spec->objective.sft_weight, 0.1);
  EXPECT_EQ(spec->objective.weighting, job::Weighting::kSteps);
  EXPECT_EQ(spec->training.max_staleness, 4);
  EXPECT_EQ(spec->training.schedule, job::Schedule::kLinear);
  EXPECT_EQ(spec->evaluation.show_samples, 4);
}

TEST(JobCodecTest, AZeroThatIsAChoiceIsKept) {
  v1::JobSpec spec = Minimal();
  spec.mutable_data()->set_apply_chat_template(false);
  spec.mutable_data()->set_shuffle(false);
  spec.mutable_objective()->set_sft_weight(0);
  spec.mutable_training()->set_max_staleness(0);
  spec.mutable_training()->set_max_gradient_norm(0);
  spec.mutable_training()->set_max_skipped_steps(0);
  spec.mutable_training()->set_final_learning_rate_ratio(0);
  spec.mutable_evaluation()->set_show_samples(0);
  const v1::JobSpec resolved = Resolve(spec);
  EXPECT_FALSE(resolved.data().apply_chat_template());
  EXPECT_FALSE(resolved.data().shuffle());
  EXPECT_EQ(resolved.objective().sft_weight(), 0);
  EXPECT_EQ(resolved.training().max_staleness(), 0);
  EXPECT_EQ(resolved.training().max_gradient_norm(), 0);
  EXPECT_EQ(resolved.training().max_skipped_steps(), 0);
  EXPECT_EQ(resolved.training().final_learning_rate_ratio(), 0);
  EXPECT_EQ(resolved.evaluation().show_samples(), 0);
}

// Sets every field of a message to something that isn't its default, so that a field which the
// codec forgot shows.
void Disturb(google::protobuf::Message* message) {
  const auto* reflection = message->GetReflection();
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const auto* field = message->GetDescriptor()->field(i);
    if (field->is_repeated()) {
      if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
        reflection->AddString(message, field, "disturbed");
      } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
        if (reflection->FieldSize(*message, field) == 0) {
          reflection->AddMessage(message, field);
        }
        Disturb(reflection->MutableRepeatedMessage(message, field, 0));
      } else {
        reflection->AddInt32(message, field, 3 + field->number());
      }
      continue;
    }
    switch (field->cpp_type()) {
      case google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE:
        Disturb(reflection->MutableMessage(message, field));
        break;
      case google::protobuf::FieldDescriptor::CPPTYPE_STRING:
        if (reflection->GetString(*message, field).empty()) {
          reflection->SetString(message, field, "/disturbed");
        }
        break;
      case google::protobuf::FieldDescriptor::CPPTYPE_INT32:
        reflection->SetInt32(message, field, 3 + field->number());
        break;
      case google::protobuf::FieldDescriptor::CPPTYPE_INT64:
        reflection->SetInt64(message, field, (int64_t{1} << 32) + field->number());
        break;
      case google::protobuf::FieldDescriptor::CPPTYPE_UINT64:
        reflection->SetUInt64(message, field, uint64_t{1} << 63);
        break;
      case google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE:
        reflection->SetDouble(message, field, 0.01 * field->number());
        break;
      case google::protobuf::FieldDescriptor::CPPTYPE_BOOL:
        reflection->SetBool(message, field, field->has_presence() ? false : true);
        break;
      default:
        FAIL() << field->full_name();
    }
  }
}

TEST(JobCodecTest, EveryFieldSurvivesTheWayThroughTheDomain) {
  v1::JobSpec spec = Minimal();
  // Words that only certain values fit.
  spec.mutable_model()->set_dtype("bfloat16");
  spec.mutable_sampling()->set_unmask("steps:3");
  spec.mutable_sampling()->set_confidence("tempered");
  spec.mutable_evaluation()->set_unmask("threshold:0.5");
  spec.mutable_evaluation()->set_layout("gsm8k");
  spec.mutable_evaluation()->set_verifier("number");
  spec.mutable_reward()->set_verifier("number");
  spec.mutable_reward()->add_terms()->set_verifier("choice:ABC");
  spec.mutable_reward()->set_pairing("correct_wrong");
  spec.set_kind("train");
  spec.mutable_objective()->set_weighting("mean");
  spec.mutable_objective()->set_boundary("noisy");
  spec.mutable_objective()->set_draw_from("sequence");
  spec.mutable_objective()->set_staleness_correction("none");
  spec.mutable_objective()->set_kind("exact");
  spec.mutable_objective()->set_loss("ipo");
  spec.mutable_data()->set_pairs_order("noise");
  spec.mutable_training()->set_schedule("cosine");
  spec.mutable_training()->mutable_lora()->set_save("adapter");
  spec.mutable_replay()->set_durability("log");
  spec.mutable_replay()->set_selector("uniform");
  spec.mutable_replay()->set_priority("learner");
  Disturb(&spec);
  // Limits that go together.
  spec.mutable_data()->set_pass_rate_focus(2);
  spec.mutable_reward()->set_max_pairs_per_prompt(3);
  spec.mutable_reward()->set_min_gap(0.01);
  spec.mutable_reward()->mutable_service()->set_timeout_ms(77);
  spec.mutable_reward()->mutable_service()->set_outage_ms(78);
  spec.mutable_evaluation()->set_pass_k(0, 2);
  spec.mutable_replay()->set_max_items(int64_t{1} << 33);
  spec.mutable_replay()->set_max_bytes(int64_t{1} << 50);
  spec.mutable_replay()->set_min_items(2);
  spec.mutable_replay()->set_samples_per_insert(1.5);
  spec.mutable_training()->set_warmup_steps(6);
  spec.mutable_training()->set_ranks(4);
  spec.mutable_training()->set_min_ranks(2);
  // Choices that exclude each other.
  v1::JobSpec other = spec;
  spec.mutable_objective()->clear_label_smoothing();
  spec.mutable_training()->clear_trainable();
  other.mutable_objective()->set_loss("sigmoid");
  other.mutable_training()->mutable_lora()->Clear();
  other.mutable_training()->mutable_lora()->set_save("merged");
  spec.mutable_model()->clear_from_job();
  other.mutable_model()->clear_path();
  other.set_kind("eval");
  other.mutable_data()->clear_prompts();
  other.mutable_data()->clear_pairs();
  other.mutable_evaluation()->clear_unmask();
  other.mutable_evaluation()->set_policies(0, "steps:2");
  spec.mutable_evaluation()->clear_policies();
  for (const v1::JobSpec& disturbed : {spec, other}) {
    const v1::JobSpec resolved = Resolve(disturbed);
    std::string difference;
    google::protobuf::util::MessageDifferencer differencer;
    differencer.ReportDifferencesToString(&difference);
    EXPECT_TRUE(differencer.Compare(disturbed, resolved)) << difference;
  }
}

TEST(JobCodecTest, ResolvingAResolvedSpecificationChangesNothing) {
  const v1::JobSpec once = Resolve(Minimal());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(once, Resolve(once)));
}

TEST(JobCodecTest, AnUnknownWordIsRefusedWithTheFieldAndTheKnownOnes) {
  v1::JobSpec spec = Minimal();
  spec.mutable_objective()->set_weighting("heavy");
  EXPECT_EQ(FromProto(spec).status().message(),
            "objective.weighting: \"heavy\" is none of: steps, one, mean");
  spec = Minimal();
  spec.mutable_training()->set_schedule("wavy");
  EXPECT_THAT(std::string(FromProto(spec).status().message()), HasSubstr("training.schedule"));
}

TEST(JobCodecTest, ATemperatureOfZeroIsKeptAndRefusedForSeveralSamples) {
  v1::JobSpec spec = Minimal();
  spec.mutable_sampling()->set_temperature(0);
  EXPECT_THAT(std::string(FromProto(spec).status().message()), HasSubstr("temperature"));
}

// Else a learner of the next release, which knows more fields, would refuse a job's checkpoints.
TEST(JobCodecTest, TheFingerprintIsOfWhatDiffersFromTheDefaults) {
  const v1::JobSpec resolved = Resolve(Minimal());
  EXPECT_EQ(Fingerprint(resolved), Minimal().SerializeAsString());
  v1::JobSpec newer = resolved;
  newer.GetReflection()->MutableUnknownFields(&newer)->AddVarint(9999, 1);
  EXPECT_EQ(Fingerprint(newer), Fingerprint(resolved));
  v1::JobSpec other = resolved;
  other.mutable_data()->set_shuffle(false);
  EXPECT_NE(Fingerprint(other), Fingerprint(resolved));
  other = resolved;
  other.mutable_training()->set_steps(11);
  EXPECT_NE(Fingerprint(other), Fingerprint(resolved));
}

}  // namespace
}  // namespace dtrpo::wire

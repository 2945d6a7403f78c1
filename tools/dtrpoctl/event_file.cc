#include "tools/dtrpoctl/event_file.h"

#include "absl/base/internal/endian.h"
#include "common/base/crc32c.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/wire_format_lite.h"

namespace dtrpo::ctl {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

// As TensorFlow masks: a CRC of data that holds CRCs would be weak.
uint32_t Masked(absl::string_view bytes) {
  const uint32_t crc = base::Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::string Frame(const std::string& event) {
  char number[8];
  absl::little_endian::Store64(number, event.size());
  std::string frame(number, 8);
  absl::little_endian::Store32(number, Masked(frame));
  frame.append(number, 4);
  frame += event;
  absl::little_endian::Store32(number, Masked(event));
  return frame.append(number, 4);
}

template <typename Write>
std::string Encode(Write write) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    CodedOutputStream out(&stream);
    write(&out);
  }
  return bytes;
}

}  // namespace

std::string EventFileHeader(double unix_seconds) {
  return Frame(Encode([&](CodedOutputStream* out) {
    WireFormatLite::WriteDouble(1, unix_seconds, out);
    WireFormatLite::WriteString(3, "brain.Event:2", out);
  }));
}

std::string ScalarEvent(double unix_seconds, int64_t step, absl::string_view tag, double value) {
  const std::string named = Encode([&](CodedOutputStream* out) {
    WireFormatLite::WriteString(1, std::string(tag), out);
    WireFormatLite::WriteFloat(2, static_cast<float>(value), out);
  });
  const std::string summary =
      Encode([&](CodedOutputStream* out) { WireFormatLite::WriteBytes(1, named, out); });
  return Frame(Encode([&](CodedOutputStream* out) {
    WireFormatLite::WriteDouble(1, unix_seconds, out);
    WireFormatLite::WriteInt64(2, step, out);
    WireFormatLite::WriteBytes(5, summary, out);
  }));
}

}  // namespace dtrpo::ctl

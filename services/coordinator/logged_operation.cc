#include "services/coordinator/logged_operation.h"

#include "absl/base/internal/endian.h"
#include "absl/strings/str_cat.h"

namespace dtrpo::coordinator {
namespace {

constexpr uint8_t kFormat = 1;

void Put(std::string& bytes, uint64_t number) {
  char buffer[8];
  absl::little_endian::Store64(buffer, number);
  bytes.append(buffer, sizeof(buffer));
}

void Put(std::string& bytes, absl::string_view text) {
  Put(bytes, static_cast<uint64_t>(text.size()));
  bytes.append(text.data(), text.size());
}

class Reader {
 public:
  explicit Reader(absl::string_view bytes) : rest_(bytes) {}
  uint64_t Number() { return absl::little_endian::Load64(Take(8).data()); }
  std::string Text() { return std::string(Take(Number())); }
  bool ok() const { return ok_; }
  size_t left() const { return rest_.size(); }

 private:
  absl::string_view Take(uint64_t size) {
    static constexpr char kZeros[8] = {};
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {kZeros, size < sizeof(kZeros) ? size : sizeof(kZeros)};
    }
    const absl::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  absl::string_view rest_;
  bool ok_ = true;
};

}  // namespace

std::string EncodeOperation(const LoggedOperation& operation) {
  std::string bytes;
  bytes.push_back(static_cast<char>(kFormat));
  bytes.push_back(static_cast<char>(operation.kind));
  Put(bytes, static_cast<uint64_t>(absl::ToUnixNanos(operation.time)));
  Put(bytes, operation.digest);
  Put(bytes, operation.name);
  Put(bytes, operation.message);
  Put(bytes, operation.text);
  Put(bytes, static_cast<uint64_t>(operation.number));
  Put(bytes, static_cast<uint64_t>(operation.number2));
  Put(bytes, static_cast<uint64_t>(operation.given_up.size()));
  for (int64_t version : operation.given_up) Put(bytes, static_cast<uint64_t>(version));
  return bytes;
}

absl::StatusOr<LoggedOperation> DecodeOperation(absl::string_view bytes) {
  if (bytes.size() < 2 || bytes[0] != static_cast<char>(kFormat)) {
    return absl::DataLossError(
        absl::StrCat("an operation of ", bytes.size(), " bytes isn't in format ", kFormat));
  }
  LoggedOperation operation;
  operation.kind = static_cast<OperationKind>(bytes[1]);
  Reader reader(bytes.substr(2));
  operation.time = absl::FromUnixNanos(static_cast<int64_t>(reader.Number()));
  operation.digest = reader.Number();
  operation.name = reader.Text();
  operation.message = reader.Text();
  operation.text = reader.Text();
  operation.number = static_cast<int64_t>(reader.Number());
  operation.number2 = static_cast<int64_t>(reader.Number());
  const uint64_t given_up = reader.Number();
  if (reader.ok() && given_up == reader.left() / 8) {
    for (uint64_t i = 0; i < given_up; ++i) {
      operation.given_up.push_back(static_cast<int64_t>(reader.Number()));
    }
  }
  if (!reader.ok() || reader.left() != 0) return absl::DataLossError("an operation is damaged");
  return operation;
}

}  // namespace dtrpo::coordinator

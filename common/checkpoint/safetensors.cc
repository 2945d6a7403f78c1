#include "common/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/json_object.h"

namespace dtrpo::checkpoint {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr size_t kMaxDimensions = 16;

struct DTypeInfo {
  DType dtype;
  absl::string_view name;
  int64_t size_bytes;
};

constexpr DTypeInfo kDTypes[] = {
    {DType::kBool, "BOOL", 1},      {DType::kU8, "U8", 1},          {DType::kI8, "I8", 1},
    {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kF8E5M2, "F8_E5M2", 1}, {DType::kU16, "U16", 2},
    {DType::kI16, "I16", 2},        {DType::kF16, "F16", 2},        {DType::kBF16, "BF16", 2},
    {DType::kU32, "U32", 4},        {DType::kI32, "I32", 4},        {DType::kF32, "F32", 4},
    {DType::kU64, "U64", 8},        {DType::kI64, "I64", 8},        {DType::kF64, "F64", 8},
};

const DTypeInfo& InfoOf(DType dtype) {
  const DTypeInfo& info = kDTypes[static_cast<size_t>(dtype)];
  DTRPO_CHECK(info.dtype == dtype);  // the table is in the order of the enum
  return info;
}

const DTypeInfo* FindDType(absl::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

// A whole file of the real disk, unmapped with the last owner.
struct Mapping {
  void* address = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (address != nullptr) munmap(address, size);
  }
};

absl::Status DiskError(const std::string& path, absl::string_view what) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::InternalError(message);
}

absl::StatusOr<std::shared_ptr<Mapping>> MapFile(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return DiskError(path, "cannot open");
  struct stat info;
  absl::Status status;
  auto mapping = std::make_shared<Mapping>();
  if (fstat(descriptor, &info) != 0) {
    status = DiskError(path, "cannot stat");
  } else if (!S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  } else if (info.st_size > 0) {  // mmap refuses empty files; Parse() names that fault better
    const size_t size = static_cast<size_t>(info.st_size);
    void* const address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED) {
      status = DiskError(path, "cannot map");
    } else {
      mapping->address = address;
      mapping->size = size;
    }
  }
  close(descriptor);
  if (!status.ok()) return status;
  return mapping;
}

uint64_t ReadLittleEndian64(const char* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// One entry of the header, before its place in the data is checked.
struct Entry {
  TensorView view;
  uint64_t begin = 0;
  uint64_t end = 0;
};

absl::StatusOr<std::vector<int64_t>> ReadShape(const JsonObject& entry) {
  const json* list = entry.Find("shape");
  if (list == nullptr) return entry.Invalid("shape", "is missing");
  if (!list->is_array()) return entry.Invalid("shape", "must be a list of whole numbers");
  if (list->size() > kMaxDimensions) {
    return entry.Invalid("shape", absl::StrCat("has more than ", kMaxDimensions, " dimensions"));
  }
  std::vector<int64_t> shape;
  for (const json& dimension : *list) {
    if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > INT64_MAX) {
      return entry.Invalid("shape", "must be a list of whole numbers from 0");
    }
    shape.push_back(dimension.get<int64_t>());
  }
  return shape;
}

absl::Status ReadOffsets(const JsonObject& entry, uint64_t data_bytes, Entry* out) {
  const json* list = entry.Find("data_offsets");
  if (list == nullptr) return entry.Invalid("data_offsets", "is missing");
  if (!list->is_array() || list->size() != 2 || !(*list)[0].is_number_unsigned() ||
      !(*list)[1].is_number_unsigned()) {
    return entry.Invalid("data_offsets", "must be [begin, end]");
  }
  out->begin = (*list)[0].get<uint64_t>();
  out->end = (*list)[1].get<uint64_t>();
  if (out->begin > out->end || out->end > data_bytes) {
    return entry.Invalid("data_offsets",
                         absl::StrCat("[", out->begin, ", ", out->end, "] is outside the ",
                                      data_bytes, " bytes of data"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Entry> ReadEntry(const std::string& name, const json& value, const std::string& file,
                                absl::Span<const char> data) {
  const std::string where = absl::StrCat(file, ": tensor '", name, "'");
  if (!value.is_object()) return absl::InvalidArgumentError(where + ": not a JSON object");
  const JsonObject object(value, where);
  for (const auto& item : value.items()) {
    if (item.key() != "dtype" && item.key() != "shape" && item.key() != "data_offsets") {
      return object.Invalid(item.key(), "is not known");
    }
  }
  Entry entry;
  entry.view.name = name;
  DTRPO_ASSIGN_OR_RETURN(const auto dtype_name, object.OptionalString("dtype"));
  if (!dtype_name.has_value()) return object.Invalid("dtype", "is missing");
  const DTypeInfo* info = FindDType(*dtype_name);
  if (info == nullptr) {
    return object.Invalid("dtype", absl::StrCat("'", *dtype_name, "' is not known"));
  }
  entry.view.dtype = info->dtype;
  DTRPO_ASSIGN_OR_RETURN(entry.view.shape, ReadShape(object));
  DTRPO_RETURN_IF_ERROR(ReadOffsets(object, data.size(), &entry));
  const auto size = TensorSizeBytes(entry.view.dtype, entry.view.shape);
  if (!size.ok()) return object.Invalid("shape", size.status().message());
  if (static_cast<uint64_t>(*size) != entry.end - entry.begin) {
    return object.Invalid("shape",
                          absl::StrCat("with dtype ", *dtype_name, " needs ", *size,
                                       " bytes, data_offsets hold ", entry.end - entry.begin));
  }
  entry.view.data = data.subspan(entry.begin, entry.end - entry.begin);
  return entry;
}

absl::Status ReadMetadata(const json& value, const std::string& file,
                          std::map<std::string, std::string>* out) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(file + ": field '__metadata__': must be an object");
  }
  for (const auto& item : value.items()) {
    if (!item.value().is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": field '__metadata__.", item.key(), "': must be a string"));
    }
    (*out)[item.key()] = item.value().get<std::string>();
  }
  return absl::OkStatus();
}

// The tensors must tile the data: a hole or an overlap means that the header lies about something.
absl::Status CheckCoverage(const std::vector<Entry>& entries, const std::string& file,
                           uint64_t data_bytes) {
  uint64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected) {
      return absl::InvalidArgumentError(absl::StrCat(
          file, ": tensor '", entry.view.name, "': field 'data_offsets': begins at ", entry.begin,
          entry.begin < expected ? " and overlaps the tensor before it, which ends at "
                                 : " and leaves a hole after ",
          expected));
    }
    expected = entry.end;
  }
  if (expected == data_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(file, ": the tensors end at ", expected,
                                                 ", the data at ", data_bytes, " bytes"));
}

}  // namespace

absl::string_view DTypeName(DType dtype) { return InfoOf(dtype).name; }

int64_t DTypeSizeBytes(DType dtype) { return InfoOf(dtype).size_bytes; }

absl::StatusOr<int64_t> TensorSizeBytes(DType dtype, absl::Span<const int64_t> shape) {
  constexpr int64_t kMaxBytes = int64_t{1} << 62;
  int64_t bytes = DTypeSizeBytes(dtype);
  for (const int64_t dimension : shape) {
    if (dimension < 0) return absl::InvalidArgumentError("has a negative dimension");
    if (dimension > 0 && bytes > kMaxBytes / dimension) {
      return absl::InvalidArgumentError("overflows");
    }
    bytes *= dimension;
  }
  return bytes;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Map(const std::string& path) {
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<Mapping> mapping, MapFile(path));
  const absl::Span<const char> bytes(static_cast<const char*>(mapping->address), mapping->size);
  auto file =
      absl::WrapUnique(new SafetensorsFile(path, std::move(mapping), bytes, /*mapped=*/true));
  DTRPO_RETURN_IF_ERROR(file->Parse());
  return file;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::FromBytes(
    std::string bytes, const std::string& name) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  const absl::Span<const char> span(owner->data(), owner->size());
  auto file = absl::WrapUnique(new SafetensorsFile(name, std::move(owner), span, /*mapped=*/false));
  DTRPO_RETURN_IF_ERROR(file->Parse());
  return file;
}

absl::Status SafetensorsFile::Parse() {
  if (bytes_.size() < kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(file_, ": header length: the file has ",
                                                   bytes_.size(), " bytes, too short for one"));
  }
  const uint64_t header_bytes = ReadLittleEndian64(bytes_.data());
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes_.size() - kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(file_, ": header length: ", header_bytes,
                                                   " bytes do not fit in a file of ", bytes_.size(),
                                                   " (limit ", kMaxHeaderBytes, ")"));
  }
  const absl::string_view header(bytes_.data() + kLengthBytes, header_bytes);
  DTRPO_ASSIGN_OR_RETURN(const JsonObject object, JsonObject::Parse(header, file_ + ": header"));
  const absl::Span<const char> data = bytes_.subspan(kLengthBytes + header_bytes);

  std::vector<Entry> entries;
  for (const auto& item : object.value().items()) {
    if (item.key() == "__metadata__") {
      DTRPO_RETURN_IF_ERROR(ReadMetadata(item.value(), file_, &metadata_));
      continue;
    }
    DTRPO_ASSIGN_OR_RETURN(Entry entry, ReadEntry(item.key(), item.value(), file_, data));
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.view.name) < std::tie(b.begin, b.end, b.view.name);
  });
  DTRPO_RETURN_IF_ERROR(CheckCoverage(entries, file_, data.size()));
  for (Entry& entry : entries) {
    index_[entry.view.name] = tensors_.size();
    tensors_.push_back(std::move(entry.view));
  }
  return absl::OkStatus();
}

void SafetensorsFile::ReleasePages(absl::Span<const char> data) const {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data.data()), end = begin + data.size();
  const uintptr_t first = reinterpret_cast<uintptr_t>(bytes_.data());
  if (!mapped_ || begin < first || end > first + bytes_.size()) return;
  // Whole pages only: those at the ends belong to other tensors, too.
  const uintptr_t inner_begin = (begin + page - 1) / page * page, inner_end = end / page * page;
  if (inner_begin >= inner_end) return;
  // A hint: if it fails, the memory is just not given back.
  madvise(reinterpret_cast<void*>(inner_begin), inner_end - inner_begin, MADV_DONTNEED);
}

const TensorView* SafetensorsFile::Find(absl::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace dtrpo::checkpoint

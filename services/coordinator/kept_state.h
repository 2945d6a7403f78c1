// Not thread-safe. How the coordinator's objects are written into a snapshot and read from it. A
// class that is kept lists its members once, and writer and reader go through the list:
//
//   template <typename Archive>
//   void Kept(Archive& archive) { archive(state_, reason_, attempt_); }
//
// What the constructor gives (const members) isn't listed. New members go to the end: an older
// snapshot, which ends before them, leaves them as they are, and one with more members than this
// program knows is refused. tools/check_kept.py finds members that are in no list.
//
// Format 1: numbers in 8 bytes, little endian; texts, messages and objects behind their size,
// containers behind their count.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/base/internal/endian.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"

namespace dtrpo::coordinator {

namespace kept {

template <typename T>
inline constexpr bool kIsNumber = std::is_integral_v<T> || std::is_enum_v<T>;
template <typename T>
inline constexpr bool kIsMessage = std::is_base_of_v<google::protobuf::MessageLite, T>;
template <typename T, typename Archive>
concept Listed = requires(T& value, Archive& archive) {
  value.Kept(archive);
};
template <typename T>
concept Optional = requires(T& value) {
  value.has_value();
};
template <typename T>
concept Pair = requires(T& value) {
  value.first, value.second;
};
template <typename T>
concept Map = requires(T&) {
  typename T::mapped_type;
};
template <typename T>
concept Set = requires(T&) {
  typename T::key_type;
}
&&!Map<T>;

}  // namespace kept

class KeptWriter {
 public:
  static constexpr bool kReads = false;

  template <typename... T>
  void operator()(const T&... values) {
    (Put(values), ...);
  }
  std::string Take() { return std::move(bytes_); }

 private:
  void Number(uint64_t number) {
    char buffer[8];
    absl::little_endian::Store64(buffer, number);
    bytes_.append(buffer, sizeof(buffer));
  }
  void Text(absl::string_view text) {
    Number(text.size());
    bytes_.append(text.data(), text.size());
  }

  template <typename T>
  void Put(const T& value) {
    if constexpr (kept::kIsNumber<T>) {
      Number(static_cast<uint64_t>(value));
    } else if constexpr (std::is_same_v<T, double>) {
      Number(std::bit_cast<uint64_t>(value));
    } else if constexpr (std::is_same_v<T, absl::Time>) {
      Number(static_cast<uint64_t>(absl::ToUnixNanos(value)));
    } else if constexpr (std::is_same_v<T, absl::Duration>) {
      Number(static_cast<uint64_t>(absl::ToInt64Nanoseconds(value)));
    } else if constexpr (std::is_same_v<T, std::string>) {
      Text(value);
    } else if constexpr (kept::kIsMessage<T>) {
      Text(value.SerializeAsString());
    } else if constexpr (kept::Listed<T, KeptWriter>) {
      KeptWriter object;
      const_cast<T&>(value).Kept(object);  // the same list for both ways; this one only looks
      Text(object.bytes_);
    } else if constexpr (kept::Optional<T>) {
      Number(value.has_value() ? 1 : 0);
      if (value.has_value()) Put(*value);
    } else if constexpr (kept::Pair<T>) {
      Put(value.first);
      Put(value.second);
    } else {
      Number(value.size());
      for (const auto& element : value) Put(element);
    }
  }

  std::string bytes_;
};

class KeptReader {
 public:
  static constexpr bool kReads = true;

  explicit KeptReader(absl::string_view bytes) : rest_(bytes) {}

  template <typename... T>
  void operator()(T&... values) {
    (GetIfThere(values), ...);
  }
  // Everything so far could be read.
  bool ok() const { return ok_; }
  bool AtEnd() const { return rest_.empty(); }

 private:
  uint64_t Number() {
    const absl::string_view taken = Take(8);
    return taken.size() == 8 ? absl::little_endian::Load64(taken.data()) : 0;
  }
  absl::string_view Text() { return Take(Number()); }
  absl::string_view Take(uint64_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const absl::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  template <typename T>
  void GetIfThere(T& value) {
    if (!rest_.empty()) Get(value);
  }

  template <typename T>
  void Get(T& value) {
    if constexpr (kept::kIsNumber<T>) {
      value = static_cast<T>(Number());
    } else if constexpr (std::is_same_v<T, double>) {
      value = std::bit_cast<double>(Number());
    } else if constexpr (std::is_same_v<T, absl::Time>) {
      const auto nanoseconds = static_cast<int64_t>(Number());
      value = absl::FromUnixNanos(nanoseconds);
      for (const absl::Time end : {absl::InfiniteFuture(), absl::InfinitePast()}) {
        if (nanoseconds == absl::ToUnixNanos(end)) value = end;
      }
    } else if constexpr (std::is_same_v<T, absl::Duration>) {
      value = absl::Nanoseconds(static_cast<int64_t>(Number()));
    } else if constexpr (std::is_same_v<T, std::string>) {
      value = std::string(Text());
    } else if constexpr (kept::kIsMessage<T>) {
      const absl::string_view text = Text();
      ok_ = value.ParseFromArray(text.data(), static_cast<int>(text.size())) && ok_;
    } else if constexpr (kept::Listed<T, KeptReader>) {
      KeptReader object(Text());
      value.Kept(object);
      ok_ = ok_ && object.ok() && object.AtEnd();
    } else if constexpr (kept::Optional<T>) {
      value.reset();
      if (Number() != 0) Get(value.emplace());
    } else if constexpr (kept::Pair<T>) {
      Get(value.first);
      Get(value.second);
    } else {
      value.clear();
      const uint64_t count = Number();
      for (uint64_t i = 0; i < count && ok_; ++i) GetElement(value);
    }
  }

  template <typename T>
  void GetElement(T& container) {
    if constexpr (kept::Map<T>) {
      typename T::key_type key{};
      Get(key);
      Get(container[std::move(key)]);
    } else if constexpr (kept::Set<T>) {
      typename T::key_type key{};
      Get(key);
      container.insert(container.end(), std::move(key));
    } else {
      Get(container.emplace_back());
    }
  }

  absl::string_view rest_;
  bool ok_ = true;
};

}  // namespace dtrpo::coordinator

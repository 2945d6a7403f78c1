// Thread safety: not thread-safe. RAII for buffers that the Rust library fills.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/text/text_ffi.h"

namespace dtrpo::text {

class TextBuffer {
 public:
  TextBuffer() = default;
  ~TextBuffer() { dtrpo_text_free(&buffer_); }
  TextBuffer(const TextBuffer&) = delete;
  TextBuffer& operator=(const TextBuffer&) = delete;

  DtrpoTextBuffer* out() { return &buffer_; }
  absl::string_view view() const {
    return {reinterpret_cast<const char*>(buffer_.data), buffer_.size};
  }
  std::string str() const { return std::string(view()); }
  // REQUIRES: the buffer holds uint32_t values. Token ids fit in int32_t (checked on loading).
  std::vector<int32_t> ids() const {
    std::vector<int32_t> ids(buffer_.size / sizeof(int32_t));
    if (!ids.empty()) std::memcpy(ids.data(), buffer_.data, ids.size() * sizeof(int32_t));
    return ids;
  }

 private:
  DtrpoTextBuffer buffer_ = {nullptr, 0};
};

}  // namespace dtrpo::text

#include "common/model/torch_boundary.h"

#include <torch/types.h>

#include <exception>
#include <new>

#include "absl/strings/str_cat.h"

namespace dtrpo::model::internal {

absl::Status CurrentExceptionAsStatus() {
  try {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(absl::StrCat("LibTorch: ", error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat("LibTorch: ", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("LibTorch: ", error.what()));
  } catch (...) {
    return absl::InternalError("LibTorch: an exception of unknown type");
  }
}

}  // namespace dtrpo::model::internal

// Tells ThreadSanitizer what Abseil's synchronisation means. Linked into every program of the tsan
// preset and of no other.
//
// Debian's Abseil is not instrumented, so without this every variable guarded by an absl::Mutex
// looks like a race. Abseil is a shared library there: the definitions below replace its own in the
// whole process (gRPC's uses included) and call the original between the annotations.
//
// Only the order of events is told (release before unlocking, acquire after locking), not the locks
// themselves: Abseil finds double locks and lock-order inversions on its own. Inside the original,
// memory accesses are ignored: a Condition may be evaluated there on behalf of another thread.

#include <absl/synchronization/blocking_counter.h>
#include <absl/synchronization/mutex.h>
#include <absl/synchronization/notification.h>
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);

// What uninstrumented libraries do among themselves says nothing: their atomics are not seen.
// (TSAN_OPTIONS in the environment still wins.)
const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }
}

namespace {

template <typename Function>
Function* Original(const char* mangled_name) {
  void* symbol = dlsym(RTLD_NEXT, mangled_name);
  if (symbol == nullptr) {
    std::fprintf(stderr, "tsan_abseil: %s is not in the shared Abseil library\n", mangled_name);
    std::abort();
  }
  return reinterpret_cast<Function*>(symbol);
}

struct IgnoreAccesses {
  IgnoreAccesses() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~IgnoreAccesses() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};

template <typename Result, typename... Parameters, typename... Arguments>
Result Call(Result (*original)(Parameters...), Arguments&&... arguments) {
  IgnoreAccesses ignore;
  return original(std::forward<Arguments>(arguments)...);
}

// The flag that the inline Notification::HasBeenNotified() loads: the member after the mutex.
void* FlagOf(const absl::Notification* notification) {
  return reinterpret_cast<char*>(const_cast<absl::Notification*>(notification)) +
         sizeof(absl::Mutex);
}

}  // namespace

#define DTRPO_ABSL_SYMBOL(rest) "_ZN4absl7debian3" rest
#define DTRPO_ABSL_CONST_SYMBOL(rest) "_ZNK4absl7debian3" rest

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static auto* original = Original<void(Mutex*)>(DTRPO_ABSL_SYMBOL("5Mutex4LockEv"));
  Call(original, this);
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  static auto* original = Original<bool(Mutex*)>(DTRPO_ABSL_SYMBOL("5Mutex7TryLockEv"));
  const bool locked = Call(original, this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  static auto* original = Original<void(Mutex*)>(DTRPO_ABSL_SYMBOL("5Mutex6UnlockEv"));
  __tsan_release(this);
  Call(original, this);
}

void Mutex::ReaderLock() {
  static auto* original = Original<void(Mutex*)>(DTRPO_ABSL_SYMBOL("5Mutex10ReaderLockEv"));
  Call(original, this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  static auto* original = Original<void(Mutex*)>(DTRPO_ABSL_SYMBOL("5Mutex12ReaderUnlockEv"));
  __tsan_release(this);
  Call(original, this);
}

void Mutex::LockWhen(const Condition& condition) {
  static auto* original = Original<void(Mutex*, const Condition&)>(
      DTRPO_ABSL_SYMBOL("5Mutex8LockWhenERKNS0_9ConditionE"));
  Call(original, this, condition);
  __tsan_acquire(this);
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  static auto* original = Original<bool(Mutex*, const Condition&, Duration)>(
      DTRPO_ABSL_SYMBOL("5Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE"));
  const bool met = Call(original, this, condition, timeout);
  __tsan_acquire(this);
  return met;
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  static auto* original = Original<bool(Mutex*, const Condition&, Time)>(
      DTRPO_ABSL_SYMBOL("5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE"));
  const bool met = Call(original, this, condition, deadline);
  __tsan_acquire(this);
  return met;
}

void Mutex::Await(const Condition& condition) {
  static auto* original =
      Original<void(Mutex*, const Condition&)>(DTRPO_ABSL_SYMBOL("5Mutex5AwaitERKNS0_9ConditionE"));
  __tsan_release(this);
  Call(original, this, condition);
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static auto* original = Original<bool(Mutex*, const Condition&, Duration)>(
      DTRPO_ABSL_SYMBOL("5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE"));
  __tsan_release(this);
  const bool met = Call(original, this, condition, timeout);
  __tsan_acquire(this);
  return met;
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static auto* original = Original<bool(Mutex*, const Condition&, Time)>(
      DTRPO_ABSL_SYMBOL("5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE"));
  __tsan_release(this);
  const bool met = Call(original, this, condition, deadline);
  __tsan_acquire(this);
  return met;
}

void CondVar::Wait(Mutex* mutex) {
  static auto* original =
      Original<void(CondVar*, Mutex*)>(DTRPO_ABSL_SYMBOL("7CondVar4WaitEPNS0_5MutexE"));
  __tsan_release(mutex);
  Call(original, this, mutex);
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* original = Original<bool(CondVar*, Mutex*, Duration)>(
      DTRPO_ABSL_SYMBOL("7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE"));
  __tsan_release(mutex);
  const bool timed_out = Call(original, this, mutex, timeout);
  __tsan_acquire(mutex);
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* original = Original<bool(CondVar*, Mutex*, Time)>(
      DTRPO_ABSL_SYMBOL("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE"));
  __tsan_release(mutex);
  const bool timed_out = Call(original, this, mutex, deadline);
  __tsan_acquire(mutex);
  return timed_out;
}

void Notification::Notify() {
  static auto* original =
      Original<void(Notification*)>(DTRPO_ABSL_SYMBOL("12Notification6NotifyEv"));
  __tsan_release(FlagOf(this));
  Call(original, this);
}

void Notification::WaitForNotification() const {
  static auto* original = Original<void(const Notification*)>(
      DTRPO_ABSL_CONST_SYMBOL("12Notification19WaitForNotificationEv"));
  Call(original, this);
  __tsan_acquire(FlagOf(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* original = Original<bool(const Notification*, Duration)>(
      DTRPO_ABSL_CONST_SYMBOL("12Notification30WaitForNotificationWithTimeoutENS0_8DurationE"));
  const bool notified = Call(original, this, timeout);
  if (notified) __tsan_acquire(FlagOf(this));
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  static auto* original = Original<bool(const Notification*, Time)>(
      DTRPO_ABSL_CONST_SYMBOL("12Notification31WaitForNotificationWithDeadlineENS0_4TimeE"));
  const bool notified = Call(original, this, deadline);
  if (notified) __tsan_acquire(FlagOf(this));
  return notified;
}

bool BlockingCounter::DecrementCount() {
  static auto* original =
      Original<bool(BlockingCounter*)>(DTRPO_ABSL_SYMBOL("15BlockingCounter14DecrementCountEv"));
  __tsan_release(this);
  return Call(original, this);
}

void BlockingCounter::Wait() {
  static auto* original =
      Original<void(BlockingCounter*)>(DTRPO_ABSL_SYMBOL("15BlockingCounter4WaitEv"));
  Call(original, this);
  __tsan_acquire(this);
}

ABSL_NAMESPACE_END
}  // namespace absl

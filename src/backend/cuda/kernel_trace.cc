#include "backend/cuda/kernel_trace.h"

#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/error.h"

namespace facet::cuda {
namespace {

constexpr size_t kBufferBytes = size_t{4} << 20;
constexpr size_t kMostNameLength = 60;

void erase_all(std::string& text, std::string_view part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at))
    text.erase(at, part.size());
}

// CUPTI's callbacks have no argument for whoever registered them, and come on a thread of its own.
struct Notes {
  std::mutex mutex;
  std::vector<DeviceSpan> spans;
  std::unordered_map<std::string, std::string> names;  // by mangled name
};
Notes& notes() {
  static Notes all;
  return all;
}
decltype(cuptiActivityGetNextRecord)* next_record = nullptr;

std::string_view copy_name(uint8_t kind) noexcept {
  if (kind == CUPTI_ACTIVITY_MEMCPY_KIND_HTOD) return "copy to the GPU";
  if (kind == CUPTI_ACTIVITY_MEMCPY_KIND_DTOH) return "copy from the GPU";
  return "copy on the GPU";
}

/// Keeps what a record of CUPTI's says, if it is one of those asked for. notes().mutex is held.
void note(const CUpti_Activity& record) {
  Notes& all = notes();
  const auto keep = [&](std::string_view name, uint64_t start, uint64_t end) {
    if (end > start) all.spans.push_back({std::string(name), start, end});
  };
  if (record.kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
    const auto& kernel = reinterpret_cast<const CUpti_ActivityKernel10&>(record);
    auto [place, fresh] = all.names.try_emplace(kernel.name);
    if (fresh) place->second = kernel_name(kernel.name);
    keep(place->second, kernel.start, kernel.end);
  } else if (record.kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
    const auto& copy = reinterpret_cast<const CUpti_ActivityMemcpy6&>(record);
    keep(copy_name(copy.copyKind), copy.start, copy.end);
  } else if (record.kind == CUPTI_ACTIVITY_KIND_MEMSET) {
    const auto& set = reinterpret_cast<const CUpti_ActivityMemset4&>(record);
    keep("clear memory", set.start, set.end);
  }
}

void CUPTIAPI request_buffer(uint8_t** buffer, size_t* bytes, size_t* most_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(64, kBufferBytes));
  *bytes = *buffer == nullptr ? 0 : kBufferBytes;
  *most_records = 0;  // as many as fit
}

void CUPTIAPI take_buffer(CUcontext /*context*/, uint32_t /*stream*/, uint8_t* buffer, size_t /*bytes*/,
                          size_t used) {
  const std::lock_guard lock(notes().mutex);
  CUpti_Activity* record = nullptr;
  while (next_record(buffer, used, &record) == CUPTI_SUCCESS) note(*record);
  std::free(buffer);
}

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMSET};

}  // namespace

void charge(std::vector<DeviceSpan>& spans, Profile& profile) {
  std::sort(spans.begin(), spans.end(), [](const auto& a, const auto& b) { return a.end < b.end; });
  const auto add = [&](std::string_view name, uint64_t from, uint64_t to) {
    auto place = profile.find(name);
    if (place == profile.end()) place = profile.emplace(name, OperationTime{}).first;
    place->second.seconds += static_cast<double>(to - from) * 1e-9;
    ++place->second.calls;
  };
  uint64_t busy_until = spans.empty() ? 0 : spans.front().start;
  for (const DeviceSpan& span : spans) {
    if (span.start > busy_until) add(kIdle, busy_until, span.start);
    add(span.name, std::max(span.start, busy_until), span.end);
    busy_until = span.end;
  }
}

std::string kernel_name(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  std::string name = status == 0 ? demangled.get() : mangled;
  if (name.starts_with("void ")) name.erase(0, 5);
  for (const char* part : {"(anonymous namespace)::", "facet::cuda::", "facet::", "(int)", "(bool)"})
    erase_all(name, part);
  int depth = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0) name.resize(i);
  }
  if (name.size() > kMostNameLength) name = name.substr(0, kMostNameLength - 3) + "...";
  return name;
}

struct KernelTrace::Library {
  void* handle = nullptr;
  decltype(cuptiActivityRegisterCallbacks)* register_callbacks = nullptr;
  decltype(cuptiActivityEnable)* enable = nullptr;
  decltype(cuptiActivityDisable)* disable = nullptr;
  decltype(cuptiActivityFlushAll)* flush_all = nullptr;
  decltype(cuptiGetResultString)* result_string = nullptr;

  template <class F>
  bool find(const char* name, F*& function) const {
    function = reinterpret_cast<F*>(dlsym(handle, name));
    return function != nullptr;
  }

  /// Where the linker looks, and where the toolkit's installer puts it. Never closed: CUPTI's threads stay.
  bool open() {
    const int major = CUPTI_API_VERSION / 10000;
    for (const char* place :
         {"", "/usr/local/cuda/extras/CUPTI/lib64/", "/usr/local/cuda/lib64/", "/usr/local/cuda/lib/"}) {
      handle = dlopen(fmt::format("{}libcupti.so.{}", place, major).c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle != nullptr) break;
    }
    return handle != nullptr && find("cuptiActivityRegisterCallbacks", register_callbacks) &&
           find("cuptiActivityEnable", enable) && find("cuptiActivityDisable", disable) &&
           find("cuptiActivityFlushAll", flush_all) && find("cuptiGetResultString", result_string) &&
           find("cuptiActivityGetNextRecord", next_record);
  }

  void check(CUptiResult result, const char* what) const {
    if (result == CUPTI_SUCCESS) return;
    const char* reason = "";
    (void)result_string(result, &reason);
    throw Error(ErrorCode::kDevice, fmt::format("cuda: CUPTI: {}: {}", what, reason));
  }
};

KernelTrace::KernelTrace(Profile& profile) : profile_(profile), library_(std::make_unique<Library>()) {
  if (!library_->open())
    throw Error(ErrorCode::kDevice,
                fmt::format("cuda: a profile needs CUPTI of the CUDA toolkit: libcupti.so.{} is not found "
                            "(LD_LIBRARY_PATH can name its directory)",
                            CUPTI_API_VERSION / 10000));
  library_->check(library_->register_callbacks(request_buffer, take_buffer), "starting a trace");
  for (const CUpti_ActivityKind kind : kKinds)
    library_->check(library_->enable(kind), "tracing kernels and copies");
}

KernelTrace::~KernelTrace() {
  for (const CUpti_ActivityKind kind : kKinds) (void)library_->disable(kind);
  (void)library_->flush_all(0);
  const std::lock_guard lock(notes().mutex);
  notes().spans.clear();
}

void KernelTrace::collect() {
  library_->check(library_->flush_all(0), "reading a trace");
  const std::lock_guard lock(notes().mutex);
  charge(notes().spans, profile_);
  notes().spans.clear();
}

}  // namespace facet::cuda

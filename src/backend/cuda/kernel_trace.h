// How long the device is busy with each kernel, by its own clock.
//
// CUPTI, which comes with the CUDA toolkit, notes when a kernel starts and ends without standing between two
// of them: recorded steps stay recorded, and kernels that start early still do. It is opened when a profile
// is asked for, so that the program needs it for nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"

namespace facet::cuda {

/// Something that the device did, in nanoseconds of its clock.
struct DeviceSpan {
  std::string name;
  uint64_t start = 0;
  uint64_t end = 0;
};

/// Adds to `profile` what each span kept the device busy beyond those that ended before it, and under kIdle
/// the gaps between them: a kernel that starts early is charged from its predecessor's end, so that the sum
/// is the time from the first start to the last end. Sorts `spans` by their ends.
void charge(std::vector<DeviceSpan>& spans, Profile& profile);
constexpr std::string_view kIdle = "(the GPU waits)";

/// A kernel's name for people: no namespaces of ours and no parameters, of bearable length.
[[nodiscard]] std::string kernel_name(const char* mangled);

class KernelTrace {
 public:
  /// From now on notes all that this process has the device do. One at a time. Throws Error{kDevice} where
  /// CUPTI is not there or refuses.
  explicit KernelTrace(Profile& profile);
  ~KernelTrace();
  KernelTrace(const KernelTrace&) = delete;
  KernelTrace& operator=(const KernelTrace&) = delete;

  /// Adds what was noted so far to the profile. The device must have finished.
  void collect();

 private:
  struct Library;
  Profile& profile_;
  std::unique_ptr<Library> library_;
};

}  // namespace facet::cuda

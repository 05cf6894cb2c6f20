// Programmatic dependent launch: a kernel may start while the one before it still runs, fetch what does not
// depend on it (weights), and wait for it only then.
//
// A kernel launched this way must write memory, and read what an earlier kernel of the step wrote, only after
// wait_for_previous(). As every kernel of a step waits, one that has passed its wait knows all earlier ones
// complete.
#pragma once

#include <cuda_runtime.h>

namespace facet::cuda {

/// The kernel after this one may start as soon as all blocks of this one have come here.
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// Until the kernel before this one has finished and its writes can be seen.
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

struct LaunchShape {
  dim3 grid;
  unsigned threads = 0;
  size_t shared = 0;     ///< dynamic shared memory, bytes
  unsigned cluster = 1;  ///< blocks of grid.x that form a cluster
};

/// A launch as the runtime takes it.
struct LaunchConfig {
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config{};

  LaunchConfig(const LaunchShape& shape, cudaStream_t stream) {
    config.gridDim = shape.grid;
    config.blockDim = shape.threads;
    config.dynamicSmemBytes = shape.shared;
    config.stream = stream;
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim.x = shape.cluster;
    attributes[1].val.clusterDim.y = 1;
    attributes[1].val.clusterDim.z = 1;
    config.attrs = attributes;
    config.numAttrs = shape.cluster > 1 ? 2 : 1;
  }
  LaunchConfig(const LaunchConfig&) = delete;
  LaunchConfig& operator=(const LaunchConfig&) = delete;
};

/// Asks for what launches of this shape need.
inline void prepare_launch(const void* kernel, const LaunchShape& shape) {
  // The same split of every multiprocessor's memory for all kernels: one that wants another waits until the
  // multiprocessor is empty.
  (void)cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared);
  constexpr size_t kUnasked = 32 << 10;  // with the static part, less than a kernel gets without asking
  if (shape.shared > kUnasked)
    (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared));
  constexpr unsigned kPortableCluster = 8;
  if (shape.cluster > kPortableCluster)
    (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
}

/// Launches `kernel` so that it may start before its predecessor on the stream ends. Compute capability 9.0.
/// The error, if any, is cudaGetLastError()'s.
template <class... Parameters, class... Arguments>
void launch_dependent(void (*kernel)(Parameters...), const LaunchShape& shape, cudaStream_t stream,
                      const Arguments&... arguments) {
  prepare_launch(reinterpret_cast<const void*>(kernel), shape);
  const LaunchConfig launch(shape, stream);
  (void)cudaLaunchKernelEx(&launch.config, kernel, Parameters(arguments)...);
}

/// Clusters of such a launch that the device can run at the same time.
inline int resident_clusters(const void* kernel, const LaunchShape& shape) {
  prepare_launch(kernel, shape);
  const LaunchConfig launch(shape, nullptr);
  int clusters = 0;
  return cudaOccupancyMaxActiveClusters(&clusters, kernel, &launch.config) == cudaSuccess ? clusters : 0;
}

}  // namespace facet::cuda

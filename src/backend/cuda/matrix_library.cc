#include "backend/cuda/matrix_library.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "backend/cuda/device.h"

namespace facet::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;

template <class F>
bool find(void* library, const char* name, F*& function) {
  function = reinterpret_cast<F*>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

struct MatrixLibrary::State {
  using Shape = std::tuple<int64_t, int64_t, int64_t, int64_t, bool>;  // rows, out, cols, y_stride, y_bf16
  struct Plan {
    bool usable = false;
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
    cublasLtMatmulAlgo_t algorithm{};
  };

  void* library = nullptr;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::map<Shape, Plan> plans;

  decltype(cublasLtCreate)* create = nullptr;
  decltype(cublasLtDestroy)* destroy = nullptr;
  decltype(cublasLtMatmul)* matmul = nullptr;
  decltype(cublasLtMatmulDescCreate)* desc_create = nullptr;
  decltype(cublasLtMatmulDescDestroy)* desc_destroy = nullptr;
  decltype(cublasLtMatmulDescSetAttribute)* desc_set = nullptr;
  decltype(cublasLtMatrixLayoutCreate)* layout_create = nullptr;
  decltype(cublasLtMatrixLayoutDestroy)* layout_destroy = nullptr;
  decltype(cublasLtMatmulPreferenceCreate)* preference_create = nullptr;
  decltype(cublasLtMatmulPreferenceDestroy)* preference_destroy = nullptr;
  decltype(cublasLtMatmulPreferenceSetAttribute)* preference_set = nullptr;
  decltype(cublasLtMatmulAlgoGetHeuristic)* heuristic = nullptr;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    for (auto& [shape, plan] : plans) {
      if (plan.operation != nullptr) (void)desc_destroy(plan.operation);
      for (cublasLtMatrixLayout_t layout : {plan.w, plan.x, plan.y})
        if (layout != nullptr) (void)layout_destroy(layout);
    }
    if (handle != nullptr) (void)destroy(handle);
    (void)cudaFree(workspace);
    if (library != nullptr) dlclose(library);
  }

  bool load() {
    const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
    library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    return library != nullptr && find(library, "cublasLtCreate", create) &&
           find(library, "cublasLtDestroy", destroy) && find(library, "cublasLtMatmul", matmul) &&
           find(library, "cublasLtMatmulDescCreate", desc_create) &&
           find(library, "cublasLtMatmulDescDestroy", desc_destroy) &&
           find(library, "cublasLtMatmulDescSetAttribute", desc_set) &&
           find(library, "cublasLtMatrixLayoutCreate", layout_create) &&
           find(library, "cublasLtMatrixLayoutDestroy", layout_destroy) &&
           find(library, "cublasLtMatmulPreferenceCreate", preference_create) &&
           find(library, "cublasLtMatmulPreferenceDestroy", preference_destroy) &&
           find(library, "cublasLtMatmulPreferenceSetAttribute", preference_set) &&
           find(library, "cublasLtMatmulAlgoGetHeuristic", heuristic) &&
           create(&handle) == CUBLAS_STATUS_SUCCESS && cudaMalloc(&workspace, kWorkspaceBytes) == cudaSuccess;
  }

  /// The library is column-major: yᵀ [out, rows] = (wᵀ)ᵀ xᵀ.
  bool make(const Shape& shape, Plan& plan) const {
    const auto [rows, out, cols, y_stride, y_bf16] = shape;
    const auto r = static_cast<uint64_t>(rows);
    const auto o = static_cast<uint64_t>(out);
    const auto c = static_cast<uint64_t>(cols);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const size_t workspace_bytes = kWorkspaceBytes;
    const uint32_t alignment = 16;
    cublasLtMatmulPreference_t preference = nullptr;
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      return preference_set(preference, attribute, &value, sizeof(value)) == CUBLAS_STATUS_SUCCESS;
    };
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const bool ok =
        desc_create(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
        desc_set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)) ==
            CUBLAS_STATUS_SUCCESS &&
        layout_create(&plan.w, CUDA_R_16BF, c, o, cols) == CUBLAS_STATUS_SUCCESS &&
        layout_create(&plan.x, CUDA_R_16BF, c, r, cols) == CUBLAS_STATUS_SUCCESS &&
        layout_create(&plan.y, y_bf16 ? CUDA_R_16BF : CUDA_R_32F, o, r, y_stride) == CUBLAS_STATUS_SUCCESS &&
        preference_create(&preference) == CUBLAS_STATUS_SUCCESS &&
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes) &&
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment) &&
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment) &&
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment) &&
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment) &&
        heuristic(handle, plan.operation, plan.w, plan.x, plan.y, plan.y, preference, 1, &result, &found) ==
            CUBLAS_STATUS_SUCCESS &&
        found > 0;
    if (preference != nullptr) (void)preference_destroy(preference);
    plan.algorithm = result.algo;
    return ok;
  }
};

MatrixLibrary::MatrixLibrary(std::unique_ptr<State> state) : state_(std::move(state)) {}
MatrixLibrary::~MatrixLibrary() = default;

std::unique_ptr<MatrixLibrary> MatrixLibrary::open() {
  auto state = std::make_unique<State>();
  if (!state->load()) return nullptr;
  return std::unique_ptr<MatrixLibrary>(new MatrixLibrary(std::move(state)));
}

bool MatrixLibrary::multiply(const Product& product, cudaStream_t stream) noexcept {
  const auto& [w, x, rows, out, cols, y, y_stride, y_bf16] = product;
  const auto [place, fresh] = state_->plans.try_emplace({rows, out, cols, y_stride, y_bf16});
  State::Plan& plan = place->second;
  if (fresh) plan.usable = state_->make(place->first, plan);
  if (!plan.usable) return false;
  const float one = 1;
  const float zero = 0;
  return state_->matmul(state_->handle, plan.operation, &one, w, plan.w, x, plan.x, &zero, y, plan.y, y,
                        plan.y, &plan.algorithm, state_->workspace, kWorkspaceBytes,
                        stream) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace facet::cuda

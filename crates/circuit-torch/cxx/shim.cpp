// The few parts of LibTorch that tch does not reach: tensors over foreign memory with an owner, inference mode, copies beside
// computation, products of bfloat16 with wide sums, device memory, the version that is loaded. No logic lives here; src/shim.rs is the only caller and says what
// each means.
//
// No exception may leave an `extern "C"` function: each returns a message (malloc'd; the caller frees it) or null.

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>

namespace {

template <typename Body>
char *guarded(Body body) noexcept {
    try {
        body();
        return nullptr;
    } catch (const std::exception &e) {
        return strdup(e.what());
    } catch (...) {
        return strdup("an exception of unknown type");
    }
}

} // namespace

// LibTorch's own, from its C shim; that header would pull in far more.
extern "C" uint64_t aoti_torch_abi_version();

// MKL's, inside LibTorch; null in one that was built without it.
extern "C" __attribute__((weak)) void cblas_gemm_bf16bf16f32(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                                                             float alpha, const uint16_t *a, int lda, const uint16_t *b, int ldb,
                                                             float beta, float *c, int ldc);

namespace {

constexpr int ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112;

// Whether a matrix lies row by row or, transposed, column by column, and how far apart these are; not `fits` if neither.
struct Lies {
    bool fits;
    int how;
    int apart;

    explicit Lies(const at::Tensor &t) {
        auto rows = t.size(0), columns = t.size(1);
        bool by_rows = (t.stride(1) == 1 || columns == 1) && (rows == 1 || t.stride(0) >= columns);
        bool by_columns = (t.stride(0) == 1 || rows == 1) && (columns == 1 || t.stride(1) >= rows);
        int64_t distance = by_rows ? std::max(rows == 1 ? columns : t.stride(0), columns)
                                   : std::max(columns == 1 ? rows : t.stride(1), rows);
        fits = (by_rows || by_columns) && distance <= INT32_MAX && rows <= INT32_MAX && columns <= INT32_MAX;
        how = by_rows ? AS_IT_IS : TRANSPOSED;
        apart = static_cast<int>(distance);
    }
};

} // namespace

extern "C" {

// `release(owner)` runs exactly once: when the last tensor over the memory goes, or here if none could be made.
char *circuit_tensor_over(at::Tensor **out, void *data, const int64_t *sizes, size_t rank, int scalar_type, void *owner,
                          void (*release)(void *)) {
    return guarded([&] {
        // Shared, since LibTorch copies the deleter, and does not say whether it runs when it refuses the tensor.
        std::shared_ptr<void> keep(owner, release);
        auto options = at::TensorOptions().dtype(static_cast<at::ScalarType>(scalar_type));
        *out = new at::Tensor(
            at::from_blob(data, at::IntArrayRef(sizes, rank), [keep](void *) {}, options));
    });
}

char *circuit_inference_enter(c10::InferenceMode **out) {
    return guarded([&] { *out = new c10::InferenceMode(); });
}

void circuit_inference_leave(c10::InferenceMode *mode) {
    delete mode;
}

// A stream of a GPU for copies alone. c10's streams and events know their device only when they are made, so that this compiles
// without CUDA's headers.
struct circuit_copies {
    c10::Stream stream;
    c10::Event computed{c10::DeviceType::CUDA};
    c10::Event copied{c10::DeviceType::CUDA};

    c10::Stream computing() const {
        return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(stream.device());
    }
};

char *circuit_copies_new(circuit_copies **out, int device) {
    return guarded([&] {
        at::globalContext().lazyInitDevice(at::kCUDA);
        c10::Device on(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device));
        c10::impl::VirtualGuardImpl implementation(c10::DeviceType::CUDA);
        *out = new circuit_copies{implementation.getStreamFromGlobalPool(on)};
    });
}

void circuit_copies_delete(circuit_copies *copies) {
    delete copies;
}

// Copies once everything that was asked of the device so far is done; what is asked of it from now on does not wait.
char *circuit_copies_start(circuit_copies *copies, at::Tensor *to, const at::Tensor *from) {
    return guarded([&] {
        copies->computed.record(copies->computing());
        copies->computed.block(copies->stream);
        c10::StreamGuard guard(copies->stream);
        to->copy_(*from, /*non_blocking=*/true);
        copies->copied.record(copies->stream);
    });
}

// Waits for the last copy.
char *circuit_copies_finish(circuit_copies *copies) {
    return guarded([&] { copies->copied.synchronize(); });
}

// Lets what is asked of the device from now on wait for the last copy.
char *circuit_copies_before_computing(circuit_copies *copies) {
    return guarded([&] { copies->copied.block(copies->computing()); });
}

// `sum = beta sum + a b` for factors in bfloat16 and sums in float32 on the CPU, all matrices; `done` says whether it could.
char *circuit_bfloat16_product(at::Tensor *sum, const at::Tensor *a, const at::Tensor *b, float beta, bool *done) {
    return guarded([&] {
        *done = false;
        auto is = [](const at::Tensor &t, at::ScalarType type) {
            return t.device().is_cpu() && t.scalar_type() == type && t.dim() == 2 && t.numel() > 0;
        };
        if (!cblas_gemm_bf16bf16f32 || !is(*sum, at::kFloat) || !is(*a, at::kBFloat16) || !is(*b, at::kBFloat16)) return;
        auto m = a->size(0), n = b->size(1), k = a->size(1);
        if (b->size(0) != k || sum->size(0) != m || sum->size(1) != n) return;
        Lies as(*a), bs(*b), sums(*sum);
        if (!as.fits || !bs.fits || !sums.fits || sums.how != AS_IT_IS) return;
        cblas_gemm_bf16bf16f32(ROW_MAJOR, as.how, bs.how, static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), 1.0f,
                               static_cast<const uint16_t *>(a->const_data_ptr()), as.apart,
                               static_cast<const uint16_t *>(b->const_data_ptr()), bs.apart, beta,
                               static_cast<float *>(sum->mutable_data_ptr()), sums.apart);
        *done = true;
    });
}

// Bytes: in tensors now, in tensors at the highest, free on the device, on the device in all.
char *circuit_cuda_memory(int device, uint64_t out[4]) {
    return guarded([&] {
        at::globalContext().lazyInitDevice(at::kCUDA);
        auto index = static_cast<c10::DeviceIndex>(device);
        auto *allocator = c10::getDeviceAllocator(at::kCUDA);
        auto free_and_total = allocator->getMemoryInfo(index);
        // The first entry of a statistic is the sum over all pools.
        auto allocated = allocator->getDeviceStats(index).allocated_bytes[0];
        out[0] = static_cast<uint64_t>(allocated.current);
        out[1] = static_cast<uint64_t>(allocated.peak);
        out[2] = free_and_total.first;
        out[3] = free_and_total.second;
    });
}

char *circuit_cuda_empty_cache() {
    return guarded([&] {
        at::globalContext().lazyInitDevice(at::kCUDA);
        c10::getDeviceAllocator(at::kCUDA)->emptyCache();
    });
}

// One byte each from the top: major, minor, patch.
uint64_t circuit_loaded_version() {
    return aoti_torch_abi_version();
}

} // extern "C"

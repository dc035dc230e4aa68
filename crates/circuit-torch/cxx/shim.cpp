// The few parts of LibTorch that tch does not reach: tensors over foreign memory with an owner, inference mode, copies beside
// computation, products of bfloat16 with wide sums, many products in one call, device memory, the version that is loaded. No
// logic lives here; src/shim.rs is the only caller and says what each means.
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

// BLAS inside LibTorch, as LibTorch itself calls it; null where it is not seen from outside.
extern "C" __attribute__((weak)) void sgemm_(const char *transpose_a, const char *transpose_b, const int *m, const int *n, const int *k,
                                             const float *alpha, const float *a, const int *lda, const float *b, const int *ldb,
                                             const float *beta, float *c, const int *ldc);

// MKL's, inside LibTorch; null in one that was built without it.
extern "C" __attribute__((weak)) void cblas_gemm_bf16bf16f32(int layout, int transpose_a, int transpose_b, int m, int n, int k,
                                                             float alpha, const uint16_t *a, int lda, const uint16_t *b, int ldb,
                                                             float beta, float *c, int ldc);

namespace {

constexpr int ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112;

// A matrix that lies row by row or, transposed, column by column, and how far apart these are; not `fits` if neither.
struct Matrix {
    bool fits;
    int rows, columns;
    int how;
    int apart;

    Matrix(int64_t n_rows, int64_t n_columns, int64_t row_stride, int64_t column_stride) {
        bool by_rows = (column_stride == 1 || n_columns == 1) && (n_rows == 1 || row_stride >= n_columns);
        bool by_columns = (row_stride == 1 || n_rows == 1) && (n_columns == 1 || column_stride >= n_rows);
        int64_t distance = by_rows ? std::max(n_rows == 1 ? n_columns : row_stride, n_columns)
                                   : std::max(n_columns == 1 ? n_rows : column_stride, n_rows);
        fits = (by_rows || by_columns) && distance <= INT32_MAX && n_rows <= INT32_MAX && n_columns <= INT32_MAX;
        how = by_rows ? AS_IT_IS : TRANSPOSED;
        rows = static_cast<int>(n_rows), columns = static_cast<int>(n_columns), apart = static_cast<int>(distance);
    }

    explicit Matrix(const at::Tensor &t) : Matrix(t.size(0), t.size(1), t.stride(0), t.stride(1)) {}

    const char *transpose() const { return how == AS_IT_IS ? "N" : "T"; }
};

bool is(const at::Tensor &t, at::ScalarType type, int64_t rank) {
    return t.device().is_cpu() && t.scalar_type() == type && t.dim() == rank && t.numel() > 0;
}

bool fit(const Matrix &sum, const Matrix &a, const Matrix &b) {
    return sum.fits && a.fits && b.fits && sum.how == AS_IT_IS && sum.rows == a.rows && sum.columns == b.columns && a.columns == b.rows;
}

// `sum = beta sum + a b` for matrices that fit.
void multiply(const Matrix &sums, float *sum, const Matrix &as, const uint16_t *a, const Matrix &bs, const uint16_t *b, float beta) {
    cblas_gemm_bf16bf16f32(ROW_MAJOR, as.how, bs.how, sums.rows, sums.columns, as.columns, 1.0f, a, as.apart, b, bs.apart, beta, sum,
                           sums.apart);
}

void multiply(const Matrix &sums, float *sum, const Matrix &as, const float *a, const Matrix &bs, const float *b, float beta) {
    // By columns, as BLAS has it: the transposes.
    const float one = 1.0f;
    sgemm_(bs.transpose(), as.transpose(), &sums.columns, &sums.rows, &as.columns, &one, b, &bs.apart, a, &as.apart, &beta, sum,
           &sums.apart);
}

// Products `sums[:, first_columns[i] ..] = beta sums[..] + a[:, i] b[i]`, one for each slice of `a`.
struct Slices {
    at::Tensor &sums;
    const at::Tensor &a;
    const at::Tensor *const *b;
    const int64_t *first_columns;
    int64_t n;
    float beta;

    Matrix sum(int64_t i) const { return Matrix(sums.size(0), b[i]->size(1), sums.stride(0), sums.stride(1)); }
    Matrix slice() const { return Matrix(a.size(0), a.size(2), a.stride(0), a.stride(2)); }

    bool fit_all(at::ScalarType type) const {
        if (!is(sums, at::kFloat, 2) || !is(a, type, 3) || a.size(1) != n) return false;
        for (int64_t i = 0; i < n; i++) {
            if (!is(*b[i], type, 2) || !fit(sum(i), slice(), Matrix(*b[i]))) return false;
            if (first_columns[i] < 0 || first_columns[i] > sums.size(1) - b[i]->size(1)) return false;
        }
        return true;
    }

    template <typename Factor> bool multiply_all(at::ScalarType type) const {
        if (!fit_all(type)) return false;
        auto *to = static_cast<float *>(sums.mutable_data_ptr());
        auto *from = static_cast<const Factor *>(a.const_data_ptr());
        for (int64_t i = 0; i < n; i++) {
            multiply(sum(i), to + first_columns[i] * sums.stride(1), slice(), from + i * a.stride(1), Matrix(*b[i]),
                     static_cast<const Factor *>(b[i]->const_data_ptr()), beta);
        }
        return true;
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

// For each of the `n` slices of `a`: `sums[:, first_columns[i] ..] = beta sums[..] + a[:, i] b[i]`, on the CPU, the factors in float32 or
// bfloat16, the sums in float32; `done` says whether it could.
char *circuit_products_of_slices(at::Tensor *sums, const at::Tensor *a, const at::Tensor *const *b, const int64_t *first_columns,
                                 int64_t n, float beta, bool *done) {
    return guarded([&] {
        Slices slices{*sums, *a, b, first_columns, n, beta};
        auto type = a->scalar_type();
        if (type == at::kBFloat16) {
            *done = cblas_gemm_bf16bf16f32 && slices.multiply_all<uint16_t>(type);
        } else {
            *done = sgemm_ && type == at::kFloat && slices.multiply_all<float>(type);
        }
    });
}

// `out[x, y] = sum over c of a[x, y, c] b[x, y, c]`, matrices in float32 on the CPU; `done` says whether it could.
char *circuit_summed_products(at::Tensor *out, const at::Tensor *a, const at::Tensor *b, bool *done) {
    return guarded([&] {
        *done = false;
        if (!sgemm_ || !is(*out, at::kFloat, 4) || !is(*a, at::kFloat, 5) || !is(*b, at::kFloat, 5)) return;
        auto nx = out->size(0), ny = out->size(1), nc = a->size(2);
        auto covers = [&](const at::Tensor &t) { return t.size(0) == nx && t.size(1) == ny && t.size(2) == nc; };
        Matrix outs(out->size(2), out->size(3), out->stride(2), out->stride(3));
        Matrix as(a->size(3), a->size(4), a->stride(3), a->stride(4)), bs(b->size(3), b->size(4), b->stride(3), b->stride(4));
        if (!covers(*a) || !covers(*b) || !fit(outs, as, bs)) return;
        auto *to = static_cast<float *>(out->mutable_data_ptr());
        auto *from_a = static_cast<const float *>(a->const_data_ptr());
        auto *from_b = static_cast<const float *>(b->const_data_ptr());
        auto at = [](const at::Tensor &t, int64_t x, int64_t y) { return x * t.stride(0) + y * t.stride(1); };
        for (int64_t x = 0; x < nx; x++) {
            for (int64_t y = 0; y < ny; y++) {
                for (int64_t c = 0; c < nc; c++) {
                    multiply(outs, to + at(*out, x, y), as, from_a + at(*a, x, y) + c * a->stride(2), bs,
                             from_b + at(*b, x, y) + c * b->stride(2), c == 0 ? 0.0f : 1.0f);
                }
            }
        }
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

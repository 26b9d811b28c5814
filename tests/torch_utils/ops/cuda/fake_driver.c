// Stands in for libcuda.so.1, with four devices, and notes on stderr what it is called for.
// Functions that are not here do nothing and fail. With QUIET, it notes nothing.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef QUIET
#define NOTE(...) (void)0
#else
#define NOTE(...) fprintf(stderr, __VA_ARGS__)
#endif

static _Thread_local void* context;

static int fail(void) { return 801; }  // CUDA_ERROR_NOT_SUPPORTED

// NVRTC asks for one.
int cuGetExportTable(const void** table, const void* id) { return *table = NULL, 500; }

int cuGetErrorName(int error, const char** text) {
    return *text = error == 209   ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
                   : error == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                  : "other",
           0;
}
int cuGetErrorString(int error, const char** text) { return *text = "reason", 0; }

int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuDeviceGetCount(int* count) { return *count = 4, 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, 0; }
int cuDevicePrimaryCtxRetain(void** result, int device) {
    return *result = (void*)(uintptr_t)(0x1000 + device), 0;
}
int cuCtxSetCurrent(void* value) {
    NOTE("context %p\n", value);
    return context = value, 0;
}
int cuCtxGetCurrent(void** result) { return *result = context, 0; }
int cuLibraryLoadData(void** library, const void* code, void* a, void* b, unsigned c, void* d,
                      void* e, unsigned f) {
    NOTE("load %s\n", *(const char*)code == 0x7f ? "cubin" : "ptx");
    if (context == (void*)0x1002) return 209;  // CUDA_ERROR_NO_BINARY_FOR_GPU
    if (context == (void*)0x1003) return 700;  // CUDA_ERROR_ILLEGAL_ADDRESS
    return *library = (void*)0x77, 0;
}
int cuLibraryUnload(void* library) { return NOTE("unload\n"), 0; }
int cuLibraryGetKernel(void** kernel, void* library, const char* name) {
    NOTE("kernel %s\n", name);
    return *kernel = (void*)0x88, 0;
}
int cuKernelGetAttribute(int* value, int attribute, void* kernel, int device) {
    return *value = 128, 0;
}
// Those that the carve-out depends on; on other devices than the first, the driver does not know.
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads,
                                                size_t dynamic_bytes) {
    return *blocks = 8, 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 81 ? 228 * 1024 : 1024;  // shared memory of a multiprocessor, reserved
    return device == 0 && (attribute == 81 || attribute == 111) ? 0 : fail();
}
int cuKernelSetAttribute(int attribute, int value, void* kernel, int device) {
    NOTE("attribute %d = %d on device %d\n", attribute, value, device);
    return 0;
}

// The kernel takes a pointer, int, long long, float, double, and struct { int; double; }.
static void note_arguments(void** p) {
    const struct { int a; double b; }* s = p[5];
    NOTE(" args %p %d %lld %g %g %d %g\n", *(void**)p[0], *(int*)p[1], *(long long*)p[2],
         *(float*)p[3], *(double*)p[4], s->a, s->b);
}

int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                   void* stream, void** p, void** extra) {
#ifndef QUIET
    NOTE("launch %p grid %u %u %u block %u %u %u shared %u stream %p", function, grid_x, grid_y,
         grid_z, block_x, block_y, block_z, shared_bytes, stream);
    note_arguments(p);
#endif
    return block_x > 1024 ? 1      // CUDA_ERROR_INVALID_VALUE
           : block_x == 222 ? 222  // CUDA_ERROR_UNSUPPORTED_PTX_VERSION
                            : 0;
}

int cuGetProcAddress_v2(const char* name, void** result, int version, uint64_t flags, int* found) {
    void* function = dlsym(dlopen("libcuda.so.1", RTLD_NOW), name);
    *result = function ? function : (void*)fail;
    if (found) *found = 0;
    return 0;
}
int cuGetProcAddress(const char* name, void** result, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, result, version, flags, NULL);
}

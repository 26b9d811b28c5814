// y = clamp(act(x * scale + noise + bias) * gain) in one pass, and all of its gradients in another.
//
// The channels c and pixels s of a sample n lie as [c][s] ("planes") or as [s][c] (channels last).
// A task takes a segment of the pixels of one sample, with all channels. Segments depend on nothing
// but the sizes, and what is summed over them is added up in order: the number of threads does not
// change results. A row is what lies side by side: pixels of a plane, or channels of a pixel.
#include "bias_act.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "parallel.h"
#include "vec.h"

namespace {

constexpr int64_t kTaskElements = 65536;                  // at most, as far as possible
constexpr int64_t kMinSegment = 256, kMaxSegment = 4096;  // pixels of a plane
constexpr int64_t kMinRow = 256;            // channels last: pixels with fewer channels are joined
constexpr int64_t kSerialElements = 32768;  // up to here a second thread costs more than it saves

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

template <class T, class S>
struct Activation {
    using V = Vec<T>;
    V floor, slope, gain, limit;
    V saved_limit;  // the limit rounded as outputs are; NaN, which no output reaches, for none

    explicit Activation(const BiasActArgs& a)
        : floor(V{} + T(a.floor)), slope(V{} + T(a.slope)), gain(V{} + T(a.gain)),
          limit(V{} + T(a.clamp)),
          saved_limit(a.clamp < std::numeric_limits<double>::infinity()
                          ? V{} + widen(narrow<S>(T(a.clamp)))
                          : V{} + std::numeric_limits<T>::quiet_NaN()) {}

    // NaN fails all comparisons, and so stays NaN.
    INLINE V unclamped(V v) const {
        v = v < floor ? floor : v;
        return (v > 0 ? v : v * slope) * gain;
    }
    INLINE V value(V v) const {
        V y = unclamped(v);
        y = y > limit ? limit : y;
        return y < -limit ? -limit : y;
    }
    INLINE V derivative_at_input(V v) const {
        V y = unclamped(v), zero{};
        V inner = v > 0 ? gain : gain * slope;
        inner = y > limit ? zero : inner;
        return y < -limit ? zero : inner;
    }
    // Valid for a positive gain and a slope of zero or more, or for a linear function.
    INLINE V derivative_at_output(V y) const {
        V zero{};
        V inner = y > 0 ? gain : gain * slope;
        inner = y >= saved_limit ? zero : inner;
        return y <= -saved_limit ? zero : inner;
    }
};

// The operands of one row. Of each pair of fields the layout uses one: planes have one scale and
// one bias, and noise for each element; channels last the other way round.
template <class T, bool PLANES>
struct Operands {
    using V = Vec<T>;
    V row_scale{}, row_bias{}, row_noise{};
    const T *scales = nullptr, *biases = nullptr, *noises = nullptr;

    INLINE V scale(int64_t i) const { return PLANES ? row_scale : load<T>(scales + i); }
    INLINE V apply(V x, int64_t i, int count) const {
        V bias = PLANES ? row_bias : load<T>(biases + i);
        V noise = PLANES ? load_some<T>(noises + i, count) : row_noise;
        return x * scale(i) + (noise + bias);
    }
};

// Sums of gradients; again one of each pair. Null pointers for gradients that are not needed.
template <class T>
struct Sums {
    Vec<T> row_bias{}, row_scale{}, row_noise{};
    T *biases = nullptr, *scales = nullptr, *noises = nullptr;
};

template <class T, class S, bool PLANES>
void forward_row(const S* x, S* y, int64_t size, const Operands<T, PLANES>& operands,
                 const Activation<T, S>& act) {
    for_vectors<T>(size, [&](int64_t i, int count) LAMBDA_INLINE {
        Vec<T> v = operands.apply(load_some<T>(x + i, count), i, count);
        store_some<T>(y + i, act.value(v), count);
    });
}

template <class T, class S, bool PLANES, bool FROM_OUTPUT>
void gradient_row(const S* saved, const S* dy, S* dx, int64_t size,
                  const Operands<T, PLANES>& operands, const Activation<T, S>& act, bool scales_dx,
                  Sums<T>& sums) {
    Sums<T> row = sums;  // a copy stays in registers
    for_vectors<T>(size, [&](int64_t i, int count) LAMBDA_INLINE {
        Vec<T> x = load_some<T>(saved + i, count), d = load_some<T>(dy + i, count);
        if constexpr (FROM_OUTPUT)
            d *= act.derivative_at_output(x);
        else
            d *= act.derivative_at_input(operands.apply(x, i, count));
        store_some<T>(dx + i, scales_dx ? d * operands.scale(i) : d, count);
        if constexpr (PLANES) {
            row.row_bias += d;
            row.row_scale += d * x;
            if (row.noises)
                store_some<T>(row.noises + i, load_some<T>(row.noises + i, count) + d, count);
        } else {
            row.row_noise += d;
            // Lanes that do not exist are zero; the tables have room for them.
            if (row.biases) store<T>(row.biases + i, load<T>(row.biases + i) + d);
            if (row.scales) store<T>(row.scales + i, load<T>(row.scales + i) + d * x);
        }
    });
    sums = row;
}

template <class T, class S, bool PLANES>
class Job {
    const BiasActArgs& a;
    const Activation<T, S> act;
    const T *noise, *scale, *bias;
    int64_t row_size;      // of a segment of a plane, or of joined pixels
    int64_t num_rows;      // segments of a plane, or rows of a sample
    int64_t task_rows, tasks_per_sample;
    int64_t width;         // of the tables below: channels, or a row rounded up to full vectors
    std::vector<T> scales, biases;      // [n, width], [width]: defaults filled in
    std::vector<T> no_noise;
    std::vector<T> bias_sums, scale_sums;  // [n, tasks_per_sample, width]

   public:
    explicit Job(const BiasActArgs& args)
        : a(args), act(args), noise(static_cast<const T*>(a.noise)),
          scale(static_cast<const T*>(a.scale)), bias(static_cast<const T*>(a.bias)) {
        if (PLANES) {
            row_size = std::clamp(kTaskElements / a.c, kMinSegment, kMaxSegment);
            num_rows = ceil_div(a.s, row_size);
            task_rows = 1;
            width = a.c;
            if (!noise) no_noise.assign(row_size, 0);
        } else {
            row_size = a.c * (noise ? 1 : std::max<int64_t>(1, kMinRow / a.c));
            num_rows = ceil_div(a.s * a.c, row_size);
            task_rows = std::max<int64_t>(1, kTaskElements / row_size);
            width = round_up(row_size, kLanes<T>);
        }
        tasks_per_sample = ceil_div(num_rows, task_rows);
        scales.resize(a.n * width);
        biases.resize(width);
        for (int64_t i = 0; i < width; i++) {
            biases[i] = bias ? bias[i % a.c] : 0;
            for (int64_t n = 0; n < a.n; n++)
                scales[n * width + i] = scale ? scale[n * a.c + i % a.c] : 1;
        }
    }

    void forward() {
        for_rows([&](int64_t at, int64_t size, const Operands<T, PLANES>& operands, Sums<T>&) {
            forward_row<T, S, PLANES>(static_cast<const S*>(a.x) + at, static_cast<S*>(a.y) + at,
                                      size, operands, act);
        });
    }

    void gradient() {
        const int64_t num_sums = a.n * tasks_per_sample * width;
        if (a.dbias) bias_sums.assign(num_sums, 0);
        if (a.dscale) scale_sums.assign(num_sums, 0);
        if (a.dnoise) std::fill_n(static_cast<T*>(a.dnoise), a.n * a.s, T(0));
        auto row = a.is_output_saved ? gradient_row<T, S, PLANES, true>
                                     : gradient_row<T, S, PLANES, false>;
        for_rows([&](int64_t at, int64_t size, const Operands<T, PLANES>& operands,
                     Sums<T>& sums) {
            row(static_cast<const S*>(a.x) + at, static_cast<const S*>(a.dy) + at,
                static_cast<S*>(a.y) + at, size, operands, act, a.scales_dx, sums);
        });
        add_sums();
    }

   private:
    // Call `body(offset, size, operands, sums)` for all rows, on all threads.
    template <class F>
    void for_rows(const F& body) {
        const bool is_small = a.n * a.c * a.s <= kSerialElements;
        parallel_for(a.n * tasks_per_sample, is_small ? 1 : a.num_threads, [&](int64_t task) {
            const int64_t n = task / tasks_per_sample;
            const int64_t first = task % tasks_per_sample * task_rows;
            if (PLANES)
                for_planes(task, n, first, body);
            else
                for_pixels(task, n, first, std::min(num_rows, first + task_rows), body);
        });
    }

    template <class F>
    void for_planes(int64_t task, int64_t n, int64_t segment, const F& body) {
        const int64_t first = segment * row_size, size = std::min(row_size, a.s - first);
        for (int64_t c = 0; c < a.c; c++) {
            Operands<T, PLANES> operands;
            operands.row_scale += scales[n * width + c];
            operands.row_bias += biases[c];
            operands.noises = noise ? noise_of(n) + first : no_noise.data();
            Sums<T> sums;
            if (a.dnoise) sums.noises = static_cast<T*>(a.dnoise) + n * a.s + first;
            body((n * a.c + c) * a.s + first, size, operands, sums);
            if (!bias_sums.empty()) bias_sums[task * width + c] = sum_of_lanes<T>(sums.row_bias);
            if (!scale_sums.empty()) scale_sums[task * width + c] = sum_of_lanes<T>(sums.row_scale);
        }
    }

    template <class F>
    void for_pixels(int64_t task, int64_t n, int64_t first, int64_t end, const F& body) {
        const int64_t sample_size = a.s * a.c;
        Operands<T, PLANES> operands;
        operands.scales = scales.data() + n * width;
        operands.biases = biases.data();
        Sums<T> sums;
        if (!bias_sums.empty()) sums.biases = bias_sums.data() + task * width;
        if (!scale_sums.empty()) sums.scales = scale_sums.data() + task * width;
        for (int64_t r = first; r < end; r++) {
            const int64_t at = r * row_size;
            if (noise) operands.row_noise = Vec<T>{} + noise_of(n)[r];
            sums.row_noise = Vec<T>{};
            body(n * sample_size + at, std::min(row_size, sample_size - at), operands, sums);
            if (a.dnoise)
                static_cast<T*>(a.dnoise)[n * a.s + r] = sum_of_lanes<T>(sums.row_noise);
        }
    }

    const T* noise_of(int64_t n) const { return noise + (a.noise_has_samples ? n * a.s : 0); }

    void add_sums() {
        std::vector<double> total(a.c);
        if (a.dbias) {
            for (int64_t n = 0; n < a.n; n++) add_sample(bias_sums, n, total);
            std::copy(total.begin(), total.end(), static_cast<T*>(a.dbias));
        }
        for (int64_t n = 0; n < a.n && a.dscale; n++) {
            std::fill(total.begin(), total.end(), 0);
            add_sample(scale_sums, n, total);
            std::copy(total.begin(), total.end(), static_cast<T*>(a.dscale) + n * a.c);
        }
    }

    void add_sample(const std::vector<T>& sums, int64_t n, std::vector<double>& total) const {
        for (int64_t task = n * tasks_per_sample; task < (n + 1) * tasks_per_sample; task++)
            for (int64_t i = 0; i < (PLANES ? a.c : row_size); i++)
                total[i % a.c] += sums[task * width + i];
    }
};

template <class T, class S>
void run(const BiasActArgs& args) {
    auto start = [&](auto&& job) { args.dy ? job.gradient() : job.forward(); };
    args.is_channels_last ? start(Job<T, S, false>(args)) : start(Job<T, S, true>(args));
}

}  // namespace

extern "C" {
void bias_act_float32(const BiasActArgs* args) { run<float, float>(*args); }
void bias_act_float64(const BiasActArgs* args) { run<double, double>(*args); }
void bias_act_bfloat16(const BiasActArgs* args) { run<float, bfloat16>(*args); }
}

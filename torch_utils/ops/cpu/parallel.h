// Tasks on the threads that PyTorch uses as well.
#pragma once

#include <cstdint>

template <class F>
void parallel_for(int64_t count, int num_threads, const F& task) {
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (count > 1 && num_threads > 1)
    for (int64_t i = 0; i < count; i++) task(i);
}

// Tasks on the threads that PyTorch uses as well.
#pragma once

#include <unistd.h>

#include <cstdint>

// OpenMP's threads do not survive fork(); a child that waited for them would hang.
inline const pid_t kLoadedBy = getpid();

template <class F>
void parallel_for(int64_t count, int num_threads, const F& task) {
    if (getpid() != kLoadedBy) num_threads = 1;
#pragma omp parallel for schedule(dynamic) num_threads(num_threads) if (count > 1 && num_threads > 1)
    for (int64_t i = 0; i < count; i++) task(i);
}

// Arrays copied one after another into a vector.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

namespace pixelvae {

// starts has one number more than there are arrays: where each begins in the vector, and where the last one ends.
// Threads share the vector, not the arrays, of which some are far larger than others.
template <class T>
void pack(const std::vector<const T *> &arrays, const std::vector<long> &starts, T *vector) {
    const long PIECE = 1 << 16, size = starts.back();
    #pragma omp parallel for schedule(static)
    for (long begin = 0; begin < size; begin += PIECE) {
        const long end = std::min(begin + PIECE, size);
        size_t n = std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin() - 1;
        for (long at = begin; at < end; n++) {
            const long until = std::min(end, starts[n + 1]);
            if (until > at) std::memcpy(vector + at, arrays[n] + (at - starts[n]), (until - at) * sizeof(T));
            at = std::max(at, until);
        }
    }
}

}  // namespace pixelvae

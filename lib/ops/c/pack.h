// Arrays copied one after another into a vector.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

namespace pixelvae {

// Threads share the vector, not the arrays, of which some are far larger than others.
template <class T>
const char *pack(const std::vector<const T *> &arrays, const std::vector<long> &sizes, T *vector, long size) {
    std::vector<long> starts(1, 0);  // of each array in the vector, and the end of the last one
    for (long n : sizes) starts.push_back(starts.back() + n);
    if (starts.back() != size) return "the arrays do not fill the vector";
    const long PIECE = 1 << 16;
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
    return 0;
}

}  // namespace pixelvae

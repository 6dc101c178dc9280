// Figures for people: perplexity and bits from nats, and short text for counts, bytes and times.
#pragma once

#include <cstdint>
#include <string>

namespace unroll {

// exp(nats / tokens); infinite when that overflows, NaN for no tokens.
double perplexity(double nats, int64_t tokens);

// nats / (units * ln 2): bits per character, word or token, whatever `units` counts.
double bits_per_unit(double nats, int64_t units);

std::string human_count(double n);           // 950, 8.2k, 310k, 4.65M, 1.20G
std::string human_bytes(double bytes);       // 512 B, 8.2 KiB, 4.65 MiB
std::string human_duration(double seconds);  // 00:41, 12:05, 3:02:07, 2d 03:10; "?" if unknown
std::string human_perplexity(double ppl);    // 118.40, 12034, 1.2e+09
std::string with_commas(int64_t n);          // 82,430

}  // namespace unroll

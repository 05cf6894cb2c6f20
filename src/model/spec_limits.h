// The largest sizes a model may have: far above any Gemma, low enough that every product of two of them fits
// an int and that reading a hostile config costs little. Readers bound what they read by them; validate()
// checks them once more.
#pragma once

namespace facet {

constexpr int kMaxLayers = 1024;
constexpr int kMaxVocabulary = 1 << 24;
constexpr int kMaxContext = 1 << 26;
constexpr int kMaxWidth = 1 << 18;  ///< hidden, MLP and per-layer embedding sizes
constexpr int kMaxHeads = 1024;
constexpr int kMaxHeadDim = 2048;
constexpr int kMaxExperts = 1024;
constexpr double kMaxRopeTheta = 1e12;

}  // namespace facet

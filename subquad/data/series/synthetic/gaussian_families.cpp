// Crops of cached Gaussian paths.
#include "subquad/data/series/synthetic/family.h"

namespace subquad {

// A path of a composite of KernelSynth's bank, not normalised. Exact where the length is that of the
// paths; a shorter crop sees the same periods and longer length scales.
void kernel_synth_series(const FamilyInput& in, std::span<double> y) {
  in.gaussian.crop(in.draws, GaussianKind::kernel_synth, y);
}

// A path with periods and length scales from a continuum.
void gaussian_process_series(const FamilyInput& in, std::span<double> y) {
  in.gaussian.crop(in.draws, GaussianKind::continuous, y);
}

}  // namespace subquad

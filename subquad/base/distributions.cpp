#include "subquad/base/distributions.h"

#include <boost/math/distributions/beta.hpp>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/hypergeometric.hpp>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>

#include "subquad/base/error.h"

namespace subquad {

namespace bm = boost::math;

double normal_quantile(double probability) {
  require(probability > 0 && probability < 1, ErrorCode::invalid_argument, "quantile of ",
          probability, ", wanted a number between 0 and 1");
  return bm::quantile(bm::normal(), probability);
}

double t_quantile(double probability, double degrees) {
  return bm::quantile(bm::students_t(degrees), probability);
}

double beta_quantile(double probability, double a, double b) {
  return bm::quantile(bm::beta_distribution<>(a, b), probability);
}

double normal_cdf(double z) { return bm::cdf(bm::normal(), z); }

double t_cdf(double t, double degrees) { return bm::cdf(bm::students_t(degrees), t); }

double noncentral_t_cdf(double t, double degrees, double noncentrality) {
  return bm::cdf(bm::non_central_t(degrees, noncentrality), t);
}

double hypergeometric_pmf(int k, int successes, int drawn, int total) {
  const bm::hypergeometric distribution(static_cast<unsigned>(successes),
                                        static_cast<unsigned>(drawn), static_cast<unsigned>(total));
  return bm::pdf(distribution, k);
}

double fair_binomial_cdf(std::int64_t k, std::int64_t n) {
  return bm::cdf(bm::binomial(static_cast<double>(n), 0.5), static_cast<double>(k));
}

}  // namespace subquad

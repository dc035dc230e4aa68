//! The attribution engine: targets, the frozen pull-back, ranking.

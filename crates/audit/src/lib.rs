//! One JSON line per decision.
